
# evpub.check() names what is wrong, with what to type, in every state of a
# server, and never fails; what holds back WAL is also in evpub.status.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use File::Path qw(rmtree);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
my $segment = 16 * 1024 * 1024;

# Until state_reason, without who has paused, is like this: the worker shows it
# when it has looked at WAL, and check() looks for itself.
sub says
{
	my ($pattern, $name) = @_;
	my $reason = '';
	my $found = eval {
		wait_until($name, sub {
			$reason = status($node, 'state_reason') =~ s{^by role .*?; }{}r;
			return $reason =~ $pattern;
		});
		1;
	};
	return ok($found, $name) || diag("state_reason is: $reason");
}

sub check
{
	my ($at, $database) = @_;
	my %rows;
	push @{ $rows{ $_->{name} } }, $_
	  for @{ decode_event($at->safe_psql($database || 'postgres',
			q{SELECT json_agg(c) FROM evpub.check() c})) };
	return \%rows;
}

# Names of what is wrong; how full the disk is, is not ours to judge.
sub faults
{
	my ($at, $database) = @_;
	my $rows = check($at, $database);
	delete $rows->{disk};
	return join ' ',
	  sort grep { grep { !$_->{ok} } @{ $rows->{$_} } } keys %$rows;
}

# Until a row of check() is not fine (or fine); returns it.
sub wait_for_row
{
	my ($at, $name, $ok, $database) = @_;
	my $row = eval {
		wait_until(
			"row $name",
			sub {
				my ($found) =
				  grep { !$_->{ok} == !$ok } @{ check($at, $database)->{$name} };
				return $found;
			});
	};
	diag explain check($at, $database) unless $row;
	return $row || { detail => '', hint => '' };
}

# Other WAL than ours, of three segments.
sub write_wal
{
	my ($at) = @_;
	$at->safe_psql('postgres',
		q{SELECT pg_logical_emit_message(false, 'other', 'x'); SELECT pg_switch_wal()})
	  for 1 .. 3;
	$at->safe_psql('postgres',
		q{SELECT pg_logical_emit_message(false, 'other', 'x')});
	return;
}

sub all_fine
{
	my ($at, $name) = @_;
	my $fine = eval {
		wait_until('all is fine', sub { faults($at) eq '' });
		1;
	};
	ok($fine, "$name: all is fine") or diag explain check($at);
	return;
}

$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme', collapse => false);
INSERT INTO t VALUES (1);
});
ok(wait_published($node), 'published');
all_fine($node, 'at the beginning');
is(status($node, 'state_reason'), '', 'nothing to say about a publisher that streams');

# A prepared transaction whose oldest events are those of a savepoint.
my $database = q{"a 'b'"};
$node->safe_psql('postgres', "CREATE DATABASE $database");
$node->safe_psql(
	q{a 'b'}, q{
CREATE EXTENSION evpub;
CREATE TABLE t (id int PRIMARY KEY, name text);
SELECT evpub.capture_table('t', tenant => 'acme', key => repeat('k', 200), collapse => false);
BEGIN;
SAVEPOINT s;
INSERT INTO t SELECT generate_series(1, 5000);
RELEASE s;
SELECT pg_switch_wal();
INSERT INTO t VALUES (0);
PREPARE TRANSACTION 'it''s forgotten';
});
my $xid = $node->safe_psql('postgres', 'SELECT transaction FROM pg_prepared_xacts');
write_wal($node);
my $row = wait_for_row($node, 'wal_kept', 0);
like($row->{detail}, qr/prepared transaction 'it''s forgotten' of database "a 'b'" \(xid $xid\)/,
	'the prepared transaction that holds back WAL is named');
like($row->{hint}, qr/ROLLBACK PREPARED 'it''s forgotten';/, 'with what to type');
$row = check($node)->{prepared_transactions};
is(scalar(@$row), 1, 'one row, though its savepoint has an xid of its own');
ok(!$row->[0]{ok}, 'it is a fault by itself');
my ($since) = $row->[0]{detail} =~ m{from ([0-9A-F/]+) on};
my $reason = qr{^prepared transaction $xid holds back WAL from \Q$since\E on$};
is( $node->safe_psql('postgres',
		"SELECT pg_current_wal_lsn() - '$since' > 3 * $segment"),
	't', 'from its first event on');
is(status($node, 'state'), 'streaming', 'the publisher streams');
says($reason, 'and says what holds back WAL');
$node->safe_psql('postgres', 'SELECT evpub.pause()');
ok(wait_for_state($node, 'paused'), 'paused');
says($reason, 'it says so when paused, too');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
$node->stop('immediate');
$node->start;
ok(wait_for_status($node, "state_reason LIKE 'prepared transaction $xid%'"),
	'and after a crash');
ok(wait_for_state($node, 'streaming'), 'streaming again');
like(check($node, q{a 'b'})->{prepared_transactions}[0]{hint},
	qr/In database "a 'b'": COMMIT PREPARED 'it''s forgotten'; or/, 'seen from its database');
my ($typed) = check($node)->{prepared_transactions}[0]{hint} =~ /: (COMMIT PREPARED .*?;)/;
$node->safe_psql(q{a 'b'}, $typed);
ok(wait_published($node), 'committed as it says');
is($kafka->record_count($EvpubTest::TOPIC), 5002, 'its events are published');
write_wal($node);
all_fine($node, 'after COMMIT PREPARED');
says(qr/^$/, 'and the publisher has nothing to say');

# A transaction that runs: its process is named, also where a savepoint of it
# made the events.
my $holder = start_psql($node, q{
BEGIN;
SAVEPOINT s;
INSERT INTO t SELECT generate_series(10000, 20000);
SELECT pg_sleep(300);
});
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}),
	'a transaction runs');
write_wal($node);
my $pid = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
$row = wait_for_row($node, 'wal_kept', 0);
like($row->{detail}, qr/the open transaction of process $pid /, 'its process is named');
says(qr{^open transaction \d+ holds back WAL from}, 'in the status, its xid');
ok(check($node)->{prepared_transactions}[0]{ok}, 'it is not taken for a prepared one');
($typed) = $row->{hint} =~ /(SELECT .*;)/;
$node->safe_psql('postgres', $typed);
finish($holder);
write_wal($node);
all_fine($node, 'after it was ended as the hint says');

# Paused.
$node->safe_psql('postgres', 'SELECT evpub.pause(); INSERT INTO t VALUES (2)');
ok(wait_for_row($node, 'publisher', 0)->{hint} eq 'SELECT evpub.resume();',
	'paused is never silent');
ok(wait_for_row($node, 'wal_kept', 1)->{ok}, 'though no more WAL is kept than always');
write_wal($node);
$row = wait_for_row($node, 'wal_kept', 0);
like($row->{detail}, qr/MB of WAL, from .* on: the state is "paused": by role "\w+" at /, 'then WAL is kept, for the pause');
$node->safe_psql('postgres', $row->{hint});
write_wal($node);
all_fine($node, 'after resume()');

# A trigger that is disabled.
$node->safe_psql('postgres', 'ALTER TABLE t DISABLE TRIGGER _evpub_capture');
$row = wait_for_row($node, 'disabled_triggers', 0);
like($row->{detail}, qr/of public\.t is disabled/, 'a disabled trigger is named');
$node->safe_psql('postgres', $row->{hint});
all_fine($node, 'after it was enabled');

# No brokers.
set_brokers($node, '');
is(wait_for_row($node, 'publisher', 0)->{hint},
	q{ALTER SYSTEM SET evpub.bootstrap_servers = '<host>:9092'; SELECT pg_reload_conf();},
	'no brokers');
set_brokers($node, $kafka->bootstrap);
all_fine($node, 'with brokers');

# A copy of the database.
$node->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE $database");
$row = wait_for_row($node, 'registration', 0, 'copy');
is(faults($node, 'copy'), 'registration', 'a copy by TEMPLATE is not registered, all else is fine');
$node->safe_psql('copy', $row->{hint});
is(faults($node, 'copy'), '', 'registered as it says');

# Free space: a fault before the limit is reached.
my $free = $node->safe_psql('postgres',
	'SELECT disk_free * 100.0 / disk_total FROM evpub_internal.check_server()');
$node->safe_psql('postgres',
	sprintf(q{ALTER SYSTEM SET evpub.min_disk_free = '%d%%'}, $free * 0.75));
$node->reload;
like(wait_for_row($node, 'disk', 0)->{detail}, qr/ are free .*, evpub\.min_disk_free is \d+%/,
	'less than twice the limit is free');
$node->safe_psql('postgres', q{ALTER SYSTEM SET evpub.min_disk_free = '-1'});
$node->reload;
ok(wait_for_row($node, 'disk', 1)->{ok}, 'without that limit all is fine');

# Who only receives WAL is no standby.
my $archive = PostgreSQL::Test::Utils::tempdir();
my ($in, $out) = ('', '');
my $receiver = IPC::Run::start(
	[ 'pg_receivewal', '-D', $archive, '-s', 1, '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>&1');
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_replication WHERE write_lsn IS NOT NULL}),
	'pg_receivewal receives') or diag $out;
ok(check($node)->{standbys}[0]{ok}, 'and is not taken for a standby');
$receiver->kill_kill;

# A standby.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$row = wait_for_row($node, 'standbys', 0);
like($row->{detail}, qr/standby "standby"/, 'the primary names its standby');
is(faults($node), 'standbys', 'all else is fine there');
ok(wait_for_state($standby, 'standby'), 'the standby is in its state');
is(faults($standby), 'standbys', 'the standby names itself, and nothing else is wrong there');
like(check($standby)->{publisher}[0]{detail}, qr/^standby: /, 'and shows its state');
$standby->promote;
ok(wait_for_state($standby, 'fenced'), 'promoted, it is fenced');
$row = check($standby);
like($row->{publisher}[0]{hint},
	qr/^If this server is to publish, and no other one does: SELECT evpub\.take_over\(\);/,
	'check says what to type');
like($row->{publisher}[0]{hint}, qr/never to publish: DROP EXTENSION/, 'and what if not');
like($row->{publisher}[0]{detail}, qr/keeps WAL/, 'and that WAL is kept for it');
like($row->{slot}[0]{detail}, qr/^it keeps WAL until evpub\.take_over\(\)/, 'by the slot');
my $worker = worker_pid($standby);
$standby->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
wait_until('another worker', sub {
	$standby->safe_psql('postgres', 'SELECT 1');
	return (worker_pid($standby) // $worker) != $worker });
ok(wait_for_state($standby, 'fenced'), 'its worker comes back');
like($standby->safe_psql('postgres', 'SELECT state_reason FROM evpub.status'), qr/keeps WAL/, 'and so does that');
$standby->stop;
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_replication');
all_fine($node, 'without the standby');

# No place for the worker.
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
$row = check($node);
like($row->{publisher}[0]{hint}, qr/max_worker_processes \(1\)/, 'no place for the worker');
like($row->{slot}[0]{detail}, qr/the worker does not hold it/, 'nobody holds the slot');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
all_fine($node, 'with a place for it');

# Not preloaded, and WAL kept by a slot that nobody moves.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(faults($node), 'preload publisher slot', 'not preloaded');
write_wal($node);
$row = wait_for_row($node, 'wal_kept', 0);
like($row->{detail}, qr/the state is "unconfigured": evpub is not in shared_preload_libraries/,
	'what keeps WAL then');
like($row->{hint}, qr/^Add evpub to shared_preload_libraries/, 'what to do');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'evpub'");
$node->restart;
ok(wait_published($node), 'preloaded again');
write_wal($node);
all_fine($node, 'preloaded');

# Without its state file, with a damaged one, without its slot: what the hint
# says is enough.
my $file = $node->data_dir . '/evpub/state';
$node->stop;
unlink $file or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'lost state file: gap');
like(faults($node), qr/^publisher state_file/, 'check says so');
sub accept_as_it_says
{
	my ($name) = @_;
	my ($call) = check($node)->{publisher}[0]{hint} =~ /(SELECT evpub\.accept_gap\('[0-9A-F\/]+'\);)$/;
	$node->safe_psql('postgres', $call);
	all_fine($node, "$name, accepted as check says");
	return;
}
accept_as_it_says('lost state file');
$node->stop;
truncate $file, 100 or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'damaged state file: gap');
like(check($node)->{state_file}[0]{detail}, qr/"evpub\/state"/, 'check names the file');
accept_as_it_says('damaged state file');
$node->stop;
rmtree($node->data_dir . '/pg_replslot/evpub');
$node->start;
ok(wait_for_state($node, 'fenced'), 'lost slot: fenced');
my $rows = check($node);
ok(!$rows->{slot}[0]{ok}, 'no slot is a fault');
like($_->{hint}, qr/SELECT evpub\.take_over\(\);$/, "$_->{name}: what to type")
  for $rows->{publisher}[0], $rows->{slot}[0];
$node->safe_psql('postgres', 'SELECT evpub.take_over()');
all_fine($node, 'taken over');

$node->stop;
done_testing();
