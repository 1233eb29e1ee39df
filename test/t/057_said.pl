
# What evpub.status, notices and the log say of the publisher is so: no server
# "streams" before a broker has answered, a restart of the relay that somebody
# asked for raises no alarm, a pause has a name, and who waits in vain, or takes
# over, is told what is the matter.
use strict;
use warnings;

use EvpubGap;
use EvpubKafka;
use EvpubTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$kafka->create_topic('one', 1);

# takes connections, and never says anything
my $silent = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1', Listen => 128, Proto => 'tcp') or die $!;

my $node = capture_node('said',
	wal_level => 'logical',
	initdb => ['--wal-segsize=1'],
	conf => "evpub.bootstrap_servers = '127.0.0.1:" . $silent->sockport . "'\n"
	  . "max_wal_size = 4MB\nmin_wal_size = 2MB\nevpub.min_disk_free = '-1'\n");

# ---- before a broker has answered ----

ok(wait_for_state($node, 'blocked'), 'a server that does not answer: blocked');
unlike(slurp_file($node->logfile), qr/evpub is streaming/,
	'and it never was "streaming"');
like(slurp_file($node->logfile), qr/LOG:  evpub is starting/,
	'but "starting"');
like(slurp_file($node->logfile), qr/WARNING:  evpub is blocked/, 'blocked is a warning');

set_brokers($node, $kafka->bootstrap);
ok(wait_for_state($node, 'streaming'),
	'"streaming" as soon as a broker has answered, though there is no topic yet');

# ---- restarts of the relay ----

is(status($node, 'relay_restarts'), '0', 'new settings are no restart that is counted');
my $relay = kill_relay($node);
ok(wait_for_status($node, "relay_pid <> $relay AND state = 'streaming'"), 'a relay that was killed is replaced');
is(status($node, 'relay_restarts'), '1', 'and that is counted');
like(slurp_file($node->logfile),
	qr/LOG:  evpub: the relay ended unexpectedly: .*signal 9/, 'and the log says what ended it');

# ---- readers of other logical slots ----

$node->safe_psql('postgres', q{
SELECT pg_create_logical_replication_slot('other', 'test_decoding');
SELECT evpub.publish('t', 'x', topic => 'one')});
is( $node->safe_psql('postgres', q{
SELECT count(*), count(*) FILTER (WHERE position('prefix: evpub,'::bytea IN data) > 0)
  FROM pg_logical_slot_peek_binary_changes('other', NULL, NULL)
 WHERE position('message:'::bytea IN data) > 0}),
	'1|1', 'they can tell our messages by their prefix');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('other')});

# ---- who paused, and who waits in vain ----

$node->safe_psql('postgres', q{
CREATE TABLE a (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('a', tenant_column => 'tenant', topic => 'one');
INSERT INTO a VALUES (1, 'x');
CREATE ROLE anna SUPERUSER LOGIN});
ok(wait_published($node), 'published');
$node->safe_psql('postgres', 'SELECT evpub.pause()', extra_params => [ '-U', 'anna' ]);
my $by = qr/by role "anna" at \d{4}-\d\d-\d\d/;
like(status($node, 'state_reason'), $by, 'who paused is in the reason');
is(status($node, 'hint'), 'SELECT evpub.resume();', 'with what ends it');

my $err;
$node->psql('postgres', q{INSERT INTO a VALUES (2, 'x'); SELECT evpub.wait_published(NULL, '200 ms')},
	stderr => \$err);
like($err, qr/NOTICE:  not everything up to .* is published yet/, 'wait_published() says that it waited in vain');
like($err, qr/DETAIL:  Confirmed is .*; the state is "paused": $by/, 'and why');
like($err, qr/HINT:  SELECT evpub\.resume\(\);/, 'and what to do');
$node->psql('postgres', q{SELECT evpub.wait_published(NULL, '0')}, stderr => \$err);
is($err, '', 'who does not wait, but asks, hears nothing');

# (what was written since then is being read at first, and the reason says so, too)
my $paused = "state = 'paused' AND state_reason !~ 'is being read'";
ok(wait_for_status($node, $paused), 'paused');
my $reason = status($node, 'state_reason');
like($reason, $by, 'by whom');
my $worker = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
wait_until('a new worker', sub { (worker_pid($node) // $worker) != $worker });
ok(wait_for_status($node, "state_reason = '$reason'"), 'a new worker knows who paused, and when');
$node->restart;
ok(wait_for_status($node, $paused), 'paused over a restart');
is(status($node, 'state_reason'), $reason, 'a new server knows who paused, and when');

# ---- taking over ----

# A copy, as "cp" makes it, that lacks WAL.
ok(wait_for_status($node, 'read_lsn >= flush_lsn'), 'all of it is read');
grow_wal($node, 8);
my ($segment) = $node->safe_psql('postgres',
	'SELECT pg_walfile_name(confirmed_lsn) FROM evpub.status');
$node->stop;
my $directory = $node->data_dir . '/evpub';
system_or_bail('cp', '-a', $directory, "$directory.copy");
system_or_bail('rm', '-r', $directory);
system_or_bail('mv', "$directory.copy", $directory);
unlink $node->data_dir . "/pg_wal/$segment" or die $!;
my $log = -s $node->logfile;
$node->start;
ok(wait_for_state($node, 'fenced'), 'a copy is fenced');
like(slurp_file($node->logfile, $log), qr/WARNING:  evpub is fenced/, 'which is a warning');
is($node->safe_psql('postgres', q{SELECT evpub.take_over(); SELECT state FROM evpub.status}) =~ s/\s//gr,
	'gap', 'when take_over() has returned, status says what comes of it');
like(slurp_file($node->logfile, $log), qr/WARNING:  evpub is gap/, 'a warning, too');
accept_gap($node, 'taken over');
like(status($node, 'state'), qr/^paused$/, 'and is paused still');
like(status($node, 'state_reason'), $by, 'by the same role');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'resumed, it publishes');

$node->stop;
done_testing();
