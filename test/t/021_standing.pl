# What fails while the publisher stands still, is steered or retires, fails with
# a reason that is shown, can be tried again, and changes nothing by halves.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka,
	conf => "evpub.min_disk_free = '-1'");
my $directory = $node->data_dir . '/evpub';
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme');
INSERT INTO t VALUES (0);
});
ok(wait_published($node), 'published before');

# returns the error, or ''
sub try_sql
{
	my ($sql) = @_;
	my $error = '';
	$node->psql('postgres', $sql, stderr => \$error);
	return $error;
}

sub accept_gap
{
	my ($lsn) = status($node, 'state_reason') =~ /accept_gap\('([^']+)'\)/
	  or return 'no gap';
	return try_sql("SELECT evpub.accept_gap('$lsn')");
}

sub set_conf
{
	my ($line) = @_;
	$node->append_conf('postgresql.conf', $line);
	$node->reload;
	return;
}

my $next_id = 1;

sub backlog
{
	for (1 .. 5)
	{
		$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
		$node->safe_psql('postgres', 'INSERT INTO t VALUES (' . $next_id++ . ')');
	}
	return;
}

# The state file is lost, and cannot be written when that is accepted.
$node->stop;
unlink "$directory/state" or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'a lost state file');
chmod 0500, $directory;
like(accept_gap(), qr/could not create file/, 'it cannot be accepted, and why');
is(status($node, 'publisher_id'), '', 'there is no publisher then');
chmod 0700, $directory;
is(accept_gap(), '', 'it can when the file can be written');
ok(wait_published($node), 'published again');

# The same, and a limit: what the status names can be accepted.
$node->stop;
unlink "$directory/state" or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'a lost state file');
backlog();
set_conf('evpub.max_lag_size = 20');
ok(wait_for_status($node, "state_reason LIKE '%max_lag_size%'"), 'a limit is reached');
is(accept_gap(), '', 'the reason names what can be accepted');
set_conf('evpub.max_lag_size = -1');
wait_for_state($node, 'streaming');
ok(wait_published($node), 'published again');

# Somebody gives up while the worker does not answer.
my $worker = freeze_worker($node);
like(try_sql("SET statement_timeout = '300ms'; SELECT evpub.pause()"),
	qr/statement timeout/, 'a question is cancelled');
kill 'CONT', $worker;
$node->safe_psql('postgres', "SELECT evpub.discard('0/1')");
is(status($node, 'state'), 'streaming', 'the one before had no effect');

# A restart with a backlog, on a disk that is fuller than it should be.
set_brokers($node, '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers');
backlog();
$node->stop;
$node->append_conf('postgresql.conf', "evpub.min_disk_free = '99%'");
$node->append_conf('postgresql.conf',
	"evpub.bootstrap_servers = '@{[ $kafka->bootstrap ]}'");
my $log = -s $node->logfile;
$node->start;
ok(wait_published($node), 'the backlog is published after a restart');
unlike(slurp_file($node->logfile, $log), qr/gives up/, 'it is not given up');
set_brokers($node, '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers');
backlog();
ok(wait_for_state($node, 'gap'), 'but when events do not flow it is');
set_conf("evpub.min_disk_free = '-1'");
like(accept_gap(), qr/NOTICE:  evpub gives up 5 transactions with 5 events$/, 'accepted');
set_brokers($node, $kafka->bootstrap);
ok(wait_published($node), 'published');

# The worker cannot even start.
open my $mark, '>', "$directory/recovered" or die $!;
close $mark;
chmod 0500, $directory;
kill 'TERM', worker_pid($node);
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%evpub/%'"),
	'a worker that cannot start says why');
chmod 0700, $directory;
ok(wait_for_state($node, 'fenced'), 'it starts when it can');
$node->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_published($node), 'published');

# Nobody is registered any more, but that cannot be written down.
$log = -s $node->logfile;
chmod 0500, $directory;
$worker = worker_pid($node);
$node->safe_psql('postgres', 'DROP EXTENSION evpub CASCADE');
ok( wait_until(
		'the error',
		sub { slurp_file($node->logfile, $log) =~ /could not create file "evpub/ }),
	'it is logged');
is(worker_pid($node), $worker, 'the worker lives on');
chmod 0700, $directory;
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_replication_slots"),
	'the slot goes when it can');
is(worker_pid($node), $worker, 'it is the same worker');

$node->stop;
done_testing();
