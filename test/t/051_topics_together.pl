# Many new topics at a time are created together, and hold nobody up for long.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = EvpubKafka->new(conf => { 'num.partitions' => 1 })->start;
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (tenant text, id int, PRIMARY KEY (tenant, id));
SELECT evpub.capture_table('t', tenant_column => 'tenant', topic => 'tp-{tenant}');
INSERT INTO t VALUES ('known', 1);
});
ok(wait_published($node), 'a first topic');

my $seen = 0;

# lines in the log about topics that were created, since the last call
sub created
{
	my $log = slurp_file($node->logfile, $seen);
	$seen += length $log;
	return scalar(() = $log =~ /evpub: created topics? /g);
}

# how long one new topic holds up its record, beside one that is known
my (@known, @new);
for my $n (1 .. 15)
{
	for ([ \@known, "('known', 1 + $n)" ], [ \@new, "('new$n', 1)" ])
	{
		my ($times, $row) = @$_;
		my $start = time;
		$node->safe_psql('postgres',
			"INSERT INTO t VALUES $row; SELECT evpub.wait_published()");
		push @$times, 1000 * (time - $start);
	}
}
@$_ = sort { $a <=> $b } @$_ for \@known, \@new;
diag sprintf 'median of a known topic %.1f ms, of a new one %.1f ms', $known[7], $new[7];
# so long takes Kafka itself, with a client that has to connect
my @made = map {
	my $begin = time;
	$kafka->create_topic("made$_", 1);
	1000 * (time - $begin)
} 1 .. 5;
my $made = (sort { $a <=> $b } @made)[2];
cmp_ok($new[7] - $known[7], '<', 100 + 5 * $made, 'a new topic takes hardly more than its creation');

is(created(), 16, 'what evpub creates stands in the log');

# 400 tenants come at once, and another one's row behind them
my $start = time;
$node->safe_psql(
	'postgres', q{
INSERT INTO t SELECT 'a' || i, 1 FROM generate_series(1, 400) i;
});
$node->safe_psql('postgres', q{INSERT INTO t VALUES ('known', 100)});
ok(wait_published($node), '400 new topics');
my $took = time - $start;
diag sprintf '400 new topics in %.1f s', $took;
cmp_ok($took, '<', 400 * $new[7] / 1000 / 2, 'are not created one by one');
cmp_ok(created(), '<=', 3, '... but by hardly more than one request');

$start = time;
$node->safe_psql('postgres', q{
INSERT INTO t SELECT 'b' || i, g FROM generate_series(1, 2000) i, generate_series(1, 2) g});
ok(wait_published($node, 600), '2,000 new topics');
$took = time - $start;
diag sprintf '2,000 new topics in %.1f s', $took;
cmp_ok($took, '<', 2000 * $new[7] / 1000 / 2, 'are not, either');
cmp_ok(created(), '<=', 20, 'each request is one line in the log');

my $topics = $kafka->topics;
is(scalar(grep { /^tp-/ } keys %$topics), 1 + 15 + 400 + 2000, 'each is there');
is_deeply([ map { $_->{event}{pk}{id} } events($kafka, 'tp-b1234') ], [ 1, 2 ],
	'with its events, in order');
is_deeply([ map { $_->{event}{pk}{id} } events($kafka, 'tp-known') ],
	[ 1 .. 16, 100 ], 'none twice');
is(status($node, 'state'), 'streaming', 'and all is well');

$node->stop;
done_testing();
