# Gaps are announced in all topics: also in one that was deleted and made again
# meanwhile, and each of several gaps for itself.  An announcement that a topic
# holds up, and that a crash breaks off, goes on where it was acknowledged.
use strict;
use warnings;

use EvpubGap qw(accept_gap hold let_go);
use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme');
INSERT INTO t SELECT generate_series(1, 10);
});
ok(wait_published($node), 'published before');

set_brokers($node, '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers');
$kafka->delete_topic($EvpubTest::TOPIC);
$kafka->create_topic($EvpubTest::TOPIC, 2);
$node->safe_psql('postgres', 'INSERT INTO t VALUES (11)');
set_brokers($node, $kafka->bootstrap);
ok(wait_for_state($node, 'blocked'), 'the topic was deleted and made again');
ok(wait_for_status($node, "state_reason LIKE '%made again%'"), 'and that is the reason');
$node->safe_psql('postgres', 'SELECT evpub.discard(pg_current_wal_lsn())');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (12)');
ok(wait_published($node), 'it goes on');

my @events = events($kafka);
my %announced = map { $_->{partition} => 1 } grep { $_->{event}{type} eq 'evpub.gap' } @events;
is(scalar keys %announced, 2, 'the gap is announced in each partition');
is_deeply([ map { $_->{event}{pk}{id} } grep { $_->{event}{type} ne 'evpub.gap' } @events ],
	[12], 'what was discarded is not there');

# ---- three gaps, of which the second ends where the first does, and the third before it ----

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Partitions of these topics are numbered in this order, behind those of before.
my %partitions = (first => 3, middle => 1, last => 2);
for my $topic (qw(first middle last))
{
	$kafka->create_topic($topic, $partitions{$topic});
	sql("CREATE TABLE \"$topic\" (id int PRIMARY KEY);
		 SELECT evpub.capture_table('\"$topic\"', tenant => 'acme', topic => '$topic');
		 INSERT INTO \"$topic\" VALUES (0)");
	ok(wait_published($node), "published to $topic");
}
sql('SELECT evpub.pause()');
for my $id (1 .. 3)
{
	sql(qq{INSERT INTO "first" VALUES ($id); SELECT evpub.discard(pg_current_wal_flush_lsn())});
}

# Such gaps are there when take_over() went back in history.  Each has a longer
# reason than the one before, so that a topic can take the one and refuse the next.
$node->stop;
my $state = read_state($node->data_dir);
my @gaps = state_gaps($state);
my @new = grep { !$_->{announced} } @gaps;
is(scalar(@new), 3, 'three gaps wait to be announced');
my ($low, undef, $high) = map { $_->{to} } @new;

# in the history that was left, WAL went further than here
$high += 16 * 1024 * 1024;
@{ $new[0] }{qw(to repeat)} = ($high, 0);
@{ $new[1] }{qw(to repeat)} = ($high, 1);
@{ $new[2] }{qw(to repeat)} = ($low, 0);
$new[$_]{reason} = "gap $_ " . 'x' x (500 * $_) for 0 .. 2;
# and one of which all partitions know already, between the first and the second
splice @gaps, -2, 0, { %{ $new[0] }, repeat => 2, next_number => 1000, reason => 'known' };
set_state_gaps($state, @gaps);
write_state($node->data_dir, $state);
$node->start;
ok(wait_for_state($node, 'paused'), 'the server takes it');

sub new_gaps { return grep { $_->{reason} =~ /^gap \d / } state_gaps(read_state($node->data_dir)) }

# {number of the gap => {topic and partition => how often it was announced there}}
sub announced
{
	my (%times, %ids);
	for my $topic (keys %partitions)
	{
		for my $record (events($kafka, $topic))
		{
			my $event = $record->{event};
			next unless $event->{type} eq 'evpub.gap' && $event->{data}{reason} =~ /^gap (\d)/;
			$times{$1}{"$topic $record->{partition}"}++;
			$ids{ $event->{id} }{"$1 $topic $record->{partition}"} = 1;
		}
	}
	is(scalar(grep { keys %{ $ids{$_} } > 1 } keys %ids), 0, 'no id stands for two of them');
	return \%times;
}

# The largest record that "middle" takes.
sub limit_middle
{
	my ($bytes) = @_;
	$kafka->set_topic('middle', { 'max.message.bytes' => $bytes });
	return;
}

# Until "middle" has refused the event of this id alone; returns what follows in
# the id.  The reason is there only while the publisher waits for the next try.
sub refused
{
	my ($event, $name) = @_;
	my $rest;
	wait_until("$name: a topic refuses its event", sub {
		($rest) = status($node, 'state_reason') =~ /"middle" partition 0.*-$event(\w*)$/;
		return defined $rest;
	});
	return hex $rest;
}

# "middle" refuses the next gap's event: what is before it is acknowledged, and
# is so in the file, when the server crashes.  Then it is not sent again.
my (%before, $smallest);
for my $gap (0 .. 2)
{
	# the event before it is smaller by 500 bytes, and goes in a batch with a head
	limit_middle($gap == 0 ? 100 : $smallest + 500 * $gap - 200);
	$gap == 0 ? sql('SELECT evpub.resume()') : $node->reload;
	# an id ends in the end of the gap, its number, and that of the partition
	my $event = sprintf '%016X-F0%d', @{ $new[$gap] }{qw(to repeat)};
	my $place = refused($event, "gap $gap");
	wait_until("gap $gap waits behind its first partitions",
		sub { return (new_gaps())[$gap]{next_number} == $place });
	$node->stop('immediate');
	my @now = new_gaps();
	is(join(' ', map { $_->{announced} } @now), join(' ', map { $_ < $gap ? 1 : 0 } 0 .. 2),
		"gap $gap: only those before it are announced");
	$before{$gap} = announced()->{$gap};
	($smallest) = map { length $_->{value} } grep { $_->{event}{type} eq 'evpub.gap' } events($kafka, 'first')
	  if $gap == 0;
	is(scalar(grep { /^first/ } keys %{ $before{$gap} }), 3, "gap $gap: announced to the first partitions");
	$node->start;
}

# Not earlier: a relay may get an event into "last" while "middle" refuses a gap's, and
# the position does not move, nor the file, until the next relay comes to that event.
sql('INSERT INTO "last" VALUES (4)');
limit_middle(1_000_000);
ok(wait_published($node), 'the topic takes them all: published');
my $times = announced();
for my $gap (0 .. 2)
{
	is(scalar(keys %{ $times->{$gap} }), 6, "gap $gap: announced in each partition");
	is($times->{$gap}{$_}, $before{$gap}{$_}, "gap $gap: $_ is not announced again")
	  for grep { /^first/ } sort keys %{ $before{$gap} };
}
my %published = map { $_->{event}{pk}{id} => 1 } grep { $_->{event}{type} ne 'evpub.gap' } events($kafka, 'last');
is_deeply([ sort keys %published ], [ 0, 4 ], 'what was committed behind them is published');
# ---- a transaction that a gap has cut is announced in the same way ----

# It begins in a segment that is lost, and commits behind the gap.
sql(q{CREATE TABLE large (id int PRIMARY KEY);
	SELECT evpub.capture_table('large', tenant => 'acme', topic => 'last', collapse => false)});
my $large = hold($node, q{INSERT INTO large SELECT generate_series(1, 20000)},
	q{INSERT INTO "last" VALUES (5)});
sql('SELECT pg_switch_wal(); INSERT INTO "last" VALUES (6)');
my $segment = $node->data_dir . '/pg_wal/' . sql('SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
sql('SELECT pg_switch_wal(); INSERT INTO "last" VALUES (7)');
ok(wait_published($node), 'published while a large transaction is open');
rename $segment, "$segment.away" or die "$segment: $!";
sql('SELECT pg_terminate_backend(' . worker_pid($node) . ')');
ok(wait_for_state($node, 'gap'), 'a segment is missing: gap');
accept_gap($node, 'cut');
ok(wait_published($node), 'the gap is announced');
rename "$segment.away", $segment or die "$segment: $!";

# {topic and partition => how often it was announced there}
sub cut_announced
{
	my %times;
	for my $topic (keys %partitions)
	{
		for my $record (events($kafka, $topic))
		{
			my $event = $record->{event};
			$times{"$topic $record->{partition}"}++
			  if $event->{type} eq 'evpub.gap' && $event->{data}{reason} =~ /was cut by a gap/;
		}
	}
	return \%times;
}
limit_middle(100);
ok(let_go($large), 'the large transaction commits');
sql('INSERT INTO "last" VALUES (8)');
my $number = 0xF0000000 + refused('F0', 'cut');
wait_until('the file says how far the announcement is',
	sub { return read_state($node->data_dir)->{next_event} == $number });
my $restarts = status($node, 'relay_restarts');
wait_until('it is tried again', sub { return status($node, 'relay_restarts') > $restarts + 1 });
is(scalar(() = slurp_file($node->logfile) =~ /transaction \d+, committed at \S+, is not published/g),
	1, 'cut: the log says once that the transaction is not published');
$node->stop('immediate');
my $cut = cut_announced();
is(scalar(grep { /^first/ } keys %$cut), 3, 'cut: announced to the first partitions');
$node->start;
limit_middle(1_000_000);
ok(wait_published($node), 'cut: the topic takes it: published');
$times = cut_announced();
is(scalar(keys %$times), 6, 'cut: announced to each partition');
is($times->{$_}, $cut->{$_}, "cut: $_ is not announced again")
  for grep { /^first/ } sort keys %$cut;
%published = map { $_->{event}{pk}{id} => 1 } grep { $_->{event}{type} ne 'evpub.gap' } events($kafka, 'last');
is_deeply([ sort keys %published ], [ 0, 4, 6, 7, 8 ], 'cut: what was committed beside it and behind it is published');

$node->stop;
is(join(' ', map { $_->{announced} } new_gaps()), '1 1 1', 'all are announced');
my ($known) = grep { $_->{reason} eq 'known' } state_gaps(read_state($node->data_dir));
is("$known->{announced} $known->{next_number}", '1 1000', 'so is one of which all partitions know');
is(scalar(grep { $_->{event}{type} eq 'evpub.gap' && $_->{event}{data}{reason} eq 'known' }
		map { events($kafka, $_) } keys %partitions),
	0, 'without an event');
done_testing();
