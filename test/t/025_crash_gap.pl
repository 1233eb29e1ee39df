
# A crash at any step of giving something up (discard(), a limit, accept_gap())
# and of taking over (a lost slot, a lost state file): the next start stands
# where it stood or goes on; only what is announced as a gap is missing, and it is
# announced before any later event of the partition.
#
# See 012_crash.pl for EVPUB_SEED and EVPUB_ROUNDS.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{EVPUB_SEED} // (time * 1000) % 1_000_000_000;
my $rounds = $ENV{EVPUB_ROUNDS} // 60;
my $tenants = 20;

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
load_tables($node, $tenants);
ok(wait_for_state($node, 'streaming'), 'streaming');

my $one_more = q{
WITH c AS (UPDATE counter SET n = n + 1 RETURNING tenant, n)
INSERT INTO item SELECT * FROM c};

# A gap is announced in the topics that the state file knows.  So it must know ours
# before there is a gap; a file that was lost has to learn it anew.
sub have_topic_known
{
	$node->safe_psql('postgres', $one_more);
	ok(wait_published($node), 'published');
	$node->safe_psql('postgres', "SELECT evpub.$_()") for 'pause', 'resume';
	return;
}
have_topic_known();

diag "EVPUB_SEED=$seed EVPUB_ROUNDS=$rounds";
srand $seed;

# ---- rounds ----

# End whatever state there is.
my $take_over =
  q{SELECT evpub.take_over() FROM evpub.status WHERE state = 'fenced'};
my $accept_gap = <<'SQL';
SELECT evpub.accept_gap((regexp_match(state_reason, 'accept_gap\(''([0-9A-F/]+)''\)'))[1]::pg_lsn)
  FROM evpub.status WHERE state = 'gap'
SQL
my $resume = 'SELECT evpub.resume()';

my @common = (
	'SELECT evpub.pause()', $resume, 'SELECT pg_switch_wal()',
	'CHECKPOINT', $take_over, $accept_gap, $accept_gap);

# What happens in a round: how it begins, what is done in it, how it ends, and
# what comes when it publishes again.
# Add here what else is given up or decided by a person.
my %stories = (
	discard => {
		weight => 3,
		actions =>
		  [ ('SELECT evpub.discard(pg_current_wal_flush_lsn())') x 4, @common ],
	},
	# paused before the steps are counted, so that they are those of the gap
	limit => {
		weight => 2,
		begin => sub {
			until_done($node, 'SELECT evpub.pause()');
			set_limit(q{SET evpub.max_lag_size = '1MB'});
		},
		end => sub { set_limit('RESET evpub.max_lag_size') },
		actions => [ 'SELECT pg_switch_wal()', 'CHECKPOINT', $accept_gap ],
	},
	'lost slot' => {
		weight => 1,
		begin => sub { start_without('pg_replslot/evpub') },
		actions => \@common,
	},
	'lost file' => {
		weight => 1,
		begin => sub { start_without('evpub/state') },
		actions => \@common,
		after => \&have_topic_known,
	});

sub set_limit
{
	my ($what) = @_;
	until_done($node, "ALTER SYSTEM $what");
	$node->reload;
	return;
}

my $load = { node => $node, tenants => $tenants };
my ($missed, $lame) = (0, 0);

sub start_without
{
	my ($path) = @_;
	# what is known only to the file is announced before it goes
	ok(wait_published($node), 'published');
	end_load($load);
	$node->stop;
	rmtree($node->data_dir . "/$path");
	start_with_faults($node);
	return;
}

sub finish_round
{
	my $ended = eval {
		wait_until(
			'publishing',
			sub {
				attempt($node, $_) for $take_over, $accept_gap, $resume;
				my ($ok, $state) =
				  attempt($node, 'SELECT state FROM evpub.status');
				return $ok && $state eq 'streaming';
			});
	};
	return if $ended && held_slot($node) eq 'evpub|t|t';
	$lame++;
	diag 'state: ',
	  (attempt($node, 'SELECT state, state_reason, last_error FROM evpub.status'))[1];
	return;
}

my @names = map { ($_) x $stories{$_}{weight} } sort keys %stories;
my @drawn = map {
	my @orders = ([ 1 + int rand 25, one_of(qw(before after torn power)), '*' ]);
	push @orders, [ 1 + int rand 15, one_of(qw(before torn power)), '*' ]
	  if rand() < 0.5;
	[ $names[ $_ % @names ], @orders ]
} 1 .. $rounds;

for my $drawn (@drawn)
{
	my ($name, @orders) = @$drawn;
	my $story = $stories{$name};
	my $before = crashes($node);
	my $deadline = time + 120;

	$story->{begin}->() if $story->{begin};
	order_crashes($node, @orders);
	while (orders_left($node) && time < $deadline)
	{
		keep_loading($load);
		attempt($node, one_of(@{ $story->{actions} }));
	}
	if (orders_left($node))
	{
		$missed++;
		withdraw_orders($node);
	}
	$story->{end}->() if $story->{end};
	finish_round();
	$story->{after}->() if $story->{after} && !$lame;
	my @crashes = crashes($node);
	note "$name: ", join ', ',
	  map { "$_->[2] $_->[3]" } @crashes[ $before .. $#crashes ];
	last if $lame;
}
end_load($load);

# the last number of each tenant is not in a gap
$node->safe_psql('postgres', $one_more);
is($lame, 0, 'after each crash, a person can have it publish again');
is($missed, 0, 'all crashes that were drawn happened');
ok(wait_published($node), 'all is published');
note scalar(crashes($node)) . ' crashes';

# ---- what is in Kafka ----

sub lsn { my ($h, $l) = split m{/}, $_[0]; return (hex($h) << 32) + hex($l) }

my (%sent, %last, %publisher, %gaps, %announced, %reasons);
my ($strange, $twice, $phantoms, $disorder, $unannounced, $holes) = (0, 0, 0, 0, 0, 0);

my $readings = readings($node, $EvpubLoad::TOPIC);

# stays with the logs when something is wrong
open my $records, '>', $node->basedir . '/records' or die $!;
$kafka->each_line(
	$EvpubLoad::TOPIC,
	sub {
		my ($partition, $key, $value, $timestamp, $offset) = @_;
		my ($id) = $value =~ /^\{"id":"([^"]+)"/;
		print $records "$partition $value\n";
		if (!defined $id)
		{
			$strange++;
			return;
		}
		if (my $first = $sent{$id})
		{
			# what a relay that was killed had sent last may come late
			diag "twice: $value"
			  if !is_late($readings->{$partition}, @$first, $timestamp) && $twice++ < 5;
			return;
		}
		$sent{$id} = [ $timestamp, $offset ];

		if ($value =~
			/"type":"evpub\.gap".*"first_lsn":"([^"]+)","last_lsn":"([^"]+)","reason":"([^"]+)"/)
		{
			push @{ $gaps{$partition} }, [ lsn($1), lsn($2) ];
			$announced{"$1 $2 $3"}{$partition} = 1;
			$reasons{ $3 =~ s/[0-9A-F]{24}|\d+/n/gr }++;
			return;
		}
		my ($tenant, $seq, $lsn) =
		  $value =~ /"tenant":"(t\d+)","seq":(-?\d+)\},"lsn":"([^"]+)"/;
		if (!defined $seq)
		{
			diag "neither: $value" if $strange++ < 5;
			return;
		}
		my $publisher = substr $id, 0, 16;
		$phantoms++ if $seq < 1;
		$last{$tenant} //= [ 0, 0 ];
		my ($last_seq, $last_lsn) = @{ $last{$tenant} };

		# a new publisher repeats what it does not know to be published
		if ($seq <= $last_seq)
		{
			diag "$tenant: $seq after $last_seq, $id"
			  if $publisher{$tenant}{$publisher} && $disorder++ < 5;
			return if !$publisher{$tenant}{$publisher};
		}
		if ($seq > $last_seq + 1)
		{
			my $from = $last_lsn;
			my $to = lsn($lsn);
			$holes++;
			# A gap ends with its last_lsn: what is missing may be the rest of the
			# last event's own transaction (019_discard_inside).
			if (!grep { $_->[0] < $to && $_->[1] >= $from } @{ $gaps{$partition} })
			{
				diag sprintf "%s: %d after %d (%X to %X), %s, partition %d, in no gap that was announced: %s",
				  $tenant, $seq, $last_seq, $from, $to, $id, $partition,
				  join ', ', map { sprintf '%X-%X', @$_ } @{ $gaps{$partition} }
				  if $unannounced++ < 5;
			}
		}
		$last{$tenant} = [ $seq, lsn($lsn) ];
		$publisher{$tenant}{$publisher} = 1;
	});
close $records;

is($strange, 0, 'every record is an event of the table, or announces a gap');
is($twice, 0, 'nothing twice');
is($phantoms, 0, 'nothing that was rolled back');
is($disorder, 0, 'every tenant in order');
is($unannounced, 0, 'what is missing was announced as a gap before any later event');
my %rows = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', 'SELECT tenant, max(seq) FROM item GROUP BY 1');
is_deeply({ map { $_ => $last{$_}[0] } keys %last },
	\%rows, 'every tenant up to its last number');
my @partitions = $kafka->end_offsets($EvpubLoad::TOPIC);
is(scalar(grep { keys %{ $announced{$_} } != @partitions } keys %announced),
	0, 'every gap was announced in every partition');
cmp_ok($holes, '>', 0, "there were holes ($holes), and gaps ("
	  . join('; ', map { "$reasons{$_}: $_" } sort keys %reasons) . ')');

$node->stop;
done_testing();
