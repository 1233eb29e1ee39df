# WAL that cannot be read for want of rights, descriptors, memory or a good disk
# is no gap: the state is "blocked", and publishing goes on by itself.  What is
# missing is a gap, and ends when it is there again.  Any other error ends the
# worker, and the next one repeats nothing that was acknowledged.
use strict;
use warnings;

use Errno qw(EACCES EIO EMFILE ENOMEM);

use EvpubFaults;
use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = crash_node('main', kafka => $kafka);
my $wal = $node->data_dir . '/pg_wal';
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{CREATE TABLE t (tenant_id text, id int PRIMARY KEY, filler text);
	SELECT evpub.capture_table('t', tenant_column => 'tenant_id')});

my $events = 0;
sub insert { return sql("INSERT INTO t VALUES ('acme', @{[ ++$events ]})") }

sub next_segment
{
	sql('SELECT pg_switch_wal()');
	insert();
	return sql('SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
}

# hinder(): the worker finds the next segment unreadable; then it is mended.
sub hinder
{
	my ($name, $reason, $do, $undo) = @_;
	insert();
	ok(wait_published($node), "$name: published before");
	my $worker = worker_pid($node);
	$do->();
	next_segment();
	ok(wait_for_status($node, "state = 'blocked' AND state_reason ~ '$reason' AND hint <> ''"),
		"$name: blocked, with a reason and a hint");
	insert();
	my ($code, $out, $err) = $node->psql('postgres',
		q{\set VERBOSITY sqlstate
		SELECT evpub.accept_gap(pg_current_wal_insert_lsn())});
	like($err, qr/55000/, "$name: there is no gap to accept");
	$undo->();
	ok(wait_published($node), "$name: all published when it is over");
	is(worker_pid($node), $worker, "$name: by the same worker");
	return;
}

# ---- files and disk, by a library that lets the calls fail ----
sub order_error
{
	my ($call, $errno) = @_;
	my $file = $node->data_dir . '/evpub_wal_error';
	open my $out, '>', "$file.new" or die $!;
	print $out "$call $errno\n";
	close $out;
	return rename "$file.new", $file;
}
sub end_error { return unlink $node->data_dir . '/evpub_wal_error' }

hinder('EACCES', 'Permission denied', sub { order_error('open', EACCES) }, \&end_error);
hinder('EMFILE', 'Too many open files', sub { order_error('open', EMFILE) }, \&end_error);
hinder('ENOMEM', 'Cannot allocate memory', sub { order_error('open', ENOMEM) }, \&end_error);
hinder('EIO', 'Input/output error', sub { order_error('pread', EIO) }, \&end_error);

# A new worker that finds it so behaves alike.
{
	insert();
	ok(wait_published($node), 'published');
	order_error('open', EIO);
	my $worker = worker_pid($node);
	insert();
	sql("SELECT pg_terminate_backend($worker)");
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'Input/output error'}),
		'a new worker that cannot read WAL: blocked');
	end_error();
	ok(wait_published($node), 'all published when it is over');
}

# ---- a segment that is away for a while ----
{
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	my $segment = next_segment();
	next_segment();
	my $worker = worker_pid($node);
	rename "$wal/$segment", $node->data_dir . "/$segment" or die $!;
	sql("SELECT pg_terminate_backend($worker)");
	set_brokers($node, $kafka->bootstrap);
	ok(wait_for_state($node, 'gap'), 'a segment is missing: gap');
	rename $node->data_dir . "/$segment", "$wal/$segment" or die $!;
	ok(wait_published($node), 'it is back: the gap ends by itself');

	# a gap stays what it is while WAL cannot be looked at
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	$segment = next_segment();
	next_segment();
	$worker = worker_pid($node);
	chmod 0, "$wal/$segment" or die $!;
	sql("SELECT pg_terminate_backend($worker)");
	ok(wait_for_status($node, q{state_reason ~ 'Permission denied' OR state = 'unconfigured'}),
		'a segment that may not be read');
	set_brokers($node, $kafka->bootstrap);
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'Permission denied'}),
		'is no gap');
	my ($code, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM evpub.peek()');
	like($err, qr/Permission denied/, 'peek() says it, too');
	chmod 0600, "$wal/$segment" or die $!;
	ok(wait_published($node), 'it may be read again: published');
}

# ---- memory ----
{
	insert();
	ok(wait_published($node), 'published');
	my $worker = worker_pid($node);
	my ($size) = slurp_file("/proc/$worker/status") =~ /^VmSize:\s+(\d+)/m;
	system_or_bail('prlimit', '--pid', $worker, '--as=' . $size * 1024 . ':');
	sql(q{ALTER SYSTEM SET evpub.decode_memory = '64MB'});
	$node->reload;
	my $first = $events + 1;
	$events += 40000;
	sql("INSERT INTO t SELECT 'acme', g, repeat('x', 20) FROM generate_series($first, $events) g");
	wait_until('want of memory, or all is published without',
		sub {
			my $s = sql(q{SELECT state || (evpub.wait_published(NULL, '100 ms'))::text FROM evpub.status});
			return $s =~ /blocked|true/;
		});
	note status($node, "concat_ws(' ', state, state_reason)");
	isnt(status($node, 'state'), 'gap', 'want of memory is no gap');
	$worker = worker_pid($node);
	system('prlimit', '--pid', $worker, '--as=unlimited:') if $worker;
	ok(wait_published($node), 'published when there is memory again');
}

# ---- an error while a chunk is taken in ----

# The reader has passed it then, and the transaction lacks it: it is read again.
# A chunk of 1,500 rows has some 20,000 bytes, and nothing else in the worker has.
sub fail_once
{
	append_to_file($node->data_dir . '/evpub_malloc_error', '17000 31000');
	return;
}
sub failed_once { return !-e $node->data_dir . '/evpub_malloc_error' }
sub insert_chunk
{
	my $first = $events + 1;
	$events += 1500;
	return sql("INSERT INTO t SELECT 'acme', g FROM generate_series($first, $events) g");
}
{
	fail_once();
	insert_chunk();
	insert();
	ok(wait_published($node), 'while publishing: published');
	ok(failed_once(), 'after an error');
	like(status($node, 'last_error'), qr/out of memory/, 'which is shown');

	# discard() reads what is behind before it answers
	sql('SELECT evpub.pause()');
	sql("INSERT INTO t VALUES ('acme', 0)");
	my $up_to = sql('SELECT pg_current_wal_flush_lsn()');
	insert_chunk();
	my $end = sql('SELECT pg_current_wal_flush_lsn()');
	ok(wait_for_status($node, "read_lsn >= '$end'"), 'paused, and read');
	fail_once();
	sql("SELECT evpub.discard('$up_to')");
	ok(failed_once(), 'an error while discard() looks ahead');
	insert();
	sql('SELECT evpub.resume()');
	ok(wait_published($node), 'resumed: published');
}

# ---- an error that ends the worker ----

# end_worker(sub { what mends }): its next wait fails, and the next worker publishes.
sub end_worker
{
	my ($mend) = @_;
	my ($worker, $log) = (worker_pid($node), -s $node->logfile);
	append_to_file($node->data_dir . '/evpub_error', '');
	# it has to wait anew, and not only when it writes the file
	kill 'HUP', $worker;
	wait_until('another worker', sub { my $new = worker_pid($node); $new && $new != $worker });
	$mend->() if $mend;
	ok(wait_for_state($node, 'streaming'), 'another worker publishes');
	like(slurp_file($node->logfile, $log), qr/ERROR:  epoll_wait\(\) failed/, 'the error is in the log');
	return;
}

# The position in the file, and what it is beyond when the next insert is in the file:
# evpub.status goes on over WAL without events, and the file does not follow at once.
sub written { return read_state($node->data_dir)->{confirmed_lsn} }
sub end_of_wal { return lsn_number(sql('SELECT pg_current_wal_insert_lsn()')) }

# What was acknowledged is saved, though the file is written once a second.
{
	my $behind = 0;
	my $published = status($node, 'events_published');
	my $before = $events;
	my $records = $kafka->record_count($EvpubTest::TOPIC);
	for (1 .. 10)
	{
		my $first = end_of_wal();
		insert();
		ok(wait_published($node), 'published');
		wait_until('the file says so', sub { written() > $first });
		my $second = end_of_wal();
		insert();
		ok(wait_published($node), 'published at once');
		$behind++ if written() <= $second;
		end_worker();
		last if $behind;
	}
	cmp_ok($behind, '>', 0, 'events were acknowledged that the file did not know of');
	insert();
	ok(wait_published($node), 'published');
	is($kafka->record_count($EvpubTest::TOPIC) - $records, $events - $before,
		'what was acknowledged is not published again');
	is(status($node, 'events_published') - $published, $events - $before, 'nor counted twice, nor left out');

	# the file cannot be written either
	insert();
	ok(wait_published($node), 'published');
	my $directory = $node->data_dir . '/evpub';
	# neither in place nor anew
	chmod 0400, "$directory/state" or die $!;
	chmod 0500, $directory or die $!;
	my $unwritten = end_of_wal();
	insert();
	ok(wait_published($node), 'published');
	end_worker(
		sub {
			cmp_ok(written(), '<=', $unwritten, 'and not in the file');
			chmod 0700, $directory or die $!;
			chmod 0600, "$directory/state" or die $!;
		});
	insert();
	ok(wait_published($node), 'all the same it goes on');
}

my %seen;
$seen{ $_->{event}{pk}{id} }++
  for grep { $_->{event}{type} ne 'evpub.gap' } check_ids('all', events($kafka));
is(scalar(keys %seen), $events, 'every event is in Kafka');
is(scalar(grep { $_ > 1 } values %seen), 0, 'under one id each');

# ---- a timeline's history that is missing ----

# Has the process a TCP connection to the broker?
sub is_connected
{
	my ($pid) = @_;
	my $port = sprintf ':%04X', $kafka->port;
	my %connected = map { my @f = split; ($f[3] // '') eq '01' && $f[2] =~ /$port$/ ? ($f[9] => 1) : () }
	  map { -e $_ ? split /\n/, slurp_file($_) : () } '/proc/net/tcp', '/proc/net/tcp6';
	return grep { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ && $connected{$1} } glob "/proc/$pid/fd/*";
}
{
	$node->stop;
	$node->append_conf('postgresql.conf', q{restore_command = 'false'
recovery_target_timeline = 'current'});
	$node->append_conf('recovery.signal', '');
	$node->start;
	wait_until('promotion', sub { sql('SELECT pg_is_in_recovery()') eq 'f' });
	ok(wait_for_state($node, 'fenced'), 'restored: fenced');
	my $history = "$wal/00000002.history";
	rename $history, $node->data_dir . '/history' or die $!;
	my ($code, $out, $err) = $node->psql('postgres', 'SELECT evpub.take_over()');
	like($err, qr/history of timeline 2 is missing.*HINT:.*archive/s,
		'a history file is missing: nothing is published');
	rename $node->data_dir . '/history', $history or die $!;
	sql('SELECT evpub.take_over()');
	insert();
	ok(wait_published($node), 'it is back: published');
	rename $history, $node->data_dir . '/history' or die $!;
	my $worker = worker_pid($node);
	sql("SELECT pg_terminate_backend($worker)");
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'history of timeline 2 is missing' AND hint ~ 'archive'}),
		'a new worker does not find it: blocked');
	rename $node->data_dir . '/history', $history or die $!;
	ok(wait_for_state($node, 'streaming'), 'it is back: goes on');
	insert();
	ok(wait_published($node), 'published');

	# all that is not confirmed is to be read again then, for another relay
	my $old_relay = status($node, 'relay_pid');
	rename $history, $node->data_dir . '/history' or die $!;
	$worker = worker_pid($node);
	sql("SELECT evpub.forget_topic('$EvpubTest::TOPIC')");
	ok(wait_for_status($node, q{state = 'blocked' AND state_reason ~ 'history of timeline 2 is missing'}),
		'it is missing when a relay ends: blocked');
	insert();
	is(worker_pid($node), $worker, 'and the worker goes on');
	rename $node->data_dir . '/history', $history or die $!;
	ok(wait_published($node), 'it is back: published');
	is(worker_pid($node), $worker, 'by the same worker');
	cmp_ok(status($node, 'relay_pid'), '!=', $old_relay, 'and another relay');

	# the next relay works before WAL can be read, and then there is nothing to send
	$old_relay = status($node, 'relay_pid');
	rename $history, $node->data_dir . '/history' or die $!;
	kill 'KILL', $old_relay;
	wait_until('WAL cannot be read, and the next relay has reached a broker',
		sub {
			my $relay = status($node, 'relay_pid');
			return $relay && $relay != $old_relay && status($node, 'librdkafka_version') &&
				status($node, 'last_error') =~ /history of timeline 2 is missing/ && is_connected($relay);
		});
	is(status($node, 'state'), 'blocked', 'it is missing when a relay was killed: blocked');
	rename $node->data_dir . '/history', $history or die $!;
	ok(wait_for_state($node, 'streaming'), 'it is back, and nothing is committed: streaming');
}
$node->stop;
done_testing();
