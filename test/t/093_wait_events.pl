
# pg_stat_activity shows what the publisher waits for, from PostgreSQL 17 on; before,
# extensions have no names for that.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }
my $named = sql('SHOW server_version_num') >= 170000;

sub waits_for
{
	my ($event, $why) = @_;
	my $expected = $named ? $event : 'Extension';
	ok($node->poll_query_until('postgres',
			"SELECT wait_event = '$expected' FROM pg_stat_activity WHERE backend_type = 'evpub publisher'"),
		"$why: $expected");
	return;
}

sql(q{CREATE TABLE t (id bigserial PRIMARY KEY, tenant text);
	SELECT evpub.capture_table('t', tenant_column => 'tenant');
	INSERT INTO t (tenant) VALUES ('a')});
ok(wait_published($node), 'published');
waits_for('EvpubIdle', 'nothing to do');
$kafka->pause;
sql(q{INSERT INTO t (tenant) VALUES ('b')});
waits_for('EvpubAcknowledgement', 'the broker does not answer');
$kafka->cont;
ok(wait_published($node), 'published again');
$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('x', 6000)))});
waits_for('EvpubRetry', 'an event is refused');
$node->stop;
done_testing();
