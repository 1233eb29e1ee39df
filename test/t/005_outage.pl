
# The broker is away, from the start or for a while: writers do not notice,
# memory stays bounded, publishing goes on by itself, and evpub.status names
# the cause.  A fast shutdown is fast, whatever the broker does.
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new;
my $node = capture_node('main', kafka => $kafka);
load_tables($node, 20);

# Nobody has ever answered.
ok(wait_for_state($node, 'blocked'), 'no broker from the start: blocked');
my $port = $kafka->port;
ok( wait_for_status($node, "state_reason LIKE '%$port%'"),
	'the reason names the broker that does not answer');
note 'state_reason: ' . status($node, 'state_reason');

my $load = start_load($node, 20, 4, 8);
my $memory = watch_memory($node, sub { return !running($load) });
ok(finish($load), 'writers do not notice') or diag $load->{err};
my $backlog = $node->safe_psql('postgres', 'SELECT count(*) FROM item');
cmp_ok($backlog, '>', 1000, 'there is a backlog');
is(status($node, 'events_published'), '0', 'nothing is published');
is(status($node, 'lag_bytes > 0'), 't', 'status shows the lag');

$kafka->start;
ok(wait_for_state($node, 'streaming'), 'goes on by itself');
ok(wait_published($node), 'the backlog is published');
check_complete('down from the start', $node, $kafka);

# Away for a while, under load.
$load = start_load($node, 20, 4, 10);
ok(wait_for_status($node, "events_published > $backlog + 200"), 'events flow');
$kafka->stop;
ok(wait_for_state($node, 'blocked'), 'the broker stops: blocked');
ok(wait_for_status($node, "state_reason LIKE '%$port%'"), 'with the reason');
my $later = watch_memory($node, sub { return !running($load) });
$memory = $later if $later > $memory;
ok(finish($load), 'writers do not notice') or diag $load->{err};
$kafka->start;
ok(wait_for_state($node, 'streaming'), 'goes on by itself');
ok(wait_published($node), 'all is published');
check_complete('away for a while', $node, $kafka);

note "worker and relay: at most $memory kB";
cmp_ok($memory, '>', 0, 'memory was seen');
cmp_ok($memory, '<=', $EvpubTest::MEMORY_LIMIT_KB,
	'worker and relay stay within 64 MiB');

# Fast shutdown.  How long it takes on this machine, now, is seen where evpub has
# nothing to end.
set_brokers($node, '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers');
my $base = stop_time($node);
note sprintf 'a stop without a relay: %.2f s', $base;
$node->start;
set_brokers($node, $kafka->bootstrap);
ok(wait_for_state($node, 'streaming'), 'streaming');

sub check_stop
{
	my ($name) = @_;
	my $worker = worker_pid($node);
	my $relay = relay_pid($node);
	# no clients, no dirty pages: what takes more time now is evpub
	my $took = stop_time($node);
	cmp_ok($took, '<', 1.5 + 3 * $base, sprintf('%s: stops at once (%.2f s)', $name, $took));
	ok(!kill(0, grep { defined } $worker, $relay),
		"$name: worker and relay are gone");
	$node->start;
	return;
}

sub insert_some
{
	$node->safe_psql('postgres',
		q{INSERT INTO item SELECT 'x', n + i
		  FROM (SELECT count(*) n FROM item WHERE tenant = 'x') x, generate_series(1, 1000) i});
	return;
}

check_stop('live broker');
ok(wait_for_state($node, 'streaming'), 'streaming');

$kafka->pause;
insert_some();
ok(wait_for_status($node, 'events_in_flight > 0'), 'events wait for the frozen broker');
check_stop('frozen broker');
running_relay($node);
check_stop('frozen broker since the start');
$kafka->cont;
ok(wait_for_state($node, 'streaming'), 'thawed: goes on');

$kafka->stop;
insert_some();
ok(wait_for_state($node, 'blocked'), 'blocked');
check_stop('dead broker');

# Connections are accepted by the kernel; nobody ever reads them.
my $silent = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	LocalPort => EvpubKafka::free_port(),
	Listen => 50) or die "listen: $!";
set_brokers($node, '127.0.0.1:' . $silent->sockport);
ok( wait_for_status($node,
		"state = 'blocked' AND state_reason LIKE '%:" . $silent->sockport . "%'"),
	'a listener that never answers: blocked');
check_stop('listener that never answers');
close $silent;

# And nothing of all this was lost.
set_brokers($node, $kafka->bootstrap);
$kafka->start;
ok(wait_for_state($node, 'streaming'), 'the broker is back');
ok(wait_published($node), 'all is published');
# a thawed broker may take what a relay had sent that is long dead
check_complete('in the end', $node, $kafka, late => 1);
$node->stop;
done_testing();
