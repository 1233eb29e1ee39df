
# EvpubChaosFaults - what is done to a server, its publisher, its brokers and the
# network between them.
#
# Each fault is {begin => sub, end => sub, seconds => [least, most]}; one without
# "end" is over when it has begun.  The subs get the run (EvpubChaosRun) and the
# numbers that were drawn for this fault: the schedule is drawn before it is known
# what the machine makes of it.  A sub may wait, by $run->tick only.
package EvpubChaosFaults;

use strict;
use warnings;

use EvpubFaults;
use EvpubTest;
use Exporter 'import';
use Time::HiRes qw(time);

our @EXPORT = qw(%FAULTS @INSTANT);

sub signal_to
{
	my ($signal, $pid) = @_;
	return $pid && kill $signal, $pid;
}

# A broker of the cluster, by a number from 0 to 1.
sub broker_at { return $_[0]{cluster}->broker(int($_[1] * 3)) }

# The broker is back, and answers.
sub start_broker
{
	my ($run, $broker) = @_;
	$broker->start(wait => 0);
	$run->until("$broker->{name} answers", 60, sub { eval { $broker->metadata; 1 } });
	return;
}

sub network_fault
{
	my ($mode, $least, $most) = @_;
	return {
		seconds => [ 2, 6 ],
		begin => sub {
			my ($run, $where, $how) = @_;
			# one broker, or all of them
			my $link = $where < 0.5 ? int($where * 6) : 'all';
			$run->{cluster}->network($link, $mode, $least ? int($least + $how * ($most - $least)) : undef);
		},
		end => sub { $_[0]{cluster}->network('all', 'pass') } };
}

our %FAULTS = (
	# ---- the publisher and its server ----
	kill_relay => {
		begin => sub { signal_to('KILL', relay_pid($_[0]{node})) } },
	freeze_relay => {
		# it is given up after 15 s
		seconds => [ 3, 20 ],
		begin => sub { signal_to('STOP', $_[0]{frozen} = relay_pid($_[0]{node})) },
		end => sub { signal_to('CONT', $_[0]{frozen}) } },
	# which crashes the server
	kill_worker => {
		begin => sub { signal_to('KILL', worker_pid($_[0]{node})) } },
	terminate_worker => {
		begin => sub { signal_to('TERM', worker_pid($_[0]{node})) } },
	freeze_worker => {
		seconds => [ 2, 6 ],
		begin => sub { signal_to('STOP', $_[0]{frozen} = worker_pid($_[0]{node})) },
		end => sub { signal_to('CONT', $_[0]{frozen}) } },
	kill_backend => {
		begin => sub {
			my ($run) = @_;
			my ($ok, $pid) = attempt($run->{node},
				q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1});
			signal_to('KILL', $pid) if $ok && $pid;
		} },
	stop_immediate => {
		begin => sub {
			my ($run) = @_;
			$run->stop_server('immediate');
			$run->start_server;
		} },
	stop_fast => {
		begin => sub {
			my ($run) = @_;
			$run->stop_server('fast');
			$run->start_server;
		} },
	reload => {
		begin => sub {
			my ($run, $how) = @_;
			# another relay
			my $servers = join ',', sort { $how < 0.5 ? $a cmp $b : $b cmp $a } split /,/, $run->{cluster}->proxied;
			set_brokers($run->{node}, $servers);
		} },
	set_clock => {
		begin => sub {
			my ($run, $how) = @_;
			# Never the same twice, so that a time stamp tells when it was made.
			# Brokers take what is less than an hour ahead.
			my $step = ++$run->{clock_steps};
			my $seconds = $how < 0.5 ? -3600 * $step : 600 + 2000 * $how;
			$seconds = 0 if $step % 3 == 0;
			$run->{verify}->clock_set(time * 1000, int($seconds) * 1000);
			set_clock($run->{node}, int $seconds);
		} },
	wal_disk_full => {
		seconds => [ 1, 3 ],
		begin => sub {
			my ($run) = @_;
			$run->fill_disk('wal');
			# until PostgreSQL needs a new file, and has no room for it
			my $deadline = time + 20;
			my $ok = 1;
			while (time < $deadline && ($ok = attempt($run->{node},
				q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))})))
			{
				$run->tick;
			}
			$run->{ended_by_disk}{wal}++ unless $ok;
		},
		end => sub {
			my ($run) = @_;
			$run->free_disk('wal');
			# (the fault is still the one that lasts, and would keep it from that)
			local $run->{active} = [];
			$run->start_server;
		} },

	# ---- brokers ----
	stop_broker => {
		seconds => [ 1, 4 ],
		begin => sub { ($_[0]{broker} = broker_at(@_))->stop },
		end => sub { start_broker($_[0], $_[0]{broker}) } },
	kill_broker => {
		seconds => [ 1, 6 ],
		begin => sub { ($_[0]{broker} = broker_at(@_))->kill9 },
		end => sub { start_broker($_[0], $_[0]{broker}) } },
	freeze_broker => {
		seconds => [ 3, 12 ],
		begin => sub { ($_[0]{broker} = broker_at(@_))->pause },
		end => sub { $_[0]{broker}->cont } },
	# fewer than min.insync.replicas are left, and no majority of controllers
	freeze_two_brokers => {
		seconds => [ 3, 10 ],
		begin => sub {
			my ($run, $where) = @_;
			my $spared = int($where * 3);
			$run->{brokers} = [ map { $run->{cluster}->broker($_) } grep { $_ != $spared } 0 .. 2 ];
			$_->pause for @{ $run->{brokers} };
		},
		end => sub { $_->cont for @{ $_[0]{brokers} } } },
	broker_disk_full => {
		seconds => [ 3, 6 ],
		begin => sub { $_[0]->fill_disk('broker') },
		end => sub {
			my ($run) = @_;
			my $broker = $run->{cluster}->broker(2);
			$run->free_disk('broker');
			# it ends when it cannot write its log; if it has not come to that, it is killed
			if ($broker->has_ended) { $run->{ended_by_disk}{broker}++ }
			else { $broker->kill9 }
			start_broker($run, $broker);
		} },
	move_leaders => {
		begin => sub {
			my ($run, @how) = @_;
			my $i = 0;
			# controllers that hang cannot
			return if $run->brokers_suffer;
			# again, if the controllers are just choosing
			$run->until('leaders move', 60, sub {
				eval { $run->{cluster}->move_leaders(sub { $how[ $i++ % @how ] < 0.5 }); 1 };
			});
		} },

	# ---- topics ----
	# Up to what was read, which is nearly all.  A relay that starts then finds
	# little or nothing of what its predecessor got in.
	delete_records => {
		begin => sub {
			my ($run, $which, $how, $kill) = @_;
			my @topics = sort keys %{ $run->{topics} };
			my $topic = $topics[ int($which * @topics) ];
			$run->{follow}->take;
			for my $partition (0 .. $run->{topics}{$topic}{partitions} - 1)
			{
				my $before = $run->{follow}->position($topic, $partition);
				next if !$before || ($partition + $how * 10) % 2 > 1;
				$run->{verify}->records_deleted($topic, $partition, $before, time * 1000);
				# refused while there is no leader; the record of the deletion stays
				eval { $run->{cluster}->delete_records($topic, $partition, $before) };
			}
			signal_to('KILL', relay_pid($run->{node})) if $kill < 0.5;
		} },
	grow_topic => {
		begin => sub {
			my ($run) = @_;
			my $how = $run->{topics}{'chaos-grown'};
			return if $how->{partitions} >= 8;
			my $partition = $how->{partitions}++;
			$run->until('topic grows', 60, sub {
				eval { $run->{cluster}->grow_topic('chaos-grown', $partition + 1); 1 }
				  || ($run->{cluster}->end_offsets('chaos-grown') > $partition);
			});
			$run->{follow}->start('chaos-grown', $partition);
		} },

	# ---- the network ----
	network_cut => {
		begin => sub {
			my ($run, $where) = @_;
			$run->{cluster}->network($where < 0.5 ? int($where * 6) : 'all', 'cut');
			$run->{cluster}->network('all', 'pass');
		} },
	network_refuse => network_fault('refuse'),
	network_delay => network_fault('delay', 50, 1500),
	network_trickle => network_fault('trickle', 2000, 50000),
	network_blackhole => network_fault('blackhole'),
	# brokers write, and the relay does not hear of it, and the other way round
	network_answers_held => network_fault('answers'),
	network_requests_held => network_fault('requests'),
	# The documented exception: requests of a relay that is dead by then reach the
	# brokers behind those of its successor.
	network_late_requests => {
		begin => sub {
			my ($run, $how) = @_;
			$run->{cluster}->network('all', 'late');
			$run->tick_for(0.3 + $how);
			my $relay = relay_pid($run->{node});
			signal_to('KILL', $relay);
			$run->until('another relay publishes', 30, sub {
				return ($run->{state} // '') eq 'streaming' && $run->{relay} && $run->{relay} != ($relay // 0);
			});
			$run->tick_for(1);
			$run->{cluster}->network('all', 'pass');
		} },
);

# What may strike while another fault lasts.
our @INSTANT = qw(kill_relay kill_relay kill_relay terminate_worker kill_worker kill_backend
  stop_immediate network_cut move_leaders);

1;
