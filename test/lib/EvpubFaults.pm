
# EvpubFaults - a server whose publisher is killed between two steps of its own
# (test/faults), and what can be asked of a server that crashes all the time.
package EvpubFaults;

use strict;
use warnings;

use Carp;
use EvpubLoad;
use EvpubTest;
use Exporter 'import';
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  crash_node start_with_faults order_crashes orders_left withdraw_orders crashes
  attempt until_done held_slot keep_loading end_load one_of
  set_clock
);

my $serial = 0;

sub one_of { return $_[ int rand @_ ] }

sub start_with_faults
{
	my ($node) = @_;
	local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
	$node->start;
	return;
}

# crash_node(name, what capture_node() takes): a running server with faults.
sub crash_node
{
	my ($name, %args) = @_;
	local $ENV{LD_PRELOAD} = $ENV{EVPUB_FAULTS};
	return capture_node(
		$name, %args,
		# small segments, so that the slot moves often
		initdb => ['--wal-segsize=1'],
		conf => q{
restart_after_crash = on
# else nothing is ever synced, and there is nothing to crash before or after
fsync = on
# but the start need not sync all files of the data directory one by one
recovery_init_sync_method = syncfs
max_wal_size = 64MB
});
}

# set_clock(node, seconds): the server's wall clock is off by so much from now
# on.  The file must be there before the server is started with faults.
sub set_clock
{
	my ($node, $seconds) = @_;
	my $file = $node->data_dir . '/evpub_clock';
	# in place: the server has it mapped
	open my $out, -e $file ? '+<' : '>', $file or croak "$file: $!";
	syswrite $out, pack('q', $seconds * 1000) or croak "$file: $!";
	close $out;
	return;
}

# order_crashes(node, [k, mode, pattern of steps], ...): one after the other.
sub order_crashes
{
	my ($node, @orders) = @_;
	my $text = join '', map { ++$serial . " @$_\n" } @orders;
	my $file = $node->data_dir . '/evpub_fault';
	open my $out, '>', "$file.test" or croak "$file.test: $!";
	print $out $text;
	close $out or croak "$file.test: $!";
	rename "$file.test", $file or croak "$file: $!";
	return;
}

# Those that did not happen: their number of steps was not reached.
sub orders_left { return -e $_[0]->data_dir . '/evpub_fault' }
sub withdraw_orders { return unlink $_[0]->data_dir . '/evpub_fault' }

# All that happened, as [serial, pid, mode, step].
sub crashes
{
	my ($node) = @_;
	my @crashes;
	if (open my $in, '<', $node->data_dir . '/evpub_fault.log')
	{
		@crashes = map { chomp; [ split / /, $_, 4 ] } <$in>;
		close $in;
	}
	return @crashes;
}

# attempt(node, sql): SQL that a crash may break off; true if it went well, and
# its output, and what psql complained of.
sub attempt
{
	my ($node, $sql) = @_;
	my ($out, $err);
	my $code = eval {
		$node->psql(
			'postgres', $sql,
			stdout => \$out,
			stderr => \$err,
			timeout => 60,
			on_error_stop => 1);
	};
	my $ok = defined $code && $code == 0;
	usleep(20_000) unless $ok;
	return wantarray ? ($ok, $out // '', $err // $@) : $ok;
}

sub until_done
{
	my ($node, $sql) = @_;
	return wait_until($sql, sub { attempt($node, $sql) });
}

# "evpub|t|t" if there is one slot, held, that keeps WAL
sub held_slot
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		'SELECT slot_name, active, restart_lsn IS NOT NULL FROM pg_replication_slots');
}

# keep_loading({node =>, tenants =>}): sees to it that writers run.  They end
# when the server crashes.
sub keep_loading
{
	my ($load) = @_;
	return if $load->{run} && running($load->{run});
	end_load($load);
	# asynchronous commits are flushed by the publisher
	local $ENV{PGOPTIONS} = '-c synchronous_commit=' . one_of('on', 'off');
	$load->{run} = start_load($load->{node}, $load->{tenants}, 3, 20);
	return;
}

sub end_load
{
	my ($load) = @_;
	my $run = delete $load->{run} or return;
	eval { end_pgbench($load->{node}, $run) };
	return;
}

1;
