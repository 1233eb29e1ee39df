
# evpub.stat, stat_topics and stat_tables: each event counts once, whatever relays send again;
# refusals, relays, gaps and dead letters by what they are; kept over restarts.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, conf => "restart_after_crash = on\n");
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub stat_is
{
	my ($columns, $expected, $name) = @_;
	my $found = '';
	eval { wait_until($name, sub {
		$found = sql("SELECT concat_ws(' ', $columns) FROM evpub.stat");
		return $found eq $expected; }, 30) };
	return is($found, $expected, $name);
}
my $figures = $node->data_dir . '/evpub/figures';
sub by_table { return sql(q{SELECT string_agg(concat_ws(' ', "table", created, updated, deleted, truncated, resynced), ', ' ORDER BY "table"::text) FROM evpub.stat_tables}) }
sub by_topic { return sql(q{SELECT string_agg(concat_ws(' ', topic, events, bytes), ', ' ORDER BY topic) FROM evpub.stat_topics}) }

# Bytes of a topic's records: an encoded header has two lengths, and evpub-id is not counted.
sub bytes_of
{
	my ($topic) = @_;
	my $bytes = 0;
	for my $record ($kafka->consume($topic))
	{
		$bytes += length($record->{key} // '') + length($record->{value} // '');
		$bytes += length($_) - 1 + 8 for grep { !/^evpub-id=/ } split /,/, $record->{headers};
	}
	return $bytes;
}

# ---- nothing yet ----

is(sql('SELECT concat_ws(\' \', events, transactions, bytes, refusals, gaps, dead_letters, duplicates_dropped, num_nulls(last_acknowledged_at, latency_p50, latency_p95, latency_p99)) FROM evpub.stat'),
	'0 0 0 {} 0 0 0 4', 'nothing is counted yet');
is(sql("SELECT stats_reset > now() - interval '1 min' FROM evpub.stat"), 't', 'counted since the start');
is(by_topic(), '', 'no topic');
is(by_table(), '', 'no table');

# ---- events, bytes, transactions, latency ----

$kafka->create_topic('one', 1);
$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one')});
sql('INSERT INTO one SELECT generate_series(1, 1000)');
sql(q{SELECT evpub.publish_raw('two', 'key', '{"a": "b"}')});
sql(q{SELECT evpub.publish_raw('two', 'key', NULL), evpub.publish_raw('two', NULL, '{"a": "b"}')});
ok(wait_published($node), 'published');
is(sql('SELECT concat_ws(\' \', events, transactions) FROM evpub.stat'), '1003 3', 'events and transactions');
my @bytes = map { bytes_of($_) } qw(one two);
is(by_topic(), "one 1000 $bytes[0], two 3 $bytes[1]", 'events and bytes by topic');
is(sql('SELECT bytes FROM evpub.stat'), $bytes[0] + $bytes[1], 'bytes of all');
is(by_table(), 'one 1000 0 0 0 0', 'events by table');
is(sql(q{SELECT latency_p50 > 0 AND latency_p50 <= latency_p95 AND latency_p95 <= latency_p99 AND latency_p99 < 60 FROM evpub.stat}), 't', 'latency');
is(sql(q{SELECT last_acknowledged_at > now() - interval '1 min' AND last_acknowledged_at <= now() AND last_acknowledged_at = (SELECT max(last_acknowledged_at) FROM evpub.stat_topics) FROM evpub.stat}), 't', 'last acknowledgement');

# ---- a refusal, by code; each try is one ----

sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('x', 6000)))});
my $id = sql('SELECT id FROM evpub.peek()');
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%$id'"), 'refused');
sql("SELECT evpub.skip_event('$id')");
ok(wait_published($node), 'given up');
is(sql(q{SELECT (SELECT string_agg(key, ' ') FROM jsonb_object_keys(refusals) key) = '10' AND (refusals->>'10')::int BETWEEN 1 AND 50
	AND (relay_starts->>'refused')::int + (relay_starts->>'asked')::int BETWEEN 1 AND 50 FROM evpub.stat}), 't', 'refusals by code');
is(sql(q{SELECT events FROM evpub.stat}), 1004, 'what stands for the event is counted');
is(sql(q{SELECT relay_starts->>'worker' FROM evpub.stat}), 1, 'the first relay of the worker');

# ---- a dead letter ----

sql(q{ALTER SYSTEM SET evpub.on_error = 'dead_letter'; ALTER SYSTEM SET evpub.dead_letter_topic = 'letters'; SELECT pg_reload_conf()});
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('y', 6000)))});
ok(wait_published($node), 'dead letter');
stat_is('events, dead_letters', '1005 1', '... is counted, in its topic, too');
is(sql(q{SELECT string_agg(topic, ' ' ORDER BY topic) FROM evpub.stat_topics}), 'letters narrow one two', 'topics');

# ---- relays by cause ----

kill_relay($node);
stat_is(q{relay_starts->>'died'}, 1, 'a relay that was killed');
$node->append_conf('postgresql.conf', 'evpub.create_topics = off');
$node->reload;
stat_is(q{relay_starts->>'settings'}, 1, 'settings that were changed');
sql('INSERT INTO one VALUES (1001)');
ok(wait_published($node), 'goes on');
stat_is('events, transactions, duplicates_dropped', '1006 6 0', 'nothing is counted twice');

# ---- what is dropped counts apart ----

# Of events that alternate between two topics, those of one arrive and are not
# acknowledged, since the first one of the other is refused.
sql(q{ALTER SYSTEM SET evpub.on_error = 'block'; SELECT pg_reload_conf()});
$kafka->create_topic('apart', 1);
$kafka->create_topic('held', 1, { 'max.message.bytes' => 1000 });
sql(q{SELECT evpub.publish_raw('apart', 'key', '0')});
ok(wait_published($node), 'a partition that takes records');
# With the broker frozen until all are under way: else the refusal could come before the
# relay has sent any other.
$kafka->pause;
sql(q{SELECT evpub.publish_raw('apart', 'key', '1'), evpub.publish_raw('held', 'key', to_jsonb(repeat('x', 2000))) FROM generate_series(1, 100)});
ok(wait_for_status($node, 'events_in_flight = 200'), 'all are under way');
$kafka->cont;
ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%topic "held"%'}, 30), 'refused');
stat_is('events, duplicates_dropped', '1008 0', 'what is in Kafka and not acknowledged is not counted');
# each time that it is tried again, there is more
ok(wait_until('more records', sub { $kafka->record_count('apart') > 2 }), '... and there is some');
$kafka->set_topic('held', { 'max.message.bytes' => 100000 });
ok(wait_published($node), 'published');
is($kafka->record_count('apart') . ' ' . $kafka->record_count('held'), '101 100', 'each event is in Kafka once');
my $dropped = status($node, 'duplicates_dropped');
cmp_ok($dropped, '>', 0, 'something was dropped');
stat_is('events, duplicates_dropped', join(' ', 1207 - $dropped, $dropped), '... and is counted as that alone');
like(by_topic(), qr/^apart ${\(101 - $dropped)} \d+, held 100 200\d\d\d, /, '... of its topic');

# A transaction counts once, also if its last event is one that was dropped.
$kafka->set_topic('held', { 'max.message.bytes' => 1000 });
my $transactions = sql('SELECT transactions FROM evpub.stat');
my $apart = $kafka->record_count('apart');
$dropped = status($node, 'duplicates_dropped');
$kafka->pause;
sql(q{SELECT evpub.publish_raw('held', 'key', to_jsonb(repeat('x', 2000))), evpub.publish_raw('apart', 'key', '2')});
ok(wait_for_status($node, 'events_in_flight = 2'), 'both are under way');
$kafka->cont;
ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%topic "held"%'}, 30), 'its first event is refused');
is($kafka->record_count('apart'), $apart + 1, '... its last one is in Kafka');
stat_is('transactions', $transactions, '... and does not count yet');
$kafka->set_topic('held', { 'max.message.bytes' => 100000 });
ok(wait_published($node), 'published');
is($kafka->record_count('apart'), $apart + 1, '... and not sent again');
is(status($node, 'duplicates_dropped'), $dropped + 1, '... but dropped');
stat_is('transactions', $transactions + 1, '... and the transaction counts');

# ---- gaps ----

# a state file that is lost, and comes back; each time is one, restarts are none
my $state = $node->data_dir . '/evpub/state';
for my $gaps (1, 2)
{
	$node->stop;
	rename $state, "$state.away" or die "$state: $!";
	$node->start;
	ok(wait_for_state($node, 'gap'), 'the state file is lost');
	stat_is('gaps', $gaps, '... which is a gap');
	$node->restart;
	ok(wait_for_state($node, 'gap'), '... also after a restart');
	stat_is('gaps', $gaps, '... the same one');
	$node->stop;
	rename "$state.away", $state or die "$state: $!";
	$node->start;
	ok(wait_for_state($node, 'streaming'), 'it comes back');
}

sql(q{SELECT evpub.pause()});
sql(q{INSERT INTO one VALUES (-1)});
sql(q{SELECT evpub.discard(pg_current_wal_flush_lsn()); SELECT evpub.resume()});
ok(wait_published($node), 'discarded');
stat_is('gaps', 3, 'a gap');
sql('INSERT INTO one VALUES (1002)');
ok(wait_published($node), 'goes on');

# ---- kept ----

my $all = q{SELECT to_jsonb(s) - '{latency_p50,latency_p95,latency_p99,relay_starts}'::text[] FROM evpub.stat s};
my ($before, $topics, $tables) = (sql($all), by_topic(), by_table());
is($tables, 'one 1003 0 0 0 0', 'a table whose events are partly given up');
my $workers = sql(q{SELECT relay_starts->>'worker' FROM evpub.stat});
sub one_more_worker { return stat_is(q{relay_starts->>'worker'}, ++$workers, $_[0]) }
isnt(sql('SELECT latency_p50 FROM evpub.stat'), '', 'a latency of the last minute');
sql('SELECT pg_terminate_backend(' . worker_pid($node) . ')');
one_more_worker('another worker');
is(sql($all), $before, '... has the figures');
isnt(sql('SELECT latency_p50 FROM evpub.stat'), '', '... and those of the last minute');
$node->restart;
one_more_worker('restarted');
is(sql($all), $before, 'kept over a restart');
is(by_topic(), $topics, '... by topic, too');
is(by_table(), $tables, '... by table, too');
is(sql('SELECT latency_p50 FROM evpub.stat'), '', '... and the latency is not known');

# a crash: what the file had, and then no event twice
wait_until('the file has the start', sub {
	(Time::HiRes::stat($figures))[9] > sql('SELECT extract(epoch FROM pg_postmaster_start_time())') });
$node->stop('immediate');
$node->start;
one_more_worker('after a crash');
is(sql($all), $before, 'kept over a crash when nothing came before it');
is(by_table(), $tables, '... by table, too');

# what is captured while nothing is published is written, too
sql('SELECT evpub.pause()');
my $written = (stat $figures)[1];
sql('UPDATE one SET tenant = $$other$$ WHERE id <= 10');
wait_until('the file', sub { (stat $figures)[1] != $written });
$node->stop('immediate');
$node->start;
ok(wait_for_state($node, 'paused'), 'the figures are loaded');
is(by_table(), 'one 1014 0 11 0 0', 'kept over a crash, and not published yet');
sql('SELECT evpub.resume()');
ok(wait_published($node), 'published');

# a copy has published nothing
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
ok(-e $standby->data_dir . '/evpub/figures', 'a base backup has the file');
wait_until('the figures', sub { $standby->safe_psql('postgres', 'SELECT stats_reset FROM evpub.stat') });
is($standby->safe_psql('postgres', q{SELECT concat_ws(' ', events, bytes, (SELECT count(*) FROM evpub.stat_topics), (SELECT count(*) FROM evpub.stat_tables)) FROM evpub.stat}), '0 0 0 0', '... and begins anew');
$standby->stop;

# ---- a reset ----

sql('CREATE ROLE nobody; CREATE ROLE watcher; GRANT pg_monitor TO watcher');
for my $sql ('SELECT * FROM evpub.stat', 'SELECT * FROM evpub.stat_topics', 'SELECT * FROM evpub.stat_tables', 'SELECT evpub.stat_reset()')
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE nobody; $sql");
	like($err, qr/permission denied/, "not everybody: $sql");
	($rc) = $node->psql('postgres', "SET ROLE watcher; $sql");
	is($rc, $sql =~ /reset/ ? 3 : 0, "pg_monitor: $sql");
}
my $size = -s $figures;
sql('SELECT evpub.stat_reset()');
wait_until('the reset is written', sub { -s $figures < $size });
$node->stop('immediate');
$node->start;
ok(wait_for_state($node, 'streaming'), 'the figures are loaded');
is(sql(q{SELECT concat_ws(' ', events, transactions, bytes, refusals, gaps, dead_letters, duplicates_dropped, last_acknowledged_at) FROM evpub.stat}), '0 0 0 {} 0 0 0', 'a reset, kept over a crash');
is(sql(q{SELECT stats_reset > now() - interval '1 min' FROM evpub.stat}), 't', '... since then');
is(by_topic() . by_table(), '', '... of topics and tables, too');
sql('INSERT INTO one VALUES (-2)');
ok(wait_published($node), 'one more');
stat_is('events', 1, 'counted anew');
like(by_topic(), qr/^one 1 \d+$/, '... by topic, too');
is(by_table(), 'one 1 0 0 0 0', '... by table, too');

# ---- a file that is damaged, or cannot be written, hinders nothing ----

for my $damage ([ 'cut' => sub { substr $_[0], 0, length($_[0]) / 2 } ], [ 'bit' => sub { my $x = $_[0]; substr($x, length($x) / 2, 1) ^= "\1"; $x } ])
{
	my ($name, $change) = @$damage;
	$node->stop;
	my $bytes = slurp_file($figures);
	open my $handle, '>', $figures or die "$figures: $!";
	binmode $handle;
	print $handle $change->($bytes);
	close $handle;
	my $log = -s $node->logfile;
	$node->start;
	ok(wait_published($node), "$name: it publishes");
	like(slurp_file($node->logfile, $log), qr/LOG:  evpub: file "evpub\/figures" /, "$name: the log says so");
	is(sql('SELECT events FROM evpub.stat'), 0, "$name: begun anew");
}

# 900 MB, in front of it what the server wrote, or nothing: that much is never read
for my $large ([ 'figures', 'evpub.stat begin anew' ], [ 'failures', 'evpub.failures begins anew' ], [ 'state', undef ])
{
	my ($name, $says) = @$large;
	my $path = $node->data_dir . "/evpub/$name";
	ok(-s $path, "$name: there is such a file");
	$node->stop;
	truncate $path, 900 * 1024 * 1024 or die "$path: $!";
	my $log = -s $node->logfile;
	$node->start;
	ok(wait_published($node), "900 MB of $name: it publishes");
	my ($most) = slurp_file('/proc/' . worker_pid($node) . '/status') =~ /^VmHWM:\s+(\d+) kB/m;
	cmp_ok($most, '<', 100 * 1024, "900 MB of $name: not read");
	my $logged = slurp_file($node->logfile, $log);
	like($logged, qr/LOG:  evpub: file "evpub\/$name" is larger than evpub writes it.*$says/s, "900 MB of $name: the log says so") if $says;
	ok(wait_for_state($node, 'streaming'), "900 MB of $name: streaming");
}
# files that cannot be read for a while: nothing of them is lost
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('x', 6000)))});
$id = sql('SELECT id FROM evpub.peek()');
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%$id'"), 'refused');
sql("SELECT evpub.skip_event('$id')");
ok(wait_published($node), 'given up');
sub failures { return sql('SELECT count(*) FROM evpub.failures WHERE kind = $$refused$$') }
sql('INSERT INTO one VALUES (-5)');
ok(wait_published($node), 'published');
wait_until('the refusal and what was done about it are written', sub { failures() == 2 });
my $failures = failures();
my $events = sql('SELECT events FROM evpub.stat');
$tables = by_table();
my @unreadable = map { $node->data_dir . "/evpub/$_" } qw(figures failures);
$node->stop;
my @sizes = map { -s } @unreadable;
chmod 0, @unreadable;
my $since = -s $node->logfile;
$node->start;
sql('INSERT INTO one VALUES (-4)');
ok(wait_published($node), 'unreadable files: it publishes');
like(slurp_file($node->logfile, $since), qr/LOG:  evpub: could not open file "evpub\/$_": .*\n.*DETAIL:  It is tried again every 10 seconds/, "unreadable $_: the log says so")
  for qw(figures failures);
stat_is('events', 1, 'unreadable figures: what is counted since the start is seen');
sql('SELECT pg_terminate_backend(' . worker_pid($node) . ')');
stat_is(q{relay_starts->>'worker'}, 2, 'unreadable files: another worker');
is_deeply([ map { -s } @unreadable ], \@sizes, 'unreadable files: they are not replaced');
chmod 0600, @unreadable;
stat_is('events', $events + 1, 'readable again: what was counted meanwhile is added');
is(by_table(), 'one 2 0 0 0 0', '... by table, too');
$node->restart;
ok(wait_for_state($node, 'streaming'), 'the figures are loaded');
is(sql('SELECT events FROM evpub.stat'), $events + 1, '... and kept');
is(failures(), $failures, '... and so are the failures');

unlink $figures;
mkdir "$figures.tmp" or die "$figures.tmp: $!";
my $log = -s $node->logfile;
sql('SELECT evpub.stat_reset()');
wait_until('the log', sub { slurp_file($node->logfile, $log) =~ /the figures of view evpub\.stat could not be written/ });
sql('INSERT INTO one VALUES (-3)');
ok(wait_published($node), 'a file that cannot be written: it publishes');
stat_is('events', 1, '... and counts');
rmdir "$figures.tmp";

done_testing();
