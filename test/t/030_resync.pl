
# evpub.resync() beside live writes: what it publishes agrees with what the events before it
# have published, so that nobody keeps a row that is gone, an old value, or forgets a
# row that is there.  It takes part in no deadlock, can be cancelled, and waits
# for commits that nobody sees yet.  And evpub.wait_replayed() on a standby.
use strict;
use warnings;

use EvpubTest;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = capture_node('main');
$node->safe_psql(
	'postgres', q{
CREATE SEQUENCE new_id START 10001;
CREATE TABLE item (id int PRIMARY KEY, tenant text NOT NULL, v int NOT NULL);
CREATE TABLE thing (tenant text, id int, v int NOT NULL, PRIMARY KEY (tenant, id));
CREATE TABLE part (id int, region text, v int NOT NULL, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us');
SELECT evpub.capture_table('item', topic => 't', tenant_column => 'tenant', payload => 'row');
SELECT evpub.capture_table('thing', topic => 't', tenant_column => 'tenant');
SELECT evpub.capture_table('part', topic => 't', tenant => 'x', payload => 'row');
});

# All that was committed after an LSN, in the order of publishing.
sub told
{
	my ($since) = @_;
	my $values = $node->safe_psql('postgres',
		"SELECT value FROM evpub.peek(10000000, '$since')");
	return map { decode_event($_) } split /\n/, $values;
}

sub now
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

# A consumer that does what the documentation says.  Counts what cannot be if
# all events were right: it has heard of everything from the beginning.
sub consume
{
	my (@events) = @_;
	my $json = JSON::PP->new->canonical;
	my (%rows, %runs, %wrong, %seen);
	for my $event (@events)
	{
		my ($table, $what) = split /\./, $event->{type};
		my $copy = $rows{"$table $event->{tenant}"} ||= {};
		my $told = \$runs{"$table $event->{tenant}"};
		my $pk   = $json->encode($event->{pk}) if $event->{pk};
		my $row  = $json->encode($event->{data} || {});
		$seen{$what}++;
		if ($what eq 'resync_started')
		{
			$$told = {};
		}
		elsif ($what eq 'resync_finished')
		{
			for my $forgotten (grep { !$$told->{$_} } keys %$copy)
			{
				$wrong{"forgets $table $forgotten"}++;
				delete $copy->{$forgotten};
			}
			$$told = undef;
		}
		elsif ($what eq 'deleted')
		{
			$wrong{"deleted, but unknown: $table $pk"}++ unless delete $copy->{$pk};
		}
		else
		{
			$wrong{"resynced, but " . ($copy->{$pk} // 'unknown') . ": $table $pk $row"}++
			  if $what eq 'resynced' && ($copy->{$pk} // '') ne $row;
			$copy->{$pk} = $row;
			$$told->{$pk} = 1 if $$told;
		}
	}
	return (\%rows, \%wrong, \%seen);
}

# --- beside live writes ---

my $begin = now();
$node->safe_psql(
	'postgres', q{
INSERT INTO item SELECT i, 'tenant ' || i % 3, 0 FROM generate_series(1, 1000) i;
INSERT INTO thing SELECT 'tenant ' || i % 3, i, 0 FROM generate_series(1, 1000) i;
INSERT INTO part SELECT i, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, 0 FROM generate_series(1, 1000) i;
});

# Rows are locked in descending order, against that of resync.
my $load = start_pgbench(
	$node,
	{
		q{
\set a random(500, 1000)
\set b random(1, 499)
BEGIN;
UPDATE item SET v = v + 1 WHERE id = :a;
UPDATE item SET v = v + 1 WHERE id = :b;
COMMIT;
BEGIN;
DELETE FROM thing WHERE id = :a;
DELETE FROM thing WHERE id = :b;
COMMIT;
} => 4,
		q{
\set a random(1, 1000)
DELETE FROM item WHERE id = :a;
UPDATE thing SET v = v + 1 WHERE id = :a;
DELETE FROM part WHERE id = :a;
} => 2,
		q{
\set a random(1, 1000)
INSERT INTO item VALUES (:a, 'tenant 1', 0) ON CONFLICT (id) DO UPDATE SET v = item.v + 1;
INSERT INTO thing VALUES ('tenant 1', :a, 0) ON CONFLICT DO NOTHING;
INSERT INTO part VALUES (:a, 'eu', 0) ON CONFLICT DO NOTHING;
} => 4,
		q{
\set a random(1, 1000)
UPDATE item SET tenant = 'tenant 2' WHERE id = :a;
UPDATE item SET id = nextval('new_id') WHERE id = :a + 1;
UPDATE thing SET tenant = 'tenant 3', id = nextval('new_id') WHERE id = :a + 1;
UPDATE part SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END, id = nextval('new_id') WHERE id = :a;
UPDATE part SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END
 WHERE id = (SELECT id FROM part WHERE id > :a + 10000 ORDER BY id LIMIT 1);
} => 2
	},
	clients => 4,
	seconds => 5);

my ($calls, $errors) = (0, '');
do
{
	my $batch = (1, 7, 100, 10000)[ $calls++ % 4 ];
	my ($out, $err);
	my $result = $node->psql(
		'postgres',
		"SET client_min_messages = warning; CALL evpub.resync('{item,thing,part}', batch => $batch)",
		stdout => \$out,
		stderr => \$err);
	$errors .= $err;
} while (running($load));
ok(finish($load), 'writers meet no deadlock')
  or diag $load->{err};
is($errors, '', "nor does resync ($calls calls)");

my ($rows, $wrong, $seen) = consume(told($begin));
diag explain($wrong) if %$wrong;
is(scalar keys %$wrong, 0,
	"resynced agrees with what was published before, and nobody forgets a row ($seen->{resynced} events)");
for my $table (qw(item part))
{
	my $tenant = $table eq 'item' ? 'tenant' : q{'x'};
	my %table  = map { split /\|/, $_, 2 }
	  split /\n/, $node->safe_psql('postgres',
		"SELECT $tenant || ' ' || id, v FROM $table");
	my %copy;
	for my $of (grep { /^$table / } keys %$rows)
	{
		my $name = $of =~ s/^$table //r;
		for my $row (map { decode_event($_) } values %{ $rows->{$of} })
		{
			$copy{"$name $row->{id}"} = $row->{v};
		}
	}
	is_deeply(\%copy, \%table, "$table: the copy is equal");
}

# --- a row that somebody holds ---

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe(q{UPDATE part SET v = -1 WHERE id = (SELECT max(id) FROM part)});
my $since = now();
my ($out, $err);
$node->psql(
	'postgres', q{SET lock_timeout = '100ms'; CALL evpub.resync('{part}', batch => 50)},
	stdout => \$out,
	stderr => \$err);
like($err, qr/ERROR:  canceling statement due to lock timeout/,
	'a lock_timeout ends the call');

$since = now();
my $call = start_psql($node, q{CALL evpub.resync('{part}', batch => 50)});
my $waiting = q{SELECT pid FROM pg_stat_activity WHERE query ~ '^/. table' AND wait_event = 'transactionid'};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"),
	'the call waits for the row');
is( $node->safe_psql('postgres',
		q{SET lock_timeout = '5s'; UPDATE part SET v = v WHERE id <> (SELECT max(id) FROM part); SELECT 1}),
	'1', 'and holds no other row meanwhile');
my $others = $node->safe_psql('postgres', 'SELECT count(*) - 1 FROM part');
is($node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE pid = ($waiting)"),
	"/* table part: $others rows */ CALL evpub.resync('{part}', batch => 50)",
	'pg_stat_activity says how far it is');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($waiting) x");
finish($call);
like($call->{err}, qr/ERROR:  canceling statement due to user request/, 'it can be cancelled');

my (undef, undef, $cut) = consume(told($since));
is($cut->{resynced}, $node->safe_psql('postgres', 'SELECT count(*) - 1 FROM part'),
	'what was committed before is published');
ok(!$cut->{resync_finished}, 'but no end');

$since = now();
$call = start_psql($node, q{CALL evpub.resync('{part}', batch => 50)});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"), 'again');
$holder->query_safe('COMMIT');
$holder->quit;
ok(finish($call), 'the call ends when the row is free');
my @last = grep { $_->{type} eq 'part.resynced' } told($since);
is($last[-1]{data}{v}, -1, 'and publishes the value that was waited for');

# --- a commit that nobody sees yet ---

want_standby($node);
$since = now();
my $unseen = start_psql($node, q{INSERT INTO item VALUES (5000, 'unseen', 0)});
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
	'a commit waits for its standby');
$call = start_psql($node,
	q{SET synchronous_commit = local; CALL evpub.resync('{item}', tenant => 'unseen')});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"),
	'resync waits until it is visible');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
$node->reload;
ok(finish($unseen) && finish($call), 'then both end');
is_deeply(
	[ map { $_->{type} } told($since) ],
	[qw(item.created item.resync_started item.resynced item.resync_finished)],
	'and the row is published');

# The mark's transaction may have been given its number before that of the commit
# which nobody sees: then no snapshot names it.
$node->safe_psql(
	'postgres', q{
CREATE TABLE late (tenant int, id int, PRIMARY KEY (tenant, id));
INSERT INTO late VALUES (7, 1);
SELECT evpub.capture_table('late', topic => 't', tenant_column => 'tenant');
CREATE FUNCTION numbered_and_held() RETURNS boolean LANGUAGE sql AS
	'SELECT pg_current_xact_id() IS NOT NULL AND pg_advisory_xact_lock(1) IS NOT NULL';
});
want_standby($node);
$holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
$since = now();
$call = start_psql($node,
	q{SET synchronous_commit = local; CALL evpub.resync('{late}', filter => 'numbered_and_held()')});
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND backend_xid IS NOT NULL"),
	'a mark that is not committed has its transaction number');
$unseen = start_psql($node, q{INSERT INTO late VALUES (7, 2)});
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
	'a later one is committed, and not visible');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
$holder->quit;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"),
	'resync waits for it, too');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
$node->reload;
ok(finish($unseen) && finish($call), 'then both end');
is_deeply(
	[ map { "$_->{type} " . ($_->{pk} ? $_->{pk}{id} : '') } told($since) ],
	[ 'late.created 2', 'late.resync_started ', 'late.resynced 1', 'late.resynced 2', 'late.resync_finished ' ],
	'and its row is published');

# --- writers who wait for the table ---

$node->safe_psql('postgres', q{CREATE TABLE slow (id int PRIMARY KEY, v int);
INSERT INTO slow SELECT i FROM generate_series(1, 10) i;
SELECT evpub.capture_table('slow', topic => 't', tenant => 'x', payload => 'row');
CREATE TABLE dup (k int NOT NULL, n int);
INSERT INTO dup SELECT i / 5, i FROM generate_series(1, 10) i;
SELECT evpub.capture_table('dup', topic => 't', tenant => 'x', payload => 'row', key_columns => '{k}')});
$holder = $node->background_psql('postgres');
$holder->query_safe(q{SET deadlock_timeout = '1s'; BEGIN; UPDATE slow SET v = 1 WHERE id = 5});
$call = start_psql($node, q{CALL evpub.resync('{slow}')});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"), 'resync waits for a row');
$holder->query_safe('TRUNCATE slow');
$holder->query_safe('COMMIT');
ok(finish($call), 'who truncates the table meanwhile is not in its way')
  or diag $call->{err};
# rows of one key are locked together
$holder->query_safe('BEGIN; UPDATE dup SET n = 0 WHERE n = 8');
$call = start_psql($node, q{CALL evpub.resync('{dup}')});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) x"), 'it waits for one of several rows');
$holder->query_safe('UPDATE dup SET n = 0 WHERE n BETWEEN 5 AND 9');
$holder->query_safe('COMMIT');
$holder->quit;
ok(finish($call), 'who locks the others meanwhile is not, either')
  or diag $call->{err};

# an open transaction has no events yet: nobody waits for it
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; INSERT INTO item VALUES (5001, 'unseen', 0)});
$node->safe_psql('postgres', q{CALL evpub.resync('{item}', tenant => 'unseen')});
$open->query_safe('COMMIT');
$open->quit;
is((told($since))[-1]{pk}{id}, 5001, 'an open transaction is not waited for; its event comes later');

# --- a standby ---

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', "SELECT pg_get_wal_replay_pause_state() = 'paused'");
$node->safe_psql('postgres', q{INSERT INTO item VALUES (6000, 'replica', 0)});
my $lsn = (grep { $_->{tenant} eq 'replica' } told($since))[0]{lsn};

is($standby->safe_psql('postgres', "SELECT evpub.wait_replayed('$lsn', '100 ms')"),
	'f', 'not replayed');
my $reader = start_psql($standby, "SELECT evpub.wait_replayed('$lsn', '60 s');\nSELECT v FROM item WHERE id = 6000");
my $waits = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT evpub.wait_replayed' AND wait_event_type = 'Extension'};
ok($standby->poll_query_until('postgres', $waits), 'a reader waits');
my $cancelled = $standby->safe_psql('postgres', q{
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT evpub.wait_replayed'});
finish($reader);
like($reader->{err}, qr/canceling statement due to user request/, 'and can be cancelled');
$reader = start_psql($standby, "SELECT evpub.wait_replayed('$lsn', '60 s');\nSELECT v FROM item WHERE id = 6000");
ok($standby->poll_query_until('postgres', $waits), 'another waits');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ok(finish($reader), 'it is replayed');
is($reader->{out}, "t\n0\n", 'and the row can be read');
isnt($standby->psql('postgres', q{CALL evpub.resync('{item}')}, stderr => \$err),
	0, 'resync is not for standbys');
like($err, qr/cannot execute evpub.resync\(\) during recovery/, 'which it says');
$standby->stop;

# --- writers who are faster ---

$node->safe_psql('postgres', q{CREATE TABLE fast (id bigserial PRIMARY KEY, v int);
INSERT INTO fast (v) SELECT i FROM generate_series(1, 500) i;
SELECT evpub.capture_table('fast', topic => 't', tenant => 'x')});
my $append = start_pgbench($node, { 'INSERT INTO fast (v) SELECT i FROM generate_series(1, 200) i' => 1 },
	clients => 2, seconds => 600, rate => 100);
ok($node->poll_query_until('postgres', 'SELECT count(*) > 1000 FROM fast'), 'a table grows');
is($node->psql('postgres', q{SET statement_timeout = '120s'; CALL evpub.resync('{fast}', batch => 5)}, stderr => \$err),
	0, 'resync comes to an end all the same') or diag $err;
$append->{handle}->kill_kill;

$node->stop;
done_testing();
