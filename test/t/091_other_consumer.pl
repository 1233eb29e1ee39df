
# examples/go: its copy is the source at the end, whatever happens meanwhile.  It reads
# back over HTTP from the service in examples/cms, and keeps its offsets in Kafka.
use strict;
use warnings;

use EvpubConsumer;
use EvpubKafka;
use EvpubTest;
use IO::Socket::INET;
use Test::More;

plan skip_all => $ENV{EVPUB_NO_GO_CONSUMER} if $ENV{EVPUB_NO_GO_CONSUMER};
my $program = $ENV{EVPUB_GO_CONSUMER}
  or die "EVPUB_GO_CONSUMER is not set: run this by test/run\n";
my $examples = "$ENV{EVPUB_TEST_DIR}/../examples";
my $kafka = EvpubKafka->new(conf => { 'group.min.session.timeout.ms' => 1000 })->start;
my $node = prepare_source($kafka, "$examples/go/copy.sql");
my $port = EvpubKafka::free_port();
my $cms = start_consumer('cms', '/usr/bin/python3', "$examples/cms/cms.py",
	'--database', $node->connstr('postgres'), '--port', $port);
wait_until('the CMS', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });

consumer_story($kafka, $node, lost => 1, command => sub {
	return ($program, '-brokers', $kafka->bootstrap, '-topic', $EvpubTest::TOPIC,
		'-cms', "http://127.0.0.1:$port", '-copy', $node->connstr('copy'),
		'-session-timeout', '2s', '-metadata-max-age', '500ms');
});

$cms->end('KILL');
$node->stop;
done_testing();
