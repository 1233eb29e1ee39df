
# Whatever is killed, whenever: no event is lost, none is invented, none comes
# twice, and per key they are in order.  And it comes back by itself.
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $tenants = 20;
my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, conf => "restart_after_crash = on\n");
load_tables($node, $tenants);
ok(wait_for_state($node, 'streaming'), 'streaming');

# until that many more events have been published, so that a fault strikes
# while events are on their way
sub wait_for_events
{
	my ($more) = @_;
	my $from = status($node, 'events_published');
	# the count starts anew with each worker
	return wait_for_status($node,
		"events_published >= $from + $more OR events_published < $from");
}

sub fault
{
	my ($name, $strike, %args) = @_;
	my $load = start_load($node, $tenants, 4, 6);
	for (1 .. $args{times} || 2)
	{
		ok(wait_for_events(200), "$name: events flow");
		$strike->();
	}
	my $ended_well = finish($load);
	ok($ended_well, "$name: writers do not notice") or diag $load->{err}
	  unless $args{server};
	ok(wait_for_state($node, 'streaming'), "$name: it comes back");
	ok(wait_published($node), "$name: all is published");
	check_complete($name, $node, $kafka, $args{delivery} // 'late', 1);
	return;
}

sub replace_relay
{
	another_relay($node, kill_relay($node));
	return;
}

sub kill_broker
{
	$kafka->kill9;
	$kafka->start;
	return;
}

sub terminate_worker
{
	my $worker = worker_pid($node);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)"),
		't', 'the worker is terminated');
	wait_until('another worker',
		sub { my $now = worker_pid($node); $now && $now != $worker });
	return;
}

sub crash_server
{
	$node->stop('immediate');
	$node->start;
	return;
}

# The server ends all sessions then, and starts anew by itself.
sub kill_worker
{
	my $worker = worker_pid($node);
	ok(kill('KILL', $worker), 'the worker is killed');
	wait_until('another worker',
		sub { my $now = worker_pid($node); $now && $now != $worker });
	return;
}

# Whoever has no postmaster any more ends; until then no other one can start.
sub kill_postmaster
{
	my $worker = worker_pid($node);
	my $relay = running_relay($node);
	$node->kill9;
	wait_until('worker and relay end', sub { !kill(0, $worker) && !kill(0, $relay) });
	wait_until('another postmaster', sub { $node->start(fail_ok => 1) });
	return;
}

for my $commit ('on', 'off')
{
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET synchronous_commit = $commit");
	$node->reload;
	my $with = "synchronous_commit=$commit";

	fault("relay killed, $with", \&replace_relay);
	fault("broker killed, $with", \&kill_broker, times => 1);
	fault("worker terminated, $with", \&terminate_worker);
	fault("server crashed, $with", \&crash_server, times => 1, server => 1);
}
fault('worker killed', \&kill_worker, times => 1, server => 1);
fault('postmaster killed', \&kill_postmaster, times => 1, server => 1);

# What has no right to read goes without that.
$node->append_conf('postgresql.conf', "evpub.delivery = 'at_least_once'\n");
$node->reload;
fault('relay killed, at_least_once', \&replace_relay, delivery => 'duplicates');
fault('server crashed, at_least_once', \&crash_server,
	times => 1, server => 1, delivery => 'duplicates');

is(status($node, 'forged_dropped'), '0', 'nothing was taken for forged');
$node->stop;
done_testing();
