
# Brokers that come back elsewhere are found, and a cluster that takes only so
# many new partitions in one request gets less.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use Test::More;
use Time::HiRes qw(time);

my $kafka = EvpubKafka->new(conf => { 'num.partitions' => 40 })->start;
my $here = 'PLAINTEXT://' . $kafka->bootstrap;
my $nowhere = EvpubKafka::free_port();
$kafka->create_topic('moved', 1);
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY, topic text NOT NULL DEFAULT 'moved');
SELECT evpub.capture_table('t', tenant_column => 'topic', topic => '{tenant}');
INSERT INTO t VALUES (1)});
ok(wait_published($node), 'published');

# The only broker comes back and tells an address where nobody is.  Then it
# comes back with the right one: only the settings know where that is.
$kafka->stop;
$kafka->configure({ 'advertised.listeners' => "PLAINTEXT://127.0.0.1:$nowhere" });
$kafka->start(wait => 0);
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%127.0.0.1:$nowhere%Connection refused%' AND hint LIKE '%advertised.listeners%'"),
	'the reason names the address that nobody is at, and the hint where it comes from');
$kafka->stop;
$kafka->configure({ 'advertised.listeners' => $here });
$kafka->start;
my $start = time;
ok(wait_published($node), 'back at its address: published');
note sprintf 'after %.0f s', time - $start;
ok(wait_for_state($node, 'streaming'), 'streaming');

# 300 topics of 40 partitions are more than the controller takes in one
# request.  A replication factor that cannot be keeps them from being made,
# which would take long: the reason shows how far the request got.
for my $partitions (-1, 40)
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.topic_replication_factor = 2");
	$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.topic_partitions = $partitions");
	# the reason of before goes
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	set_brokers($node, $kafka->bootstrap);
	$node->safe_psql('postgres', q{
INSERT INTO t SELECT i, 'many-' || i FROM generate_series(1001, 1300) i ON CONFLICT DO NOTHING});
	ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%eplication factor%'"),
		"partitions $partitions: topics that are too many for one request come in several");
}

$node->stop;
done_testing();
