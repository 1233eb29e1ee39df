
# CREATE and DROP EXTENSION, committed or rolled back, leave exactly the slot
# and the registration that they should; a database can be dropped while the
# publisher runs; two databases publish side by side.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node =
  capture_node('main', kafka => $kafka, extension => 0);
my $topic = $EvpubTest::TOPIC;

sub labels
{
	return $node->safe_psql('postgres',
		q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_shseclabel
		  JOIN pg_database d ON d.oid = objoid
		  WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass});
}

sub slots
{
	return $node->safe_psql('postgres',
		q{SELECT string_agg(slot_name, ' ') FROM pg_replication_slots});
}

# The slot follows the registration: it is dropped after the commit.
sub slot_is_gone
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres',
			'SELECT count(*) = 0 FROM pg_replication_slots'), $name);
	return;
}

is(slots(), '', 'preloaded only: no slot');
is(labels(), '', 'and no database is registered');

$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION evpub; ROLLBACK');
is(labels(), '', 'CREATE EXTENSION rolled back: not registered');
slot_is_gone('and no slot stays');

$node->safe_psql('postgres', 'CREATE EXTENSION evpub');
is(labels(), 'postgres', 'CREATE EXTENSION: the database is registered');
is(slots(), 'evpub', 'and the slot is there at once');
is( $node->safe_psql('postgres',
		q{SELECT slot_type, active, restart_lsn IS NOT NULL FROM pg_replication_slots}),
	'physical|t|t',
	'a physical slot, held by the publisher, that keeps WAL');

$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION evpub; ROLLBACK');
is(labels(), 'postgres', 'DROP EXTENSION rolled back: registered');
is(slots(), 'evpub', 'and the slot stays');

cms_tables($node);
$node->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'one', '')});
ok(wait_published($node), 'it publishes');

# What was committed before the extension goes is still published.
$kafka->pause;
$node->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'two', '')});
$node->safe_psql('postgres', 'DROP EXTENSION evpub CASCADE');
is(labels(), '', 'DROP EXTENSION: not registered');
$kafka->cont;
slot_is_gone('the slot goes');
is_deeply(
	[ map { $_->{event}{pk}{code} } events($kafka) ],
	[ 'one', 'two' ],
	'after all that was committed before is published');
$node->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'silent', '')});

# And again: it can come back.
create_evpub($node);
is(labels(), 'postgres', 'CREATE EXTENSION again: registered');
is(slots(), 'evpub', 'with a slot');
$node->safe_psql('postgres',
	q{SELECT evpub.capture_table('code', tenant_column => 'tenant_id')});
$node->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'three', '')});
ok(wait_published($node), 'it publishes again');
is((events($kafka))[-1]{event}{pk}{code}, 'three', 'from then on');
is(scalar(grep { $_->{event}{pk}{code} eq 'silent' } events($kafka)),
	0, 'and nothing from in between');

# Two databases.
$node->safe_psql('postgres', 'CREATE DATABASE second');
create_evpub($node, 'second');
is(labels(), 'postgres second', 'two databases are registered');
is(slots(), 'evpub', 'one slot serves both');
$node->safe_psql(
	'second', q{
CREATE TABLE code (tenant_id text, code text, PRIMARY KEY (tenant_id, code));
SELECT evpub.capture_table('code', tenant_column => 'tenant_id', topic => 'second');
});
for my $i (1 .. 20)
{
	$node->safe_psql('postgres', "INSERT INTO code VALUES ('acme', 'p$i', '')");
	$node->safe_psql('second', "INSERT INTO code VALUES ('acme', 's$i')");
}
ok(wait_published($node), 'both publish');
is_deeply(
	[ map { $_->{event}{pk}{code} } events($kafka, 'second') ],
	[ map { "s$_" } 1 .. 20 ],
	'the second database\'s events, in order');
is_deeply(
	[ grep { /^p/ } map { $_->{event}{pk}{code} } events($kafka) ],
	[ map { "p$_" } 1 .. 20 ],
	'and the first one\'s');

# The worker is connected to no database, so it is in nobody's way.
my $elsewhere = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$elsewhere'");
$node->safe_psql('postgres', 'ALTER DATABASE second RENAME TO renamed');
$node->safe_psql('renamed', q{INSERT INTO code VALUES ('acme', 'renamed')});
$node->safe_psql('postgres', 'ALTER DATABASE renamed SET TABLESPACE elsewhere');
$node->safe_psql('renamed', q{INSERT INTO code VALUES ('acme', 'moved')});
ok(wait_published($node), 'a database that has another name and another place: published');
is(join(' ', map { $_->{event}{pk}{code} } (events($kafka, 'second'))[ -2, -1 ]),
	'renamed moved', 'with its events');
$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO second');

# DROP DATABASE, with events on their way.
$kafka->pause;
$node->safe_psql('second', q{INSERT INTO code VALUES ('acme', 'last words')});
$node->safe_psql('postgres', 'DROP DATABASE second');
is(labels(), 'postgres', 'DROP DATABASE works while the publisher runs');
$kafka->cont;
ok(wait_published($node), 'published');
is((events($kafka, 'second'))[-1]{event}{pk}{code},
	'last words', 'events of a dropped database are published still');
is(slots(), 'evpub', 'the slot stays for the other database');

# A copy of a registered database is not registered.
$node->safe_psql('postgres', 'CREATE DATABASE origin');
create_evpub($node, 'origin');
$node->safe_psql(
	'origin', q{
CREATE TABLE code (tenant_id text, code text, PRIMARY KEY (tenant_id, code));
SELECT evpub.capture_table('code', tenant_column => 'tenant_id', topic => 'copies');
});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE origin');
is(labels(), 'origin postgres', 'a copy by TEMPLATE is not registered');
my ($out, $err);
$node->psql('copy',
	q{INSERT INTO code VALUES ('acme', 'from the copy'); INSERT INTO code VALUES ('acme', 'again')},
	stdout => \$out, stderr => \$err);
is(scalar(() = $err =~ /WARNING/g), 1, 'writers in it are warned, once a session');
like($node->safe_psql('copy', 'SELECT state_reason FROM evpub.status'),
	qr/this database is not registered/, 'the status says so there');
is($node->safe_psql('copy', 'SELECT hint FROM evpub.status'), 'SELECT evpub.register_database();', '... and what to type');
$node->safe_psql('origin', q{INSERT INTO code VALUES ('acme', 'from the origin')});
ok(wait_published($node), 'published');
is_deeply([ map { $_->{event}{pk}{code} } events($kafka, 'copies') ],
	['from the origin'], 'and it emits nothing');

$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('postgres', 'DROP DATABASE origin');

# An event by hand locks no table.  Its transaction must still end before the
# extension goes, and the slot with it.
$node->safe_psql('postgres',
	q{BEGIN; SELECT evpub.publish('late', 'acme', topic => 'late'); PREPARE TRANSACTION 'late'});
isnt($node->psql('postgres',
		q{SET lock_timeout = '300ms'; DROP EXTENSION evpub CASCADE}, stderr => \$err),
	0, 'DROP EXTENSION waits for transactions with events by hand');
like($err, qr/lock timeout/, 'by a lock');
$node->safe_psql('postgres', q{COMMIT PREPARED 'late'});
$node->safe_psql('postgres', 'DROP EXTENSION evpub CASCADE');
slot_is_gone('nobody is registered: no slot');
is_deeply([ map { $_->{event}{type} } events($kafka, 'late') ],
	['late'], 'what was committed before arrived');
$node->restart;
is(slots(), '', 'not after a restart either');

# A limit is reached, and nobody is left who could accept a gap: what is lost is said.
create_evpub($node);
$node->safe_psql('postgres',
	q{SELECT evpub.capture_table('code', tenant_column => 'tenant_id')});
$node->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'arrives', '')});
ok(wait_published($node), 'it publishes once more');
$kafka->pause;
$node->safe_psql('postgres', qq{INSERT INTO code VALUES ('acme', 'lost $_', '')}) for 1 .. 2;
$node->safe_psql('postgres', 'DROP EXTENSION evpub CASCADE');
$node->safe_psql('postgres', q{CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)});
my $log = -s $node->logfile;
$node->safe_psql('postgres', $_) for q{ALTER SYSTEM SET evpub.max_lag_size = '1MB'}, 'SELECT pg_reload_conf()';
slot_is_gone('a limit lets the slot go');
my $said = qr/WARNING:  evpub: what was not published is given up, since no database is registered any more: 3 MB of WAL [^\n]*max_lag_size.*\n.*DETAIL:  This gives up 2 transactions with 2 events\. No evpub\.gap event/;
# the worker says it when the slot is gone
eval { wait_until('the log', sub { slurp_file($node->logfile, $log) =~ $said }) };
like(slurp_file($node->logfile, $log), $said, 'and the log says what is lost');
$kafka->cont;
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET evpub.max_lag_size', 'SELECT pg_reload_conf()';
create_evpub($node);
# the view shows the file, which is written once a second at most
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM evpub.failures WHERE kind = 'gap' AND done = 'given up'})
  or die 'no failure';
is($node->safe_psql('postgres', q{SELECT gaps, (SELECT text FROM evpub.failures WHERE kind = 'gap' AND done = 'given up') FROM evpub.stat})
	=~ s/: 3 MB.*//r, '1|what was not published is given up, since no database is registered any more', 'so do the views');

# with nothing to lose, nothing is said
$kafka->pause;
$log = -s $node->logfile;
$node->safe_psql('postgres', 'DROP EXTENSION evpub CASCADE');
slot_is_gone('without a backlog: no slot');
unlike(slurp_file($node->logfile, $log), qr/given up/, 'and nothing is lost');
$kafka->cont;
$node->stop;
done_testing();
