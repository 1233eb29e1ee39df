
# A gap, and what is discarded, says how many transactions with events it gives
# up, and how many events: in evpub.status, the log, the answer of the call and
# the evpub.gap event.  What can only be counted in part, or not at all, says so.
use strict;
use warnings;

use Errno qw(EIO);
use Time::HiRes qw(time);

use EvpubGap;
use EvpubFaults;
use EvpubKafka;
use EvpubState ();
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node;
{
	local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
	$node = gap_node('main', kafka => $kafka);
}
my $id = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# A transaction with so many events.
sub insert
{
	my ($rows) = @_;
	my $values = join ', ', map { '(' . ++$id . q{, 'acme')} } 1 .. $rows;
	sql("INSERT INTO a VALUES $values");
	return;
}

sub pause { sql('SELECT evpub.pause()'); return }
sub resume { sql('SELECT evpub.resume()'); return }
sub wait_read { return wait_for_status($node, 'read_lsn >= flush_lsn') }

# What it answers: NOTICE or ERROR.
sub answer
{
	my ($call) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', "SELECT $call", stdout => \$out, stderr => \$err);
	$err =~ s/^psql:\S+ //mg;
	return $err;
}

sub set_limit { set_conf($node, 'evpub.max_lag_size' => $_[0]); return }

# gap(name, text): state "gap" gives up what the text says.
sub gap
{
	my ($name, $text) = @_;
	ok(wait_for_status($node, "state = 'gap' AND state_reason ~ 'goes on behind it and gives up $text\$'"),
		"$name: evpub.status gives up $text");
	return;
}

# accepted(name, text): the numbers stay, and the call and the log have them.
sub accepted
{
	my ($name, $text) = @_;
	my $log = -s $node->logfile;
	my (undef, $to) = gap_of($node);
	like(answer("evpub.accept_gap('$to')"), qr/^NOTICE:  evpub gives up $text$/m, "$name: so does the answer");
	like(slurp_file($node->logfile, $log), qr/was accepted by user request\n.*DETAIL:.*; this gives up $text$/m,
		"$name: and the log");
	return $to;
}

# told(name, lsn, transactions, events, counted): by the evpub.gap events of the
# gap that ends there.  Numbers may be patterns.
sub told
{
	my ($name, $lsn, $transactions, $events, $counted) = @_;
	ok(wait_published($node), "$name: goes on");
	my @data = map { $_->{event}{data} }
	  grep { $_->{event}{type} eq 'evpub.gap' && $_->{event}{lsn} eq $lsn } events($kafka, 'one');
	cmp_ok(scalar(@data), '>=', 3, "$name: it is announced");
	my %said = map { join(' ', map { $_ // 'null' } @{$_}{qw(transaction_count event_count counted)}) => 1 } @data;
	my $pattern = join ' ', $transactions, $events, $counted;
	like(join('; ', keys %said), qr/^$pattern$/, "$name: of how much");
	return;
}

sub segment { return $node->data_dir . '/pg_wal/' . sql('SELECT pg_walfile_name(pg_current_wal_insert_lsn())') }

# Writes WAL of others, so that a small limit is passed.
sub exceed_limit
{
	grow_wal($node, 4);
	set_limit('2MB');
	return;
}

insert(1);
sql(q{INSERT INTO b VALUES (0, 'acme')});
ok(wait_published($node), 'published before');

# ---- discard() ----
{
	pause();
	insert(3);
	sql(q{BEGIN; INSERT INTO a VALUES (1001, 'x'); SAVEPOINT s; INSERT INTO a VALUES (1002, 'x');
		ROLLBACK TO s; INSERT INTO b VALUES (1001, 'x'); COMMIT});
	sql(q{BEGIN; INSERT INTO a VALUES (1003, 'x'); ROLLBACK});
	sql(q{SELECT pg_logical_emit_message(true, 'evpub', 'forged'),
		pg_logical_emit_message(true, 'other', 'foreign')});
	my $commit = sql('SELECT max(commit_lsn) FROM evpub.peek()');
	insert(1);
	my $log = -s $node->logfile;
	like(answer("evpub.discard('$commit')"), qr/^NOTICE:  evpub gives up 2 transactions with 5 events$/m,
		'discard(): what committed and is ours is counted, and no more');
	like(slurp_file($node->logfile, $log), qr/was discarded by user request\n.*DETAIL:  This gives up 2 transactions with 5 events\.$/m,
		'so in the log');
	like(answer('evpub.discard(pg_current_wal_flush_lsn())'),
		qr/^NOTICE:  evpub gives up 1 transaction with 1 event$/m, 'what is discarded after that is counted alone');
	grow_wal($node, 1);

	# messages outside of transactions are not flushed at once; a commit flushes them
	sql(q{SELECT pg_logical_emit_message(true, 'noise', '')});
	my $last = sql('SELECT pg_current_wal_flush_lsn()');
	like(answer("evpub.discard('$last')"),
		qr/^NOTICE:  evpub gives up no transactions with events$/m, 'WAL of others has none');
	resume();
	told('discard', $commit, 2, 5, 'all');
}

# ---- part of a transaction is published ----
{
	$kafka->create_topic('many', 1, { 'max.message.bytes' => 100000 });
	sql(q{CREATE TABLE many (id int PRIMARY KEY, tenant text);
		SELECT evpub.capture_table('many', tenant_column => 'tenant', topic => 'many');
		SELECT evpub.publish('start', 'x', topic => 'many')});
	ok(wait_published($node), 'published');
	sql(q{BEGIN;
		INSERT INTO many SELECT i, 'x' FROM generate_series(1, 3000) i;
		SELECT evpub.publish('large', 'x', data => to_jsonb(repeat('x', 300000)), topic => 'many');
		COMMIT});
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'MSG_SIZE_TOO_LARGE'}),
		'an event that the broker refuses: blocked');
	wait_until('events before it', sub { sql('SELECT count(*) FROM evpub.peek(5000)') < 3001 });
	pause();
	my $left = sql('SELECT count(*) FROM evpub.peek(5000)');
	my $commit = sql('SELECT max(commit_lsn) FROM evpub.peek()');
	my ($counted) = answer("evpub.discard('$commit')") =~ /^NOTICE:  evpub gives up 1 transaction with (\d+) events?$/m;
	cmp_ok($counted, '<=', $left, 'partly published: what is confirmed does not count');
	cmp_ok($counted, '>', 0, 'but the rest');
	note "$left, then $counted events";
	resume();
	told('partly published', $commit, 1, $counted, 'all');
}

# ---- a limit ----
{
	pause();
	insert(2);
	insert(1) for 1 .. 2;
	my $log = -s $node->logfile;
	exceed_limit();
	gap('limit', '3 transactions with 4 events');
	like(slurp_file($node->logfile, $log), qr/gives up WAL .*\n.*DETAIL:  This gives up 3 transactions with 4 events\.$/m,
		'limit: so does the log');
	$node->stop;
	start_with_faults($node);
	gap('limit, restarted', '3 transactions with 4 events');
	insert(3);
	grow_wal($node, 4);
	gap('limit goes on', '4 transactions with 7 events');
	set_limit(-1);
	my $to = accepted('limit', '4 transactions with 7 events');
	resume();
	told('limit', $to, 4, 7, 'all');
}

# ---- a damaged page in what a limit gives up: both sides count ----
{
	pause();
	insert(2);
	sql('SELECT pg_switch_wal()');
	my $damaged = segment();
	insert(1);
	sql('SELECT pg_switch_wal()');
	insert(3);
	ok(wait_read(), 'read before it is damaged');
	open my $file, '+<', $damaged or die $!;
	binmode $file;
	sysread $file, my $page, 1024 * 1024;
	my $at = index $page, "evpub\0C";
	cmp_ok($at, '>', 0, 'the chunk is found in the segment');
	sysseek $file, $at + 12, 0;
	syswrite $file, chr(ord(substr($page, $at + 12, 1)) ^ 1);
	close $file;
	exceed_limit();
	gap('damaged', 'at least 2 transactions with 5 events in the part of WAL that can be read');
	set_limit(-1);
	my $to = accepted('damaged', 'at least 2 transactions with 5 events in the part of WAL that can be read');
	resume();
	told('damaged', $to, 2, 5, 'part');
}

# ---- a segment is gone: what was in it cannot be known ----
{
	pause();
	insert(1);
	sql('SELECT pg_switch_wal()');
	my $missing = segment();
	insert(1);
	sql('SELECT pg_switch_wal()');
	insert(2);
	rename $missing, $node->data_dir . '/missing' or die $!;
	my $worker = worker_pid($node);
	sql("SELECT pg_terminate_backend($worker)");
	wait_until('another worker', sub { (worker_pid($node) // $worker) != $worker });
	resume();
	gap('missing', 'transactions whose number is not known');
	insert(1);
	exceed_limit();
	gap('missing, then a limit', 'at least 2 transactions with 3 events in the part of WAL that can be read');
	set_limit(-1);
	my $to = accepted('missing', 'at least 2 transactions with 3 events in the part of WAL that can be read');
	told('missing', $to, 2, 3, 'part');
}

# ---- a transaction that is not complete ----
{
	ok(wait_published($node), 'published');
	pause();
	my $inside = sql(q{BEGIN; INSERT INTO a SELECT 10000 + i, 'acme' FROM generate_series(1, 20000) i;
		SELECT pg_current_wal_insert_lsn(); INSERT INTO a VALUES (40000, 'acme'); COMMIT});
	$node->stop;
	my $state = EvpubState::read_state($node->data_dir);
	$state->{restart_lsn} = EvpubState::lsn_number($inside);
	EvpubState::write_state($node->data_dir, $state);
	start_with_faults($node);
	resume();
	gap('not complete', '1 transaction with at least [0-9]+ events?');
	my $to = accepted('not complete', '1 transaction with at least [0-9]+ events?');
	told('not complete', $to, 1, '[1-9][0-9]*', 'part');
}

# ---- what hinders counting changes nothing else ----
sub order
{
	my ($what) = @_;
	my $file = $node->data_dir . '/evpub_wal_error';
	open my $out, '>', "$file.new" or die $!;
	print $out "$what\n";
	close $out;
	return rename "$file.new", $file;
}
sub order_nothing { return unlink $node->data_dir . '/evpub_wal_error' }

{
	pause();
	insert(1);
	ok(wait_read(), 'read');
	my $worker = worker_pid($node);
	my $commit = sql('SELECT max(commit_lsn) FROM evpub.peek()');
	order('pread ' . EIO);
	like(answer("evpub.discard('$commit')"), qr/^NOTICE:  evpub gives up transactions whose number is not known$/m,
		'an error of the disk: not known');
	order_nothing();
	resume();
	told('disk', $commit, 'null', 'null', 'none');
	is(worker_pid($node), $worker, 'by the same worker');
}

# Each read of up to 256 kB takes 300 ms: what is not counted in a second is not counted.
{
	pause();
	sql(q{DO $$BEGIN FOR i IN 1 .. 3000 LOOP
		INSERT INTO a VALUES (100000 + i, 'acme'); COMMIT; END LOOP; END$$});
	ok(wait_read(), 'read');
	my $commit = sql('SELECT max(commit_lsn) FROM evpub.peek(5000)');
	order('slow 300');
	my $started = time;
	my $run = start_psql($node, "SELECT evpub.discard('$commit');\n");
	my $memory = watch_memory($node, sub { !running($run) });
	my $took = time - $started;
	ok(finish($run), 'a large backlog is discarded');
	order_nothing();
	my ($counted) = $run->{err} =~
	  /evpub gives up at least (\d+) transactions with \1 events \(the rest was not counted, as that takes too long\)/;
	ok($counted && $counted < 3000, 'a part was counted') or diag $run->{err};
	cmp_ok($took, '<', 5, 'in the time that there is');
	cmp_ok($memory, '<', $EvpubTest::MEMORY_LIMIT_KB, 'in little memory');
	note sprintf '%d of 3000 in %.1f s, %d kB', $counted // 0, $took, $memory;
	resume();
	told('large', $commit, $counted // 0, $counted // 0, 'part');
	insert(1);
	ok(wait_published($node), 'and publishing goes on');
}

$node->stop;
done_testing();
