
# What a leader has and may not show yet, since a replica in sync does not answer, is
# waited for before a partition is read back, so it does not come twice.  Where a replica
# answers and is slow, only the first record comes twice: behind it everything is seen.
# To see it, the partition is read again, and what is known of it stays as it was then:
# whoever begins behind that would send the first record a second time.
use strict;
use warnings;

use EvpubCluster;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

# so long a broker that is frozen stays in sync: long enough to be seen
my $cluster = EvpubCluster->new(
	conf => { 'broker.session.timeout.ms' => 10_000, 'replica.lag.time.max.ms' => 10_000 })->start;
my $node = capture_node('main', kafka => $cluster);
my $last = 0;
sub sql { return $node->safe_psql('postgres', $_[0]) }

$cluster->create_topic('one', 1);
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one')});

sub partition
{
	# kcat may ask the broker that is frozen first, and have no time left for another one
	my $answer = wait_until('metadata', sub { eval { $cluster->metadata } });
	my ($topic) = grep { $_->{topic} eq 'one' } @{ $answer->{topics} };
	return $topic->{partitions}[0];
}

# The offset behind what the leader's log has, shown or not: a batch begins with its first
# offset and its length, and has at byte 23 how many records follow the first.
sub log_end
{
	my $log = slurp_file($cluster->broker(partition()->{leader} - 1)->{conf}{'log.dirs'}
		  . '/one-0/00000000000000000000.log');
	my ($at, $end) = (0, 0);
	while ($at + 61 <= length $log)
	{
		my ($offset, $length) = unpack 'q> N', substr $log, $at, 12;
		last if $at + 12 + $length > length $log;
		$end = $offset + unpack('N', substr $log, $at + 23, 4) + 1;
		$at += 12 + $length;
	}
	return $end;
}

# more(n): n rows; the leader's log has some of them then.  Returns whether it has all: the
# others wait behind the first ones, which wait for the followers.
sub more
{
	my ($n) = @_;
	my $end = log_end();
	sql('INSERT INTO one SELECT generate_series(' . ($last + 1) . ', ' . ($last + $n) . ')');
	$last += $n;
	wait_until('the leader has the records', sub { log_end() > $end });
	return log_end() == $end + $n;
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
	more(1);
	kill_relay($node);
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
kill_relay($node);
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
$node = capture_node('slow', kafka => $cluster, conf => 'log_min_messages = debug1');
$cluster->create_topic('one', 1);
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one');
INSERT INTO one VALUES (1)});
$last = 1;
ok(wait_published($node), 'slow: published');

# The followers have just asked, so nobody sees these for some seconds.  A machine that is
# busy may send them in two requests, or start the relay when they can be seen.
my ($first, $dropped_then, @ids);
for my $try (1 .. 10)
{
	$first = $last + 1;
	$dropped_then = status($node, 'duplicates_dropped');
	my $all = more(20);
	kill_relay($node) if $all;
	wait_published($node) or last;
	@ids = map { $_->{event}{pk}{id} } events($cluster, 'one');
	last if $all && @ids > $last;
}
is_deeply(\@ids, [ 1 .. $last, $first ], 'slow: only the first record comes twice');
is(status($node, 'duplicates_dropped') - $dropped_then, 19, 'slow: the others were seen and dropped');
sql('INSERT INTO one VALUES (' . ++$last . ')');
ok(wait_published($node), 'slow: it goes on');
is((map { $_->{event}{pk}{id} } events($cluster, 'one'))[-1], $last, 'slow: and nothing else comes');

# ---- read again, and then the relay is killed ----

# One replica acknowledges at once; "one" waits for its followers, and comes first in the
# stream, so nothing is acknowledged to the worker.  It is on another broker than the leader
# of "one": a broker answers the requests of a connection one after the other.
$cluster->create_topic('free', 1, {}, broker => partition()->{leader} % 3 + 1);
sql(q{
CREATE TABLE free (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('free', tenant_column => 'tenant', topic => 'free');
INSERT INTO free VALUES (0)});
ok(wait_published($node), 'again: published');

# Do something, and wait until the relay has read partition 0 of "free" after that.
sub await_reading
{
	my ($what, $do) = @_;
	my $from = -s $node->logfile;
	$do->();
	wait_until($what, sub {
		return slurp_file($node->logfile, $from) =~ /partition 0 of topic "free" was read/ });
	return;
}

# It is read again for the sake of a record of another, which stands in front.  Again if
# the followers come by just then.
my $free = 0;
my $waited;
for my $try (1 .. 10)
{
	await_reading('a relay', sub { kill_relay($node) });
	$cluster->produce('free', 'acme', '{"planted": true}', '-p', 0);
	await_reading('read again', sub {
		sql('BEGIN; INSERT INTO one VALUES (' . ++$last . '); INSERT INTO free VALUES (' . ++$free . '); COMMIT') });
	$waited = status($node, 'events_in_flight') == 2;
	kill_relay($node);
	wait_published($node) or last;
	last if $waited;
}
ok($waited, 'again: nothing was acknowledged when the relay was killed');
my @free = map { $_->{event}{pk}{id} // () } events($cluster, 'free');
is_deeply(\@free, [ 0 .. $free ], 'again: the first record comes once');

$node->stop;
$cluster->stop;
done_testing;
