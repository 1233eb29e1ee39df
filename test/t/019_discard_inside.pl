# discard() of what a transaction has left when a part of it is published: each
# tenant keeps the part that it has, without holes, and the gap ends with the
# lsn of that part.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use Test::More;
use Time::HiRes qw(usleep);

my $tenants = 20;
my $rows = 300_000;
my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, conf => "autovacuum = off\n");
$node->safe_psql(
	'postgres', q{
CREATE TABLE item (tenant text, seq int, PRIMARY KEY (tenant, seq));
SELECT evpub.capture_table('item', tenant_column => 'tenant');
INSERT INTO item SELECT 't' || i, 0 FROM generate_series(1, 20) i});
ok(wait_published($node), 'published before');

$node->safe_psql('postgres', 'SELECT evpub.pause()');
# its commit record is the last one in WAL, if nobody writes between two statements of a session
my $commit = $node->safe_psql('postgres',
	"INSERT INTO item SELECT 't' || 1 + i % $tenants, 1 + i / $tenants FROM generate_series(0, $rows - 1) i;
	 SELECT pg_current_wal_flush_lsn()");
is($node->safe_psql('postgres', 'SELECT commit_lsn FROM evpub.peek(1)'), $commit, 'peek() shows where it was committed');
my $published = status($node, 'events_published');

# in small steps: nobody could stop it in time if the broker went on
$kafka->pause;
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_for_status($node, 'events_in_flight > 0'), 'events are on their way');
wait_until(
	'a part',
	sub {
		$kafka->cont;
		usleep(20_000);
		$kafka->pause;
		return status($node, 'events_published') > $published + 5000;
	});
my $result = $node->safe_psql('postgres',
	"SELECT evpub.discard('$commit'); SELECT count(*) FROM item WHERE seq > 0");
like($result, qr/\b$rows\z/, 'discarded');
$kafka->cont;
$node->safe_psql('postgres',
	"INSERT INTO item SELECT 't' || i, 1000000 FROM generate_series(1, $tenants) i");
ok(wait_published($node), 'it goes on');

my (%last, %partition, %gap, $holes, $late, $lsns);
for my $record (check_ids('all', events($kafka)))
{
	my $event = $record->{event};
	if ($event->{type} eq 'evpub.gap')
	{
		$gap{ $record->{partition} } = $event->{data};
		next;
	}
	my ($tenant, $seq) = @{ $event->{pk} }{qw(tenant seq)};
	if ($seq == 1_000_000)
	{
		my $gap = $gap{ $record->{partition} };
		$late++ if !$gap || $gap->{last_lsn} ne $commit;
	}
	elsif ($seq != ($last{$tenant} // -1) + 1)
	{
		$holes++;
	}
	elsif ($seq > 0)
	{
		$lsns++ if $event->{lsn} ne $commit;
	}
	$partition{$tenant} = $record->{partition};
	$last{$tenant} = $seq;
	push @{ $gap{published} }, $tenant if $seq > 0 && $seq < 1_000_000;
}
my $part = @{ delete $gap{published} };
cmp_ok($part, '<', $rows, "a part was discarded, $part of $rows events were not");
is($holes, undef, 'no tenant has a hole in its part');
is($lsns, undef, 'all of it has the lsn with which the gap ends');
is($late, undef, 'for each tenant the gap was announced before what follows');
is_deeply([ grep { $last{$_} != 1_000_000 } keys %last ], [], 'each has what follows');

$node->stop;
done_testing();
