# EvpubBench - what the programs of the bench have in common: servers with their
# default durability (fsync on), a real broker, CPU and memory by process from
# /proc, and one file of raw results.
#
# A line of that file is "part, series, x, number of the pair, unit, value", by
# tabs; lines that begin with # say what was measured where.
package EvpubBench;

use strict;
use warnings;

use Exporter 'import';
use IO::Handle;
use POSIX ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use EvpubKafka;

our @EXPORT = qw($here $partitions run rounds median note add values_of
  start_server stop_server sql conninfo connect_to settle
  start_child end_child publisher pids_cpu pid_cpu memory_mb watched load now);

our $here = $ENV{EVPUB_BENCH};
our $partitions = 6;

my $bin = $ENV{BINDIR};
my %servers;      # by name: directory, port
my $current;      # name of the one that sql() asks
my %children;     # by process id
my @values;
my $results;
my $owner = $$;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub run
{
	my @command = @_;
	my $pid = open(my $out, '-|', @command) or die "$command[0]: $!\n";
	local $/;
	my $text = <$out>;
	close $out or die "failed: @command\n";
	return $text;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Numbers of the pairs; one that is done to be warm, and not counted, comes first, but
# not before a single one, where all has to be quick.
sub rounds
{
	my ($pairs) = @_;
	return $pairs == 1 ? 1 : 0 .. $pairs;
}

# ---- results ----

sub results_file
{
	if (!$results)
	{
		open($results, '>>', $ENV{EVPUB_BENCH_RESULTS}) or die "$ENV{EVPUB_BENCH_RESULTS}: $!\n";
		$results->autoflush(1);
	}
	return $results;
}

# A line about the run as a whole.
sub note
{
	my ($name, $text) = @_;
	print { results_file() } "# $name: $text\n";
	print STDERR "$name: $text\n";
	return;
}

# add(part, series, x, pair, unit, value)
sub add
{
	my @line = @_;
	push @values, \@line;
	$line[5] = sprintf('%.6g', $line[5]);
	print { results_file() } join("\t", @line) . "\n";
	return;
}

# All values of a series, in the order of the pairs.
sub values_of
{
	my ($part, $series, $x) = @_;
	return map { $_->[5] }
	  grep { $_->[0] eq $part && $_->[1] eq $series && (!defined $x || $_->[2] eq $x) } @values;
}

sub unit_of
{
	my ($part, $series, $x) = @_;
	my ($found) = grep { $_->[0] eq $part && $_->[1] eq $series && (!defined $x || $_->[2] eq $x) } @values;
	return $found ? $found->[4] : '';
}

# ---- servers ----

# start_server(name, line of postgresql.conf, ...): becomes the one that is asked.
sub start_server
{
	my ($name, @conf) = @_;
	my $server = { data => "$ENV{TMPDIR}/$name", port => EvpubKafka::free_port() };
	run("$bin/initdb", '-D', $server->{data}, '-A', 'trust', '-U', 'postgres', '--no-sync');
	open(my $conf, '>>', "$server->{data}/postgresql.conf") or die $!;
	print $conf join("\n",
		"port = $server->{port}",
		q{listen_addresses = '127.0.0.1'},
		"unix_socket_directories = '$ENV{TMPDIR}'",
		'shared_buffers = 512MB',
		'max_wal_size = 8GB',
		'checkpoint_timeout = 30min',
		@conf, '');
	close $conf;
	run("$bin/pg_ctl", '-D', $server->{data}, '-l', "$ENV{TMPDIR}/$name.log", '-w', 'start');
	$servers{$name} = $server;
	$current = $name;
	return;
}

sub stop_server
{
	my ($name) = @_;
	my $server = delete $servers{$name} or return;
	run("$bin/pg_ctl", '-D', $server->{data}, '-m', 'immediate', 'stop');
	return;
}

sub connect_to { return $current = $_[0] }

sub conninfo
{
	return "host=$ENV{TMPDIR} port=$servers{$current}{port} dbname=postgres user=postgres";
}

# Each argument is a transaction of its own, all in one session.
sub sql
{
	my $text = run("$bin/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', conninfo(),
		map { ('-c', $_) } @_);
	chomp $text;
	return $text;
}

sub settle
{
	sql('CHECKPOINT');
	sql("SELECT evpub.wait_published(timeout => '600 s')") eq 't' or die "not published\n";
	return;
}

# so that the END block runs
$SIG{$_} = sub { exit 1 }
  for qw(INT TERM HUP);

END
{
	my $status = $?;
	if ($$ == $owner)
	{
		end_child($_, 'KILL') for keys %children;
		stop_server($_) for keys %servers;
	}
	$? = $status;
}

# ---- processes ----

# A program that ends with this one, however this ends.
sub start_child
{
	my ($log, @command) = @_;
	my $pid = fork() // die "fork: $!\n";
	if (!$pid)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$ENV{TMPDIR}/$log.log";
		open STDERR, '>&', \*STDOUT;
		exec 'setpriv', '--pdeathsig', 'KILL', @command or print "$command[0]: $!\n";
		POSIX::_exit(127);
	}
	$children{$pid} = 1;
	return $pid;
}

sub end_child
{
	my ($pid, $signal) = @_;
	kill $signal, $pid;
	waitpid($pid, 0);
	delete $children{$pid};
	return;
}

# Process ids of worker and relay.
sub publisher
{
	my ($worker, $relay) = split /\|/,
	  sql(q{SELECT (SELECT pid FROM pg_stat_activity WHERE backend_type = 'evpub publisher'), relay_pid FROM evpub.status});
	return { worker => $worker, relay => $relay };
}

# CPU that a process has used, in microseconds: by schedstat of its threads, in
# nanoseconds; of a Java machine, whose threads come and go, by the clock of the
# whole process, in hundredths of a second.
sub pid_cpu
{
	my ($pid, $java) = @_;
	my $sum = 0;
	if ($java)
	{
		open(my $stat, '<', "/proc/$pid/stat") or die "process $pid: $!\n";
		my @fields = split / /, <$stat> =~ s/.*\) //r;
		return ($fields[11] + $fields[12]) * 1e6 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
	}
	for my $task (glob "/proc/$pid/task/*")
	{
		open(my $stat, '<', "$task/schedstat") or next;
		$sum += $1 / 1000 if <$stat> =~ /^(\d+)/;
	}
	return $sum;
}

sub pids_cpu
{
	my ($pids) = @_;
	return { map { $_ => pid_cpu($pids->{$_}, /broker|connect/) } keys %$pids };
}

# The memory of a process that is its own (RssAnon), in MiB.
sub memory_mb
{
	my ($pid) = @_;
	open(my $status, '<', "/proc/$pid/status") or return 0;
	while (<$status>) { return $1 / 1024 if /^RssAnon:\s+(\d+) kB/ }
	return 0;
}

# The largest memory of these processes, each by itself and all together, while a
# program runs; and what that prints.
sub watched
{
	my ($pids, @command) = @_;
	my %most = map { $_ => 0 } keys %$pids, 'all';
	my $text = '';
	my $pid = open(my $out, '-|', @command) or die "$command[0]: $!\n";
	my $wait = '';
	vec($wait, fileno($out), 1) = 1;
	while (1)
	{
		my $all = 0;
		for my $name (keys %$pids)
		{
			my $now = memory_mb($pids->{$name});
			$all += $now;
			$most{$name} = $now if $now > $most{$name};
		}
		$most{all} = $all if $all > $most{all};
		next unless select(my $ready = $wait, undef, undef, 0.02);
		last unless sysread($out, $text, 4096, length $text);
	}
	close $out or die "failed: @command\n";
	return ($text, \%most);
}

# load(statement, transactions =>, connections =>, rate =>): seconds that it took,
# and the CPU of the writers in microseconds a transaction.  "uncounted" => so many
# transactions before them; "options" => of the sessions, as in PGOPTIONS.  With
# "watch" => pids also the memory of these.
sub load
{
	my ($statement, %args) = @_;
	my ($text, $most) = watched($args{watch} || {}, "$here/load",
		conninfo() . ($args{options} ? " options='$args{options}'" : ''),
		$args{connections} || 8, $args{transactions}, $args{rate} || 0, $statement,
		$args{uncounted} || 0);
	my (undef, $seconds, $cpu) = split ' ', $text;
	return ($seconds, $cpu, $most);
}

1;
