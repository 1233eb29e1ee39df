
# evpub.stat_progress_resync and evpub.stat_progress_catchup: a row while there is
# something to see, with what is done and left, and none afterwards, however it ended.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubProxy;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# the way to the broker can be made narrow
my $kafka = EvpubKafka->new(listeners => { PROXIED => 'PLAINTEXT' });
my $network = EvpubProxy->new($kafka->{ports}{PROXIED});
my ($proxied) = $network->ports;
$kafka->configure({ 'advertised.listeners' =>
	  "PLAINTEXT://127.0.0.1:$kafka->{port},PROXIED://127.0.0.1:$proxied" })->start;
my $node = capture_node('main', conf => "evpub.bootstrap_servers = '127.0.0.1:$proxied'");
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub resync { return sql("SELECT concat_ws(' ', $_[0]) FROM evpub.stat_progress_resync") }
sub catchup { return sql("SELECT concat_ws(' ', $_[0]) FROM evpub.stat_progress_catchup") }

# A statement that is held until sql("ROLLBACK PREPARED 'held'").
sub hold { return sql("BEGIN; $_[0]; PREPARE TRANSACTION 'held'") }

sub wait_for_phase
{
	my ($phase, $calls) = @_;
	$calls //= 1;
	# pg_stat_activity shows it, too, when the call waits for the row
	wait_until("$calls at $phase", sub { sql("SELECT count(*) FROM evpub.stat_progress_resync JOIN pg_stat_activity USING (pid)
		WHERE phase = '$phase' AND wait_event_type = 'Lock'") eq $calls });
	return;
}

my $ROWS = 200_000;
sql(qq{
CREATE ROLE owner;
CREATE TABLE item (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
CREATE TABLE part (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme') PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (1) TO (11);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (11) TO (31);
CREATE TABLE few (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
CREATE TABLE small (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
INSERT INTO item SELECT generate_series(1, $ROWS);
INSERT INTO part SELECT generate_series(1, 30);
INSERT INTO few SELECT generate_series(1, 20);
INSERT INTO small SELECT generate_series(1, 10);
SELECT evpub.capture_table(t, topic => 'one', tenant_column => 'tenant') FROM unnest('{item,part,small}'::regclass[]) t;
SELECT evpub.capture_table('few', topic => 'one', tenant_column => 'tenant', filter => '{row}.id > 10');
ANALYZE item, few, part_low, part_high});
is(resync('count(*)'), 0, 'nobody resyncs');
is(catchup('count(*)'), 0, 'nothing is behind');

# ---- half-way ----

hold("SELECT FROM item WHERE id = $ROWS / 2 + 1 FOR UPDATE");
my $call = start_psql($node, q{CALL evpub.resync('{part,item}', batch => 1000)});
wait_for_phase('waiting for a locked row');
my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE query ~ '^/. table item: [0-9]+ rows ./ CALL evpub.resync'});
is(resync('pid, datname, relid::regclass, rows_done, rows_total, tables_done, tables_total'),
	"$pid postgres item ${\($ROWS / 2)} $ROWS 1 2", 'half-way');
is(resync(q{started_at BETWEEN now() - interval '5 min' AND now() - interval '0.01 s'}), 't', 'since the call');
is(resync(q{rows_per_second BETWEEN 10 AND 10000000}), 't', 'at a rate');
is(resync(q{extract(epoch FROM time_left) - (rows_total - rows_done) / rows_per_second BETWEEN -0.1 AND 1.1}), 't', 'so long for the rest');
sql(q{ROLLBACK PREPARED 'held'});
ok(finish($call), 'goes on') or diag $call->{err};
is(resync('count(*)'), 0, 'no row at the end');

# ---- what is not known ----

hold('SELECT FROM part WHERE id = 21 FOR UPDATE');
$call = start_psql($node, q{CALL evpub.resync('{part}', batch => 1000)});
wait_for_phase('waiting for a locked row');
is(resync('relid::regclass, rows_done, rows_total'), 'part 20 30', 'the rows of all partitions');

# terminated, which no error handler sees
sql('SELECT pg_terminate_backend(pid) FROM evpub.stat_progress_resync');
finish($call);
is(resync('count(*)'), 0, 'no row when it was terminated');
for my $unknown ([ 'never analyzed', q{'{small}'}, 4 ], [ 'a tenant', q{'{part}', tenant => 'acme'}, 20 ], [ 'a filter', q{'{part}', filter => '{row}.id > 10'}, 10 ], [ 'a filter of the capture', q{'{few}'}, 4 ])
{
	my ($name, $arguments, $rows) = @$unknown;
	sql(q{ROLLBACK PREPARED 'held'});
	my ($table) = $arguments =~ /\{(\w+)\}/;
	hold("SELECT FROM $table WHERE id = ${\{ small => 5, part => 21, few => 15 }->{$table}} FOR UPDATE");
	$call = start_psql($node, "CALL evpub.resync($arguments, batch => 1000)");
	wait_for_phase('waiting for a locked row');
	is(resync('rows_done, rows_total IS NULL, time_left IS NULL, rows_per_second IS NOT NULL'), "$rows t t t", "$name: the total is not known");
	sql('SELECT pg_cancel_backend(pid) FROM evpub.stat_progress_resync');
	finish($call);
	is(resync('count(*)'), 0, "$name: no row when it was cancelled");
}
sql(q{ROLLBACK PREPARED 'held'});

# ---- an error in the second batch; the session lives on ----

my ($out, $err);
$node->psql('postgres', q{
CALL evpub.resync('{item}', filter => '1 / ({row}.id - 1500) < 2', batch => 1000);
SELECT count(*) FROM evpub.stat_progress_resync;
CALL evpub.resync('{small}');
SELECT count(*) FROM evpub.stat_progress_resync}, on_error_stop => 0, stdout => \$out, stderr => \$err);
like($err, qr/division by zero.*table "small" resynced \(rows: 10/s, 'an error, and another call');
is($out, "0\n0", 'no row after an error');

# ---- pg_stat_activity, of a statement longer than it shows, and when the call is over ----

my $query = sub { sql("SELECT left(query, 40) FROM pg_stat_activity WHERE $_[0]") };
my $long = 'x' x 2000;
hold('SELECT FROM small WHERE id = 5 FOR UPDATE');
my $after = $node->background_psql('postgres', on_error_stop => 0);
$after->query_safe('SELECT pg_advisory_lock(7)');
$call = start_psql($node, "DO \$\$ /* $long */ BEGIN CALL evpub.resync('{small}'); PERFORM pg_advisory_lock(7); END \$\$");
wait_for_phase('waiting for a locked row');
is($query->('pid = (SELECT pid FROM evpub.stat_progress_resync)'), '/* table small: 4 rows */ DO $$ /* xxxxx', 'a long statement');
sql(q{ROLLBACK PREPARED 'held'});
wait_until('the rest of the block', sub { $query->(q{wait_event = 'advisory'}) ne '' });
is($query->(q{wait_event = 'advisory'}), 'DO $$ /* ' . 'x' x 31, 'the rest of the block');
$after->query_safe('SELECT pg_advisory_unlock(7)');
ok(finish($call), 'it ends') or diag $call->{err};
$pid = $after->query_safe('SELECT pg_backend_pid()');
$after->query(q{CALL evpub.resync('{item}', filter => '1 / ({row}.id - 1500) < 2', batch => 1000)});
wait_until('idle', sub { sql("SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'idle' });
is($query->("pid = $pid"), substr(q{CALL evpub.resync('{item}', filter => '1 / (}, 0, 40), 'after an error');
$after->quit;

# ---- who sees what ----

sql(q{
CREATE ROLE other;
GRANT USAGE ON SCHEMA evpub, evpub_internal TO owner, other;
GRANT SELECT ON evpub.stat_progress_resync TO owner, other;
GRANT EXECUTE ON FUNCTION evpub_internal.stat_progress_resync() TO owner, other;
GRANT EXECUTE ON FUNCTION evpub.capture TO owner;
GRANT EXECUTE ON PROCEDURE evpub.resync TO owner;
ALTER TABLE small OWNER TO owner});
hold('SELECT FROM small WHERE id = 5 FOR UPDATE');
$call = start_psql($node, q{SET SESSION AUTHORIZATION owner; CALL evpub.resync('{small}')});
wait_for_phase('waiting for a locked row');
for my $who ([ owner => 't postgres f small 4' ], [ other => 't postgres t' ], [ pg_monitor => 't postgres f small 4' ])
{
	my ($role, $expected) = @$who;
	is(sql(qq{SET ROLE $role; SELECT concat_ws(' ', pid IS NOT NULL, datname, num_nulls(relid, phase, rows_done, tables_done, tables_total, started_at, rows_per_second) = 7, relid::regclass, rows_done) FROM evpub.stat_progress_resync}), $expected, "what $role sees");
}
is(scalar $node->psql('postgres', q{SET ROLE owner; SELECT * FROM evpub.stat_progress_catchup}), 3, 'not everybody');
sql(q{ROLLBACK PREPARED 'held'});
ok(finish($call), 'it ends') or diag $call->{err};

# ---- more calls than places ----

hold('LOCK TABLE small');
my @calls = map { start_psql($node, q{CALL evpub.resync('{small}')}) } 1 .. 18;
wait_until('calls that wait', sub { sql(q{SELECT count(*) FROM pg_stat_activity WHERE query ~ '^CALL evpub' AND wait_event_type = 'Lock'}) == 18 });
is(resync(q{count(*), count(DISTINCT pid), bool_and(phase = 'checking'), count(relid)}), '16 16 t 0', 'more calls than places');
sql(q{ROLLBACK PREPARED 'held'});
is(scalar(grep { finish($_) } @calls), 18, 'all of them run');
is(resync('count(*)'), 0, 'all places are given back');
ok(wait_published($node), 'published');

# ---- an outage ----

ok(wait_until('not behind', sub { catchup('count(*)') eq '0' }), 'not behind');
$kafka->stop;
my ($from, $began) = split /\|/, sql(q{SELECT confirmed_lsn, clock_timestamp() FROM evpub.status});
sql(q{CREATE PROCEDURE backlog(first int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 0 .. 299 LOOP
		INSERT INTO item SELECT first + i * 1000 + j FROM generate_series(1, 1000) j;
		COMMIT;
	END LOOP;
END $$;
CALL backlog(1000000)});
my $begun = sql('SELECT clock_timestamp()');
wait_until('behind', sub { catchup('count(*)') });
is(catchup(q{clock_timestamp() - behind_since > interval '10 s'}), 't', 'behind when the oldest commit is 10 s old');
is(catchup("behind_since BETWEEN '$began' AND '$begun'"), 't', '... since that commit');
ok(wait_for_state($node, 'blocked'), 'blocked');
wait_until('a rate', sub { catchup('bytes_per_second IS NOT NULL') eq 't' });
is(catchup('bytes_per_second, done_bytes, time_left IS NULL, state'), '0 0 t blocked', 'it does not move');
is(catchup(q{from_lsn = confirmed_lsn, left_bytes = target_lsn - confirmed_lsn, left_bytes > 10000000}), 't t t', '... and there is a lot');
is(catchup('target_lsn <= pg_current_wal_flush_lsn() AND (SELECT confirmed_lsn FROM evpub.status) = confirmed_lsn'), 't', '... up to the end of WAL');

my $same = catchup('behind_since, from_lsn');

# ---- on its way, slowly: so many bytes a second get through ----

my $left = catchup('left_bytes');
$network->order('all', 'trickle', 500_000);
$kafka->start;
wait_until('on its way', sub { catchup(q{done_bytes > 2000000 AND time_left IS NOT NULL}) eq 't' });
is(catchup(qq{state, from_lsn >= '$from', behind_since || ' ' || from_lsn = '$same', left_bytes BETWEEN 1 AND $left - 1000000,
	done_bytes = confirmed_lsn - from_lsn, left_bytes = target_lsn - confirmed_lsn, bytes_per_second > 0, time_left BETWEEN '0' AND '1 hour'}),
	'streaming t t t t t t t', 'half-way');
note catchup('done_bytes, left_bytes, bytes_per_second, time_left');

# What is written meanwhile is left as well, and delays the end: more than half of what is
# done meanwhile, and then more than all of it.  Each is looked at in the same moment, since
# the rate is that of the last ten seconds.
sub wrote
{
	my ($share, $columns) = @_;
	my ($before, $after) = split /\n/, sql(qq{
SELECT left_bytes + done_bytes FROM evpub.stat_progress_catchup;
SELECT bytes_per_second * 10 * $share AS bytes FROM evpub.stat_progress_catchup \\gset
SELECT pg_logical_emit_message(true, 'other', repeat('x', :bytes::int)) AS written \\gset
SELECT concat_ws(' ', left_bytes + done_bytes - :bytes, $columns) FROM evpub.stat_progress_catchup});
	my ($in_all, @rest) = split / /, $after;
	cmp_ok($in_all, '>=', $before, "WAL that is written is left, too: $share");
	note catchup('done_bytes, left_bytes, bytes_per_second, time_left');
	return "@rest";
}
is(wrote(0.6, q{extract(epoch FROM time_left) > 1.5 * left_bytes / bytes_per_second}), 't', '... and the end is later');
is(wrote(1.5, q{state, time_left IS NULL, bytes_per_second > 0}), 'streaming t t', 'it moves, and what is left grows: no end');

# paused, it is not on its way, whatever it did in the seconds before
is(sql(q{SELECT evpub.pause(); SELECT concat_ws(' ', state, time_left IS NULL, bytes_per_second > 0) FROM evpub.stat_progress_catchup}),
	"\npaused t t", 'paused: no end');

# the backlog outlives the worker
my $worker = worker_pid($node);
sql("SELECT pg_terminate_backend($worker)");
wait_until('another worker', sub { my $now = worker_pid($node); $now && $now != $worker });
wait_until('that has looked for ten seconds', sub { catchup('bytes_per_second') eq '0' });
is(catchup('behind_since, from_lsn'), $same, 'another worker: behind since then');
is(catchup('state, done_bytes > 0, time_left IS NULL'), 'paused t t', '... and as far as it was');
sql('SELECT evpub.resume()');
$network->order('all', 'pass');
wait_until('caught up', sub { catchup('count(*)') eq '0' });
is(status($node, 'lag_seconds < 5'), 't', 'no row when it has caught up');
ok(wait_published($node), 'published');

# ---- the clock is set while it is behind, where nobody publishes ----

$node->stop;
set_clock($node, 0);
start_with_faults($node);
ok(wait_for_state($node, 'streaming'), 'another start');
sql('SELECT evpub.pause(); INSERT INTO item VALUES (-1)');
set_clock($node, -3600);
wait_until('behind', sub { catchup('count(*)') eq '1' });
is(catchup(q{clock_timestamp() - behind_since BETWEEN '9 s' AND '5 min'}), 't', 'set back: behind all the same, since some seconds');
sql('INSERT INTO item VALUES (-2)');
for my $offset (3600, -3600, 0)
{
	set_clock($node, $offset);
	my $looks = sql('SELECT clock_timestamp()');
	wait_until('another look', sub { sql("SELECT clock_timestamp() - '$looks' > interval '3 s'") eq 't' });
	is(catchup('state, bytes_per_second, done_bytes, time_left IS NULL'), 'paused 0 0 t', "off by $offset s: paused, behind, and nothing moves");
}
sql('SELECT evpub.resume()');
wait_until('caught up', sub { catchup('count(*)') eq '0' });
ok(wait_published($node), 'published');

# ---- nothing where nothing is published ----

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
ok(wait_for_state($standby, 'standby'), 'a standby');
my $all = q{SELECT (SELECT count(*) FROM evpub.stat_progress_resync) + (SELECT count(*) FROM evpub.stat_progress_catchup)};
is($standby->safe_psql('postgres', $all), 0, '... has no row');
$standby->stop;
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
is(sql($all), 0, 'nor has a server without preloading');

done_testing();
