
# evpub.stat says why relays were started: each cause that a person wants to tell from
# the others is forced here, and counts as that.  (085 has "worker", "settings", "died"
# and "refused".)
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub starts
{
	my ($cause) = @_;
	return sql("SELECT relay_starts->>'$cause' FROM evpub.stat");
}

# rises(cause, sub { what makes it rise }, others => [causes that may rise as well])
sub rises
{
	my ($cause, $do, %args) = @_;
	my $others = join ', ', map { "'$_'" } $cause, @{ $args{others} || [] };
	my $rest = "SELECT relay_starts - ARRAY[$others] FROM evpub.stat";
	my ($before, $rest_before) = (starts($cause), sql($rest));
	$do->();
	ok(eval { wait_until("a start by $cause", sub { starts($cause) > $before }, 60) }, "$cause: counted");
	is(sql($rest), $rest_before, "$cause: as nothing else");
	return;
}

my $n = 0;
sub publish { my ($topic) = @_; $n++; return sql("SELECT evpub.publish_raw('$topic', 'key', '$n')") }

$kafka->create_topic($_, 1) for qw(one late);
sql(q{CREATE TABLE t (tenant_id text, id int PRIMARY KEY);
	SELECT evpub.capture_table('t', tenant_column => 'tenant_id', topic => 'one')});
publish($_) for qw(one one one late);
ok(wait_published($node), 'published');

# ---- the relay does not answer ----

rises('hung', sub { kill 'STOP', running_relay($node) });
publish('one');
ok(wait_published($node), 'hung: goes on');

# ---- settings that it cannot use ----

# The first one with such a file begins since that has changed.
my $file = $node->basedir . '/kafka.conf';
sub kafka_file
{
	my ($text) = @_;
	open my $out, '>', "$file.new" or die "$file: $!";
	print $out $text;
	close $out;
	chmod 0600, "$file.new";
	rename "$file.new", $file or die "$file: $!";
	$node->reload;
	return;
}
$node->append_conf('postgresql.conf', "evpub.kafka_config_file = '$file'");
my $settings = starts('settings');
kafka_file("client.rack=a\n");
wait_until('a relay with that file', sub { starts('settings') > $settings });
ok(wait_for_state($node, 'streaming'), 'a file');
rises('configuration', sub {
	kafka_file("client.rackk=a\n");
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%client.rackk%'}), 'configuration: the relay does not take it');
	kafka_file("client.rack=a\n");
}, others => ['settings']);
publish('one');
ok(wait_published($node), 'configuration: goes on');

# ---- a topic that was made again ----

rises('topic', sub {
	$kafka->delete_topic('one');
	wait_until('topic goes', sub { !$kafka->topics->{one} });
	$kafka->create_topic('one', 1);
	publish('one');
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%"one"%made again%'}), 'topic: blocked');
	sql('SELECT evpub.resume()');
}, others => ['kafka']);
ok(wait_published($node), 'topic: goes on');

# ---- an error of this server ----

# as in 049: a chunk of 1,500 rows has some 20,000 bytes
rises('server', sub {
	append_to_file($node->data_dir . '/evpub_malloc_error', '17000 31000');
	sql(q{INSERT INTO t SELECT 'acme', g FROM generate_series(1, 1500) g});
});
ok(wait_published($node), 'server: goes on');
like(status($node, 'last_error'), qr/out of memory/, 'server: what it was');

# ---- anything else of Kafka ----

# A broker that wants no record older than 0 ms refuses each that took a moment: that is
# about its clock, not about the record.
rises('kafka', sub {
	$kafka->set_topic('late', { 'message.timestamp.before.max.ms' => 0 });
	wait_until('a record that is too old', sub {
		publish('late');
		status($node, 'state_reason') =~ /INVALID_TIMESTAMP/; });
});
$kafka->set_topic('late', { 'message.timestamp.before.max.ms' => 3600000 });
ok(wait_published($node), 'kafka: goes on');

# ---- a person ----

rises('asked', sub {
	sql('SELECT evpub.pause()');
	publish('one');
	sql('SELECT evpub.discard(pg_current_wal_flush_lsn()); SELECT evpub.resume()');
});
ok(wait_published($node), 'asked: goes on');

done_testing();
