# A gap is told also to a topic that was deleted and made again meanwhile.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
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
my %told = map { $_->{partition} => 1 } grep { $_->{event}{type} eq 'evpub.gap' } @events;
is(scalar keys %told, 2, 'each partition is told of the gap');
is_deeply([ map { $_->{event}{pk}{id} } grep { $_->{event}{type} ne 'evpub.gap' } @events ],
	[12], 'what was discarded is not there');
$node->stop;
done_testing();
