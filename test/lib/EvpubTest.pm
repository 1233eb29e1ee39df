
# EvpubTest - servers prepared for evpub, and what the tests ask again and
# again: wait for a state, read the events back from Kafka, check their order.
#
# Nothing here sleeps for a fixed time to let something happen: waits poll for
# a position or a state, and give up with a message after a bound.
package EvpubTest;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use IPC::Run ();
use JSON::PP ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  capture_node create_evpub status wait_for_state wait_for_status wait_published
  wait_until set_brokers
  cms_tables events decode_event check_ids
  murmur2 partition_of
  worker_pid relay_pid running_relay kill_relay another_relay own_memory_kb watch_memory
  process_use records_between stop_time
  start_psql start_pgbench end_pgbench running finish
  want_standby freeze_worker promote_into_checkpoint
);

our $TOPIC = 'cms-hr-operation';

# The database in which status is looked up: one that has the extension.
our $DATABASE = 'postgres';

our $MEMORY_LIMIT_KB = 64 * 1024;

my $timeout = $PostgreSQL::Test::Utils::timeout_default || 180;

# capture_node(name, kafka => EvpubKafka | undef, conf => text, start => 0,
#              extension => 0, wal_level => 'logical', preload => 0,
#              initdb => [options], archive => 1,
#              install_path => another PostgreSQL's)
# A running server with evpub preloaded and created in database postgres.
sub capture_node
{
	my ($name, %args) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name,
		$args{install_path} ? (install_path => $args{install_path}) : ());
	$node->init(
		has_archiving => $args{archive} || 0,
		allows_streaming => ($args{wal_level} || '') eq 'logical' ? 'logical' : 1,
		extra => $args{initdb} || []);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'evpub'")
	  unless exists $args{preload} && !$args{preload};
	$node->append_conf(
		'postgresql.conf', qq{
evpub.bootstrap_servers = '@{[ $args{kafka} ? $args{kafka}->bootstrap : '' ]}'
evpub.default_topic = '$TOPIC'
max_connections = 50
max_prepared_transactions = 10
shared_buffers = 64MB
max_wal_size = 1GB
checkpoint_timeout = 30min
autovacuum = off
# the log is for evpub's own lines; thousands of statements would hide them
log_statement = none
log_min_duration_statement = -1
@{[ $args{conf} || '' ]}
});
	return $node if exists $args{start} && !$args{start};
	$node->start;
	create_evpub($node)
	  unless exists $args{extension} && !$args{extension};
	return $node;
}

sub create_evpub
{
	my ($node, $database) = @_;
	$node->safe_psql($database || 'postgres', 'CREATE EXTENSION evpub');
	return;
}

# Point the server at other brokers, by a reload.
sub set_brokers
{
	my ($node, $brokers) = @_;
	$node->append_conf('postgresql.conf',
		"evpub.bootstrap_servers = '$brokers'");
	$node->reload;
	return;
}

# One column of evpub.status, as text.
sub status
{
	my ($node, $column) = @_;
	return $node->safe_psql($DATABASE, "SELECT $column FROM evpub.status");
}

# wait_until(what, sub { true when done }, seconds)
sub wait_until
{
	my ($what, $done, $seconds) = @_;
	my $deadline = time + ($seconds || $timeout);
	while (1)
	{
		my $result = $done->();
		return $result if $result;
		last if time > $deadline;
		usleep(20_000);
	}
	croak "timed out waiting: $what";
}

# Until a condition on evpub.status holds; says what the status was otherwise.
sub wait_for_status
{
	my ($node, $condition, $seconds) = @_;
	my $ok = eval {
		wait_until(
			$condition,
			sub {
				my ($out, $err);
				$node->psql(
					$DATABASE, "SELECT 1 FROM evpub.status WHERE $condition",
					stdout => \$out,
					stderr => \$err);
				return $out && $out eq '1';
			},
			$seconds);
	};
	if (!$ok)
	{
		my ($out, $err);
		$node->psql(
			$DATABASE, 'SELECT * FROM evpub.status',
			stdout => \$out,
			stderr => \$err,
			extra_params => ['-x']);
		diag "evpub.status never became \"$condition\":\n"
		  . ($out // '')
		  . ($err // '');
	}
	return $ok;
}

sub wait_for_state
{
	my ($node, $state, $seconds) = @_;
	return wait_for_status($node, "state = '$state'", $seconds);
}

# Seconds that a fast stop takes.  The caller has seen to it that there is
# nothing to write.
sub stop_time
{
	my ($node) = @_;
	$node->safe_psql($DATABASE, 'CHECKPOINT');
	my $begin = clock_gettime(CLOCK_MONOTONIC);
	$node->stop('fast');
	return clock_gettime(CLOCK_MONOTONIC) - $begin;
}

# Until all that has committed so far is acknowledged by Kafka.
sub wait_published
{
	my ($node, $seconds) = @_;
	$seconds ||= $timeout;
	my $done =
	  $node->safe_psql($DATABASE,
		"SELECT evpub.wait_published(NULL, '$seconds s')");
	diag 'not published within '
	  . "$seconds s; state: "
	  . status($node, "concat_ws(' ', state, state_reason, last_error)")
	  if $done ne 't';
	return $done eq 't';
}

# The tables of the story: ids repeat across tenants, members need their
# organization.
sub cms_tables
{
	my ($node, %args) = @_;
	my $database = $args{database} || 'postgres';
	$node->safe_psql(
		$database, q{
CREATE TABLE code (
	tenant_id text NOT NULL, code text, label text, PRIMARY KEY (tenant_id, code));
CREATE TABLE organization (
	tenant_id text NOT NULL, id bigint, name text, PRIMARY KEY (tenant_id, id));
CREATE TABLE member (
	tenant_id text NOT NULL, id bigint, organization_id bigint NOT NULL, name text,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organization ON DELETE CASCADE);
});
	return if exists $args{capture} && !$args{capture};
	$node->safe_psql(
		$database, q{
SELECT evpub.capture_table('code', tenant_column => 'tenant_id');
SELECT evpub.capture_table('organization', tenant_column => 'tenant_id');
SELECT evpub.capture_table('member', tenant_column => 'tenant_id');
});
	return;
}

sub decode_event
{
	my ($value) = @_;
	return JSON::PP->new->utf8->decode($value);
}

# events(kafka, topic): the records of a topic, each with its decoded event, by
# partition and offset.
sub events
{
	my ($kafka, $topic) = @_;
	return map { { %$_, event => decode_event($_->{value}) } }
	  sort {
		$a->{partition} <=> $b->{partition}
		  || $a->{offset} <=> $b->{offset}
	  } $kafka->consume($topic || $TOPIC);
}

# check_ids(name, records in partition order): ids ascend in each partition
# (ids ascend along the publisher's history, so this is "never reordered"), and
# none comes twice.  Only what a relay that was killed had sent last may come
# behind what its successor has sent again (the record that comes second is the
# older one).  Returns (records without the repeated ones).
#
# $may_repeat: names of checks to which the second does not apply.  A topic that was
# deleted and made again is not read back: what was in flight then comes again.
our $may_repeat;

sub check_ids
{
	my ($name, @records) = @_;
	my (%sent, %last, @first);
	my ($disorder, $twice) = (0, 0);
	for my $record (@records)
	{
		my $id = $record->{event}{id};
		my $p = $record->{partition};
		if (defined $sent{$id})
		{
			next if $record->{timestamp} < $sent{$id};
			diag "partition $p: $id twice, sent at $sent{$id} and at $record->{timestamp}" if $twice++ < 5;
			next;
		}
		$sent{$id} = $record->{timestamp};
		if (defined $last{$p} && $id le $last{$p})
		{
			diag "partition $p: $id after $last{$p}" if $disorder++ < 5;
		}
		$last{$p} = $id;
		push @first, $record;
	}
	is($disorder, 0, "$name: ids ascend in every partition");
	is($twice, 0, "$name: nothing twice") unless defined $may_repeat && $name =~ $may_repeat;
	return @first;
}

# Kafka's partitioner for keys, written anew from the Java client's, so that
# the test does not share an error with librdkafka.
sub murmur2
{
	my ($key) = @_;
	my $m = 0x5bd1e995;
	my $length = length $key;
	my $h = 0x9747b28c ^ $length;
	my @words = unpack 'V*', substr($key, 0, $length & ~3);
	for my $k (@words)
	{
		$k = ($k * $m) & 0xffffffff;
		$k ^= $k >> 24;
		$k = ($k * $m) & 0xffffffff;
		$h = ($h * $m) & 0xffffffff;
		$h ^= $k;
	}
	my @rest = unpack 'C*', substr($key, $length & ~3);
	if (@rest)
	{
		$h ^= $rest[$_] << (8 * $_) for reverse 0 .. $#rest;
		$h = ($h * $m) & 0xffffffff;
	}
	$h ^= $h >> 13;
	$h = ($h * $m) & 0xffffffff;
	$h ^= $h >> 15;
	return $h;
}

sub partition_of
{
	my ($key, $partitions) = @_;
	return (murmur2($key) & 0x7fffffff) % $partitions;
}

sub _slurp
{
	my ($file) = @_;
	open my $in, '<', $file or return '';
	local $/;
	return <$in> // '';
}

# The child of a process whose command line matches; undef while there is none.
sub _child
{
	my ($parent, $matches) = @_;
	# the list can miss a child while another one is reaped (proc(5)): so it is read again
	for (1, 2)
	{
		for my $pid (split ' ', _slurp("/proc/$parent/task/$parent/children"))
		{
			return $pid if _slurp("/proc/$pid/cmdline") =~ $matches;
		}
	}
	return undef;
}

# The publisher, found below the postmaster, so that it is found in every
# state; undef while it is not running.
sub worker_pid
{
	my ($node) = @_;
	my $postmaster = $node->{_pid} or return undef;
	# until it has a title of its own, any child has the postmaster's
	return _child($postmaster, qr/^postgres:.*evpub publisher/);
}

# The relay that runs; undef while there is none.  Who was given a pid is given it
# again until that relay ends, so no process counts that is not the relay's program
# yet: a child of the worker has the worker's command line first, then none in the
# middle of exec(), then its own; and none again when it has ended, until the worker
# takes note of that.
sub relay_pid
{
	my ($node) = @_;
	my $worker = worker_pid($node) or return undef;
	return _child($worker, qr/^(?!postgres:)./s);
}

# The relay that runs, or the next one: for what needs one.
sub running_relay
{
	my ($node) = @_;
	return wait_until('a relay', sub { relay_pid($node) });
}

# Kill the relay, when there is one, and wait until it has ended.  Returns what its pid was.
sub kill_relay
{
	my ($node) = @_;
	my $relay = running_relay($node);
	kill 'KILL', $relay;
	wait_until('the relay ends', sub { (relay_pid($node) // 0) != $relay });
	return $relay;
}

# Wait for another relay than this one.
sub another_relay
{
	my ($node, $than) = @_;
	return wait_until('another relay', sub { my $pid = relay_pid($node) // $than; return $pid != $than && $pid });
}

# Resident memory of worker and relay that is their own (not shared memory, not
# program text), in kB.
sub own_memory_kb
{
	my ($node) = @_;
	my $sum = 0;
	for my $pid (grep { defined } worker_pid($node), relay_pid($node))
	{
		$sum += $1 if _slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	}
	return $sum;
}

# process_use(pid): what a process has and has used: {cpu_ms, wakes, read_kb,
# written_kb, anon_kb, fds}, of all its threads.  A wake is a wait that ended;
# read and written is what went through to the disk.  Descriptors of WAL are not
# counted: a process keeps the segment that it last read, and last wrote.
sub process_use
{
	my ($pid) = @_;
	my %use = (cpu_ms => 0, wakes => 0);
	for my $task (glob "/proc/$pid/task/*")
	{
		# in ns; /proc/PID/stat counts in hundredths of a second
		$use{cpu_ms} += $1 / 1e6 if _slurp("$task/schedstat") =~ /^(\d+)/;
		$use{wakes} += $1
		  if _slurp("$task/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	}
	my $io = _slurp("/proc/$pid/io");
	($use{read_kb}) = map { $_ / 1024 } $io =~ /^read_bytes: (\d+)/m;
	($use{written_kb}) = map { $_ / 1024 } $io =~ /^write_bytes: (\d+)/m;
	($use{anon_kb}) = _slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	$use{fds} =
	  grep { (readlink($_) // '') !~ m{/pg_wal/} } glob "/proc/$pid/fd/*";
	return \%use;
}

# records_between(directory, from, to): the WAL records between two positions,
# as pg_waldump shows them.
sub records_between
{
	my ($directory, $from, $to) = @_;
	return () if $from eq $to;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_waldump', '-p', $directory, '-s', $from, '-e', $to ],
		'>', \$out, '2>', \$err)
	  or croak "pg_waldump: $err";
	return split /\n/, $out;
}

# watch_memory(node, sub { true when done }, seconds): polls, and returns the
# largest memory seen meanwhile.
sub watch_memory
{
	my ($node, $done, $seconds) = @_;
	my $max = 0;
	wait_until(
		'end of the watched work',
		sub {
			my $now = own_memory_kb($node);
			$max = $now if $now > $max;
			return $done->();
		},
		$seconds);
	return $max;
}

# start_psql(node, sql, database): runs SQL in a session of its own, in the
# background; finish() waits for it.
sub start_psql
{
	my ($node, $sql, $database) = @_;
	my $run = { in => '', out => '', err => '', name => 'psql' };

	# a file, since IPC::Run would write to psql only while it is pumped
	my $file = PostgreSQL::Test::Utils::tempdir() . '/sql';
	open my $script, '>', $file or croak "$file: $!";
	print $script $sql;
	close $script or croak "$file: $!";
	$run->{handle} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr($database || 'postgres'),
			'-f', $file
		],
		'<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

# end_pgbench(node, run): end a load that start_pgbench() has begun, and wait until its
# sessions have ended: one may commit when its client is gone.  The server runs.
sub end_pgbench
{
	my ($node, $run) = @_;
	$run->{handle}->signal('TERM') if running($run);
	eval { finish($run) };
	$node->poll_query_until($DATABASE,
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'})
	  or croak 'sessions of pgbench go on';
	return;
}

# Stop the worker while it sleeps, so that it holds nothing that others need.  Returns
# its pid, for SIGCONT.
sub freeze_worker
{
	my ($node) = @_;
	return wait_until('a sleeping worker', sub {
		my $pid = worker_pid($node);
		return if !$pid || _slurp("/proc/$pid/stat") !~ /^\d+ \(.*\) S /;
		kill 'STOP', $pid or return;
		# it may have begun something just then
		my $waits = $node->safe_psql($DATABASE, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid");
		return $pid if $waits eq 'Extension';
		kill 'CONT', $pid;
		return;
	});
}

# Promote a standby whose checkpoints take long, and let the worker do nothing
# before the promotion's checkpoint has begun.
sub promote_into_checkpoint
{
	my ($node) = @_;
	my $worker = freeze_worker($node);
	$node->promote;
	$node->poll_query_until('postgres',
		q{SELECT wait_event = 'CheckpointWriteDelay' FROM pg_stat_activity WHERE backend_type = 'checkpointer'})
	  or croak 'no checkpoint';
	kill 'CONT', $worker;
	return;
}

# Commits wait for a standby that is not there, from now on.  The setting alone
# does not tell: they wait once the checkpointer has taken it.
sub want_standby
{
	my ($node) = @_;
	$node->safe_psql($DATABASE, "ALTER SYSTEM SET synchronous_standby_names = 'absent'");
	$node->reload;
	wait_until(
		'commits that wait for a standby',
		sub {
			my $err;
			# a time-out that strikes before the commit proves nothing
			$node->psql(
				$DATABASE, q{SET statement_timeout = '500ms';
DO $$ BEGIN PERFORM pg_logical_emit_message(true, 'probe', ''); COMMIT; END $$},
				stderr => \$err);
			return $err =~ /canceling wait for synchronous replication/;
		});
	return;
}

# start_pgbench(node, {script text => weight}, clients =>, seconds => |
#               transactions =>, mode => 'simple', rate => a second,
#               connect => 1 for each transaction anew, database =>): pgbench in
#               the background.
sub start_pgbench
{
	my ($node, $scripts, %args) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my @files;
	for my $script (sort keys %$scripts)
	{
		my $file = "$dir/" . @files;
		open my $out, '>', $file or croak "$file: $!";
		print $out $script;
		close $out;
		push @files, '-f', "$file\@$scripts->{$script}";
	}
	my $run = { in => '', out => '', err => '', name => 'pgbench' };
	# its sessions are found by that name, which the test's would hide
	local $ENV{PGAPPNAME} = 'pgbench';
	$run->{handle} = IPC::Run::start(
		[
			'pgbench', '-n', '-M', $args{mode} || 'prepared',
			'-h', $node->host, '-p', $node->port,
			'-c', $args{clients} || 4, '-j', 2,
			($args{transactions}
				? ('-t', $args{transactions})
				: ('-T', $args{seconds} || 5)),
			($args{rate} ? ('-R', $args{rate}) : ()),
			($args{connect} ? '-C' : ()),
			@files, $args{database} || 'postgres'
		],
		'<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

# Is a background program still running?
sub running
{
	my ($run) = @_;
	return 0 unless $run->{handle}->pumpable;
	# takes its output, and notices its end
	eval { $run->{handle}->pump_nb };
	return $run->{handle}->pumpable;
}

# Wait for a background program; true when it ended well.  None takes ten minutes:
# one that waits for ever, for a lock say, is a failure, and does not hang the suite.
sub finish
{
	my ($run) = @_;
	my $deadline = time + 600;
	while (running($run))
	{
		if (time > $deadline)
		{
			$run->{handle}->kill_kill;
			croak "$run->{name} does not end: $run->{err}";
		}
		usleep(10_000);
	}
	my $ok = IPC::Run::finish($run->{handle});
	$run->{failed} = !$ok;
	return $ok;
}

1;
