
# EvpubChaosFollow - reads topics while they are written, by one kcat for each
# topic, so that what is deleted or compacted later was seen.
package EvpubChaosFollow;

use strict;
use warnings;

use Carp;
use Time::HiRes qw(time usleep);

my $FORMAT = "%p\t%o\t%T\t%h\t%k\t%s\n";

# new(cluster, topics, directory for what kcat prints, sub that takes a record as
# EvpubChaosVerify does)
sub new
{
	my ($class, $cluster, $topics, $dir, $sub) = @_;
	return bless {
		cluster => $cluster,
		topics => $topics,
		dir => $dir,
		sub => $sub,
		next => {},
		readers => [] }, $class;
}

# start(): all partitions that there are.  start(topic, partition): one that has
# come since; kcat does not find it by itself.
sub start
{
	my ($self, $topic, $partition) = @_;
	for my $one ($topic // sort keys %{ $self->{topics} })
	{
		my $file = "$self->{dir}/" . @{ $self->{readers} };
		my @command = (
			'setpriv', '--pdeathsig', 'KILL', 'kcat', '-C', '-q', '-u', '-E',
			'-b', $self->{cluster}->bootstrap, '-t', $one, '-o', 'beginning',
			(defined $partition ? ('-p', $partition) : ()),
			# else a leader that was frozen is waited for a minute
			'-X', 'socket.timeout.ms=5000', '-X', 'topic.auto.offset.reset=smallest',
			'-X', 'fetch.wait.max.ms=100', '-X', 'reconnect.backoff.max.ms=1000',
			'-X', 'topic.metadata.refresh.interval.ms=5000', '-f', $FORMAT);
		my $pid = fork // croak "fork: $!";
		if (!$pid)
		{
			open STDIN, '<', '/dev/null';
			open STDOUT, '>', $file or die "$file: $!";
			open STDERR, '>', "$file.err" or die "$file.err: $!";
			exec @command or POSIX::_exit(127);
		}
		push @{ $self->{readers} },
		  { pid => $pid, topic => $one, partition => $partition, file => $file, rest => '' };
	}
	return $self;
}

# Takes what has been read since the last call.
sub take
{
	my ($self) = @_;
	for my $reader (@{ $self->{readers} })
	{
		if (!$reader->{in})
		{
			open $reader->{in}, '<', $reader->{file} or next;
		}
		my $data;
		while (sysread $reader->{in}, $data, 262144)
		{
			$reader->{rest} .= $data;
			my $now = time * 1000;
			while ($reader->{rest} =~ /\G([^\n]*)\n/gc)
			{
				$self->line($reader->{topic}, $1, $now);
			}
			$reader->{rest} = substr $reader->{rest}, pos($reader->{rest}) // 0;
		}
	}
	return;
}

sub line
{
	my ($self, $topic, $line, $now) = @_;
	my @fields = split /\t/, $line, 6;
	my $next = \$self->{next}{$topic}[ $fields[0] ];
	$$next = $fields[1] + 1 if $fields[1] >= ($$next // 0);
	$self->{sub}->($topic, @fields, $now);
	return;
}

# The offset up to which a partition was read.
sub position { return $_[0]{next}{ $_[1] }[ $_[2] ] // 0 }

# Up to the ends that there are now; what the readers do not give is read by new
# ones.  Nobody writes any more.
sub finish
{
	my ($self) = @_;
	my $left;
	my $deadline = time + 20;
	do
	{
		$self->take;
		$left = $self->left;
		usleep(100_000) if %$left;
	} while (%$left && time < $deadline);
	for my $reader (@{ $self->{readers} })
	{
		kill 'TERM', $reader->{pid};
		waitpid $reader->{pid}, 0;
	}
	$self->take;
	$left = $self->left;
	for (sort keys %$left)
	{
		my ($topic, $partition) = split / /;
		open my $pipe, '-|', 'kcat', '-C', '-q', '-e', '-b',
		  $self->{cluster}->bootstrap, '-t', $topic, '-p', $partition,
		  '-o', $left->{$_}, '-X', 'topic.auto.offset.reset=smallest', '-f', $FORMAT
		  or croak "kcat: $!";
		while (my $line = <$pipe>)
		{
			chomp $line;
			$self->line($topic, $line, time * 1000);
		}
		close $pipe or croak "kcat failed while reading $topic: $?";
	}
	return $self;
}

# The ends of a topic; leaders may be about to move.
sub ends
{
	my ($self, $topic) = @_;
	for (1 .. 20)
	{
		my @ends = eval { $self->{cluster}->end_offsets($topic) };
		return @ends if @ends;
		usleep(500_000);
	}
	return $self->{cluster}->end_offsets($topic);
}

# {"topic partition" => where it must be read from}
sub left
{
	my ($self) = @_;
	my %left;
	for my $topic (keys %{ $self->{topics} })
	{
		my @ends = $self->ends($topic);
		for my $partition (0 .. $#ends)
		{
			my $position = $self->position($topic, $partition);
			$left{"$topic $partition"} = $position if $position < $ends[$partition];
		}
	}
	return \%left;
}

1;
