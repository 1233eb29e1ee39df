
# EvpubChaosRun - a run of the chaos harness: a schedule of faults that is drawn
# from a seed, under load, watched, verified and reported.
#
# The schedule is the same for the same seed and plan.  How it falls together with
# the writers is not.
package EvpubChaosRun;

use strict;
use warnings;

use Carp;
use EvpubChaosFaults;
use EvpubChaosFollow;
use EvpubChaosLoad;
use EvpubChaosVerify;
use EvpubCluster;
use EvpubFaults;
use EvpubTest;
use List::Util qw(max sum0);
use Time::HiRes qw(clock_gettime CLOCK_BOOTTIME CLOCK_MONOTONIC time usleep);

# After the last fault is over, all must be published within this (s).
our $BOUND = 60;

# Only one of these at a time, on a cluster that is whole.
my %needs_whole = map { $_ => 1 }
  qw(stop_broker kill_broker freeze_broker freeze_two_brokers broker_disk_full);

# new(seed =>, seconds =>, delivery => undef for the server's default, wide =>,
#     plan => {fault => how often}, rate =>, disks => directory of small disks,
#     dir => for files, say => sub)
# Without a plan, all kinds of faults come in turn until the time is over.
sub new
{
	my ($class, %args) = @_;
	my $self = bless {
		%args,
		number => $args{seed},
		done => {},    # fault => how often
		active => [],    # faults that last
		recent => [],    # faults since the last progress
		stalls => {},    # fault => longest stall
		relays => {},    # pids that were seen
		failures => [],
		progress_at => now(),
		peak_kb => 0 }, $class;
	$self->{topics} = chaos_topics($args{wide});
	# nobody shall depend on the first number
	$self->draw for 1 .. 3;
	return $self;
}

# The next number from 0 to 1.  Not rand(): others call that, too.
sub draw
{
	my ($self) = @_;
	use integer;
	$self->{number} = $self->{number} * 6364136223846793005 + 1442695040888963407;
	my $bits = ($self->{number} >> 33) & 0x7fffffff;
	no integer;
	return $bits / 0x80000000;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub failed
{
	my ($self, $text) = @_;
	push @{ $self->{failures} }, $text;
	$self->{say}->($text);
	return;
}

# ---- what it is done to ----

sub set_up
{
	my ($self) = @_;
	my $disks = $self->{disks};
	$self->{cluster} = EvpubCluster->new(
		$disks ? (last_data => "$disks/broker/data") : (),
		conf => {
			# to lead a thousand partitions takes the controllers longer
			$self->{wide} ? ('broker.session.timeout.ms' => 12000) : (),
			# compaction comes while the test runs
			'log.cleaner.backoff.ms' => 2000,
			'log.cleaner.dedupe.buffer.size' => 8 * 1024 * 1024,
			'log.retention.check.interval.ms' => 30000 })->start;
	for my $topic (sort keys %{ $self->{topics} })
	{
		my $how = $self->{topics}{$topic};
		$self->{cluster}->create_topic(
			$topic,
			$how->{partitions},
			$how->{compacted}
			? {
				'cleanup.policy' => 'compact',
				'segment.ms' => 20000,
				'min.cleanable.dirty.ratio' => 0.1,
				# the reader sees them before
				'min.compaction.lag.ms' => 30000
			  }
			: {});
	}
	my $node = $self->{node} = capture_node(
		'main',
		start => 0,
		initdb => [ '--wal-segsize=1', $disks ? ('-X', "$disks/wal/pg_wal") : () ],
		conf => qq{
evpub.bootstrap_servers = '@{[ $self->{cluster}->proxied ]}'
restart_after_crash = on
fsync = on
recovery_init_sync_method = syncfs
max_wal_size = 64MB
min_wal_size = 2MB
# to lose the backlog would be right when a disk is full, and is 033's matter
evpub.min_disk_free = -1
@{[ $self->{delivery} ? "evpub.delivery = '$self->{delivery}'" : '' ]}
});
	set_clock($node, 0);
	start_with_faults($node);
	create_evpub($node);
	$self->{delivery} = $node->safe_psql('postgres', 'SHOW evpub.delivery');
	chaos_tables($node, $self->{wide});
	$self->{verify} = EvpubChaosVerify->new(
		topics => $self->{topics},
		tables => \%EvpubChaosLoad::TABLES,
		delivery => $self->{delivery});
	$self->{follow} = EvpubChaosFollow->new(
		$self->{cluster}, $self->{topics}, $self->{dir},
		sub { $self->{verify}->record(@_) })->start;
	$self->{load} = { node => $node, wide => $self->{wide}, rate => $self->{rate} };
	# so that what is read late is not the readers' fault
	$node->safe_psql('postgres', q{SELECT change(tab, 't1') FROM unnest('{code,member,shared,compacted,grown}'::text[]) tab});
	wait_published($node) or croak 'nothing is published';
	$self->until('the readers read', 60, sub { !%{ $self->{follow}->left } });
	$self->note_progress;
	$self->{stalls} = {};
	return $self;
}

# fill_disk('wal' | 'broker'): from now on it is full.  No more than is there
# fits, by the size of the file system.
sub fill_disk
{
	my ($self, $which) = @_;
	my $mount = "$self->{disks}/$which";
	# what is written meanwhile may be more than was seen: then once more
	for (1 .. 10)
	{
		my ($used) = `df --output=used -k $mount` =~ /(\d+)\s*$/;
		return if system("mount -o remount,size=${used}k $mount 2>/dev/null") == 0;
	}
	return;
}

sub free_disk
{
	my ($self, $which) = @_;
	system("mount -o remount,size=8g $self->{disks}/$which") == 0
	  or croak "cannot make $which larger";
	return;
}

sub stop_server
{
	my ($self, $mode) = @_;
	my $node = $self->{node};
	# with a worker that is frozen, a fast stop would wait for it
	$mode = 'immediate' if $self->is_active('freeze_worker');
	$node->stop($mode, fail_ok => 1);
	return;
}

# Until it answers, whatever state it is in.
sub start_server
{
	my ($self) = @_;
	my $node = $self->{node};
	my $deadline = now() + 60;
	# it cannot: the end of that fault starts it
	return if $self->is_active('wal_disk_full');
	while (now() < $deadline)
	{
		return if attempt($node, 'SELECT 1');
		# a crash of it that the postmaster did not survive
		if (!-e $node->data_dir . '/postmaster.pid' || !kill 0, $node->{_pid} || 0)
		{
			$node->{_pid} = undef;
			unlink $node->data_dir . '/postmaster.pid';
			local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
			$node->start(fail_ok => 1);
		}
		usleep(50_000);
	}
	croak 'the server does not start';
}

# ---- what is watched ----

# tick(): once in a while; sees to the load, reads, and looks at the status.
sub tick
{
	my ($self) = @_;
	keep_writing($self->{load}) if $self->{writing};
	foreign_records($self->{cluster}) if $self->{writing};
	$self->{follow}->take;
	$self->note_relay;
	if (now() > ($self->{looked_at} // 0) + 0.5)
	{
		$self->look;
		$self->{looked_at} = now();
	}
	usleep(30_000);
	return;
}

# Is there another relay, and since when?
sub note_relay
{
	my ($self) = @_;
	my $pid = relay_pid($self->{node});
	return if !$pid || $self->{relays}{$pid};
	open my $in, '<', "/proc/$pid/stat" or return;
	# the time of its start, in hundredths of a second since the machine's
	my $start = (split / /, <$in> =~ s/.*\)//sr)[20];
	my $age = clock_gettime(CLOCK_BOOTTIME) - $start / 100;
	$self->{relays}{$pid} = 1;
	$self->{verify}->relay_began(1000 * (time - $age));
	return;
}

sub tick_for
{
	my ($self, $seconds) = @_;
	my $end = now() + $seconds;
	$self->tick while now() < $end;
	return;
}

# until(what, seconds, sub): false, and a failure, when it never is.
sub until
{
	my ($self, $what, $seconds, $done) = @_;
	my $end = now() + $seconds;
	while (!$done->())
	{
		if (now() > $end)
		{
			$self->failed("not within $seconds s: $what; faults: @{[ $self->recent_faults ]}; $self->{last_status}");
			return 0;
		}
		$self->tick;
	}
	return 1;
}

sub recent_faults
{
	my ($self) = @_;
	my %seen;
	return grep { !$seen{$_}++ } @{ $self->{recent} }, map { $_->[0] } @{ $self->{active} };
}

sub is_active
{
	my ($self, $fault) = @_;
	return grep { $_->[0] eq $fault } @{ $self->{active} };
}

sub brokers_suffer
{
	my ($self) = @_;
	return grep { $needs_whole{ $_->[0] } } @{ $self->{active} };
}

sub look
{
	my ($self) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGCONNECT_TIMEOUT} = 3;
	eval {
		$self->{node}->psql(
			'postgres', q{SELECT state, coalesce(relay_pid, 0), confirmed_lsn, flush_lsn, forged_dropped,
	duplicates_dropped, clock_timestamp(), state_reason FROM evpub.status},
			stdout => \$out, stderr => \$err, timeout => 10);
	};
	my ($state, $relay, $confirmed, $flush, $forged, $dropped, undef, $reason) = split /\|/, $out // '';
	if (!$reason && !$confirmed)
	{
		$self->{state} = undef;
		$self->{last_status} = 'no status' . ($err ? ": $err" : '');
		return;
	}
	$self->{last_status} = $out;
	$self->{relay} = $relay;
	if ($state =~ /^(gap|fenced|unconfigured|paused|standby)$/ && ($self->{state} // '') ne $state)
	{
		$self->failed("state $state: $reason; faults: @{[ $self->recent_faults ]}");
	}
	$self->{state} = $state;
	$self->failed("$forged messages taken for forged") if $forged && !$self->{forged}++;
	$self->{dropped} = max($self->{dropped} // 0, $dropped);
	$self->note_progress if $confirmed ne ($self->{confirmed} // '') || $confirmed eq $flush;
	$self->{confirmed} = $confirmed;
	$self->{peak_kb} = max($self->{peak_kb}, own_memory_kb($self->{node}));
	$self->commit_prepared;
	return;
}

sub note_progress
{
	my ($self) = @_;
	my $stall = now() - $self->{progress_at};
	my @faults = $self->recent_faults;
	my $name = @faults ? join(' + ', @faults) : 'no fault';
	$self->{stalls}{$name} = $stall if $stall > ($self->{stalls}{$name} // 0);
	$self->{progress_at} = now();
	$self->{recent} = [];
	return;
}

# What a writer had prepared when the server crashed holds a lock.
sub commit_prepared
{
	my ($self) = @_;
	my ($ok, $out) = attempt($self->{node}, 'SELECT gid FROM pg_prepared_xacts');
	return unless $ok;
	my %there = map { $_ => 1 } split /\n/, $out;
	my $before = $self->{prepared} || {};
	$self->{prepared} = { map { $_ => 1 + ($before->{$_} // 0) } keys %there };
	for my $gid (sort keys %there)
	{
		attempt($self->{node}, "COMMIT PREPARED '$gid'") if $self->{prepared}{$gid} > 3;
	}
	return;
}

# Until all is published that has committed by now.
sub settle
{
	my ($self) = @_;
	my ($lsn, $began) = (undef, now());
	$self->until('the server answers', $BOUND, sub {
		my $ok;
		($ok, $lsn) = attempt($self->{node}, 'SELECT pg_current_wal_flush_lsn()');
		return $ok;
	}) or return 0;
	my $done = $self->until("published up to $lsn", $BOUND, sub {
		my ($ok, $out) = attempt($self->{node}, "SELECT confirmed_lsn >= '$lsn' FROM evpub.status");
		return $ok && $out eq 't';
	});
	my $took = now() - $began;
	$self->{slowest_settle} = max($self->{slowest_settle} // 0, $took);
	return $done;
}

# ---- the schedule ----

# All kinds of faults that can be here, or those of the plan, in the order drawn.
sub draw_deck
{
	my ($self) = @_;
	my %plan = $self->{plan} ? %{ $self->{plan} } : map { $_ => 1 } keys %FAULTS;
	$plan{kill_relay} = 3 unless $self->{plan};
	delete @plan{ grep { /_disk_full$/ } keys %plan } unless $self->{disks};
	my @deck = map { ($_) x $plan{$_} } sort keys %plan;
	for my $i (reverse 1 .. $#deck)
	{
		my $j = int($self->draw * ($i + 1));
		@deck[ $i, $j ] = @deck[ $j, $i ];
	}
	return @deck;
}

# A round: a fault, how long it lasts, what strikes meanwhile, and whether it is
# waited until all is published before the next one.
sub draw_round
{
	my ($self, $name) = @_;
	my $fault = $FAULTS{$name} or croak "there is no fault $name";
	my ($least, $most) = @{ $fault->{seconds} || [ 0, 0 ] };
	my @numbers = map { $self->draw } 1 .. 12;
	my %round = (
		name => $name,
		numbers => [ @numbers[ 0 .. 2 ] ],
		seconds => $least + $numbers[3] * ($most - $least),
		pause => $numbers[4] * 1.5,
		settle => $numbers[5] < 0.6);
	if ($fault->{end} && $numbers[6] < 0.5 && !$self->{plan})
	{
		$round{also} = $INSTANT[ int($numbers[7] * @INSTANT) ];
		$round{also_numbers} = [ @numbers[ 8 .. 10 ] ];
		$round{also_at} = $numbers[11] * $round{seconds};
	}
	return \%round;
}

sub strike
{
	my ($self, $name, @numbers) = @_;
	$self->{done}{$name}++;
	push @{ $self->{recent} }, $name;
	$FAULTS{$name}{begin}->($self, @numbers);
	return;
}

sub play
{
	my ($self, $round) = @_;
	my $name = $round->{name};
	my $fault = $FAULTS{$name};
	my $log = sprintf '%6.1f s: %s', now() - $self->{began}, $name;
	if ($needs_whole{$name} && !$self->{cluster}->is_whole)
	{
		$self->until('the cluster is whole', $BOUND, sub { $self->{cluster}->is_whole }) or return;
	}
	$self->strike($name, @{ $round->{numbers} });
	if ($fault->{end})
	{
		$log .= sprintf ' for %.1f s', $round->{seconds};
		push @{ $self->{active} }, [$name];
		if ($round->{also})
		{
			$self->tick_for($round->{also_at});
			$log .= " with $round->{also}";
			$self->strike($round->{also}, @{ $round->{also_numbers} });
		}
		$self->tick_for($round->{seconds} - ($round->{also} ? $round->{also_at} : 0));
		# what it did may last longer than it
		push @{ $self->{recent} }, $name;
		$fault->{end}->($self);
		pop @{ $self->{active} };
	}
	push @{ $self->{schedule} }, $log;
	$self->{say_more}->($log);
	$self->tick_for($round->{pause});
	# a crash ends nothing but by a start
	$self->start_server;
	$self->settle if $round->{settle};
	return;
}

# Until the plan is through, or the time over.
sub run
{
	my ($self) = @_;
	$self->{began} = now();
	$self->{writing} = 1;
	$self->tick_for(1);
	my @deck = $self->draw_deck;
	while ($self->{plan} ? @deck : now() < $self->{began} + $self->{seconds})
	{
		@deck = $self->draw_deck unless @deck;
		my $round = $self->draw_round(shift @deck);
		eval { $self->play($round); 1 } or $self->failed("$round->{name}: $@"), last;
		# what stands still now would stand still for the rest
		last if @{ $self->{failures} } > 3;
	}
	$self->{took} = now() - $self->{began};
	return $self;
}

# No more faults: all is published within the bound, and is what has committed.
sub end_run
{
	my ($self) = @_;
	$self->tick_for(1);
	$self->{writing} = 0;
	end_writing($self->{load});
	$self->start_server;
	# one may commit, or prepare, when its client is gone
	$self->until('the writers\' sessions have ended', $BOUND, sub {
		my ($ok, $count) = attempt($self->{node},
			q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'});
		return $ok && $count == 0;
	});
	attempt($self->{node}, "COMMIT PREPARED '$_'")
	  for split /\n/, (attempt($self->{node}, 'SELECT gid FROM pg_prepared_xacts'))[1];
	my $began = now();
	$self->settle;
	$self->{last_settle} = now() - $began;
	$self->until('the cluster is whole', $BOUND, sub { $self->{cluster}->is_whole });
	$self->{follow}->finish;
	$self->{compacted_left} = () = $self->{cluster}->consume('chaos-compacted');
	$self->{compacted} = $self->{cluster}->record_count('chaos-compacted');
	$self->{verify}->finish(sub { truth_lines($self->{node}, $_[0]) });
	return $self;
}

# ---- the report ----

# report(true: with the schedule)
sub report
{
	my ($self, $schedule) = @_;
	my $verify = $self->{verify};
	my %done = %{ $self->{done} };
	my @stalls = sort { $self->{stalls}{$b} <=> $self->{stalls}{$a} } keys %{ $self->{stalls} };
	splice @stalls, 5 if @stalls > 5;
	my $text = sprintf "seed %s, delivery %s%s, %.0f s\n", $self->{seed}, $self->{delivery},
	  ($self->{wide} ? ", and $EvpubChaosLoad::WIDE topics of 50 partitions" : ''), $self->{took};
	$text .= sprintf "faults: %d\n", sum0(values %done);
	$text .= sprintf "  %-24s %d\n", $_, $done{$_} for sort keys %done;
	$text .= $self->{disks}
	  ? sprintf "full disks that ended the server: %d, a broker: %d\n",
	  map { $self->{ended_by_disk}{$_} // 0 } qw(wal broker)
	  : "no faults of disks: no file system can be mounted here\n";
	$text .= sprintf "events committed: %d, in Kafka: %d, of another producer: %d\n",
	  map { $verify->count($_) } qw(committed events foreign);
	$text .= sprintf "compacted topic: %d records of %d are left; removed before they were read: %d\n",
	  $self->{compacted_left}, $self->{compacted}, $verify->count('compacted');
	$text .= sprintf "holes: %d, phantoms: %d, out of order: %d, wrong: %d, strange: %d\n",
	  map { $verify->count($_) } qw(hole phantom reordered wrong strange);
	$text .= sprintf "duplicates: %d; late ones of dead relays: %d, of records that were not readable yet: %d, of deleted ones: %d\n",
	  map { $verify->count($_) } qw(duplicate late unseen deleted);
	$text .= "dropped since they were there (since the last start of the worker): @{[ $self->{dropped} // 0 ]}\n";
	$text .= sprintf "relays seen: %d, memory of worker and relay: %d kB at most\n",
	  scalar keys %{ $self->{relays} }, $self->{peak_kb};
	$text .= sprintf "published after a fault within %.1f s, after the last within %.1f s\n",
	  $self->{slowest_settle} // 0, $self->{last_settle} // 0;
	$text .= "longest stalls:\n";
	$text .= sprintf "  %5.1f s: %s\n", $self->{stalls}{$_}, $_ for @stalls;
	$text .= "$_\n" for @{ $verify->{examples} };
	$text .= "failed: $_\n" for @{ $self->{failures} };
	return $text unless $schedule;
	$text .= "schedule:\n";
	$text .= "$_\n" for @{ $self->{schedule} };
	return $text;
}

1;
