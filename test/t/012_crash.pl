
# A crash between any two steps by which the publisher writes its state file,
# its slot and WAL loses nothing, and the next start finishes or repeats.  What is
# in Kafka already does not come again, unless evpub.delivery = 'at_least_once'.
#
# The worker kills itself at a chosen step (test/faults says how), and the
# server restarts as after any crash.  Which steps is drawn from a seed, which
# is printed.  To try one again, or for a long run:
#
#	EVPUB_SEED=12345 make test TESTS="012_crash"
#	EVPUB_ROUNDS=2000 make test TESTS="012_crash"
#
# The seed fixes what is drawn, not how it falls together with the writers.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{EVPUB_SEED} // (time * 1000) % 1_000_000_000;
my $rounds = $ENV{EVPUB_ROUNDS} // 84;
my $tenants = 20;
my $state_file = 'evpub/state';

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka, extension => 0);
my $data = $node->data_dir;

diag "EVPUB_SEED=$seed EVPUB_ROUNDS=$rounds";
srand $seed;

# ---- the life of the extension ----

# What there is: "registered", "nothing", or what else, in words.
sub found
{
	my ($ok, $out) = attempt($node,
		q{SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'evpub'),
		  (SELECT coalesce(string_agg(label, ' '), '-') FROM pg_shseclabel WHERE provider = 'evpub'),
		  (SELECT coalesce(string_agg(slot_name || ' ' || active, ' '), '-') FROM pg_replication_slots)});
	return 'no answer' unless $ok;
	my ($extension, $label, $slot) = split /\|/, $out;
	my $file = -e "$data/$state_file" ? 1 : 0;

	return 'nothing'
	  if !$extension && $label eq '-' && $slot eq '-' && !$file;
	my $status = 'no status';
	if ($extension)
	{
		(undef, $status) = attempt($node,
			q{SELECT state, publisher_id, state_reason FROM evpub.status});
		return 'registered'
		  if $slot eq 'evpub true'
		  && $file
		  && $status =~ /^streaming\|\Q$label\E\|/;
	}
	return "extension $extension, label $label, slot $slot, file $file, $status";
}

# Never a half: it ends as one of these two.
sub settled
{
	my ($name) = @_;
	my $found;
	eval {
		wait_until(
			'an end of it',
			sub { $found = found(); return $found =~ /^(registered|nothing)$/ });
	} or do
	{
		my @last = map { $_->[3] } crashes($node);
		splice @last, 0, -3 if @last > 3;
		fail("$name: registered or nothing, never a half");
		diag "it is: $found; last crashes at: " . join(', ', @last);
		die "nothing can be tried from there\n";
	};
	return $found;
}

my $create = 'CREATE EXTENSION evpub';
my $drop = 'DROP EXTENSION evpub CASCADE';
my %becomes = ($create => 'registered', $drop => 'nothing');
my ($lives, $wrong) = (0, 0);

# strike(sql, order, ...): runs it with these crashes, and again without, if
# they undid it.  Returns whether the first one happened.
sub strike
{
	my ($sql, @orders) = @_;
	my $name = "$sql, killed at step $orders[0][0] ($orders[0][2])";
	my $before = crashes($node);

	order_crashes($node, @orders);
	my ($ok, undef, $error) = attempt($node, $sql);
	settled($name);
	withdraw_orders($node);
	my $found = settled($name);
	my @crashes = crashes($node);
	my $reached = @crashes > $before;

	if ($found ne $becomes{$sql})
	{
		if ($ok || !$reached)
		{
			$wrong++;
			diag "$name: $found, but it said " . ($ok ? 'success' : $error);
		}
		until_done($node, $sql);
		$wrong++ if settled("$sql again") ne $becomes{$sql};
	}
	return $reached;
}

# Each life has an event, which must not be lost when the extension goes.
sub live
{
	$lives++;
	$node->safe_psql(
		'postgres', qq{
SELECT evpub.capture_table('life', tenant => 'life', topic => 'life');
INSERT INTO life VALUES ($lives);
});
	return;
}

# Killed at each of its steps: step 1, step 2, ... until there are no more.
# Some runs have more steps than others (the position is written once a
# second), so a few without a crash must have come before that is said.
sub live_and_die
{
	my ($mode) = @_;
	my %steps = ($create => 0, $drop => 0);
	for my $k (1 .. 200)
	{
		for my $sql ($create, $drop)
		{
			my @orders = ([ $k, $mode, '*' ]);
			# and once more, while the first crash is finished
			push @orders, [ 1 + int rand 15, one_of(qw(before torn power)), '*' ]
			  if rand() < 0.3;
			$steps{$sql} = $k if strike($sql, @orders);
			live() if $sql eq $create;
		}
		last if $k >= 10 + $steps{$create} && $k >= 10 + $steps{$drop};
	}
	for my $sql ($create, $drop)
	{
		# an intent, the slot, and the file again
		ok($steps{$sql} > 15 && $steps{$sql} < 190,
			"$sql: killed ($mode) at each of its $steps{$sql} steps");
	}
	return;
}

# The steps of the slot's life.  Which number they have differs between runs,
# so the numbers may jump over one.
my %kinds_of_life = (
	$create => [ 'mkdir pg_replslot/evpub.tmp', 'rename pg_replslot/evpub.tmp' ],
	$drop => [
		'rename pg_replslot/evpub', 'unlink pg_replslot/evpub.tmp/state',
		'rmdir pg_replslot/evpub.tmp', 'unlink evpub/state' ]);

sub die_at_each_kind
{
	my ($mode) = @_;
	for my $sql ($create, $drop)
	{
		for my $kind (@{ $kinds_of_life{$sql} })
		{
			if ($sql eq $drop)
			{
				until_done($node, $create);
				settled($create);
				live();
			}
			$wrong++ unless strike($sql, [ 1, $mode, $kind ]);
			next if $sql eq $drop;
			live();
			until_done($node, $drop);
			settled($drop);
		}
	}
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE life (n integer PRIMARY KEY)');
# "torn" is "before" but for writes, and before a write is after the step before
live_and_die($_) for qw(torn power);
die_at_each_kind($_) for qw(before power);
is($wrong, 0, 'what had succeeded was there, and it could be done again');
my %seen;
my @order =
  grep { !$seen{$_}++ } map { $_->{event}{pk}{n} } events($kafka, 'life');
is_deeply(\@order, [ 1 .. $lives ],
	"what was committed in each of $lives lives arrived, in order");
my $in_life = crashes($node);
note "$in_life crashes in the life of the extension";

# ---- under load ----

create_evpub($node);
load_tables($node, $tenants + 2);
ok(wait_for_state($node, 'streaming'), 'streaming');

my $prepared_tenant = 't' . ($tenants + 1);
my $bulk_tenant = 't' . ($tenants + 2);

# What makes the publisher write at once, move its slot, or need old WAL.
# What gives something up is in 013_crash_gap.pl.
my @actions = (
	'SELECT evpub.pause()',
	'SELECT evpub.resume()',
	'SELECT evpub.resume()',
	'SELECT pg_switch_wal()',
	'SELECT pg_switch_wal()',
	q{SELECT evpub.wait_published(NULL, '200 ms')},
	# removes what the slot does not keep
	'CHECKPOINT',
	# a transaction that stays open over crashes
	qq{SET lock_timeout = '50ms';
BEGIN;
WITH c AS (UPDATE counter SET n = n + 1 WHERE tenant = '$prepared_tenant' RETURNING n)
INSERT INTO item SELECT '$prepared_tenant', n FROM c;
PREPARE TRANSACTION 'crash'},
	q{COMMIT PREPARED 'crash'},
	q{COMMIT PREPARED 'crash'},
	# a transaction of many batches, so that a crash comes in the middle of it
	qq{WITH c AS (UPDATE counter SET n = n + 1500 WHERE tenant = '$bulk_tenant' RETURNING n)
INSERT INTO item SELECT '$bulk_tenant', g FROM c, generate_series(n - 1499, n) g},
);

# Every kind of boundary.  The slot's file is written by PostgreSQL, whose
# steps differ a little between versions.
my @kinds = (
	# in place, once a second
	'write evpub/state', 'fsync evpub/state',
	# another file, with what is decided
	'create evpub/state.tmp', 'write evpub/state.tmp',
	'fsync evpub/state.tmp', 'rename evpub/state.tmp', 'fsync evpub',
	'create pg_replslot/evpub/state.tmp', 'write pg_replslot/evpub/state.tmp',
	'fsync pg_replslot/evpub/state.tmp', 'rename pg_replslot/evpub/state.tmp',
	# the slot is saved, the position message not yet logged
	'fsync pg_replslot',
	# the position message is logged
	'wait',
	'write pg_wal', 'fsync pg_wal');

# One kind in turn, or any step; then sometimes while the next start works.
sub draw_orders
{
	my ($round) = @_;
	my @orders;

	push @orders,
	  $round % 2
	  ? [ 1 + int rand 3, one_of(qw(before after torn power)), $kinds[ ($round / 2) % @kinds ] ]
	  : [ 1 + int rand 40, one_of(qw(before after torn power)), '*' ];
	push @orders, [ 1 + int rand 20, one_of(qw(before torn power)), '*' ]
	  while @orders < 3 && rand() < 0.6;
	return @orders;
}

my @drawn = map { [ draw_orders($_) ] } 1 .. $rounds;
my $load = { node => $node, tenants => $tenants };
my ($missed, $lame, $forged) = (0, 0, 0);

# Whatever the crash left behind, this ends it.
sub finish_round
{
	until_done($node, 'SELECT evpub.resume()');
	$lame++ unless wait_for_state($node, 'streaming');
	$lame++ unless held_slot($node) eq 'evpub|t|t';
	$forged += status($node, 'forged_dropped');
	return;
}

# The last rounds are without read-back.
my $repeating = $rounds - int($rounds / 5);
sub at_least_once
{
	end_load($load);
	attempt($node, q{COMMIT PREPARED 'crash'});
	ok(wait_published($node), 'all is published');
	check_complete('crashes under load', $node, $kafka, late => 1);
	$node->append_conf('postgresql.conf', "evpub.delivery = 'at_least_once'\n");
	$node->reload;
	return;
}

for my $round (1 .. $rounds)
{
	at_least_once() if $round == $repeating;
	my $before = crashes($node);
	my $deadline = time + 120;
	order_crashes($node, @{ $drawn[ $round - 1 ] });
	while (orders_left($node) && time < $deadline)
	{
		keep_loading($load);
		attempt($node, one_of(@actions));
	}
	if (orders_left($node))
	{
		$missed++;
		withdraw_orders($node);
	}
	finish_round();
	my @crashes = crashes($node);
	note "round $round: ", join ', ',
	  map { "$_->[2] $_->[3]" } @crashes[ $before .. $#crashes ];
	last if $lame;
}
end_load($load);
until_done($node, 'SELECT evpub.resume()');
attempt($node, q{COMMIT PREPARED 'crash'});

is($lame, 0, 'after each crash it publishes again');
is($missed, 0, 'all crashes that were drawn happened');
ok(wait_published($node), 'at_least_once: all is published');
check_complete('at_least_once', $node, $kafka, duplicates => 1);
is($forged, 0, 'nothing was taken for forged');
is(held_slot($node), 'evpub|t|t', 'the slot is held');

# ---- what was seen ----

my %steps;
$steps{ $_->[3] }++ for crashes($node);
diag 'crashed at: '
  . join(', ', map { "$_ ($steps{$_})" } sort keys %steps);
my @kinds_missed = grep { !$steps{$_} } (map { @$_ } values %kinds_of_life),
  $rounds >= 2 * @kinds ? @kinds : ();
is("@kinds_missed", '', 'a crash at every kind of step');
my $under_load = crashes($node) - $in_life;
cmp_ok($under_load, '>=', 134, "$under_load crashes under load")
  if !defined $ENV{EVPUB_ROUNDS};

$node->stop;
done_testing();
