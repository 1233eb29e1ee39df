
# A thousand starts of the publisher, and two hundred of its relay, leave
# nothing behind: no memory, no descriptor, no file, no process, no lost event.
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use File::Find;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $STARTS = $ENV{EVPUB_STARTS} || 1000;
my $RELAY_STARTS = int($STARTS / 5);
my $WARM = 20;    # the first ones may still fill caches

# What one start may add to the postmaster, in bytes.
my $LEAK = 64;

my $kafka = EvpubKafka->new->start;

# The postmaster waits a second before it starts a worker again; the module
# evpub_eager takes that away, and nothing else.
my $node = capture_node('main', kafka => $kafka, start => 0,
	conf => "log_min_messages = debug1\nlog_timezone = 'UTC'\n");
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'evpub, $ENV{EVPUB_EAGER}'");
$node->start;
create_evpub($node);
cms_tables($node);
my $postmaster = $node->{_pid};
my $published = 0;

sub publish
{
	my ($wait) = @_;
	$published++;
	$node->safe_psql('postgres', "INSERT INTO code VALUES ('acme', '$published', '')"
		. ($wait ? "; SELECT evpub.wait_published(NULL, '60 s')" : ''));
	return;
}

# Each process of the publisher and of its relays that was seen.
my %seen;

# The publisher, when it is another than $old; when its relay is there, too, if
# $far is 1; when the relay's client library runs, if $far is 2.
sub next_worker
{
	my ($old, $far) = @_;
	my $deadline = time + 60;
	my $patience = time + 0.5;
	while (time < $deadline)
	{
		my $pid = worker_pid($node);
		if ($pid && $pid != $old)
		{
			my $relay = relay_pid($node);
			my @threads = $relay ? glob "/proc/$relay/task/*" : ();

			$seen{$pid} = 1;
			$seen{$relay} = 1 if $relay;
			return $pid if !$far || ($far == 1 && $relay) || @threads > 3;
		}

		# PostgreSQL 15's postmaster sleeps through the end of a child that
		# comes just before it begins to wait; a connection wakes it
		if (time > $patience)
		{
			$node->safe_psql('postgres', 'SELECT 1');
			$patience = time + 0.5;
		}
		usleep(200);
	}
	die "no new publisher after $old\n";
}

# Lives end in turn: as soon as they are there, with a new relay, with a relay
# at work; some of the latter with an event on its way, or just published.
sub end_worker
{
	my ($turn) = @_;
	my $pid = worker_pid($node);
	publish($turn % 20 == 0) if $turn % 10 == 0;
	kill 'TERM', $pid;
	next_worker($pid, $turn % 4 == 1 ? 0 : $turn % 4 == 2 ? 1 : 2);
	return;
}

# Files of the data directory, but for what comes and goes by itself.
sub files
{
	my @files;
	find(
		sub {
			my $name = substr($File::Find::name, length $node->data_dir);
			push @files, $name
			  if -f && $name !~ m{^/(pg_wal|log|pg_stat_tmp|pg_subtrans|pg_xact)/|_fsm$|_vm$};
		},
		$node->data_dir);
	return join "\n", sort @files;
}

# Publishers and relays that should be gone: also as zombies, or as orphans.
sub left_behind
{
	my $worker = worker_pid($node);
	my $relay = running_relay($node);
	my @left;
	for my $pid (grep { $_ != $worker && $_ != $relay } keys %seen)
	{
		my ($name, $parent) =
		  EvpubTest::_slurp("/proc/$pid/stat") =~ /^\d+ \((.*)\) \S (\d+)/s
		  or next;

		# the number may be another process's by now
		push @left, "$pid ($name)"
		  if $name eq 'evpub-relay' || $parent == $postmaster;
	}
	return "@left";
}

sub look
{
	publish(1);
	my $worker = next_worker(0, 2);
	my %pids = (postmaster => $postmaster, worker => $worker, relay => running_relay($node));
	return {
		(map { $_ => process_use($pids{$_}) } keys %pids),
		pids => \%pids,
		files => files(),
		shared => $node->safe_psql('postgres',
			'SELECT sum(allocated_size) FROM pg_shmem_allocations'),
		# (what only readings() needs does not count)
		log => length(slurp_file($node->logfile) =~ s/^.* DEBUG:  .*\n//gmr) };
}

sub compare
{
	my ($name, $before, $after, $starts, $limit, @who) = @_;
	for my $who (@who)
	{
		# a new relay ends the client by which it has read back when it is done
		my ($pid, $fds, $had) = ($after->{pids}{$who}, @{ $before->{$who} }{qw(fds anon_kb)});
		my ($growth, $open);
		eval { wait_until('memory', sub { ($growth = process_use($pid)->{anon_kb} - $had) <= $limit }, 30) };
		note "$name: $who has grown by $growth kB from $had kB";
		cmp_ok($growth, '<=', $limit, "$name: memory of the $who is flat");
		eval { wait_until('descriptors', sub { ($open = process_use($pid)->{fds}) <= $fds }, 30) };
		cmp_ok($open, '<=', $fds, "$name: descriptors of the $who are flat");
	}
	is($after->{files}, $before->{files}, "$name: no file is left behind");
	is($after->{shared}, $before->{shared}, "$name: shared memory is flat");
	note "$name: ", int(($after->{log} - $before->{log}) / $starts),
	  ' bytes of log for each';
	cmp_ok(($after->{log} - $before->{log}) / $starts, '<=', 500,
		"$name: the log is bounded");
	return;
}

# ---- the publisher ----

end_worker($_) for 1 .. $WARM;
my $before = look();
my $begin = time;
end_worker($_) for 1 .. $STARTS;
note sprintf '%d starts in %.1f s', $STARTS, time - $begin;
my $after = look();
cmp_ok(scalar keys %seen, '>=', $STARTS, 'publishers were started');
compare("$STARTS starts of the publisher", $before, $after, $STARTS,
	64 + $LEAK * $STARTS / 1024, 'postmaster', 'worker', 'relay');
is(left_behind(), '', 'no process is left');

# requests still work
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_evpub($node, 'other');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted'),
	0, 'no lock is left');

# ---- its relay ----

sub end_relay
{
	my ($turn) = @_;
	publish(0) if $turn % 2;
	$seen{ another_relay($node, kill_relay($node)) } = 1;
	# an acknowledgement ends the backoff
	publish(1);
	return;
}

end_relay($_) for 1 .. $WARM;
$before = look();
my $worker = worker_pid($node);
$begin = time;
end_relay($_) for 1 .. $RELAY_STARTS;
note sprintf '%d relays in %.1f s', $RELAY_STARTS, time - $begin;
$after = look();
is(worker_pid($node), $worker, 'the publisher goes on');
compare("$RELAY_STARTS relays", $before, $after, $RELAY_STARTS, 256,
	'postmaster', 'worker', 'relay');
is(left_behind(), '', 'no process is left');

# ---- nothing was lost ----

ok(wait_published($node), 'all is published');
# what a relay that was killed had sent last may come when the next one has read what is there
my $readings = readings($node, $EvpubTest::TOPIC);
my (%first, @on_time);
for my $record (events($kafka))
{
	my $first = $first{ $record->{event}{id} } //= $record;
	push @on_time, $record
	  if $first == $record || !is_late($readings->{ $record->{partition} }, @$first{qw(timestamp offset)}, $record->{timestamp});
}
my %codes = map { $_->{event}{pk}{code} => 1 } check_ids('after all starts', @on_time);
is_deeply([ sort { $a <=> $b } keys %codes ], [ 1 .. $published ], 'nothing is lost');
my $counted = status($node, 'events_published');
cmp_ok($counted, '>=', $published, 'nor forgotten by the counter');
cmp_ok($counted, '<=', $kafka->record_count($EvpubTest::TOPIC),
	'which counts what Kafka has acknowledged');
is(status($node, 'state'), 'streaming', 'streaming');
$node->stop;
done_testing();
