
# An idle server stays idle: while nobody writes, evpub writes no WAL, hardly
# takes the processor, and touches no file; streaming, paused, without brokers,
# or with brokers that are away.  And a database that evpub has nothing to do
# with may be as busy as it likes: the slot follows, WAL goes.
use strict;
use warnings;

use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep usleep);

my $MINUTE = $ENV{EVPUB_MINUTE} || 60;
my $MB = 1024 * 1024;

# Worker, relays and librdkafka's threads together, also of relays that have ended since.
# Without a broker they try to connect every second, and the server's log gets a line now
# and then.  To read what the server logs once in a while dirties a page: the time of
# access.  Each new reason of an outage, some eight in its first minute, writes a page to the log and replaces
# the file that evpub.failures shows: some 16 kB with what the file system notes of that.
# When they come again, that file is written twice a minute.
my %limits = (
	cpu_ms => { idle => $MINUTE, blocked => 2.5 * $MINUTE },    # 0.1 %, 0.25 %
	wakes => { idle => 10 * $MINUTE, blocked => 30 * $MINUTE },
	written_kb => { idle => 8, blocked => 192 });

my $kafka = EvpubKafka->new->start;

# ---- a minute of nothing ----

# Each with some events, published or waiting.  archive_timeout would switch
# segments every second if evpub logged anything that counts.
my $idle_conf = q{
archive_mode = on
archive_command = '/bin/true'
archive_timeout = 1s
log_checkpoints = off
max_connections = 20
shared_buffers = 16MB
};
my %nodes;

sub idle_node
{
	my ($name, $kafka_of_it, $state) = @_;
	my $node = capture_node($name, kafka => $kafka_of_it, conf => $idle_conf);

	# the checkpointer has gone to sleep before archive_timeout began to count
	$node->reload;
	cms_tables($node);
	$node->safe_psql('postgres',
		q{INSERT INTO code SELECT 'acme', i, '' FROM generate_series(1, 100) i});
	wait_published($node) if $state eq 'streaming';
	$nodes{$name} = { node => $node, state => $state };
	return $node;
}

my $frozen = EvpubKafka->new(name => 'frozen')->start;
idle_node('streaming', $kafka, 'streaming');
idle_node('paused', $kafka, 'streaming');
idle_node('frozen', $frozen, 'streaming');
idle_node('unset', undef, 'unconfigured');
my $away = EvpubKafka->new(name => 'away');
idle_node('away', $away, 'blocked');

$nodes{paused}{node}->safe_psql('postgres', 'SELECT evpub.pause()');
$nodes{paused}{state} = 'paused';
$frozen->pause;
for my $name ('paused', 'frozen')
{
	$nodes{$name}{node}->safe_psql('postgres',
		q{INSERT INTO code VALUES ('acme', 'waits', '')});
}
$nodes{frozen}{state} = 'blocked';

for my $name (sort keys %nodes)
{
	my $of = $nodes{$name};
	ok(wait_for_state($of->{node}, $of->{state}), "$name: $of->{state}");
}

# The slot lags behind the state file: it moves once in ten seconds, and an idle
# server writes the file again for that until they are in one segment.
sub slot_follows
{
	my ($node) = @_;
	my $slot = $node->safe_psql('postgres', 'SELECT restart_lsn FROM pg_replication_slots');
	my $state = read_state($node->data_dir);
	return $slot eq '' ||
	  int(lsn_number($slot) / (16 * $MB)) == int($state->{restart_lsn} / (16 * $MB));
}

sub look
{
	my ($of) = @_;
	my $node = $of->{node};
	my $relay = relay_pid($node);
	return {
		lsn => $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'),
		state_file => (stat $node->data_dir . '/evpub/state')[9],
		worker_pid => worker_pid($node),
		relay_pid => $relay // 0,
		worker => process_use(worker_pid($node)),
		relay => $relay ? process_use($relay) : undef };
}

# Until the servers have come to rest: the segment of the last events is
# switched, and their position, written up to a second after them, was logged.  Who reads
# catalogs may tidy a page up, which is WAL that counts: so in each round all is asked
# that is asked later.
my ($wal, $since) = ('', 0);
wait_until('the servers are at rest', sub {
	my @behind = grep { !slot_follows($nodes{$_}{node}) } sort keys %nodes;
	look($_) for values %nodes;
	my $now = join ' ', map {
		$nodes{$_}{node}->safe_psql('postgres', q{
SELECT lsn, pg_walfile_name(lsn) > '000000010000000000000001'
FROM pg_current_wal_insert_lsn() lsn})
	} sort keys %nodes;
	($wal, $since) = ($now, time) if $now ne $wal;
	return $now !~ /f/ && time > $since + 3 && !@behind });

# Where no broker answers, a new relay begins every 30 seconds: what each of them had used
# when it was seen last.
sub look_at_relay
{
	my ($of) = @_;
	my $relay = relay_pid($of->{node}) or return;
	my $use = eval { process_use($relay) } or return;
	$of->{relays}{$relay} = $use if $use->{cpu_ms} >= ($of->{relays}{$relay}{cpu_ms} // 0);
	return;
}

# Seconds since a process was started.
sub age
{
	my ($pid) = @_;
	my @stat = split ' ', slurp_file("/proc/$pid/stat") =~ s/.*\)//sr;
	my ($uptime) = split ' ', slurp_file('/proc/uptime');
	return $uptime - $stat[19] / 100;
}

# No relay that is still growing to its size, or that ended while it was looked at: one
# that began while another node was waited for is waited for in the next round.
wait_until('relays that have settled', sub {
	for my $of (values %nodes)
	{
		my $relay = relay_pid($of->{node}) // 0;
		return 0 if $relay && (eval { age($relay) } // 0) <= 2;
		$of->{before} = look($of);
		return 0 if grep { $_ != $relay } $of->{before}{relay_pid}, relay_pid($of->{node}) // 0;
	}
	return 1;
});
# this wait is what is measured
my $until = time + $MINUTE;
while (time < $until)
{
	look_at_relay($_) for values %nodes;
	usleep(500_000);
}
$_->{after} = look($_) for values %nodes;
look_at_relay($_) for values %nodes;

sub used
{
	my ($of, $what, @who) = @_;
	my $sum = 0;

	# of files, what an ended relay has read and written counts for the worker
	if ($what =~ /^(cpu_ms|wakes)$/)
	{
		$sum += $_->{$what} for values %{ $of->{relays} };
		$sum -= $of->{before}{relay}{$what} if $of->{before}{relay};
		@who = ('worker');
	}
	for my $who (@who ? @who : ('worker', 'relay'))
	{
		$sum += $of->{after}{$who}{$what} - $of->{before}{$who}{$what}
		  if $of->{after}{$who} && $of->{before}{$who};
	}
	return $sum;
}

for my $name (sort keys %nodes)
{
	my $of = $nodes{$name};
	my ($node, $before, $after) = @$of{qw(node before after)};

	# pg_waldump sees what is flushed
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my @records = records_between($node->data_dir . '/pg_wal',
		$before->{lsn}, $after->{lsn});

	# the background writer's, once, for what was done before
	my @others = grep { !/RUNNING_XACTS/ } @records;
	is("@others", '', "$name: no WAL is written in a minute");
	cmp_ok(scalar @records, '<=', 1, "$name: nor caused");
	is($after->{state_file}, $before->{state_file}, "$name: the state file rests");
	is($after->{worker_pid}, $before->{worker_pid}, "$name: the worker goes on");

	# while no broker answers, a new relay begins every 30 seconds
	is($after->{relay_pid}, $before->{relay_pid}, "$name: and the relay")
	  unless $of->{state} eq 'blocked';
	for my $what (sort keys %limits)
	{
		my $limit = $limits{$what}{ $of->{state} eq 'blocked' ? 'blocked' : 'idle' };
		my $used = used($of, $what);
		note "$name: $what $used";
		cmp_ok($used, '<=', $limit, "$name: $what within $limit");
	}
	# A new relay reads those pages of its program that the cache has dropped, and
	# what an ended one has read counts for the worker, whose child it was.
	cmp_ok(used($of, 'read_kb', $after->{relay_pid} == $before->{relay_pid} ? () : 'worker'),
		'<=', $after->{relay_pid} == $before->{relay_pid} ? 0 : 1024, "$name: nothing is read");
	cmp_ok(used($of, 'anon_kb'), '<=', 256, "$name: memory is flat");
	# newer librdkafka tries three more connections to a broker that is silent; a
	# relay that has begun since then reads back, by a second client
	cmp_ok(used($of, 'fds', 'worker'), '<=', 1, "$name: descriptors of the worker are flat");
	cmp_ok(used($of, 'fds', 'relay'), '<=', $after->{relay_pid} == $before->{relay_pid} ? 3 : 12,
		"$name: descriptors of the relay are flat");
	is(status($node, 'state'), $of->{state}, "$name: still $of->{state}");
}
$nodes{$_}{node}->stop for sort keys %nodes;

# ---- a busy neighbour ----

my $BUSY_SECONDS = 15;

# Small segments, so that many are let go.  The archive keeps all WAL for us to
# look at afterwards.
my $archive = PostgreSQL::Test::Utils::tempdir();
my $busy = capture_node(
	'busy',
	kafka => $kafka,
	initdb => ['--wal-segsize=1'],
	conf => qq{
min_wal_size = 4MB
max_wal_size = 16MB
full_page_writes = off
log_checkpoints = off
archive_mode = on
archive_command = 'cp "%p" "$archive/%f.part" && mv "$archive/%f.part" "$archive/%f"'
});
cms_tables($busy);
$busy->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'before', '')});
ok(wait_published($busy), 'published before');
$busy->safe_psql('postgres', 'CREATE DATABASE neighbour');
$busy->safe_psql('neighbour',
	'CREATE TABLE t (id serial, x text); ALTER TABLE t ALTER x SET STORAGE EXTERNAL');

sub wal_size
{
	my $sum = 0;
	$sum += -s $_ // 0 for glob $busy->data_dir . '/pg_wal/0*';
	return $sum;
}

my $from = $busy->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my $load = start_pgbench(
	$busy,
	{ "INSERT INTO t (x) VALUES (repeat('x', 19000));\n" => 1 },
	clients => 2,
	rate => 500,
	transactions => 250 * $BUSY_SECONDS,
	database => 'neighbour');
my %positions;
my $largest = 0;
my $begin = time;
while (running($load))
{
	my $size = wal_size();
	$largest = $size if $size > $largest;
	$positions{ $busy->safe_psql('postgres',
			'SELECT restart_lsn FROM pg_replication_slots') } = 1;
	usleep(50_000);
}
ok(finish($load), 'a busy neighbour') or diag $load->{err};
my $seconds = time - $begin;
my $to = $busy->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
my $written = $busy->safe_psql('postgres', "SELECT pg_wal_lsn_diff('$to', '$from')");

note sprintf '%.0f MB of WAL in %.0f s; pg_wal: at most %.0f MB', $written / $MB,
  $seconds, $largest / $MB;
cmp_ok($written, '>', 80 * $MB, 'much WAL was written');
# What two checkpoints keep, and three seconds of WAL: the slot is a write behind the
# file, which is written once a second, and a busy machine is late.
cmp_ok($largest, '<', 40 * $MB + 3 * $written / $seconds, 'pg_wal stays small');
note scalar(keys %positions), ' positions of the slot';
cmp_ok(scalar keys %positions, '>', $seconds / 3, 'the slot moves all the time');
$busy->poll_query_until('postgres',
	"SELECT pg_wal_lsn_diff('$to', restart_lsn) < 2 * 1024 * 1024 FROM pg_replication_slots")
  or die 'the slot stays behind';
pass('the slot follows to the end');

# Its positions are all that evpub logs for that, one a second.
$busy->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $last = $busy->safe_psql('postgres', "SELECT pg_walfile_name('$to')");
wait_until('the archive is complete', sub { -e "$archive/$last" });
my @messages = grep { /LogicalMessage/ } records_between($archive, $from, $to);
note scalar(@messages), ' messages';
cmp_ok(scalar @messages, '>', 0, 'positions are logged');
cmp_ok(scalar @messages, '<=', $seconds + 2, 'but few');

# A crash, and the publisher starts where it was.
$busy->safe_psql('postgres', q{INSERT INTO code VALUES ('acme', 'last', '')});
$busy->stop('immediate');
$busy->start;
ok(wait_for_state($busy, 'streaming'), 'restarted after a crash: streaming');
my $behind = $busy->safe_psql('postgres', q{
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn) FROM pg_replication_slots});
cmp_ok($behind, '<', 4 * $MB, 'with little to read again');
ok(wait_published($busy), 'publishes');
is((events($kafka, $EvpubTest::TOPIC))[-1]{event}{pk}{code}, 'last', 'what was written last');
$busy->stop;
done_testing();
