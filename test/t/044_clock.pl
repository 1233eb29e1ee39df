
# The wall clock may be set while the server works: intervals do not follow it.
# And what waits behind an outage is published as fast as it can be read,
# however small its transactions are.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $HOUR = 3600;
my $TENANTS = 20;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, start => 0);
set_clock($node, 0);
start_with_faults($node);
create_evpub($node);

# ---- the clock is set ----

load_tables($node, $TENANTS + 1);
$node->safe_psql('postgres', q{INSERT INTO item VALUES ('probe', 1)});
ok(wait_published($node), 'published');

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# All that measures an interval gets something to do.  What waits for the wall
# clock waits for an hour here; a relay that answers nobody is ended after 15 s.
my $probes = 1;
my $base;    # how long an event takes on this machine, now

sub probe
{
	my ($name) = @_;
	my $slowest = 0;
	for (1 .. 3)
	{
		$probes++;
		$node->safe_psql('postgres', qq{
SET synchronous_commit = @{[ $probes % 2 ? 'on' : 'off' ]};
INSERT INTO item VALUES ('probe', $probes)});
		my $began = now();
		ok(wait_published($node), "$name: published");
		my $took = now() - $began;
		$slowest = $took if $took > $slowest;
	}
	note sprintf '%s: an event took %.3f s at most', $name, $slowest;
	$base //= $slowest;
	cmp_ok($slowest, '<', 5 + 10 * $base, "$name: within seconds");
	ok(wait_for_state($node, 'streaming'), "$name: streaming");

	# the position becomes durable, once a second
	my $lsn = status($node, 'confirmed_lsn');
	ok(wait_for_status($node, "confirmed_lsn >= '$lsn'", 10), "$name: confirmed");
	my $state = $node->data_dir . '/evpub/state';
	my $written = (stat $state)[9];
	wait_until(
		"$name: the state file is written",
		sub {
			$node->safe_psql('postgres', 'INSERT INTO item VALUES (\'probe\', ' . ++$probes . ')');
			return (stat $state)[9] != $written;
		});
	pass("$name: the state file is written");

	# time-outs of those who wait end, and not too early
	my $began = now();
	is($node->safe_psql('postgres', q{SELECT evpub.wait_replayed('FFFFFF/0', '300 ms')}),
		'f', "$name: wait_replayed ends");
	is($node->safe_psql('postgres', q{SELECT evpub.pause(); INSERT INTO item VALUES ('probe', } . ++$probes . q{);
SELECT evpub.wait_published(NULL, '300 ms')}) =~ s/^\n//r,
		'f', "$name: wait_published ends");
	my $waited = now() - $began;
	cmp_ok($waited, '>', 0.59, "$name: not before its time");
	cmp_ok($waited, '<', 5 + 10 * $base, "$name: and not much later");
	$node->safe_psql('postgres', 'SELECT evpub.resume()');
	return;
}

my $relay = running_relay($node);
my $load = start_load($node, $TENANTS, 2, 6);
probe('before');
# the clock is as far behind as an hour, then as far ahead
for my $step ([ 'set back', -$HOUR ], [ 'set forward', $HOUR ], [ 'set right', 0 ])
{
	my ($name, $offset) = @$step;
	set_clock($node, $offset);
	my $off = $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())') - time;
	cmp_ok(abs($off - $offset), '<', 60, "$name: the server's clock is set");
	probe($name);
}
ok(finish($load), 'writers do not notice') or diag $load->{err};
wait_published($node);
check_complete('clock set under load', $node, $kafka);
# the next one may not be there yet, or end soon for another step of the clock
my $next = running_relay($node);
isnt($next, $relay, 'set back, the relay began anew: librdkafka waits by the wall clock');

# A relay that has to begin anew, and a broker that was away, while the clock
# is set back: the pause before a new relay and librdkafka's own waits.
set_clock($node, -$HOUR);
another_relay($node, kill_relay($node));
ok(wait_for_state($node, 'streaming'), 'set back: another relay streams');
probe('another relay');
$kafka->stop;
$node->safe_psql('postgres', 'INSERT INTO item VALUES (\'probe\', ' . ++$probes . ')');
ok(wait_for_state($node, 'blocked'), 'without a broker');
set_clock($node, -2 * $HOUR);
$kafka->start;
ok(wait_for_state($node, 'streaming'), 'set back without a broker: it comes back');
probe('the broker is back');
set_clock($node, 0);
ok(wait_published($node), 'all is published');
check_complete('clock set without relay and broker', $node, $kafka);

# Records bear the time of this server's clock.  Kafka takes none from more than an
# hour ahead of its own (message.timestamp.after.max.ms), and any from the past.
for my $year (0, 1)
{
	my $name = $year ? 'a year' : 'two hours';
	my $offset = ($year ? 365 * 24 : 2) * $HOUR;
	set_clock($node, $offset);
	$node->safe_psql('postgres', 'INSERT INTO item VALUES (\'probe\', ' . ++$probes . ')');
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%INVALID_TIMESTAMP%' AND hint LIKE '%clocks%'}),
		"$name ahead of the brokers: blocked, and the reason is the time");
	set_clock($node, 0);
	ok(wait_published($node), "$name ahead, and set right: published");
	set_clock($node, -$offset);
	$node->safe_psql('postgres', 'INSERT INTO item VALUES (\'probe\', ' . ++$probes . ')');
	ok(wait_published($node), "$name behind the brokers: published");
	set_clock($node, 0);
}
check_complete('clock far from that of the brokers', $node, $kafka);

# ---- catching up ----

my $ROWS = 150_000;
$node->stop;
$node->start;
$node->safe_psql('postgres', q{
CREATE TABLE t (n serial PRIMARY KEY, x text);
SELECT evpub.capture_table('t', tenant => 't', topic => 'many');
INSERT INTO t (x) VALUES ('first');
});
ok(wait_published($node), 'published');

# Seconds to publish what this SQL commits while publishing is paused.
sub drain_time
{
	my ($name, $sql) = @_;
	$node->safe_psql('postgres', 'SELECT evpub.pause()');
	$node->safe_psql('postgres', $sql);
	my $began = now();
	$node->safe_psql('postgres', 'SELECT evpub.resume()');
	ok(wait_published($node), "$name: published");
	my $took = now() - $began;
	note sprintf '%s: %d events in %.2f s, %d/s', $name, $ROWS, $took, $ROWS / $took;
	return $took;
}

# The best of some each: the machine has other things to do as well.  With a pause
# after each read single rows take seven times as long as one transaction.
my ($bulk, $single) = (1e9, 1e9);
for (1 .. 6)
{
	my $took = drain_time('one transaction',
		"INSERT INTO t (x) SELECT 'b' FROM generate_series(1, $ROWS)");
	$bulk = $took if $took < $bulk;
	$took = drain_time('single rows', qq{SET synchronous_commit = off;
DO \$\$ BEGIN FOR i IN 1..$ROWS LOOP INSERT INTO t (x) VALUES ('s'); COMMIT; END LOOP; END \$\$});
	$single = $took if $took < $single;
	last if $single < 2.5 * $bulk;
}
cmp_ok($single, '<', 2.5 * $bulk, sprintf 'single rows are caught up with at %.2f of the speed of one transaction', $bulk / $single);
$node->stop;
done_testing();
