
# Eight writers, twenty tenants: every tenant's events in the order of commits,
# all of them, once, and none that was rolled back.
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
load_tables($node, 20);

my $load = start_load($node, 20, 8, 15);
ok(finish($load), 'the writers end well') or diag $load->{err};
ok(wait_published($node), 'all is published');
check_complete('order', $node, $kafka, at_least => 1000);

is($kafka->record_count('items'), status($node, 'events_published'),
	'status counts what is in Kafka');
$node->stop;
done_testing();
