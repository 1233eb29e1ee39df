
# What is set up wrongly gives a clear error, or a state with a reason, never a
# crash; once mended, it works.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;

# create_fails(node, pattern of message, name): CREATE EXTENSION is refused
# with a message and a hint, and leaves nothing.
sub create_fails
{
	my ($node, $message, $name) = @_;
	my ($out, $err);
	my $status = $node->psql('postgres', 'CREATE EXTENSION evpub',
		stdout => \$out, stderr => \$err, timeout => 60);
	isnt($status, 0, "$name: CREATE EXTENSION is refused");
	like($err, $message, "$name: the message names the cause");
	like($err, qr/HINT:/, "$name: with a hint");
	is( $node->safe_psql('postgres',
			q{SELECT count(*) FROM pg_extension WHERE extname = 'evpub'}),
		'0', "$name: nothing stays");
	is( $node->safe_psql('postgres',
			q{SELECT count(*) FROM pg_shseclabel}),
		'0', "$name: nothing is registered");
	is( $node->safe_psql('postgres',
			q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'evpub'}),
		'0', "$name: no slot");
	return;
}

sub works
{
	my ($node, $name) = @_;
	create_evpub($node);
	$node->safe_psql(
		'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme', topic => 'works');
INSERT INTO t VALUES (1)});
	ok(wait_published($node), "$name: mended, it publishes");
	$node->stop;
	return;
}

# Not preloaded.
{
	my $node = capture_node('not_preloaded', kafka => $kafka,
		preload => 0, extension => 0);
	create_fails($node, qr/shared_preload_libraries/, 'not preloaded');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'evpub'");
	$node->restart;
	works($node, 'not preloaded');
}

# No transactional messages that could be read.
{
	my $node = capture_node('minimal', kafka => $kafka, extension => 0,
		start => 0);
	$node->append_conf('postgresql.conf',
		"wal_level = minimal\nmax_wal_senders = 0");
	$node->start;
	create_fails($node, qr/wal_level/, 'wal_level minimal');
	$node->append_conf('postgresql.conf', 'wal_level = replica');
	$node->restart;
	works($node, 'wal_level minimal');
}

# No free replication slot.
{
	my $node = capture_node('no_slot', kafka => $kafka, extension => 0,
		conf => 'max_replication_slots = 1');
	$node->safe_psql('postgres',
		q{SELECT pg_create_physical_replication_slot('other')});
	create_fails($node, qr/replication slot/, 'no free slot');
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('other')});
	works($node, 'no free slot');
}

# No worker may run.  The server's own launcher of logical replication takes
# one place.
{
	my $node = capture_node('no_worker', kafka => $kafka, extension => 0,
		conf => 'max_worker_processes = 1');
	create_fails($node, qr/worker|publisher/, 'no place for the worker');
	$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
	$node->restart;
	works($node, 'no place for the worker');
}

# The rest is found while running.
my $node = capture_node('main');
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme', topic => 'main');
INSERT INTO t VALUES (1);
});

# recovers(name): after a reload, what has waited is published.
my $expected = 1;

sub recovers
{
	my ($name, $conf) = @_;
	$node->append_conf('postgresql.conf', $conf);
	$node->reload;
	ok(wait_for_state($node, 'streaming'), "$name: mended by a reload");
	ok(wait_published($node), "$name: publishes what has waited");
	is($kafka->record_count('main'), $expected, "$name: all of it");
	return;
}

# state_is(state, reason, name): the state, and writers that do not care.
sub state_is
{
	my ($state, $reason, $name) = @_;
	my $is = '';
	ok(wait_for_state($node, $state), "$name: $state");
	# the state may be there for another reason at first
	eval { wait_until($name, sub { ($is = status($node, 'state_reason')) =~ $reason }) };
	like($is, $reason, "$name: the reason names the cause");
	$expected++;
	is( $node->safe_psql('postgres',
			"INSERT INTO t VALUES ($expected) RETURNING id"),
		$expected, "$name: writers write");
	return;
}

state_is('unconfigured', qr/evpub\.bootstrap_servers/, 'no brokers');
recovers('no brokers',
	"evpub.bootstrap_servers = '" . $kafka->bootstrap . "'");

$node->append_conf('postgresql.conf',
	"evpub.relay_program = '/nonexistent/evpub-relay'");
$node->reload;
state_is('blocked', qr{/nonexistent/evpub-relay}, 'relay program missing');
recovers('relay program missing', "evpub.relay_program = ''");

my $plain = PostgreSQL::Test::Utils::tempdir() . '/evpub-relay';
append_to_file($plain, "no program\n");
$node->append_conf('postgresql.conf', "evpub.relay_program = '$plain'");
$node->restart;
state_is('blocked', qr/\Q$plain\E/, 'relay program not executable');
recovers('relay program not executable', "evpub.relay_program = ''");

# A program that is no relay.
$node->append_conf('postgresql.conf', "evpub.relay_program = '/bin/true'");
$node->restart;
state_is('blocked', qr{"/bin/true"}, 'another program');
recovers('another program', "evpub.relay_program = ''");

# Brokers that cannot be.
set_brokers($node, 'no.such.host.invalid:9092');
state_is('blocked', qr/no\.such\.host\.invalid/, 'unknown host');
recovers('unknown host',
	"evpub.bootstrap_servers = '" . $kafka->bootstrap . "'");

# A file of settings that is not there, and one that others may read.
my $file = PostgreSQL::Test::Utils::tempdir() . '/kafka.conf';
$node->append_conf('postgresql.conf', "evpub.kafka_config_file = '$file'");
$node->reload;
state_is('blocked', qr/\Q$file\E/, 'no settings file');
append_to_file($file, "linger.ms=1\n");
chmod 0644, $file;
$node->reload;
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%accessible%'"),
	'settings file that others may read: refused');
chmod 0600, $file;
recovers('settings file', '');
append_to_file($file, "plugin.library.paths=/tmp/x\n");
$node->reload;
ok( wait_for_status($node,
		"state = 'blocked' AND state_reason LIKE '%plugin.library.paths%'"),
	'a setting that is not allowed: refused by name');
recovers('settings file', "evpub.kafka_config_file = ''");

# Somebody else drops or takes the slot: not while the publisher holds it.
my $err;
$node->psql('postgres', q{SELECT pg_drop_replication_slot('evpub')},
	stderr => \$err);
like($err, qr/is active/, 'the slot cannot be dropped while it is held');

$node->stop;
done_testing();
