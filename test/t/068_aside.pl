
# A checkpoint that does not know the publisher's slot makes evpub set WAL aside.
# Whatever ends the server at whatever step of that: PostgreSQL finds all that it
# keeps, each segment is in its place again after the next start, with what was
# in it, nothing is left over, and nothing that was there is overwritten.
#
# The worker kills itself at a chosen step (test/faults says how).  For all steps:
#
#	EVPUB_ROUNDS=1000 make test TESTS="068_aside"
use strict;
use warnings;

use EvpubFaults;
use EvpubLicence;
use EvpubTest;
use File::Compare qw(compare);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Segments of 1 MB that nothing keeps.  A checkpoint that nobody is in a hurry
# for takes a second for every ten pages that are to be written.
my $conf = q{
wal_keep_size = 0
min_wal_size = 2MB
max_wal_size = 200MB
checkpoint_timeout = 1h
checkpoint_completion_target = 0.9
bgwriter_lru_maxpages = 0
restart_after_crash = on
recovery_init_sync_method = syncfs
};

# Nothing is published, so that the publisher needs all WAL.
my $main = capture_node('main', initdb => ['--wal-segsize=1'], conf => $conf);
my $asks_first = $main->pg_version < 18;
unless ($asks_first)
{
	SKIP: { skip 'from 18 on, a checkpoint asks at its end what slots need', 1 }
	done_testing();
	exit;
}

code_table($main);
$main->safe_psql('postgres', 'CREATE TABLE dirt (filler text)');
$main->backup('base');
my $first = standby($main, 'base', 'first', 'archive_mode = off');
for (1 .. 4)
{
	write_row($main, "main-$_");
	$main->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
$main->safe_psql('postgres', q{INSERT INTO dirt SELECT repeat('x', 1000) FROM generate_series(1, 3000)});
my $end = $main->lsn('flush');
$first->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'") or die 'not replayed';

# in the middle of it, so that it begins with all of its WAL; nothing is done there
$first->stop('immediate');
$first->backup_fs_cold('cold');
my $cold = $first->backup_dir . '/cold';

sub standby
{
	my ($from, $backup, $name, $more) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($from, $backup, has_streaming => 1);
	$node->append_conf('postgresql.conf', "$conf\nprimary_conninfo = '" . $main->connstr . "'\n$more\n");
	start_with_faults($node);
	wait_for_state($node, 'standby') or die 'no standby';
	return $node;
}

# Promoted, its checkpoint has begun before there was a slot, and now goes on.
sub checkpoint_comes
{
	my ($node) = @_;
	promote_into_checkpoint($node);
	wait_for_state($node, 'fenced') or die 'not fenced';

	# a crash makes a checkpoint, too, and so does whoever hurries this one
	$node->safe_psql('postgres', "INSERT INTO dirt VALUES ('y')"), $node->safe_psql('postgres', 'SELECT pg_switch_wal()') for 1 .. 2;
	return;
}

sub segments { return grep { /^[0-9A-F]{24}$/ } slurp_dir($_[0]) }

# WAL that was there before the promotion, and its primary has, too; but for the
# segment in which the publisher's position is, or which ends there, and the one
# that the promotion has ended.
my @needed = grep { -e $main->data_dir . "/pg_wal/$_" } sort(segments("$cold/pg_wal"));
my $before = shift @needed;
pop @needed;
my $kept_from = sprintf '0/%08X', hex(substr $needed[0], 16) << 20;
cmp_ok(scalar @needed, '>=', 5, 'WAL that is needed');

# What is wrong with these, in words.
sub wrong
{
	my ($node, @segments) = @_;
	my $pg_wal = $node->data_dir . '/pg_wal';
	my @wrong = map { -l "$pg_wal/$_" ? "$_ is a link" : !-e _ ? "$_ is missing"
		: (stat _)[3] != 1 ? "$_ has two names"
		: compare("$pg_wal/$_", $main->data_dir . "/pg_wal/$_") ? "$_ has other contents" : () } @segments;
	push @wrong, 'evpub.kept is there' if -e "$pg_wal/evpub.kept";
	return join ', ', @wrong;
}

sub is_whole
{
	my ($node, $name) = @_;
	is(wrong($node, @needed), '', "$name: all is in its place");

	# a slot keeps the whole segment in which it is
	is($node->safe_psql('postgres',
			"SELECT restart_lsn < '$kept_from'::pg_lsn + 1048576, active, wal_status = 'reserved' FROM pg_replication_slots"),
		't|t|t', "$name: and kept");
	is($node->safe_psql('postgres', qq{
SELECT trunc((lsn - '$kept_from' - 1) / 1048576) + 1 - count(DISTINCT substr(name, 9))
  FROM pg_ls_waldir(), pg_current_wal_lsn() lsn
 WHERE name ~ '^[0-9A-F]{24}\$' AND
       substr(name, 9) BETWEEN substr('$needed[0]', 9) AND substr(pg_walfile_name(lsn), 9)
 GROUP BY lsn}), '0', "$name: and so is what came later");
	return;
}

# ---- killed at each step ----

# Before a second name of the third segment, before the last name leads to it by
# a link, and before the second is put back.  All steps on request.  What is done
# does not depend on what is logged: the second server logs nothing of it.
my $of = @needed;
my @orders = $ENV{EVPUB_ROUNDS} ? map { [ $_, 'before', '*' ] } 1 .. $ENV{EVPUB_ROUNDS}
  : ([ 3, 'before', 'link pg_wal' ], [ $of, 'before', 'rename aside' ], [ $of + 2, 'before', 'rename aside' ]);
my $node;
for my $order (@orders)
{
	if ($node)
	{
		$node->stop('immediate');
		$node->clean_node;
	}

	# What is put back was archived by the primary.  It must not be archived again.
	$node = standby($first, 'cold', join('-', "killed-$order->[0]", $order->[2] =~ /(\w+)/g),
		"fsync = on\narchive_mode = on\narchive_command = 'exit 1'" .
		(@orders > 1 && $order == $orders[1] ? "\nlog_min_messages = fatal" : ''));
	checkpoint_comes($node);
	my $asked = worker_pid($node);
	order_crashes($node, $order);
	attempt($node, 'CHECKPOINT');
	wait_until('the worker has left', sub { (worker_pid($node) // 0) != $asked });
	if (!crashes($node))
	{
		ok($ENV{EVPUB_ROUNDS}, "step $order->[0], $order->[2]");
		last;
	}
	my $name = "killed before step $order->[0], " . (crashes($node))[0][3];
	my $worker;
	wait_until('the worker is back', sub { attempt($node, 'SELECT 1') && ($worker = worker_pid($node)) });
	ok(wait_for_state($node, 'fenced'), "$name: fenced");
	is_whole($node, $name);
	my $status = $node->data_dir . '/pg_wal/archive_status';
	is(join(' ', grep { !-e "$status/$_.done" || -e "$status/$_.ready" } @needed), '', "$name: nothing is archived again");
	note "$name\n" . join "\n", slurp_file($node->logfile) =~ /LOG:  evpub: .*/g;
}
$node->stop('immediate');

# ---- what may lie there ----

my $pg_wal = $node->data_dir . '/pg_wal';
my $kept = "$pg_wal/evpub.kept";

# Segments of before, which are in nobody's way.
my ($old, $recycled) = map { "00000001000000000000000$_" } 2 .. 3;
mkdir $kept or die;
system('cp', "$pg_wal/$needed[0]", "$kept/$recycled") == 0 or die;
system('cp', $main->data_dir . "/pg_wal/$before", "$kept/$before") == 0 or die;
link "$kept/$before", "$kept/other" or die;
system('cp', "$pg_wal/$needed[1]", "$kept/$needed[1]") == 0 or die;
# (far from all that is needed, wherever that begins)
append_to_file("$kept/0000000100000000000000FA", 'short');
append_to_file("$kept/link", '');
start_with_faults($node);
ok(wait_for_state($node, 'fenced'), 'planted: fenced');
ok(!-e "$pg_wal/$recycled" && !-e "$kept/$recycled", 'planted: what was recycled is not put back');
ok(!-e "$kept/$before" && (stat "$kept/other")[3] == 1, 'planted: nor what has two names');
ok(!-e "$kept/$needed[1]", 'planted: what is in its place stays as it is');
is(join(' ', grep { !/^\./ } sort(slurp_dir($kept))), '0000000100000000000000FA other', 'planted: what is no segment stays');
ok($node->log_contains(qr/could not remove directory "pg_wal\/evpub\.kept"/), 'planted: and the log says so');
unlink "$kept/0000000100000000000000FA", "$kept/other";
rmdir $kept or die;
is_whole($node, 'planted');
$node->stop('immediate');

# In recovery nothing gets into pg_wal, and what is not needed goes.
mkdir $kept or die;
append_to_file($node->data_dir . '/standby.signal', '');
system('cp', "$pg_wal/$needed[0]", "$kept/$old") == 0 or die;
rename "$pg_wal/$needed[-1]", "$kept/$needed[-1]" or die;
start_with_faults($node);
wait_until('what is not needed goes', sub { !-e "$kept/$old" });
ok(-e "$kept/$needed[-1]", 'standby: what is needed does not');
ok(!-e "$pg_wal/$old" && !-e "$pg_wal/$needed[-1]", 'standby: nothing is put back');
$node->promote;
ok(wait_for_state($node, 'fenced'), 'standby: promoted');
is_whole($node, 'standby');
done_testing();
