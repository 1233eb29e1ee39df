
# evpub.failures: what Kafka has refused and what else went wrong, for who comes
# later: counted, not repeated, and kept whatever ends.
use strict;
use warnings;

use EvpubFaults;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }

# shows(name, condition, columns): the newest failure of which this is true.
sub shows
{
	my ($name, $condition, $columns) = @_;
	my $found = '';
	ok(eval { wait_until($name, sub {
		my ($rc, $out) = $node->psql('postgres',
			"SELECT concat_ws(' ', " . ($columns // 'kind, done') . ") FROM evpub.failures WHERE $condition LIMIT 1");
		return $found = $out // ''; }, 40) }, $name)
	  or diag sql('SELECT * FROM evpub.failures');
	return $found;
}

is(sql('SELECT count(*) FROM evpub.failures'), 0, 'nothing has failed');
ok(!-e $node->data_dir . '/evpub/failures', '... and there is no file');

# ---- an event that is refused ----

$kafka->create_topic('narrow', 2, { 'max.message.bytes' => 5000 });
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('x', 6000)))});
my $id = sql('SELECT id FROM evpub.peek()');
my $partition = partition_of('key', 2);
is(shows('refused', "id = '$id' AND count > 2", 'kind, topic, partition, code, done'),
	"refused narrow $partition 10 blocked", 'refused: where, and why');
is(sql("SELECT count(*), min(text) ~ 'MSG_SIZE_TOO_LARGE', min(first_at) < min(last_at) FROM evpub.failures WHERE id = '$id'"),
	'1|t|t', 'refused: tried again, it is counted');
sql("SELECT evpub.skip_event('$id')");
is(shows('given up', "id = '$id' AND done = 'skipped'", 'topic, partition, code'), "narrow $partition 10", 'given up: it stands there');
ok(wait_published($node), 'goes on');

# ---- dead letters ----

sql(q{ALTER SYSTEM SET evpub.on_error = 'dead_letter'; ALTER SYSTEM SET evpub.dead_letter_topic = 'letters'; SELECT pg_reload_conf()});
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('y', 6000)))});
ok(wait_published($node), 'dead letter: goes on');
is(shows('dead letter', q{done = 'dead-lettered'}, 'kind, topic, partition, code'), "refused narrow $partition 10", 'dead letter');

# ---- relay, worker and brokers ----

kill_relay($node);
shows('relay killed', q{kind = 'relay' AND done = 'relay restarted'});
append_to_file($node->data_dir . '/evpub_error', 'x');
shows('worker ended', q{done = 'worker restarted'});
my $rows = sql('SELECT count(*) FROM evpub.failures');
set_brokers($node, '127.0.0.1:' . EvpubKafka::free_port());
shows('no broker', q{kind = 'kafka' AND text LIKE 'no broker of%'});
set_brokers($node, $kafka->bootstrap);
sql(q{SELECT evpub.publish_raw('narrow', 'key', '{"a": 1}')});
ok(wait_published($node), 'brokers are back');
cmp_ok(sql('SELECT count(*) FROM evpub.failures') - $rows, '<=', 3, 'an outage fills few lines');

# ---- it is kept ----

my $all = q{SELECT string_agg(f::text, chr(10)) FROM evpub.failures f};
# in one look: the worker may write another list between two
my ($newest, $before) = split /\t/,
  sql(q{SELECT max(last_at) || chr(9) || string_agg(f::text, chr(10)) FROM evpub.failures f}), 2;
$node->stop('immediate');
start_with_faults($node);
ok(wait_published($node), 'restarted');
is(sql("SELECT string_agg(f::text, chr(10)) FROM evpub.failures f WHERE last_at <= '$newest'"), $before, 'kept over a crash');
$before = sql($all);
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $all), $before, 'a standby has what its base backup had');
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('z', 6000)))});
ok(wait_published($node), 'one more');
shows('one more', q{done = 'dead-lettered' AND last_at > now() - interval '20 s' AND id <> ''});
is($standby->safe_psql('postgres', $all), $before, '... and not what its primary gets');
$standby->stop;

# ---- who may see it ----

sql('CREATE ROLE nobody; CREATE ROLE watcher; GRANT pg_monitor TO watcher');
my ($rc, $out, $err) = $node->psql('postgres', 'SET ROLE nobody; SELECT * FROM evpub.failures');
like($err, qr/permission denied/, 'not everybody');
($rc) = $node->psql('postgres', 'SET ROLE watcher; SELECT * FROM evpub.failures');
is($rc, 0, 'pg_monitor may');

# ---- a file that is damaged, or cannot be written, hinders nothing ----

my $file = $node->data_dir . '/evpub/failures';
for my $damage ([ 'cut' => sub { substr $_[0], 0, length($_[0]) / 2 } ], [ 'bit' => sub { my $x = $_[0]; substr($x, length($x) / 2, 1) ^= "\1"; $x } ],
	[ 'empty' => sub { '' } ], [ 'long' => sub { $_[0] x 100 } ])
{
	my ($name, $change) = @$damage;
	$node->stop;
	my $bytes = slurp_file($file);
	open my $handle, '>', $file or die "$file: $!";
	binmode $handle;
	print $handle $change->($bytes);
	close $handle;
	my $log = -s $node->logfile;
	start_with_faults($node);
	ok(wait_published($node), "$name: it publishes");
	like(slurp_file($node->logfile, $log), qr/LOG:  evpub: file "evpub\/failures" /, "$name: the log says so");
	($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM evpub.failures');
	is("$rc $out", '0 0', "$name: nothing is shown");
	like($err, qr/WARNING:  file "evpub\/failures"/, "$name: ... with a warning");
	kill_relay($node);
	is(shows("$name: begun anew", q{kind = 'relay'}, 'count'), 1, "$name: begun anew");
}
unlink $file;
mkdir "$file.tmp" or die "$file.tmp: $!";
my $log = -s $node->logfile;
kill_relay($node);
wait_until('the log says it', sub { slurp_file($node->logfile, $log) =~ /LOG: .*evpub.failures shows is not up to date/ });
sql(q{SELECT evpub.publish_raw('narrow', 'key', '{"b": 1}')});
ok(wait_published($node), 'cannot be written: it publishes');
rmdir "$file.tmp";

$node->stop;
done_testing();
