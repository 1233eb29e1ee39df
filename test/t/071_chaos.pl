
# Whatever dies, hangs, fills up, or is lost on the way: each committed event is
# in Kafka once, in order, nothing else is, and publishing goes on when it is over.
#
# Faults are drawn from a seed, which is printed.  An hour, another seed, or a
# plan of one's own, with the report in a file:
#
#	make chaos MINUTES=60 SEED=12345
#	make chaos PLAN="kill_relay=50 kill_worker=10 stop_immediate=5 kill_broker=5"
#	make chaos DELIVERY=at_least_once WIDE=1 RATE=300
#
# test/lib/EvpubChaosFaults.pm has the faults, EvpubChaosVerify.pm what is
# verified.  Disks that run full are tmpfs in a mount namespace that this test
# makes for itself; where users may not, these faults are left out.
use strict;
use warnings;

# before anything else: PostgreSQL's modules change where output goes
my $disks;

BEGIN
{
	$disks = $ENV{EVPUB_SMALL_DISK};
	if (!defined $disks)
	{
		$disks = "$ENV{TESTDIR}/disks";
		mkdir $_ for $disks, "$disks/wal", "$disks/broker";
		my @namespace = qw(unshare --user --map-current-user --keep-caps --mount);
		my $mount = 'for disk in wal broker; do mount -t tmpfs -o size=8g,mode=700 tmpfs "$0/$disk" 2>/dev/null || exit; done; exec "$@"';
		if (system("@namespace true 2>/dev/null") == 0
			&& system(@namespace, 'sh', '-c', $mount, $disks, 'true') == 0)
		{
			$ENV{EVPUB_SMALL_DISK} = $disks;
			exec @namespace, 'sh', '-c', $mount, $disks, $^X,
			  (map { "-I$_" } @INC), $0;
		}
		$disks = undef;
	}
}

use EvpubChaosLoad;
use EvpubChaosRun;
use EvpubChaosVerify;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# the suite has the same schedule each time; "make chaos" another one each time
my $seed = $ENV{EVPUB_SEED} ||
  ($ENV{EVPUB_CHAOS_MINUTES} ? (time * 1000) % 1_000_000_000 : 885_156_477);
my $minutes = $ENV{EVPUB_CHAOS_MINUTES} || 3;
my %plan = map { split /=/ } split ' ', $ENV{EVPUB_CHAOS_PLAN} // '';
diag "EVPUB_SEED=$seed EVPUB_CHAOS_MINUTES=$minutes";

EvpubChaosVerify->self_test(
	sub { ok($_[0], "the verifier sees it: $_[1]") },
	topics => chaos_topics(),
	tables => \%EvpubChaosLoad::TABLES);

my $run = EvpubChaosRun->new(
	seed => $seed,
	seconds => $minutes * 60,
	plan => %plan ? \%plan : undef,
	delivery => $ENV{EVPUB_CHAOS_DELIVERY},
	wide => $ENV{EVPUB_CHAOS_WIDE},
	rate => $ENV{EVPUB_CHAOS_RATE} || ($minutes > 10 ? 40 : 100),
	disks => $disks,
	dir => PostgreSQL::Test::Utils::tempdir(),
	say => sub { diag $_[0] },
	# each fault, for who runs it for an hour
	say_more => sub { $minutes > 3 || %plan ? diag $_[0] : note $_[0] });
$run->set_up;
$run->run;
$run->end_run;

diag $run->report;
open my $out, '>', "$ENV{TESTDIR}/report" or die "report: $!";
print $out $run->report('with the schedule');
close $out;

my $verify = $run->{verify};
is_deeply($run->{failures}, [], 'after each fault, publishing goes on');
is($verify->count('hole'), 0, 'nothing is lost');
is($verify->count('phantom'), 0, 'nothing is published that was rolled back');
is($verify->count('reordered'), 0, 'each key in the order of commits');
is($verify->count('wrong') + $verify->count('strange'), 0, 'each event is what it should be, where it should be');
is(join(' ', $verify->faults), '', "nothing twice, if it is $run->{delivery}");
cmp_ok($verify->count('events'), '>', 1000, 'there was something to see');
cmp_ok($run->{peak_kb}, '<', $EvpubTest::MEMORY_LIMIT_KB, 'memory');

$run->{node}->stop('fast');
$run->{cluster}->stop;
done_testing();
