
# What publishing costs the disk: one flush a second while events flow, and none that
# needs room.  And what the state file may turn out to say after damage, the state of one
# write before, is enough to go on from: its WAL is kept, and nothing comes twice.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubLoad;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = 16;
my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
my $data = $node->data_dir;
load_tables($node, 20);

# ---- steady operation ----

sub flowing
{
	my $published = status($node, 'events_published');
	return wait_until('events flow', sub { status($node, 'events_published') > $published + 500 });
}

# The steps by which the worker writes (test/faults), as [ms, step].
sub steps
{
	open my $in, '<', "$data/evpub_steps" or die $!;
	my @steps = map { chomp; [ split / /, $_, 2 ] } <$in>;
	close $in;
	return @steps;
}

my $load = start_load($node, 20, 4, 120, rate => 500);
flowing();
open my $out, '>', "$data/evpub_steps" or die $!;
close $out;
chmod 0666, "$data/evpub_steps";
my @steps;
wait_until('steady operation', sub {
	@steps = steps();
	return @steps && $steps[-1][0] - $steps[0][0] > $seconds * 1000 });
unlink "$data/evpub_steps";
my $took = ($steps[-1][0] - $steps[0][0]) / 1000;
my %count;
$count{ $_->[1] }++ for @steps;
note "$took s: ", join ', ', map { "$_ $count{$_}" } sort keys %count;
my $flushes = 0;
my ($of_slot, $of_wal, $with_room, $figures) = (0, 0, 0, 0);
for my $step (keys %count)
{
	$flushes += $count{$step} if $step =~ /^fsync evpub/;
	$of_slot += $count{$step} if $step =~ /^fsync pg_replslot/;
	$of_wal += $count{$step} if $step =~ /^fsync pg_wal/;
	$with_room += $count{$step} if $step =~ m{^(create|rename) evpub(?!/figures)};
	$figures += $count{$step} if $step =~ m{^rename evpub/figures};
}
cmp_ok($flushes, '>=', $took / 2, 'the position is written');
# The worker looks at the clock a second after it has done so for the flush before, and
# then may be held up.  So of the first flush in these seconds, it is known only that the
# worker looked behind the flush before that one: that is one second, and the flush at
# the end is the other.
cmp_ok($flushes, '<=', $took + 2, 'by one flush a second');
is($with_room, 0, 'in place');
cmp_ok($figures, '<=', 1 + $took / 10, 'the figures are kept once in ten seconds, without a flush');
cmp_ok($of_slot, '<=', 4 * (1 + $took / 10), 'the slot is saved once in ten seconds');
# a position message is flushed with the writers' commits
cmp_ok($of_wal, '<=', 2, 'and no WAL is flushed for it');

# ---- the slot keeps what either half needs ----

# Of both halves of the file.
sub restarts
{
	my ($newest, undef, $older) = newest_half($data);
	my $bytes = slurp_file(state_file($data));
	# behind header, system identifier, timeline, role, paused and inode
	return map { unpack 'Q>', substr $bytes, $_ + 28 + 22, 8 } $newest, $older;
}

my ($moves, $behind, $beyond, $last) = (0, 0, 0, '');
wait_until('the slot moves', sub {
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my $slot = $node->safe_psql('postgres', 'SELECT restart_lsn FROM pg_replication_slots');
	# later than the slot, and positions only rise
	my ($newest, $older) = restarts();
	$moves++ if $slot ne $last;
	$last = $slot;
	$behind++ if $older < $newest;
	$beyond++ if lsn_number($slot) > $older;
	return $moves > 6 && $behind > 6 });
is($beyond, 0, 'the slot is never ahead of what the older half needs');

# ---- damage ----

# Ten segments in a second: the newest half needs other WAL than the older one.
my $before = (restarts())[0];
wait_until('the two halves are segments apart', sub {
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my ($newest, $older) = restarts();
	return $older > $before && $newest - $older > 2 << 20 });
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
eval { finish($load) };
my ($newest, $length, undef) = newest_half($data);
my $bytes = slurp_file(state_file($data));
substr($bytes, $newest, $length) = "\0" x $length;
open $out, '>:raw', state_file($data) or die $!;
print $out $bytes;
close $out;
start_with_faults($node);
ok(wait_for_state($node, 'streaming'), 'the newest half is damaged: it publishes');
ok(wait_published($node), 'published');
check_complete('from the older half', $node, $kafka, late => 1);

# ---- and then it rests ----

$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', q{INSERT INTO item VALUES ('t1', (SELECT max(seq) + 1 FROM item WHERE tenant = 't1'))});
ok(wait_published($node), 'published');
ok(wait_until('the slot follows', sub {
	return $node->safe_psql('postgres', q{
SELECT pg_walfile_name(restart_lsn) = pg_walfile_name(pg_current_wal_flush_lsn()) FROM pg_replication_slots}) eq 't' }, 60),
	'the slot follows when nothing more is written');
$node->stop;
done_testing();
