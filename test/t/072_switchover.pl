# Planned switchovers as docs/operations.md says, there and back again between two
# servers, under load: every event is in Kafka exactly once and in commit order,
# with no evpub.gap event, and neither server was ever in a gap.  In every other
# round nobody stops the writers: the fast stop cuts them off, and they are back
# as soon as the other server is promoted, before take_over().  In some of these,
# Kafka's answers do not arrive any more: it has what the old primary does not know of,
# and the new one finds out.
#
# What is typed is taken from the page.  For a long run:
#
#	EVPUB_ROUNDS=100 make test TESTS="072_switchover"
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubProxy;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $rounds = $ENV{EVPUB_ROUNDS} // 10;
my $tenants = 8;

# ---- the recipe ----

my ($recipe) = slurp_file('docs/operations.md') =~ /^### Planned switchover\n(.*?)^#/ms
  or BAIL_OUT('docs/operations.md has no planned switchover');

# number of the step => lines to type
my %step;
my $number;
for (split /\n/, $recipe)
{
	$number = $1 if /^(\d+)\. /;
	push @{ $step{$number} }, s/\s+-- .*//r if defined $number && s/^ {8}(?=\S)//;
}
is(join(' ', sort keys %step), '1 2 3 5', 'the steps in which something is typed');

# ---- two servers ----

my $kafka = EvpubKafka->new(listeners => { PROXIED => 'PLAINTEXT' });
my $network = EvpubProxy->new($kafka->{ports}{PROXIED});
my ($proxied) = $network->ports;
$kafka->configure({ 'advertised.listeners' =>
	  "PLAINTEXT://127.0.0.1:$kafka->{port},PROXIED://127.0.0.1:$proxied" })->start;

# Segments of 1 MB that are soon removed, though not before the other server has them.
my $conf = "wal_keep_size = 32MB\nmin_wal_size = 2MB\nmax_wal_size = 8MB\n";
my $primary = capture_node('a', initdb => ['--wal-segsize=1'],
	conf => "evpub.bootstrap_servers = '127.0.0.1:$proxied'\n$conf");
$kafka->create_topic($EvpubLoad::TOPIC, 6);
load_tables($primary, $tenants);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('b');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
my @nodes = ($primary, $standby);

# Types the lines of a step, and returns the answers.  A is the primary, B the standby.
sub type
{
	my ($number) = @_;
	my %is = (
		DATADIR_A => $primary->data_dir,
		DATADIR_B => $standby->data_dir,
		LOGFILE => $primary->logfile,
		CONNINFO_B => $standby->connstr . ' application_name=' . $primary->name);
	my $names = join '|', keys %is;
	my @answers;
	for (@{ $step{$number} })
	{
		my $line = s/\b($names)\b/$is{$1}/gr;
		if ($line =~ /^(?:SELECT|ALTER)/)
		{
			my $node = $number == 1 ? $primary : $standby;
			push @answers, $node->safe_psql('postgres', $line);
			next;
		}
		# a file, since a server that is started would keep a pipe open
		my $file = PostgreSQL::Test::Utils::tempdir() . '/answer';
		system("{ $line; } >$file 2>&1 </dev/null") == 0 or die "$line: " . slurp_file($file);
		push @answers, slurp_file($file);
	}
	return @answers;
}

# ---- the load ----

my $load;

sub start_writers
{
	my ($node) = @_;
	$load = start_load($node, $tenants, 4, 600, rate => 400);
	return;
}

sub load_is_published
{
	my ($node) = @_;
	my $lsn = $node->lsn('insert');
	return wait_for_status($node, "confirmed_lsn > '$lsn'::pg_lsn + 200000", 60);
}

# As a person ends the writers; or, in another round, as the stop of the server does.
sub end_writers
{
	my ($by_signal) = @_;
	return end_pgbench($primary, $load) if $by_signal;
	finish($load);
	return;
}

# The slot of the time when a standby was the primary does not keep WAL for ever:
# it goes on to what the new primary has published.
sub slot_goes_on
{
	my ($standby, $primary) = @_;
	my $first = $standby->safe_psql('postgres', "SELECT pg_last_wal_replay_lsn() + 4 * 1024 * 1024");
	return eval {
		wait_until('the slot', sub {
			$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
			$standby->safe_psql('postgres',
				"SELECT restart_lsn > '$first' FROM pg_replication_slots WHERE slot_name = 'evpub'") eq 't';
		}, 30);
	};
}

# ---- there and back ----

start_writers($primary);
for my $round (1 .. $rounds)
{
	my $stopped_first = $round % 2;
	my $begin = time;
	ok(load_is_published($primary), "round $round: the load is published") or last;
	end_writers(1) if $stopped_first;
	my ($published) = type(1);
	is($published, 't', "round $round: published before the stop") if $stopped_first;
	my $in_doubt = $round % 4 == 2;
	if ($in_doubt)
	{
		$network->order('all', 'answers');
		ok(wait_for_status($primary, 'events_in_flight > 50'), "round $round: not acknowledged");
	}
	my (undef, $checkpoint, $replayed) = type(2);
	$network->order('all', 'pass') if $in_doubt;
	my ($location) = $checkpoint =~ /: +(\S+)$/m;
	is($standby->safe_psql('postgres', "SELECT '$replayed'::pg_lsn > '$location'"),
		't', "round $round: the standby has all of it");
	$_->_update_pid($_ == $standby ? 1 : 0) for @nodes;
	unless ($stopped_first)
	{
		end_writers();
		start_writers($standby);
		my $lsn = $standby->lsn('insert');
		$standby->poll_query_until('postgres', "SELECT pg_current_wal_flush_lsn() > '$lsn'::pg_lsn + 30000")
		  or BAIL_OUT('the writers are not back');
	}
	ok(wait_for_state($standby, 'fenced'), "round $round: fenced");
	type(3);
	ok(wait_for_state($standby, 'streaming', 60), "round $round: publishes again");
	ok(wait_for_status($standby, 'duplicates_dropped > 0', 60), "round $round: what was not acknowledged is in Kafka")
	  if $in_doubt;
	note sprintf 'round %d: %.1f s', $round, time - $begin;
	start_writers($standby) if $stopped_first;
	type(5);
	$primary->_update_pid(1);
	ok(wait_for_state($primary, 'standby'), "round $round: the old primary is a standby");
	$standby->wait_for_catchup($primary->name, 'replay', $standby->lsn('flush'));
	ok(slot_goes_on($primary, $standby), "round $round: whose slot goes on") if $round <= 2;
	($primary, $standby) = ($standby, $primary);
}
end_writers(1);
ok(wait_published($primary), 'published');

check_complete("$rounds switchovers", $primary, $kafka, at_least => 200 * $rounds);
is(join(' ', sort keys %{ $kafka->topics }), 'items', 'nothing in any other topic');
for my $node (@nodes)
{
	my $log = slurp_file($node->logfile);
	my $bad = qr/evpub is gap|invalidat|exceeds max_slot|PANIC|TRAP|terminated by signal/;
	is(join("\n", $log =~ /^.*(?:$bad).*$/mg), '', $node->name . ': no gap, no slot invalidated, no crash');
}
$_->stop('fast') for $standby, $primary;
done_testing();
