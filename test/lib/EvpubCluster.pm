
# EvpubCluster - three brokers (KRaft, each of them a controller, too) that keep
# each record three times and acknowledge it when two have it, behind a network
# that can be made bad (test/chaos/proxy.py).
#
# Programs of a test read and steer over the brokers' own ports; what gets its
# addresses from proxied() goes through the proxy with every connection, since
# the brokers tell it the proxy's ports.  Each broker is an EvpubKafka, and is
# stopped, killed and frozen as such; the cluster is one for all that is asked.
package EvpubCluster;

use strict;
use warnings;

use Carp;
use EvpubKafka;
use EvpubProxy;
use File::Basename qw(dirname);
use File::Spec;
use JSON::PP ();
use Time::HiRes qw(time usleep);

our @ISA = qw(EvpubKafka);

my $programs = dirname(File::Spec->rel2abs(__FILE__)) . '/../chaos';

# new(conf => {'broker.setting' => value}, last_data => directory of the last
#     broker's log)
sub new
{
	my ($class, %args) = @_;
	my @controllers = map { EvpubKafka::free_port() } 0 .. 2;
	my @voters = map { ($_ + 1) . "\@127.0.0.1:$controllers[$_]" } 0 .. 2;
	my $self = bless { name => 'cluster', brokers => [] }, $class;

	for my $i (0 .. 2)
	{
		my $broker = EvpubKafka->new(
			name => 'broker' . ($i + 1),
			controller_port => $controllers[$i],
			listeners => { PROXIED => 'PLAINTEXT' },
			java => [ '-Xmx256m', '-Xms64m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto' ],
			like => $self->{brokers}[0],
			conf => {
				'node.id' => $i + 1,
				'controller.quorum.voters' => join(',', @voters),
				'default.replication.factor' => 3,
				'min.insync.replicas' => 2,
				# a replica that hangs is soon not waited for
				'replica.lag.time.max.ms' => 4000,
				($i == 2 && $args{last_data} ? ('log.dirs' => $args{last_data}) : ()),
				%{ $args{conf} || {} }
			});
		push @{ $self->{brokers} }, $broker;
	}
	$self->_start_proxy;
	for my $i (0 .. 2)
	{
		my $broker = $self->{brokers}[$i];
		$broker->configure({
			'advertised.listeners' => "PLAINTEXT://127.0.0.1:$broker->{port},"
			  . "PROXIED://127.0.0.1:$self->{proxied}[$i]" });
	}
	return $self;
}

sub _start_proxy
{
	my ($self) = @_;
	$self->{proxy} = EvpubProxy->new(map { $_->{ports}{PROXIED} } $self->brokers);
	$self->{proxied} = [ $self->{proxy}->ports ];
	return;
}

# network(link | 'all', order, value): see test/chaos/proxy.py.
sub network
{
	my ($self, @order) = @_;
	return $self->{proxy}->order(@order);
}

sub brokers { return @{ $_[0]{brokers} } }
sub broker { return $_[0]{brokers}[ $_[1] ] }

# Brokers' own addresses.
sub bootstrap
{
	my ($self) = @_;
	return join ',', map { $_->bootstrap } $self->brokers;
}

# Their addresses through the proxy.
sub proxied
{
	my ($self) = @_;
	return join ',', map { "127.0.0.1:$_" } @{ $self->{proxied} };
}

sub start
{
	my ($self) = @_;
	$_->start(wait => 0) for $self->brokers;
	$_->wait_ready for $self->brokers;
	return $self;
}

sub stop
{
	my ($self) = @_;
	$_->kill9 for $self->brokers;
	$self->{proxy}->stop;
	return $self;
}

# is_whole(): all brokers are there, and every replica of every partition is in
# sync.  Each broker has to say so: one that was frozen says what was so before.
sub is_whole
{
	my ($self) = @_;
	for my $broker ($self->brokers)
	{
		return 0 unless $self->_is_whole_to($broker);
	}
	return 1;
}

sub _is_whole_to
{
	my ($self, $broker) = @_;
	my $answer = eval { $broker->metadata } or return 0;
	return 0 if @{ $answer->{brokers} } < $self->brokers;
	for my $partition (map { @{ $_->{partitions} } } @{ $answer->{topics} })
	{
		return 0
		  if $partition->{leader} < 0
		  || @{ $partition->{isrs} } < @{ $partition->{replicas} };
	}
	return 1;
}

# move_leaders(sub { true for a partition to move, of (topic, partition) }):
# another replica becomes the preferred one, and leads.
sub move_leaders
{
	my ($self, $wanted) = @_;
	my @moves;
	for my $topic (@{ $self->metadata->{topics} })
	{
		for my $partition (@{ $topic->{partitions} })
		{
			my ($first, @rest) = map { $_->{id} } @{ $partition->{replicas} };
			next unless @rest && $wanted->($topic->{topic}, $partition->{partition});
			push @moves,
			  "$topic->{topic}:$partition->{partition}:" . join ',', @rest, $first;
		}
	}
	EvpubKafka::_capture("$programs/leaders.py", $self->broker(0)->bootstrap, @moves) if @moves;
	return scalar @moves;
}

1;
