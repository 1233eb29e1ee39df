
# A copy of a server never publishes beside the original, whichever way it was
# made: it stands in a state that says why, until a person decides; then it
# publishes as a publisher of its own, and all that was committed on it.
#
# The original then finds, when its relay begins anew, that another server has
# taken over from it, and stands still until a person decides.  (A copy of blocks,
# by which nothing tells that it is one: 076_two_servers.pl.)
use strict;
use warnings;

use EvpubKafka;
use EvpubLicence;
use EvpubState;
use EvpubTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$EvpubLicence::kafka = $kafka;
# WAL is kept, so that a copy without a slot finds it when it takes over
my $main = capture_node('main', kafka => $kafka, archive => 1,
	conf => 'wal_keep_size = 256MB');
code_table($main);
my $main_id = status($main, 'publisher_id');
my $rows = 0;

# The original publishes, whatever its copies do.
sub main_publishes
{
	$rows++;
	publish_row($main, "main-$rows");
	is(scalar(grep { $_->{code} eq "main-$rows" } codes_in_kafka('main')),
		1, 'the original publishes');
	return;
}

# A server that is made of a backup or snapshot of the original.  Unless it is
# "moved", nothing tells by the files themselves that they are copies, as when
# the whole volume was cloned.
sub copy_of_main
{
	my ($name, %args) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	$copy->init_from_backup($main, $name, %args);
	if (!$args{moved})
	{
		my $state = read_state($copy->data_dir);
		$state->{directory_inode} = (stat $copy->data_dir . '/evpub')[1];
		write_state($copy->data_dir, $state);
	}
	# not into the archive of the original
	$copy->append_conf('postgresql.conf', "archive_mode = off\n" . ($args{conf} || ''));
	return $copy;
}

# A snapshot of the running server's files, slots included.
sub snapshot
{
	my ($name) = @_;
	my $from = $main->data_dir;
	my $to = $main->backup_dir . "/$name";
	mkdir $main->backup_dir;
	$main->safe_psql(
		'postgres', qq{
SELECT pg_backup_start('$name', true);
\\! cp -a $from $to
\\o $to/backup_label
SELECT labelfile FROM pg_backup_stop(false);
\\o
\\! cp -a $from/pg_wal/. $to/pg_wal/
});
	unlink "$to/postmaster.pid", "$to/postmaster.opts";
	ok(-e "$to/pg_replslot/evpub/state", "$name: the snapshot has the slot");
	return;
}

# Not by asking it: with hot_standby = off it would not even listen.
sub wait_for_primary
{
	my ($copy) = @_;
	wait_until('end of recovery',
		sub { $copy->log_contains(qr/database system is ready to accept connections/) });
	return;
}

my $fenced = qr/restored|copy|copied/;

sub stop_and_check
{
	my ($copy) = @_;
	$copy->stop;
	rmtree($copy->data_dir);
	main_publishes();
	return;
}

# A relay of the original that begins anew finds what a copy has published under
# the root that both have.
my %main_ids = ($main_id => 1);
sub main_fenced
{
	my ($name) = @_;
	write_row($main, 'main-' . ++$rows);
	ok(wait_for_state($main, 'fenced'), "$name: the original is fenced");
	like(status($main, 'state_reason'), qr/of a publisher that this server does not know/, "$name: by what the copy has published");
	is($main->safe_psql('postgres', q{SELECT evpub.wait_published(NULL, '0 ms')}),
		'f', "$name: its own events do not count as published");
	cmp_ok(complaints($main), '>', 0, "$name: evpub.check() complains");
	$main->safe_psql('postgres', 'SELECT evpub.take_over()');
	ok(wait_published($main), "$name: take_over() publishes them");
	$main_id = status($main, 'publisher_id');
	ok(!$main_ids{$main_id}++, "$name: under an id that it never had");
	return;
}

# A base backup, started as a primary.
main_publishes();
$main->backup('basebackup');
my $copy = copy_of_main('basebackup', standby => 0);
start_logged($copy);
stands_still($copy, 'basebackup', 'fenced', $fenced);
is(slots($copy), '', 'basebackup: without a slot');
refuses($main, 'take_over() of a server that publishes', 'SELECT evpub.take_over()', '55000');
refuses($copy, 'accept_gap() where there is none',
	q{SELECT evpub.accept_gap(pg_current_wal_lsn())}, '55000');
my $first_id = taken_over($copy, 'basebackup', not => $main_id, gap => 1);
refuses($copy, 'take_over() twice', 'SELECT evpub.take_over()', '55000');
restart_logged($copy);
ok(wait_for_state($copy, 'streaming'), 'basebackup: publishes after a restart, too');
is(status($copy, 'publisher_id'), $first_id, 'basebackup: as the same publisher');
stop_and_check($copy);

# A backup whose WAL is gone before somebody takes over.
$main->backup('stale');
$copy = copy_of_main('stale', standby => 0,
	conf => "wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 32MB");
start_logged($copy);
stands_still($copy, 'stale', 'fenced', $fenced);
my $needed = $copy->safe_psql('postgres',
	q{SELECT pg_walfile_name('} . lsn_text(read_state($copy->data_dir)->{restart_lsn}) . q{')});
for (1 .. 20)
{
	last unless -e $copy->data_dir . "/pg_wal/$needed";
	$copy->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$copy->safe_psql('postgres', 'CHECKPOINT');
}
ok(!-e $copy->data_dir . "/pg_wal/$needed", 'stale: WAL that it needs is gone');
$copy->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($copy, 'gap'), 'stale: taken over without its WAL, state "gap"');
is(slots($copy), 'evpub', 'stale: from now on WAL is kept');
accept_gap($copy, 'stale');
my $stale_id = goes_on($copy, 'stale', not => $main_id, lost => 1);
ok( scalar(
		grep { $_->{event}{type} eq 'evpub.gap' && event_publisher($_->{event}) eq $stale_id }
		  events($kafka)),
	'stale: the gap is announced');
stop_and_check($copy);

# Restored to a point in time, which is another timeline.
$main->backup('pitr');
write_row($main, 'main-before');
$main->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
write_row($main, 'main-after');
my $archived = $main->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
ok( $main->poll_query_until('postgres',
		"SELECT last_archived_wal >= '$archived' FROM pg_stat_archiver"),
	'pitr: WAL is in the archive');
main_publishes();
$copy = copy_of_main('pitr', standby => 0, has_restoring => 1,
	conf => "recovery_target_name = 'here'\nrecovery_target_action = 'promote'");
start_logged($copy);
wait_for_primary($copy);
is($copy->safe_psql('postgres', q{SELECT count(*) FROM code WHERE code IN ('main-before', 'main-after')}),
	'1', 'pitr: at the point in time');
stands_still($copy, 'pitr', 'fenced', $fenced);
is(slots($copy), '', 'pitr: no slot was made');
taken_over($copy, 'pitr', not => $main_id, gap => 1);
stop_and_check($copy);

# The files of the running server, slot included, started as after a crash.
snapshot('files');
$copy = copy_of_main('files', standby => 0, moved => 1);
unlink $copy->data_dir . '/backup_label' or die $!;
start_logged($copy);
stands_still($copy, 'files', 'fenced', qr/copied/);
taken_over($copy, 'files', not => $main_id);
stop_and_check($copy);

# A snapshot of the stopped server, restored with recovery.signal where nobody
# can look in while it recovers.
$main->stop;
mkdir $main->backup_dir;
$main->backup_fs_cold('recovered');
$main->start;
main_fenced('recovered');
main_publishes();
$copy = copy_of_main('recovered', standby => 0, has_restoring => 1,
	conf => 'hot_standby = off');
start_logged($copy);
wait_for_primary($copy);
stands_still($copy, 'recovered', 'fenced', $fenced);
taken_over($copy, 'recovered', not => $main_id);
stop_and_check($copy);

# Snapshots of the running server, started as standbys; the signal file is
# removed again, so that timeline, slot and file are as on the original.
for my $hot_standby ('on', 'off')
{
	my $name = "standby-$hot_standby";
	snapshot($name);
	$copy = copy_of_main($name, standby => 1, conf => "hot_standby = $hot_standby");
	$copy->set_standby_mode;
	start_logged($copy);
	if ($hot_standby eq 'on')
	{
		ok(wait_for_state($copy, 'standby'), "$name: in recovery, state \"standby\"");
		entered_once($copy, $name, 'standby');
	}
	main_publishes();
	$copy->stop;
	unlink $copy->data_dir . '/standby.signal' or die $!;
	start_logged($copy);
	stands_still($copy, $name, 'fenced', $fenced);
	taken_over($copy, $name, not => $main_id);
	stop_and_check($copy);
}

# A streaming standby that is promoted: as long as nothing follows the
# publisher, it is a copy like others.
$main->backup('promoted');
$copy = copy_of_main('promoted', has_streaming => 1);
start_logged($copy);
ok(wait_for_state($copy, 'standby'), 'promoted: as long as it follows, state "standby"');
main_publishes();
$main->wait_for_catchup($copy, 'replay', $main->lsn('flush'));
isnt($copy->psql('postgres', 'SELECT evpub.take_over()', stderr => \my $refusal),
	0, 'take_over() of a standby: refused');
like($refusal, qr/during recovery/, 'take_over() of a standby: with the reason');
is(status($copy, 'concat(relay_pid, state)'), 'standby', 'promoted: no relay runs');
$copy->promote;
wait_for_primary($copy);
stands_still($copy, 'promoted', 'fenced', $fenced);
taken_over($copy, 'promoted', not => $main_id, gap => 1);
$copy->stop;
rmtree($copy->data_dir);
kill_relay($main);
main_fenced('promoted');
main_publishes();

# All together: the original published its own rows, once each, and nobody
# else's id is among the copies' before they took over (checked there).
my @own = grep { $main_ids{ event_publisher($_->{event}) } } codes_in_kafka();
is_deeply([ grep { $_->{code} !~ /^main-/ } @own ], [], 'the original published only its own');
my %ids;
$ids{ $_->{event}{id} }{ $_->{code} } = 1 for codes_in_kafka();
is(scalar(grep { keys %$_ > 1 } values %ids), 0, 'no id stands for two events');
my %times;
$times{ $_->{event}{id} }++ for @own;
is(scalar(grep { $_ > 1 } values %times), 0, 'each of the original\'s once');

$main->stop;
done_testing();
