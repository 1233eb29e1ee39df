
# Who accepts a gap, or discards a backlog, gets what was asked for and nothing
# else: what is behind it is published whole, transactions that the gap has cut
# are told by name, and no crash, no second session and no wrong moment makes
# more of it, or less.
use strict;
use warnings;

use EvpubGap;
use EvpubKafka;
use EvpubTest;
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = gap_node('main', kafka => $kafka);
my %topics = (one => 3, two => 2);
my $next = 0;
my %expected = (one => [], two => []);

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub insert_both
{
	my (%args) = @_;
	$next++;
	sql("INSERT INTO a VALUES ($next, 'acme'); INSERT INTO b VALUES ($next, 'acme')");
	push @{ $expected{$_} }, $next for $args{lost} ? () : keys %expected;
	return;
}

# In topic "one" only.
sub insert_one
{
	my ($id, %args) = @_;
	sql("INSERT INTO a VALUES ($id, 'acme')");
	push @{ $expected{one} }, $id unless $args{lost};
	return;
}

sub check
{
	my ($name, @gaps) = @_;
	ok(wait_published($node), "$name: goes on");
	my $ids = check_gap_events($name, $kafka, \%topics, @gaps);
	is_deeply($ids, \%expected, "$name: exactly what should arrive, in order");
	return;
}

sub pause { is(sqlstate($node, 'SELECT evpub.pause()'), '00000', 'paused'); return }
sub resume { is(sqlstate($node, 'SELECT evpub.resume()'), '00000', 'resumed'); return }

# Give up what there is, by a limit.
sub give_up
{
	my ($name) = @_;
	grow_wal($node, 4);
	set_conf($node, 'evpub.max_lag_size' => '2MB');
	ok(wait_for_state($node, 'gap'), "$name: gap");
	set_conf($node, 'evpub.max_lag_size' => '-1');
	return;
}

sub log_since
{
	my ($offset) = @_;
	return slurp_file($node->logfile, $offset);
}

insert_both();
ok(wait_published($node), 'published');

# ---- transactions that a gap has cut ----
{
	my $log = -s $node->logfile;
	pause();
	sql(q{BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'ended'});
	sql(q{BEGIN; INSERT INTO a VALUES (101, 'acme'); PREPARE TRANSACTION 'cut'});
	sql(q{ROLLBACK PREPARED 'ended'});
	my $prepared = sql(q{SELECT transaction FROM pg_prepared_xacts});
	# more than 256 kB of events: some are in WAL before the commit
	my $large = hold($node,
		q{INSERT INTO a SELECT 100000 + i, 'acme' FROM generate_series(1, 20000) i;
		  CREATE TABLE large AS SELECT pg_current_xact_id()::text AS xid},
		q{INSERT INTO a VALUES (102, 'acme')});
	my $small = hold($node, q{INSERT INTO a VALUES (103, 'acme')},
		q{INSERT INTO a VALUES (104, 'acme')});
	insert_both(lost => 1);
	give_up('cut');
	my ($from, $to) = accept_gap($node, 'cut');
	like(log_since($log), qr/prepared transactions .*\n.*DETAIL:  Transactions: $prepared\./,
		'a prepared transaction is named in the LOG');
	sql(q{COMMIT PREPARED 'cut'});
	ok(let_go($small), 'a small transaction that was open commits');
	push @{ $expected{one} }, 103, 104;
	insert_both();
	ok(let_go($large), 'a large one that was open commits');
	my $xid = sql('SELECT xid FROM large');
	insert_both();
	resume();
	check('cut',
		[ $from, $to, qr/max_lag_size/, [$prepared] ],
		[ undef, undef, qr/was cut by a gap/, [$xid] ]);
	like(log_since($log), qr/transaction $xid, committed at \S+, is not published/,
		'the large one is named in the LOG');
	is(status($node, 'forged_dropped'), '0', 'and nothing counts as forged');
	$node->restart;
	insert_both();
	check('cut, restarted');
}

# ---- who may accept ----
{
	pause();
	insert_both(lost => 1);
	is(sqlstate($node, q{SELECT evpub.accept_gap(pg_current_wal_flush_lsn())}),
		'55000', 'accept_gap without a gap');
	give_up('who');
	my ($from, $to) = gap_of($node);
	is(sqlstate($node, "SELECT evpub.accept_gap('$to'::pg_lsn - 1)"), '22023', 'accept_gap before its end');
	is(sqlstate($node, q{SELECT evpub.accept_gap('FFFFFFFF/FFFFFFFF')}),
		'22023', 'accept_gap of what nobody has seen');
	is(sqlstate($node, 'SELECT evpub.accept_gap(NULL)'), '00000', 'NULL does nothing');
	is(sqlstate($node, "SELECT evpub.discard('$to')"), '55000', 'discard in state "gap"');
	is(sqlstate($node, 'SELECT evpub.take_over()'), '55000', 'take_over in state "gap"');
	is(status($node, 'state'), 'gap', 'the gap stays');
	$node->restart;
	ok(wait_for_state($node, 'gap'), 'after a restart, too');
	is(sqlstate($node, 'SELECT evpub.resume()'), '00000', 'it can be resumed');
	is(status($node, 'state'), 'gap', 'which does not end it');
	is(sqlstate($node, 'SELECT evpub.pause()'), '00000', 'and paused');

	# the worker is gone, and the transaction around it rolls back
	my $worker = worker_pid($node);
	my $run = start_psql($node, "SELECT pg_terminate_backend($worker); BEGIN; SELECT evpub.accept_gap('$to'); ROLLBACK;\n");
	# the postmaster starts another one when it is awake, at a connection for example
	$node->safe_psql('postgres', 'SELECT 1') while running($run);
	ok(finish($run), 'accepted while the worker is away') or diag $run->{err};
	is(status($node, 'state'), 'paused', 'rolled back, it is accepted still; and paused still');
	isnt(worker_pid($node), $worker, 'by the next worker');
	insert_both();
	$node->restart;
	ok(wait_for_state($node, 'paused'), 'the pause survives a restart');
	resume();
	check('who', [ $from, $to, qr/max_lag_size/, [] ]);
}

# ---- two sessions at once, then a crash ----
{
	pause();
	insert_both(lost => 1);
	give_up('twice');
	my ($from, $to) = gap_of($node);
	my @sessions = map { start_psql($node, "SELECT evpub.accept_gap('$to');\n") } 1 .. 4;
	my $done = grep { finish($_) } @sessions;
	is($done, 1, 'one of several sessions accepts');
	is(scalar(grep { $_->{err} =~ /there is no gap to accept/ } @sessions),
		3, 'the others get the answer that there is none');
	$node->stop('immediate');
	$node->start;
	ok(wait_for_state($node, 'paused'), 'a crash right after it: still accepted');
	insert_both();
	resume();
	check('twice', [ $from, $to, qr/max_lag_size/, [] ]);
	$node->stop('immediate');
	$node->start;
	insert_both();
	check('crash after it was announced');
}

# ---- discard ----
is(sqlstate($node, q{SELECT evpub.discard(pg_current_wal_flush_lsn() + 100000000)}),
	'22023', 'discard of what is not written');
is(sqlstate($node, 'SELECT evpub.discard(NULL)'), '00000', 'discard(NULL) does nothing');
{
	my ($out, $err);
	$node->psql('postgres', q{SELECT evpub.discard('0/1')}, stdout => \$out, stderr => \$err);
	like($err, qr/NOTICE:  everything up to 0\/1 is published already/, 'discard of what is confirmed');
	is(status($node, 'state'), 'streaming', 'changes nothing');
	check('nothing discarded');
}

# Exactly a commit's end; what is announced survives crashes, with the same ids.
{
	set_brokers($node, '127.0.0.1:' . EvpubKafka::free_port());
	ok(wait_for_state($node, 'blocked'), 'no broker');
	my $confirmed = status($node, 'confirmed_lsn');
	insert_both(lost => 1);
	insert_one(201, lost => 1);
	my $commit = sql(q{SELECT max(commit_lsn) FROM evpub.peek()});
	insert_one(202);
	is(sqlstate($node, "SELECT evpub.discard('$commit')"), '00000', 'discarded, while blocked');
	$node->stop('immediate');
	$node->start;
	insert_both();
	set_brokers($node, $kafka->bootstrap);
	check('discard', [ undef, $commit, qr/discard/, [] ]);
	# not even the file knows that it was announced
	$node->stop('immediate');
	$node->start;
	insert_both();
	check('discard, crashed');
	is(sql("SELECT first_lsn >= '$confirmed'::pg_lsn FROM (SELECT '"
			  . (grep { $_->{event}{type} eq 'evpub.gap' && $_->{event}{data}{last_lsn} eq $commit }
					  events($kafka, 'two'))[0]{event}{data}{first_lsn}
			  . "'::pg_lsn AS first_lsn) s"),
		't', 'it begins with what was confirmed');
}

# In the middle of a transaction that is partly published.
{
	my $before = $kafka->record_count('one');
	sql(q{CREATE TABLE many (id int PRIMARY KEY, tenant text);
		SELECT evpub.capture_table('many', tenant_column => 'tenant', topic => 'many')});
	$kafka->create_topic('many', 1, { 'max.message.bytes' => 100000 });
	sql(q{SELECT evpub.publish('start', 'x', topic => 'many')});
	ok(wait_published($node), 'published');
	# the last event is larger than the topic takes, so the rest stays for ever
	sql(q{BEGIN;
		INSERT INTO many SELECT i, 'x' FROM generate_series(1, 3000) i;
		SELECT evpub.publish('large', 'x', data => to_jsonb(repeat('x', 300000)), topic => 'many');
		COMMIT});
	my $commit = sql(q{SELECT max(commit_lsn) FROM evpub.peek()});
	ok(wait_for_state($node, 'blocked'), 'an event that the broker refuses: blocked');
	wait_until('events before it', sub { $kafka->record_count('many') > 1 });
	is(sqlstate($node, "SELECT evpub.discard('$commit')"), '00000', 'discarded');
	insert_both();
	$topics{many} = 1;
	# how many were in Kafka is chance; but they are the first ones
	ok(wait_published($node), 'published');
	my %in_kafka = map { ($_->{event}{pk}{id} // 0) => 1 } events($kafka, 'many');
	my $last = keys(%in_kafka) - 1;
	cmp_ok($last, '>', 0, 'some were published');
	$expected{many} = [ undef, 1 .. $last ];
	check('partly published', [ undef, $commit, qr/discard/, [] ]);
	is(scalar(grep { $_->{event}{type} eq 'large' } events($kafka, 'many')),
		0, 'what the broker refused is given up');
}

# ---- a topic that was made again meanwhile ----
{
	pause();
	insert_both(lost => 1);
	give_up('made again');
	my ($from, $to) = accept_gap($node, 'made again');
	$kafka->delete_topic('many');
	wait_until('deletion', sub { !exists $kafka->topics->{many} });
	$kafka->create_topic('many', 2);
	$topics{many} = 2;
	delete $expected{many};
	resume();
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'deleted and made again'}),
		'a topic that was made again: blocked');
	resume();
	ok(wait_published($node), 'goes on');
	local $EvpubTest::may_repeat = qr/, many$/;
	my $ids = check_gap_events('made again', $kafka, \%topics, [ $from, $to, qr/max_lag_size/, [] ]);
	is_deeply($ids, \%expected, 'made again: it is announced in all partitions of all topics');
	delete $topics{many};
}

# ---- WAL that is missing or damaged ----
sub segment { return sql('SELECT pg_walfile_name(pg_current_wal_insert_lsn())') }

# A session that has spilled keeps reading's beginning far behind what is
# confirmed; a segment between the two is gone: what is confirmed stays so.
{
	my $large = hold($node, q{INSERT INTO a SELECT 200000 + i, 'acme' FROM generate_series(1, 20000) i;
		DROP TABLE large; CREATE TABLE large AS SELECT pg_current_xact_id()::text AS xid},
		q{INSERT INTO a VALUES (301, 'acme')});
	sql('SELECT pg_switch_wal()');
	insert_both();
	my $missing = segment();
	sql('SELECT pg_switch_wal()');
	insert_both();
	ok(wait_published($node), 'published while a large transaction is open');
	my $confirmed = status($node, 'confirmed_lsn');
	my $log = -s $node->logfile;
	rename $node->data_dir . "/pg_wal/$missing", $node->data_dir . "/$missing.away" or die $!;
	my $worker = worker_pid($node);
	sql("SELECT pg_terminate_backend($worker)");
	ok(wait_for_state($node, 'gap'), 'a segment is missing: gap');
	my ($from) = accept_gap($node, 'before what is confirmed');
	is(sql("SELECT confirmed_lsn >= '$confirmed' FROM evpub.status"), 't', 'what is confirmed stays confirmed');
	insert_both();
	ok(let_go($large), 'the large one commits');
	my $xid = sql('SELECT xid FROM large');
	check('missing',
		[ $from, undef, qr/WAL segment/, [] ],
		[ undef, undef, qr/was cut by a gap/, [$xid] ]);
}

# A damaged record: the transactions of its page are lost, others are not.
{
	pause();
	insert_one(401);
	sql('SELECT pg_switch_wal()');
	my $damaged = segment();
	insert_one(402, lost => 1);
	my $lsn = $node->lsn('insert');
	sql('SELECT pg_switch_wal()');
	insert_one(403);
	ok(wait_for_status($node, "read_lsn >= '$lsn'"), 'read before it is damaged');
	$node->stop;
	open my $file, '+<', $node->data_dir . "/pg_wal/$damaged" or die $!;
	binmode $file;
	sysread $file, my $page, 1024 * 1024;
	my $at = index $page, "evpub\0C";
	cmp_ok($at, '>', 0, 'the chunk is found in the segment');
	sysseek $file, $at + 12, 0;
	syswrite $file, chr(ord(substr($page, $at + 12, 1)) ^ 1);
	close $file;
	$node->start;
	resume();
	ok(wait_for_state($node, 'gap'), 'a damaged record: gap');
	my ($from, $to) = accept_gap($node, 'damaged');
	insert_both();
	check('damaged', [ $from, $to, qr/could not read WAL/, [] ]);
}

# The slot is invalidated by a checkpoint, which terminates the worker.
{
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	insert_both();
	my $wal = $node->data_dir . '/pg_wal';
	my $away = PostgreSQL::Test::Utils::tempdir();
	grow_wal($node, 6);
	# what is not needed goes now, not while it is copied
	sql('CHECKPOINT');
	my @kept = segments($node);
	copy("$wal/$_", "$away/$_") or die $! for @kept;
	my $worker = worker_pid($node);
	set_conf($node, 'max_slot_wal_keep_size' => '2MB');

	# the checkpointer may not have taken the setting yet
	wait_until('max_slot_wal_keep_size ends the worker',
		sub { sql('CHECKPOINT'); (worker_pid($node) // 0) != $worker });
	pass('max_slot_wal_keep_size: the worker is terminated');
	ok(wait_for_state($node, 'gap'), 'and WAL is gone: gap');
	$node->stop;
	for (@kept)
	{
		-e "$wal/$_" or copy("$away/$_", "$wal/$_") or die $!;
	}
	$node->append_conf('postgresql.conf', "max_slot_wal_keep_size = '-1'\n"
		  . "evpub.bootstrap_servers = '@{[ $kafka->bootstrap ]}'");
	$node->start;
	check('invalidated, but WAL is there');

	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	insert_both(lost => 1);
	grow_wal($node, 6);
	set_conf($node, 'max_slot_wal_keep_size' => '2MB');
	# the checkpointer may not have taken the setting yet
	wait_until('WAL is gone', sub { sql('CHECKPOINT'); status($node, 'state') eq 'gap' });
	pass('WAL is gone: gap');
	my ($from, $to) = accept_gap($node, 'invalidated');
	insert_both();
	set_conf($node, 'max_slot_wal_keep_size' => '-1', 'evpub.bootstrap_servers' => $kafka->bootstrap);
	check('invalidated, WAL is gone', [ $from, $to, qr/WAL segment/, [] ]);
}

# ---- a standby ----
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
is(sqlstate($standby, "SELECT evpub.$_"), '25006', "on a standby: $_")
  for 'pause()', 'resume()', 'take_over()', q{accept_gap('0/1')}, q{discard('0/1')};
$standby->stop;

$node->stop;
done_testing();
