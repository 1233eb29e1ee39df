
# Rows that logical replication applies on a subscriber: published there where
# the table is captured with on_replica, and not otherwise.  No broker is
# needed: peek() shows what would be published.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = PostgreSQL::Test::Cluster->new('source');
$source->init(allows_streaming => 'logical');
$source->append_conf('postgresql.conf', q{
logical_decoding_work_mem = 64kB
autovacuum = off
});
$source->start;
my $copy = capture_node('copy', conf => q{
max_logical_replication_workers = 10
max_worker_processes = 20
});

# told is captured with on_replica, silent without.  parts is partitioned on both
# sides, the_root on the subscriber only.
my $tables = q{
CREATE TABLE told (id int PRIMARY KEY, tenant text, name text);
CREATE TABLE silent (id int PRIMARY KEY, tenant text, name text);
CREATE TABLE parts (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (10) TO (20);
};
$source->safe_psql('postgres', $tables . q{
CREATE TABLE the_root (id int PRIMARY KEY, tenant text);
INSERT INTO told VALUES (1, 'acme', 'Kim'), (2, 'beta', 'Lee');
INSERT INTO silent VALUES (1, 'acme', 'Kim');
INSERT INTO parts VALUES (1, 'acme'), (11, 'beta');
INSERT INTO the_root VALUES (1, 'acme'), (11, 'beta');
CREATE PUBLICATION pub FOR TABLE told, silent, parts, the_root;
});
$copy->safe_psql('postgres', $tables . q{
CREATE TABLE the_root (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE the_root_0 PARTITION OF the_root FOR VALUES FROM (0) TO (10);
CREATE TABLE the_root_1 PARTITION OF the_root FOR VALUES FROM (10) TO (20);
SELECT evpub.capture_table('told', tenant_column => 'tenant', data_columns => '{name}', on_replica => true);
SELECT evpub.capture_table('silent', tenant_column => 'tenant');
SELECT evpub.capture_table('parts', tenant_column => 'tenant', on_replica => true);
SELECT evpub.capture_table('the_root', tenant_column => 'tenant', on_replica => true);
});

my $since = $copy->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

# What was committed on the subscriber since the last call, an event on a line:
# type, tenant, key and name.  Empty lines separate transactions.
sub events_since
{
	my $events = $copy->safe_psql('postgres', qq{
SELECT string_agg(line, E'\\n\\n' ORDER BY commit_lsn)
  FROM (SELECT commit_lsn,
               string_agg(concat_ws(' ', v ->> 'type', v ->> 'tenant', v #>> '{pk,id}', v #>> '{data,name}'),
                          E'\\n' ORDER BY id) AS line
          FROM (SELECT id, commit_lsn, value::jsonb AS v FROM evpub.peek(1000000, '$since')) e
         GROUP BY commit_lsn) t});
	$since = $copy->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	return $events;
}

# a text of lines
sub lines
{
	return join "\n", @_;
}

# Statements on the source, and the events on the subscriber when it has them.
sub replicated
{
	$source->safe_psql('postgres', $_[0]);
	$source->wait_for_catchup('sub');
	return events_since();
}

# the first copy of the tables
$copy->safe_psql('postgres', sprintf q{
CREATE SUBSCRIPTION sub CONNECTION '%s' PUBLICATION pub WITH (streaming = on)}, $source->connstr . ' dbname=postgres');
$copy->wait_for_subscription_sync($source, 'sub');
# tables are copied side by side, so in any order
is( join("\n\n", sort split /\n\n/, events_since()),
	lines(
		'parts.created acme 1', '', 'parts.created beta 11', '',
		'the_root.created acme 1', 'the_root.created beta 11', '',
		'told.created acme 1 Kim', 'told.created beta 2 Lee'),
	'first copy: each row is created, where it is captured with on_replica');
is($copy->safe_psql('postgres', 'SELECT count(*) FROM silent'), '1', 'the others are copied, too');

is( replicated(q{
INSERT INTO told VALUES (3, 'acme', 'Choi'), (4, 'acme', 'Park');
INSERT INTO silent VALUES (3, 'acme', 'Choi');
UPDATE told SET name = 'Kim Jr.' WHERE id = 1;
UPDATE told SET name = name WHERE id = 1;
UPDATE told SET id = 20 WHERE id = 2;
UPDATE told SET tenant = 'beta' WHERE id = 3;
DELETE FROM told WHERE id = 4;
}),
	lines(
		'told.created acme 3 Choi', 'told.created acme 4 Park', '',
		'told.updated acme 1 Kim Jr.', '',
		'told.deleted beta 2 Lee', 'told.created beta 20 Lee', '',
		'told.deleted acme 3 Choi', 'told.created beta 3 Choi', '',
		'told.deleted acme 4 Park'),
	'INSERT, UPDATE and DELETE: as on the source, a transaction each');

is( replicated(q{
BEGIN;
INSERT INTO told VALUES (5, 'acme', 'a');
SAVEPOINT s;
INSERT INTO told VALUES (6, 'acme', 'b');
ROLLBACK TO s;
UPDATE told SET name = 'c' WHERE id = 1;
UPDATE told SET name = 'd' WHERE id = 1;
INSERT INTO told VALUES (7, 'acme', 'e');
DELETE FROM told WHERE id = 7;
COMMIT;
}),
	lines('told.created acme 5 a', 'told.updated acme 1 d'),
	'a transaction is one, and collapses');

is( replicated(q{
INSERT INTO parts VALUES (2, 'acme'), (12, 'acme');
UPDATE parts SET id = 13 WHERE id = 2;
INSERT INTO the_root VALUES (2, 'acme');
UPDATE the_root SET id = 13 WHERE id = 2;
}),
	lines(
		'parts.created acme 2', 'parts.created acme 12', '',
		'parts.deleted acme 2', 'parts.created acme 13', '',
		'the_root.created acme 2', '',
		'the_root.deleted acme 2', 'the_root.created acme 13'),
	'partitions: also of a table that has none on the source');

# in the order in which tenants are found
is( join("\n", sort grep { $_ } split /\n/, replicated('TRUNCATE told, silent')),
	lines('told.truncated acme', 'told.truncated beta'),
	'TRUNCATE: each tenant that had rows');
is( replicated('TRUNCATE the_root'),
	lines('the_root.truncated acme', 'the_root.truncated beta'),
	'TRUNCATE of a table that has partitions here');

# The subscriber gets TRUNCATE for each partition, as for a table of its own; that
# fires no trigger.  TRUNCATE of the root does.
is(replicated('TRUNCATE parts'), '', 'TRUNCATE that comes for each partition is not published');
my $check = q{SELECT ok, detail FROM evpub.check() WHERE name = 'replicated_partitions'};
is( $copy->safe_psql('postgres', $check),
	'f|subscription sub fills the partitions of public.parts one by one: when it truncates them, no events are published',
	'and check() says so');
$source->safe_psql('postgres', 'ALTER PUBLICATION pub SET (publish_via_partition_root = true)');
$copy->safe_psql('postgres', 'ALTER SUBSCRIPTION sub REFRESH PUBLICATION');
$copy->wait_for_subscription_sync($source, 'sub');
is( replicated(q{
INSERT INTO parts VALUES (3, 'acme'), (13, 'beta');
TRUNCATE parts;
}),
	lines('parts.created acme 3', 'parts.created beta 13', '', 'parts.truncated acme', 'parts.truncated beta'),
	'with publish_via_partition_root it is');
is($copy->safe_psql('postgres', $check),
	't|each TRUNCATE of a subscription is published', 'and check() is content');

# Large transactions, streamed while they run: to a file, and applied at commit;
# from 16 on also applied at once, by a worker of their own.
my $many = q{INSERT INTO told SELECT i, 'acme', repeat('x', 100) FROM generate_series(%d, %d) i;};
for my $streaming ('on', $copy->pg_version >= 16 ? 'parallel' : ())
{
	$copy->safe_psql('postgres', "ALTER SUBSCRIPTION sub SET (streaming = $streaming); TRUNCATE told");
	$source->safe_psql('postgres', 'TRUNCATE told');
	$source->wait_for_catchup('sub');
	events_since();
	is( replicated(sprintf(qq{
BEGIN;
$many
SAVEPOINT s;
$many
ROLLBACK TO s;
$many
DELETE FROM told WHERE id = 1;
COMMIT;
}, 1, 4000, 4001, 8000, 8001, 12000)),
		lines(map { "told.created acme $_ " . 'x' x 100 } 2 .. 4000, 8001 .. 12000),
		"streaming = $streaming: one transaction, in order, without what was rolled back");
	is( replicated(sprintf "BEGIN; $many ROLLBACK; INSERT INTO told VALUES (1, 'acme', 'y');", 20000, 24000),
		'told.created acme 1 y',
		"streaming = $streaming: a rollback leaves nothing");
}
ok( $source->poll_query_until('postgres',
		q{SELECT stream_txns >= 2 FROM pg_stat_replication_slots WHERE slot_name = 'sub'}),
	'they were streamed');

# on_replica is only of what is applied, and of sessions that pose as such
$copy->safe_psql('postgres', q{
INSERT INTO silent VALUES (50, 'acme', 'here');
INSERT INTO told VALUES (15000, 'acme', 'here');
});
is(events_since(), lines('silent.created acme 50', '', 'told.created acme 15000 here'),
	'rows written on the subscriber itself are published in either case');

# set anew while it runs
$copy->safe_psql('postgres', q{
SELECT evpub.capture_table('told', tenant_column => 'tenant');
SELECT evpub.capture_table('silent', tenant_column => 'tenant', on_replica => true);
});
is( replicated(q{
UPDATE told SET name = 'z' WHERE id = 1;
INSERT INTO silent VALUES (60, 'acme', 'a');
}),
	'silent.created acme 60',
	'the worker that runs goes by what the table has now');

# an event that cannot be: the worker stops there and tries again, as for any error
$copy->safe_psql('postgres', 'ALTER SUBSCRIPTION sub DISABLE');
my $log = -s $copy->logfile;
$source->safe_psql('postgres', q{
INSERT INTO silent VALUES (61, NULL, 'nobody''s');
INSERT INTO silent VALUES (62, 'acme', 'next');
});
$copy->safe_psql('postgres', 'ALTER SUBSCRIPTION sub ENABLE');
$copy->wait_for_log(qr/ERROR: .* tenant of a row in captured table "silent" is null/, $log);
is(events_since(), '', 'nothing is published behind a row that cannot be');
$copy->safe_psql('postgres', q{SELECT evpub.capture_table('silent', tenant_column => 'tenant', tenant => 'none', on_replica => true)});
$source->wait_for_catchup('sub');
is(events_since(), lines('silent.created none 61', '', 'silent.created acme 62'),
	'it goes on when it can be');

done_testing();
