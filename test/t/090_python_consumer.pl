
# examples/python: its copy is the source at the end, whatever happens meanwhile.  It
# reads back from a replica, and keeps its offsets in the copy's database.
use strict;
use warnings;

use EvpubConsumer;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $example = "$ENV{EVPUB_TEST_DIR}/../examples/python";
my $kafka = EvpubKafka->new(conf => { 'group.min.session.timeout.ms' => 1000 })->start;
my $node = prepare_source($kafka, "$example/copy.sql");
$node->backup('base');
my $replica = PostgreSQL::Test::Cluster->new('replica');
$replica->init_from_backup($node, 'base', has_streaming => 1);
$replica->start;

consumer_story($kafka, $node, lost => 1, command => sub {
	return ('/usr/bin/python3', "$example/consumer.py",
		'--source', $replica->connstr('postgres'), '--primary', $node->connstr('postgres'),
		'--copy', $node->connstr('copy'), '--topic', $EvpubTest::TOPIC,
		map { ('-X', $_) } 'bootstrap.servers=' . $kafka->bootstrap,
			'session.timeout.ms=2000', 'heartbeat.interval.ms=300', 'topic.metadata.refresh.interval.ms=500');
});

$replica->stop;
$node->stop;
done_testing();
