
# EvpubProxy - a network between the relay and its brokers that can be made bad:
# test/chaos/proxy.py, on a free port for each broker's port.
package EvpubProxy;

use strict;
use warnings;

use Carp;
use EvpubKafka;
use File::Basename qw(dirname);
use File::Spec;
use IPC::Open2 qw(open2);

my $program = dirname(File::Spec->rel2abs(__FILE__)) . '/../chaos/proxy.py';

# new(port of a broker, ...): links to these, which let everything pass.
sub new
{
	my ($class, @targets) = @_;
	my $self = bless { ports => [ map { EvpubKafka::free_port() } @targets ] }, $class;
	my @links = map { "$self->{ports}[$_]:$targets[$_]" } 0 .. $#targets;
	$self->{pid} = open2($self->{says}, $self->{orders},
		'setpriv', '--pdeathsig', 'KILL', 'python3', $program, @links);
	$self->_answer;
	return $self;
}

# The ports to connect to, one for each broker.
sub ports { return @{ $_[0]{ports} } }

sub _answer
{
	my ($self) = @_;
	my $line = readline $self->{says};
	croak 'the proxy has ended' unless defined $line && $line eq "ok\n";
	return;
}

# order(link | 'all', order, value): in force when this returns; see proxy.py.
sub order
{
	my ($self, $link, $mode, $value) = @_;
	syswrite $self->{orders}, join(' ', $link, $mode, $value // ()) . "\n";
	return $self->_answer;
}

sub stop
{
	my ($self) = @_;
	close $self->{orders};
	waitpid $self->{pid}, 0;
	return;
}

1;
