
# EvpubKafka - a real Kafka, one process that is broker and controller (KRaft),
# on two free ports of the loopback interface, with a directory of its own.
#
# It can be stopped, killed, frozen and restarted with its ports and its data.
# It ends with the test, however the test ends: by the END block below, or, if
# the test is killed, by the parent-death signal that setpriv arms (SIGKILL, so
# that a frozen broker goes too).  Nothing is ever ended but by its process id.
package EvpubKafka;

use strict;
use warnings;

use Carp;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Spec;
use File::Temp;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX qw(WNOHANG);
use Time::HiRes qw(time usleep);

my $source = dirname(File::Spec->rel2abs(__FILE__)) . '/../kafka';
my %started;    # brokers of this process, by address of the object
my %taken;      # ports given out by this process, and the sockets that say so
my $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

# A port that nobody listens on, below the range for outgoing connections:
# there, a client that tries again and again to reach a dead broker may be
# given the broker's own port, be connected to itself, and keep it.
# Until this process ends it is nobody else's, also while nobody listens: the name of a
# socket says so, which all processes of this network see, in each root.
sub free_port
{
	for (1 .. 1000)
	{
		my $port = 10200 + int(rand(22000));
		my $name = IO::Socket::UNIX->new(Local => "\0evpub-port-$port", Listen => 1) or next;
		my $socket = IO::Socket::INET->new(
			LocalAddr => '127.0.0.1',
			LocalPort => $port,
			Listen => 1) or next;
		close $socket;
		$taken{$port} = $name;
		return $port;
	}
	croak 'no free port';
}

# new(name => ..., conf => {'broker.setting' => value}, java => ['-X...'],
#     log => file, listeners => {NAME => 'SSL'}, scram => {user => password},
#     port => number, controller_port => number, like => broker)
# Prepares a broker; start() starts it.  Each of "listeners" gets a port of its
# own beside the plaintext one, see bootstrap(NAME); its certificates and users
# are settings ("listener.name.name.…").  "like" is a broker of the same cluster
# that was prepared before, and never started: to copy what it has costs less
# than another Java machine.
sub new
{
	my ($class, %args) = @_;
	my $name = $args{name} || 'kafka';
	my $dir = File::Temp->newdir("evpub-$name-XXXXXX", TMPDIR => 1);
	my $self = bless {
		name => $name,
		dir => $dir,
		port => $args{port} || free_port(),
		controller_port => $args{controller_port} || free_port(),
		java => $args{java}
		  || [
			# fewer threads that compile, faster start
			'-Xmx512m', '-XX:TieredStopAtLevel=1', '-Xshare:auto'
		  ],
		owner => $$,
	}, $class;

	my $logs = $ENV{TESTLOGDIR} || "$dir";
	make_path($logs);
	$self->{log} = $args{log} || "$logs/$name-$self->{port}.log";

	my %listeners = %{ $args{listeners} || {} };
	$self->{ports} = { map { $_ => free_port() } sort keys %listeners };
	my $more = join '',
	  map { ",$_://127.0.0.1:$self->{ports}{$_}" } sort keys %listeners;

	my %conf = (
		'process.roles' => 'broker,controller',
		'node.id' => 1,
		'controller.quorum.voters' => "1\@127.0.0.1:$self->{controller_port}",
		'listeners' => "PLAINTEXT://127.0.0.1:$self->{port},"
		  . "CONTROLLER://127.0.0.1:$self->{controller_port}$more",
		'advertised.listeners' => "PLAINTEXT://127.0.0.1:$self->{port}$more",
		'controller.listener.names' => 'CONTROLLER',
		'listener.security.protocol.map' =>
		  join(',', 'PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT',
			map { "$_:$listeners{$_}" } sort keys %listeners),
		'log.dirs' => "$dir/data",
		'auto.create.topics.enable' => 'false',
		'num.partitions' => 6,
		'default.replication.factor' => 1,
		'offsets.topic.replication.factor' => 1,
		'offsets.topic.num.partitions' => 1,
		'transaction.state.log.replication.factor' => 1,
		'transaction.state.log.min.isr' => 1,
		'transaction.state.log.num.partitions' => 1,
		'share.coordinator.state.topic.replication.factor' => 1,
		'share.coordinator.state.topic.min.isr' => 1,
		'group.initial.rebalance.delay.ms' => 0,
		# a broker that was killed may register again only after its session
		'broker.session.timeout.ms' => 3000,
		'broker.heartbeat.interval.ms' => 500,
		# records with the clock of a test may be old; nothing expires here
		'log.retention.ms' => -1,
		%{ $args{conf} || {} });
	$self->{conf} = \%conf;
	$self->configure({});

	if ($args{like})
	{
		$self->_copy_format($args{like});
		$started{$self} = $self;
		return $self;
	}
	my %scram = %{ $args{scram} || {} };
	$self->_run_java('kafka.tools.StorageTool', 'format', '-t',
		'ZXZwdWItdGVzdC1rYWZrYQ', '-c', "$dir/server.properties",
		map {
			my $user = $_;
			map { ('--add-scram', "SCRAM-SHA-$_=[name=$user,password=$scram{$user}]") } 256, 512
		} sort keys %scram);
	$started{$self} = $self;
	return $self;
}

# The storage of a prepared broker of the same cluster, with names of our own.
sub _copy_format
{
	my ($self, $other) = @_;
	my ($from, $to) = ($other->{conf}{'log.dirs'}, $self->{conf}{'log.dirs'});
	_capture('cp', '-R', $from, $to);
	open my $in, '<', "$from/meta.properties" or croak "$from: $!";
	my $text = join '', <$in>;
	close $in;
	my $directory = join '', map { ('A' .. 'Z', 'a' .. 'z', 0 .. 9)[ rand 62 ] } 1 .. 21;
	$text =~ s/^node\.id=.*/node.id=$self->{conf}{'node.id'}/m;
	# 16 bytes in base64: the last character holds only two bits
	$text =~ s/^directory\.id=.*/directory.id=${directory}A/m;
	_write("$to/meta.properties", $text);
	return;
}

# configure({'broker.setting' => value}): for the next start.
sub configure
{
	my ($self, $conf) = @_;
	$self->{conf} = { %{ $self->{conf} }, %$conf };
	_write("$self->{dir}/server.properties",
		join('', map { "$_=$self->{conf}{$_}\n" } sort keys %{ $self->{conf} }));
	return $self;
}

# One that somebody else started, at 127.0.0.1:port: to read from, not to steer.
sub attach
{
	my ($class, $port) = @_;
	return bless { name => 'kafka', port => $port }, $class;
}

sub name { $_[0]{name} }
sub port { $_[0]{port} }
sub pid { $_[0]{pid} }
sub log_file { $_[0]{log} }

# bootstrap(): address of the plaintext listener; bootstrap(NAME): of another.
sub bootstrap
{
	my ($self, $listener) = @_;
	return '127.0.0.1:' . ($listener ? $self->{ports}{$listener} : $self->{port});
}

# start(wait => 0) starts the process without waiting until it answers.
sub start
{
	my ($self, %args) = @_;
	croak "$self->{name} is already running" if $self->{pid};

	$self->{pid} = $self->_spawn('kafka.Kafka', "$self->{dir}/server.properties");
	$self->wait_ready unless exists $args{wait} && !$args{wait};
	return $self;
}

# Until the broker answers and every partition has a leader.
sub wait_ready
{
	my ($self) = @_;
	my $deadline = time + $timeout;

	while (time < $deadline)
	{
		croak "$self->{name} has ended: " . $self->_log_tail if $self->has_ended;
		my $answer = eval { $self->metadata };
		return $self
		  if $answer
		  && @{ $answer->{brokers} }
		  && !grep { $_->{leader} < 0 }
		  map { @{ $_->{partitions} } } @{ $answer->{topics} };
		usleep(50_000);
	}
	croak "$self->{name} does not get ready: " . $self->_log_tail;
}

# Has the process ended by itself?
sub has_ended
{
	my ($self) = @_;
	return 1 unless $self->{pid};
	return 0 unless waitpid($self->{pid}, WNOHANG) == $self->{pid};
	delete $self->{pid};
	return 1;
}

# A clean stop, as an operator would do it.
sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'CONT', $self->{pid};
	kill 'TERM', $self->{pid};
	my $deadline = time + 30;
	while (time < $deadline)
	{
		return $self if $self->has_ended;
		usleep(20_000);
	}
	return $self->kill9;
}

# The process is gone when this returns, its port is free.
sub kill9
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'KILL', $self->{pid};
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	return $self;
}

sub restart
{
	my ($self, %args) = @_;
	$self->stop;
	return $self->start(%args);
}

# Freeze: connections stay, nothing answers.
sub pause
{
	my ($self) = @_;
	kill 'STOP', $self->{pid} or croak "$self->{name} is not running";
	# one of its threads has to run to take the signal; until then it may still answer
	usleep(1000) while $self->_moves;
	return $self;
}

# Is a thread of it not stopped yet?
sub _moves
{
	my ($self) = @_;
	for my $task (glob "/proc/$self->{pid}/task/*/stat")
	{
		open my $in, '<', $task or next;
		return 1 if (<$in> // '') =~ s/.*\) //sr !~ /^[TZX]/;
	}
	return 0;
}

sub cont
{
	my ($self) = @_;
	kill 'CONT', $self->{pid} or croak "$self->{name} is not running";
	return $self;
}

sub metadata
{
	my ($self) = @_;
	return JSON::PP::decode_json(
		_capture('kcat', '-L', '-J', '-q', '-m', 2, '-b', $self->bootstrap));
}

# create_topic(name, partitions, {setting => value}, broker => number): that
# broker has all of its partitions then, each once
sub create_topic
{
	my ($self, $topic, $partitions, $conf, %args) = @_;
	$self->_admin('create', $topic, $partitions || 6,
		$args{broker} ? "broker=$args{broker}" : (),
		map { "$_=$conf->{$_}" } sort keys %{ $conf || {} });
	$self->wait_topic($topic);
	return $self;
}

# Deletes the records of a partition before an offset.
sub delete_records
{
	my ($self, $topic, $partition, $offset) = @_;
	$self->_admin('delete-records', $topic, $partition, $offset);
	return $self;
}

sub delete_topic
{
	my ($self, $topic) = @_;
	$self->_admin('delete', $topic);
	return $self;
}

sub grow_topic
{
	my ($self, $topic, $partitions) = @_;
	$self->_admin('grow', $topic, $partitions);
	return $self;
}

# set_topic(name, {setting => value}); settings not named go back to defaults.
sub set_topic
{
	my ($self, $topic, $conf) = @_;
	$self->_admin('set', $topic, map { "$_=$conf->{$_}" } sort keys %$conf);
	return $self;
}

# allow(topic, user, 'READ' | 'WRITE' | 'CREATE' | 'DESCRIBE_CONFIGS'), with an
# authorizer.
sub allow
{
	my ($self, $topic, $user, $operation) = @_;
	$self->_admin('allow', $topic, $user, $operation);
	return $self;
}

# {topic => number of partitions}
sub topics
{
	my ($self) = @_;
	return { map { split / / } split /\n/, $self->_admin('topics') };
}

# Creation is asynchronous: until the topic is there, with all its leaders, and
# they know that they are leaders, which metadata may say too early.
sub wait_topic
{
	my ($self, $topic) = @_;
	my $deadline = time + $timeout;
	while (time < $deadline)
	{
		# a broker that is held up does not answer in kcat's time
		my $answer = eval { $self->metadata } || { topics => [] };
		my ($found) = grep { $_->{topic} eq $topic } @{ $answer->{topics} };
		return $self
		  if $found
		  && @{ $found->{partitions} }
		  && !grep { $_->{leader} < 0 }
		  @{ $found->{partitions} }
		  and eval { $self->_admin('offsets', $topic); 1 };
		usleep(20_000);
	}
	croak "topic $topic does not come";
}

# The offset after the last record of each partition; of a topic that does not
# exist: nothing.
sub end_offsets
{
	my ($self, $topic) = @_;
	my @ends;
	return () unless exists $self->topics->{$topic};
	for (split /\n/, $self->_admin('offsets', $topic))
	{
		my ($partition, $low, $high) = split / /;
		$ends[$partition] = $high;
	}
	return @ends;
}

sub record_count
{
	my ($self, $topic) = @_;
	my $count = 0;
	$count += $_ for $self->end_offsets($topic);
	return $count;
}

# consume(topic, partition => n): all records of a topic that are there now, in
# offset order within each partition, as {partition, offset, timestamp, key,
# value, headers}.  key and value are bytes, undef for null; headers is a text,
# "name=value,name=value".
sub consume
{
	my ($self, $topic, %args) = @_;
	my @records;
	$self->each_record($topic, sub { push @records, $_[0] }, %args);
	return @records;
}

# The same for more records than memory should hold: calls $sub for each.
sub each_record
{
	my ($self, $topic, $sub, %args) = @_;

	# lengths first, so that any byte may stand in a key or a value
	my $pipe = $self->_reader($topic, "%p %o %T %K %S\n%k%s%h\n", %args);
	while (my $line = <$pipe>)
	{
		my ($partition, $offset, $timestamp, $key_len, $value_len) = split / /, $line;
		my ($key, $value);
		$key = _read($pipe, $key_len) if $key_len >= 0;
		$value = _read($pipe, $value_len) if $value_len >= 0;
		my $headers = <$pipe>;
		chomp $headers;
		$sub->({
			partition => $partition,
			offset => $offset,
			timestamp => $timestamp,
			key => $key,
			value => $value,
			headers => $headers });
	}
	close $pipe or croak "kcat failed while reading $topic: $?";
	return;
}

# All records of a topic, a line of JSON each, as kcat has them.
sub as_json
{
	my ($self, $topic) = @_;
	open my $pipe, '-|', 'kcat', '-C', '-q', '-e', '-J', '-b', $self->bootstrap, '-t', $topic,
	  '-o', 'beginning', '-X', 'fetch.wait.max.ms=20'
	  or croak "kcat: $!";
	my $lines = join '', <$pipe>;
	close $pipe or croak "kcat failed while reading $topic: $?";
	return $lines;
}

# For millions of records: calls $sub with (partition, key, value, timestamp) of each.
# Only for topics in which no key has a tab and no value a line end.
sub each_line
{
	my ($self, $topic, $sub, %args) = @_;
	my $pipe = $self->_reader($topic, "%p\t%T\t%o\t%k\t%s\n", %args);
	while (<$pipe>)
	{
		chomp;
		my ($partition, $timestamp, $offset, $key, $value) = split /\t/, $_, 5;
		$sub->($partition, $key, $value, $timestamp, $offset);
	}
	close $pipe or croak "kcat failed while reading $topic: $?";
	return;
}

# Messages as a foreign producer would write them, in one go:
# produce(topic, key, value, arguments of kcat such as -H name=value or -p partition)
# with librdkafka's default partitioner.
sub produce
{
	my ($self, $topic, $key, $value, @more) = @_;
	open my $pipe, '|-', 'kcat', '-P', '-b', $self->bootstrap, '-t', $topic,
	  '-k', $key, @more
	  or croak "kcat: $!";
	print $pipe $value;
	close $pipe or croak "kcat failed while writing to $topic: $?";
	return;
}

sub _reader
{
	my ($self, $topic, $format, %args) = @_;
	open my $pipe, '-|', 'kcat', '-C', '-q', '-e', '-b', $self->bootstrap,
	  '-t', $topic, '-o', 'beginning',
	  # short, so that empty partitions do not hold up the end
	  '-X', 'fetch.wait.max.ms=20',
	  (defined $args{partition} ? ('-p', $args{partition}) : ()), '-f', $format
	  or croak "kcat: $!";
	binmode $pipe;
	return $pipe;
}

sub _read
{
	my ($pipe, $length) = @_;
	my $data = '';
	while (length $data < $length)
	{
		read($pipe, $data, $length - length $data, length $data)
		  or croak 'kcat ended in the middle of a record';
	}
	return $data;
}

sub _admin
{
	my ($self, @args) = @_;
	my $program = $ENV{EVPUB_KAFKA_ADMIN} || "$source/evpub-kafka-admin";
	return _capture($program, $self->bootstrap, @args);
}

# Output of a program; croaks when it fails.
sub _capture
{
	my (@command) = @_;
	my $pid = open my $pipe, '-|';
	croak "fork: $!" unless defined $pid;
	if (!$pid)
	{
		open STDERR, '>&', \*STDOUT;
		exec @command or print "$command[0]: $!\n";
		POSIX::_exit(127);
	}
	local $/;
	my $output = <$pipe>;
	close $pipe or croak "@command: " . ($output // '');
	return $output // '';
}

sub _java
{
	my ($self) = @_;
	my $jars = $ENV{EVPUB_KAFKA_JARS};
	if (!$jars)
	{
		$jars = _capture("$source/get");
		chomp $jars;
		$ENV{EVPUB_KAFKA_JARS} = $jars;
	}
	return (
		'java', @{ $self->{java} }, '-XX:-UsePerfData',
		'-Dorg.apache.logging.log4j.level=WARN',
		'-cp', "$jars/*");
}

sub _run_java
{
	my ($self, @args) = @_;
	return _capture($self->_java, @args);
}

sub _spawn
{
	my ($self, @args) = @_;
	my @command = ('setpriv', '--pdeathsig', 'KILL', $self->_java, @args);
	my $pid = fork;
	croak "fork: $!" unless defined $pid;
	return $pid if $pid;

	open STDIN, '<', '/dev/null';
	open STDOUT, '>>', $self->{log};
	open STDERR, '>&', \*STDOUT;
	exec @command or print "$command[0]: $!\n";
	POSIX::_exit(127);
}

sub _log_tail
{
	my ($self) = @_;
	open my $log, '<', $self->{log} or return "(no log: $!)";
	my @lines = <$log>;
	splice @lines, 0, -20 if @lines > 20;
	return join '', @lines;
}

sub _write
{
	my ($file, $text) = @_;
	open my $out, '>', $file or croak "$file: $!";
	print $out $text;
	close $out or croak "$file: $!";
	return;
}

END
{
	my $status = $?;
	for my $kafka (values %started)
	{
		# not in a forked child
		$kafka->kill9 if $kafka->{owner} == $$;
	}
	$? = $status;
}

1;
