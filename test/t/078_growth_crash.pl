# A crash while a topic grows: what commits from one point of WAL on goes by the new count
# of partitions, also when the server dies around the writes that make this point known.
# So no event comes twice, in two partitions, and none is in front of an earlier one.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
log_readings($node);
$node->safe_psql('postgres', q{
CREATE SEQUENCE ids;
CREATE TABLE a (key text, n int, PRIMARY KEY (key, n));
SELECT evpub.capture_table('a', tenant_column => 'key', topic => 'grows');
});
$kafka->create_topic('grows', 1);
ok(wait_for_state($node, 'streaming'), 'streaming');
$node->safe_psql('postgres', q{INSERT INTO a SELECT i::text, nextval('ids') FROM generate_series(1, 50) i});
ok(wait_published($node), 'published');

# A relay that begins asks how many partitions there are.  The writes of the state file
# are counted from there on: one makes the new count known, one the point of WAL.  One
# of them fails, so that rows are committed until it is tried again, a second later; then
# the server dies.
my $partitions = 1;
for my $write (1 .. 6)
{
	my $load = start_pgbench($node,
		{ "INSERT INTO a SELECT i::text, nextval('ids') FROM generate_series(1, 50) i;\n" => 1 },
		clients => 1, rate => 100, seconds => 60);
	$node->poll_query_until('postgres', 'SELECT events_in_flight > 0 FROM evpub.status')
	  or die 'nothing is sent';
	my $before = crashes($node);
	$kafka->grow_topic('grows', ++$partitions);
	# a replacement of the file, or a write in place
	my $writes = '@(rename evpub/state.tmp|write evpub/state)';
	order_crashes($node, [ $write, 'fails', $writes ], [ 1, 'before', $writes ]);
	kill_relay($node);
	wait_until("write $write of the state file", sub { crashes($node) >= $before + 2 });
	eval { finish($load) };
	wait_until('the server is back', sub { attempt($node, 'SELECT 1') });
	ok(wait_for_state($node, 'streaming'), "crash before write $write: streaming");
	until_done($node, q{INSERT INTO a SELECT i::text, nextval('ids') FROM generate_series(1, 50) i});
	ok(wait_published($node), 'published');
	ok(wait_until('the new count',
			sub {
				attempt($node, q{INSERT INTO a SELECT i::text, nextval('ids') FROM generate_series(1, 50) i});
				return $partitions == $node->safe_psql('postgres',
					q{SELECT partitions FROM evpub.topics WHERE topic = 'grows'}) }),
		"it has $partitions partitions");
}
ok(wait_published($node), 'published');

# What a relay had sent last when it was killed may come late, in the same partition.
my $readings = readings($node, 'grows');
my (%first, @events);
my $twice = 0;
for my $record (map { { %$_, %{ $_->{event}{pk} } } } events($kafka, 'grows'))
{
	my $other = $first{ $record->{event}{id} };
	$twice++ if $other && !($other->{partition} == $record->{partition}
		&& is_late($readings->{ $record->{partition} }, @$other{qw(timestamp offset)}, $record->{timestamp}));
	next if $other;
	$first{ $record->{event}{id} } = $record;
	push @events, $record;
}
is($twice, 0, 'no event comes twice');
@events = sort { $a->{n} <=> $b->{n} } @events;
is(join(',', map { $_->{n} } @events),
	$node->safe_psql('postgres', q{SELECT string_agg(n::text, ',' ORDER BY n) FROM a}),
	'none is missing');

# One session has inserted all of them, so n is the order of commits.
my ($count, $misplaced) = (1, 0);
for my $event (@events)
{
	my $by = $count;
	$by++ while $by < $partitions && partition_of("$event->{key}", $by) != $event->{partition};
	$count = $by, next if partition_of("$event->{key}", $by) == $event->{partition};
	$misplaced++;
}
is($misplaced, 0, 'all that commit in front of a point of WAL go by the old count, the others by the new one');
$node->stop;
done_testing();
