
# The relay ends because somebody wants that, or hangs, or is killed on its way
# out.  While brokers answer, an end that somebody wants repeats no event; none
# is ever lost; nothing is left behind; and a relay that hangs is seen and ended.
use strict;
use warnings;

use Cwd ();
use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $TENANTS = 10;
my $kafka = EvpubKafka->new->start;
local $ENV{EVPUB_TEST_SECRET} = 'not for the relay';
my $node = capture_node('main', kafka => $kafka, conf => "restart_after_crash = on\n");
load_tables($node, $TENANTS);
ok(wait_for_state($node, 'streaming'), 'streaming');

sub slurp { my ($file) = @_; open my $in, '<', $file or return ''; local $/; return <$in> // '' }

# ---- what it is started with ----

{
	my $relay = running_relay($node);
	my %environment = map { /^([^=]+)=(.*)/s ? ($1 => $2) : () } split /\0/,
	  slurp("/proc/$relay/environ");
	ok(!exists $environment{EVPUB_TEST_SECRET}, "the server's environment is not the relay's");
	ok(!grep({ /^PG/ } keys %environment), 'nor PGDATA and the like');
	is($environment{PATH}, $ENV{PATH}, 'but where programs are');
	like(slurp("/proc/$relay/limits"), qr/^Max core file size +0 +0 /m, 'no core files');
	like(slurp("/proc/$relay/coredump_filter"), qr/^0+$/, 'nor memory in cores that are piped');

	my %open = map { m{/(\d+)$} ? ($1 => readlink($_) // '') : () } glob "/proc/$relay/fd/*";
	is("$open{0} $open{1}", '/dev/null /dev/null', 'nothing to read, nowhere to print');
	is($open{2}, Cwd::realpath($node->logfile), "its errors go to the server's log");
	like($open{3}, qr/^socket:/, 'a socket to the worker');
	delete @open{ 0 .. 3 };
	is(join(' ', grep { !/^(?:pipe|socket|anon_inode):/ } values %open), '', "no file of the server's");
	unlike(slurp("/proc/$relay/maps"), qr{SYSV|/dev/zero|/dev/shm|PostgreSQL}, 'no memory of the server');
	is(slurp("/proc/$relay/cmdline"), "evpub-relay\0", 'no arguments');
}

# ---- ends that somebody wants ----

my $linger = 0;

sub change_settings
{
	# any of the relay's settings
	$linger++;
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET evpub.topic_partitions = @{[ $linger % 2 ? 6 : -1 ]}");
	$node->reload;
	return;
}

my %ends = (
	'fast stop' => sub { $node->stop('fast'); $node->start },
	'terminated worker' => sub {
		my $pid = worker_pid($node);
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		wait_until('another worker', sub { my $now = worker_pid($node); $now && $now != $pid });
	},
	'changed settings' => sub {
		my $pid = running_relay($node);
		change_settings();
		another_relay($node, $pid);
	},
	'no brokers for a moment' => sub {
		set_brokers($node, '');
		ok(wait_for_state($node, 'unconfigured'), 'brokers taken away');
		set_brokers($node, $kafka->bootstrap);
	});

# Until events flow at the rate that was asked for.
sub wait_for_flow
{
	my $from = status($node, 'events_published');
	return wait_for_status($node,
		"events_published >= $from + 200 OR events_published < $from");
}

my $script = qq{\\set t random(1, $TENANTS)
BEGIN;
UPDATE counter SET n = n + 1 WHERE tenant = 't' || :t RETURNING n \\gset
INSERT INTO item VALUES ('t' || :t, :n);
COMMIT;
};
for my $rate (300, 0)
{
	for my $name (sort keys %ends)
	{
		my $load = start_pgbench($node, { $script => 1 }, clients => 3, seconds => 600,
			$rate ? (rate => $rate) : ());
		ok(wait_for_flow(), "$name: events flow");
		$ends{$name}->();
		ok(wait_for_state($node, 'streaming'), "$name: it goes on");
		end_pgbench($node, $load);
	}
	ok(wait_published($node), 'all is published');
	check_complete("at " . ($rate || 'full') . " rate", $node, $kafka);
}

# A large transaction: the end comes in the middle of it.
$node->safe_psql('postgres', q{
INSERT INTO counter VALUES ('big', 0);
});
for my $name ('changed settings', 'terminated worker', 'fast stop')
{
	# it may have gone before anybody looks
	my $caught;
	for (1 .. 20)
	{
		$node->safe_psql('postgres', q{
WITH c AS (UPDATE counter SET n = n + 100000 WHERE tenant = 'big' RETURNING n)
INSERT INTO item SELECT 'big', g FROM c, generate_series(n - 99999, n) g});
		my $end = $node->lsn('flush');
		wait_for_status($node, "events_in_flight > 0 OR confirmed_lsn >= '$end'");
		$caught = status($node, 'events_in_flight') > 0 and last;
	}
	ok($caught, "$name: in a large transaction");
	$ends{$name}->();
	ok(wait_published($node), "$name: published");
}
check_complete('in large transactions', $node, $kafka);

# Many reloads.
{
	my $load = start_pgbench($node, { $script => 1 }, clients => 3, seconds => 600);
	for (1 .. 100)
	{
		change_settings();
		usleep(1000 * int rand 60);    # to strike in any phase of the one before
	}
	ok(wait_for_flow(), 'a storm of reloads: events flow');
	end_pgbench($node, $load);
	ok(wait_for_state($node, 'streaming'), 'a storm of reloads: it goes on');
	ok(wait_published($node), 'a storm of reloads: all is published');
	check_complete('a storm of reloads', $node, $kafka);
	my $worker = worker_pid($node);
	my @children = split ' ', slurp("/proc/$worker/task/$worker/children");
	is(scalar @children, 1, 'one relay, and no zombie');
}

# ---- killed on its way out: neither repeats nor loses ----

{
	my $load = start_pgbench($node, { $script => 1 }, clients => 3, seconds => 600);
	for my $delay (0, 1, 3, 10, 30)
	{
		my $relay = running_relay($node);
		ok(wait_for_flow(), 'events flow');
		change_settings();
		usleep(1000 * $delay);
		kill 'KILL', $relay;
		another_relay($node, $relay);
	}
	# stopped: it cannot leave, and is ended
	my $relay = running_relay($node);
	ok(wait_for_flow(), 'events flow');
	kill 'STOP', $relay;
	change_settings();
	my $began = time;
	another_relay($node, $relay);
	cmp_ok(time - $began, '<', 10, 'a stopped relay does not hold up a reload');

	# ---- a relay that hangs ----

	ok(wait_for_state($node, 'streaming'), 'streaming');
	ok(wait_for_flow(), 'events flow');
	$relay = running_relay($node);
	$began = time;
	kill 'STOP', $relay;
	ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%does not answer%'"),
		'a relay that hangs: blocked, before it is ended');
	another_relay($node, $relay);
	my $took = time - $began;
	cmp_ok($took, '>', 10, 'it gets some time');
	ok(!kill(0, $relay), 'it is ended, and gone');
	ok(wait_for_state($node, 'streaming'), 'another one streams');

	# The worker hangs for longer than a relay may: that is not the relay's fault.
	ok(wait_for_flow(), 'events flow');
	$relay = running_relay($node);
	my $worker = worker_pid($node);
	kill 'STOP', $worker;
	sleep 17;    # this time is what is tested
	kill 'CONT', $worker;
	ok(wait_for_flow(), 'a worker that was stopped goes on');
	is(relay_pid($node), $relay, 'with its relay');

	end_pgbench($node, $load);
	ok(wait_published($node), 'all is published');
	check_complete('killed and stopped', $node, $kafka, late => 1);
}

# ---- brokers do not answer ----

my $base = stop_time($node);
$node->start;
ok(wait_for_state($node, 'streaming'), 'streaming');
$kafka->pause;
$node->safe_psql('postgres', q{
WITH c AS (UPDATE counter SET n = n + 10 WHERE tenant = 'big' RETURNING n)
INSERT INTO item SELECT 'big', g FROM c, generate_series(n - 9, n) g});
ok(wait_for_status($node, 'events_in_flight > 0'), 'events wait for a frozen broker');
my $took = stop_time($node);
cmp_ok($took, '<', 1.5 + 3 * $base, sprintf 'stops at once (%.2f s; else %.2f s)', $took, $base);
$kafka->cont;
$node->start;
ok(wait_published($node), 'published after the restart');
check_complete('in the end', $node, $kafka, late => 1);
$node->stop;

# ---- a postmaster that is process 1, as in containers ----

SKIP:
{
	my @alone = qw(unshare --user --map-current-user --pid --fork --mount-proc --kill-child);
	skip 'no right to make a namespace of processes', 3
	  if system("@alone true 2>/dev/null") != 0;
	my $first = capture_node('first', kafka => $kafka, start => 0,
		conf => "restart_after_crash = on\n");

	# a relay that was killed takes its time to go
	append_to_file($first->data_dir . '/evpub_slow_reap', '');
	my $log = $first->logfile;
	my $run;
	{
		local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
		$run = IPC::Run::start([ @alone, 'postgres', '-D', $first->data_dir ],
			'>', $log, '2>', $log);
	}
	wait_until('it starts', sub { defined eval { $first->psql('postgres', 'SELECT 1') } &&
		  $first->psql('postgres', 'SELECT 1') == 0 });
	create_evpub($first);
	my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'evpub publisher'};
	for (1 .. 2)
	{
		ok(wait_for_state($first, 'streaming'), 'streaming');
		my $pid = $first->safe_psql('postgres', $worker);
		$first->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		wait_until('another worker', sub {
			my ($code, $out) = $first->psql('postgres', $worker);
			return defined $code && $code == 0 && ($out // '') =~ /^\d+$/ && $out != $pid });
	}
	unlike(slurp($log), qr/terminating any other active server processes|untracked/,
		'a relay is never left to the postmaster, which would take it for a crash');
	my $outside = $run->{KIDS}[0]{PID};
	my ($postmaster) = split ' ', slurp("/proc/$outside/task/$outside/children");
	kill 'INT', $postmaster if $postmaster;
	eval { IPC::Run::finish($run) };
}
done_testing();
