
# What a leader has and may not show yet, since a replica in sync does not answer, is
# waited for before a partition is read back, so it does not come twice.  Where a replica
# answers and is slow, only the first record comes twice: behind it everything is seen.
use strict;
use warnings;

use EvpubCluster;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

# so long a broker that is frozen stays in sync: long enough to be seen
my $cluster = EvpubCluster->new(
	conf => { 'broker.session.timeout.ms' => 6000, 'replica.lag.time.max.ms' => 6000 })->start;
my $node = capture_node('main', kafka => $cluster);
my $last = 0;
sub sql { return $node->safe_psql('postgres', $_[0]) }

$cluster->create_topic('one', 1);
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one')});

sub partition
{
	my ($topic) = grep { $_->{topic} eq 'one' } @{ $cluster->metadata->{topics} };
	return $topic->{partitions}[0];
}

# more(n): n rows, which are in the leader's log then
sub more
{
	my ($n) = @_;
	my $log = $cluster->broker(partition()->{leader} - 1)->{conf}{'log.dirs'}
	  . '/one-0/00000000000000000000.log';
	my $size = -s $log;
	sql('INSERT INTO one SELECT generate_series(' . ($last + 1) . ', ' . ($last + $n) . ')');
	$last += $n;
	wait_until('the leader has the records', sub { -s $log > $size });
	return;
}

# With a follower frozen, records get into the log of the leader and no further; then
# the relay is killed.  Returns the follower.
sub kill_relay_of_frozen
{
	my ($name) = @_;
	wait_until('all replicas are in sync', sub { $cluster->is_whole });
	sql('INSERT INTO one VALUES (' . ++$last . ')');
	ok(wait_published($node), "$name: published with all replicas in sync");

	my $leader = partition()->{leader};
	my $frozen = $cluster->broker($leader % 3);
	$frozen->pause;
	more(5);
	my $relay = relay_pid($node);
	kill 'KILL', $relay;
	my $number = $leader % 3 + 1;
	ok(wait_for_status($node,
			qq{state_reason LIKE 'broker $number does not answer, and is an in-sync replica of topic "one" partition 0%'}),
		"$name: the next relay waits, and the state says for what");
	return $frozen;
}

sub came_once
{
	my ($name, $dropped) = @_;
	ok(wait_published($node), "$name: published");
	is_deeply([ map { $_->{event}{pk}{id} } events($cluster, 'one') ], [ 1 .. $last ], "$name: each event once");
	cmp_ok(status($node, 'duplicates_dropped'), '>', $dropped, "$name: what the leader had was dropped");
	return;
}

my $frozen = kill_relay_of_frozen('out of sync');
came_once('out of sync', 0);
is(scalar @{ partition()->{isrs} }, 2, 'out of sync: it waited until the frozen broker was out of sync');
$frozen->cont;

my $dropped = status($node, 'duplicates_dropped');
$frozen = kill_relay_of_frozen('thawed');
$frozen->cont;
came_once('thawed', $dropped);

# in a cluster that is well, nothing is waited for
kill 'KILL', relay_pid($node);
sql('INSERT INTO one VALUES (' . ++$last . ')');
came_once('well', $dropped);

$node->stop;
$cluster->stop;

# ---- a replica that is slow ----

# Followers ask again when a megabyte is there, or after so long; and what is published
# waits for them.
$cluster = EvpubCluster->new(
	conf => { 'replica.fetch.min.bytes' => 1_000_000, 'replica.fetch.wait.max.ms' => 8000,
		'replica.lag.time.max.ms' => 30_000 })->start;
$node = capture_node('slow', kafka => $cluster);
$cluster->create_topic('one', 1);
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one');
INSERT INTO one VALUES (1)});
$last = 1;
ok(wait_published($node), 'slow: published');

# the followers have just asked, so nobody sees these for some seconds
more(20);
kill 'KILL', relay_pid($node);
ok(wait_published($node), 'slow: published by the next relay');
is_deeply([ map { $_->{event}{pk}{id} } events($cluster, 'one') ], [ 1 .. 21, 2 ],
	'slow: only the first record comes twice');
is(status($node, 'duplicates_dropped'), 19, 'slow: the others were seen and dropped');
sql('INSERT INTO one VALUES (22)');
ok(wait_published($node), 'slow: it goes on');
is((map { $_->{event}{pk}{id} } events($cluster, 'one'))[-1], 22, 'slow: and nothing else comes');

$node->stop;
$cluster->stop;
done_testing;
