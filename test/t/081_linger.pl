
# How long a commit waits for others before it is sent (evpub.linger), and that no
# wake-up of the worker is lost.  A record's timestamp is the time at which the relay
# has handed it to librdkafka, so what lies between that and the commit is evpub's.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);

my $LINGER = 100;

# What a busy machine may add, in ms: to most events, and to the slowest.
my ($BUSY, $BUSIEST) = (100, 1500);

# The median of events that are sent at once, in ms; it is 1.
my $AT_ONCE = 20;

my $kafka = EvpubKafka->new->start;
my $node;
{
	# for slow reads of WAL
	local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
	$node = capture_node('main', kafka => $kafka, conf => "evpub.linger = '${LINGER}ms'\n");
}

sub table
{
	my ($name) = @_;
	$node->safe_psql('postgres',
		"CREATE TABLE $name (id bigserial PRIMARY KEY, tenant text);"
		  . "SELECT evpub.capture_table('$name', tenant_column => 'tenant', topic => '$name')");
	# the topic is made, and its partitions are counted
	$node->safe_psql('postgres', "INSERT INTO $name (tenant) SELECT i FROM generate_series(1, 100) i");
	wait_published($node) or die "$name is not published";
	return;
}

sub set_linger
{
	my ($linger) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.linger = '${linger}ms'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT setting = '$linger' FROM pg_settings WHERE name = 'evpub.linger'")
	  or die 'not reloaded';
	return;
}

# [commit, sent] of each event of single-row commits, in ms, by the time of sending
sub sent_at
{
	my ($topic) = @_;
	my @found;
	$kafka->each_line($topic, sub {
		my ($partition, $key, $value, $sent) = @_;
		$value =~ /"tx":1,"time":"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)\.(\d{3})/ or return;
		push @found, [ timegm($6, $5, $4, $3, $2 - 1, $1) * 1000 + $7, $sent ];
	});
	return sort { $a->[1] <=> $b->[1] } @found;
}

# Median, 99th percentile and largest of how long events have waited.
sub delays
{
	my ($name) = @_;
	my @delays = sort { $a <=> $b } map { $_->[1] - $_->[0] } sent_at($name);
	my @found = ($delays[ @delays / 2 ], $delays[ @delays * 0.99 ], $delays[-1]);
	note sprintf '%s: %d events, median %d ms, 99 %% within %d ms, all within %d ms',
	  $name, scalar @delays, @found;
	return @found;
}

# Commits of single rows, so many a second; how long they waited.
sub load
{
	my ($name, $rate) = @_;
	table($name);
	my $load = start_pgbench($node,
		{ "\\set t random(1, 100)\nINSERT INTO $name (tenant) VALUES (:t);\n" => 1 },
		rate => $rate, seconds => 3);
	ok(finish($load), "$name: the writers end well") or diag $load->{err};
	ok(wait_published($node), "$name: all is published");
	return delays($name);
}

sub restart_worker
{
	my $worker = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'evpub publisher' AND pid <> $worker")
	  or die 'no new worker';
	return;
}

# ---- how long ----

my ($median, $most, $largest) = load('many', 4000);
cmp_ok($most, '<=', $LINGER + $BUSY, 'many commits wait for evpub.linger at most');
cmp_ok($largest, '<=', $LINGER + $BUSIEST, 'each of them');
my $collected = $median;

# With processors that are never idle it is more than half of the time at this rate, and
# the events of a batch wait for half of that on average.  Only this file says that they are.
my $uptime = $node->data_dir . '/evpub_uptime';
append_to_file($uptime, "100.00 100.00\n");
restart_worker($node);
($median, $most, $largest) = load('busy', 4000);
cmp_ok($median, '>=', 0.2 * $LINGER, 'while the processors are busy, many wait for long');
cmp_ok($most, '<=', $LINGER + $BUSY, 'but not for longer than evpub.linger');
unlink $uptime or die $!;
restart_worker($node);

($median) = load('few', 200);
cmp_ok($median, '<', $AT_ONCE, 'few commits do not wait for others');

set_linger(0);
($median) = load('none', 4000);
cmp_ok($median, '<', $AT_ONCE, 'nor do many with evpub.linger = 0');
cmp_ok($median, '<', $collected, 'else they do');
set_linger($LINGER);

# ---- while behind ----

# A read takes at most 4,096 transactions into the queue; a pause behind each would
# show as a gap between the times of sending.
table('behind');
$node->safe_psql('postgres', 'SELECT evpub.pause()');
my $load = start_pgbench($node,
	{ "\\set t random(1, 100)\nINSERT INTO behind (tenant) VALUES (:t);\n" => 1 },
	transactions => 9000);
ok(finish($load), 'a backlog of 36,000 commits') or diag $load->{err};
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'it is published');
my ($gaps, $last) = (0, undef);
for my $event (sent_at('behind'))
{
	$gaps++ if defined $last && $event->[1] - $last >= 0.6 * $LINGER;
	$last = $event->[1];
}
note "$gaps pauses";
cmp_ok($gaps, '<=', 4, 'without pauses');

# ---- wake-ups ----

# Commits in a row, and then nothing until the worker has done with them.  One that has
# missed the last of them sleeps on for a second.  What is asked of evpub.status wakes
# nobody.
$node->safe_psql('postgres', q{
CREATE TABLE woken (id bigserial PRIMARY KEY, tenant text);
SELECT evpub.capture_table('woken', tenant_column => 'tenant', topic => 'many');
CREATE PROCEDURE rounds(n int, burst int, pause float, INOUT stalls int) LANGUAGE plpgsql AS $$
DECLARE
	published bigint;
	written pg_lsn;
	began timestamptz;
	slowest interval := '0';
BEGIN
	stalls := 0;
	FOR i IN 1..n LOOP
		published := (SELECT events_published FROM evpub.status);
		FOR j IN 1..burst LOOP
			IF pause > 0 THEN
				PERFORM pg_sleep(random() * pause);
			END IF;
			INSERT INTO woken (tenant) VALUES (j);
			COMMIT;
		END LOOP;
		written := pg_current_wal_flush_lsn();
		began := clock_timestamp();
		LOOP
			EXIT WHEN (SELECT CASE state WHEN 'paused' THEN read_lsn >= written
				ELSE events_published >= published + burst END FROM evpub.status);
			IF clock_timestamp() - began > '30 s' THEN
				RAISE 'the worker does not come';
			END IF;
		END LOOP;
		slowest := greatest(slowest, clock_timestamp() - began);
		IF clock_timestamp() - began > '700 ms' THEN
			stalls := stalls + 1;
		END IF;
	END LOOP;
	RAISE NOTICE 'the slowest took %', slowest;
END $$});

sub rounds
{
	my ($name, $commit, @arguments) = @_;
	my ($stdout, $stderr);
	$node->psql('postgres',
		"SET synchronous_commit = $commit; CALL rounds(" . join(', ', @arguments) . ', 0)',
		stdout => \$stdout, stderr => \$stderr);
	note $stderr;
	is($stdout, '0', "synchronous_commit = $commit, $name: no wake-up is lost");
	return;
}

set_linger(10);
for my $commit ('on', 'off')
{
	rounds('single commits', $commit, 300, 1, 0);
	rounds('bursts of commits', $commit, 20, 300, 0);
}

# While WAL is read slowly, and nothing is sent whose acknowledgement would wake the
# worker: mostly the second commit comes when the worker is reading up to the first.
$node->safe_psql('postgres', 'SELECT evpub.pause()');
append_to_file($node->data_dir . '/evpub_wal_error', 'slow 20');
rounds('while WAL is read', 'on', 50, 2, 0.03);
unlink $node->data_dir . '/evpub_wal_error' or die $!;
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'all is published');

$node->stop;
done_testing();
