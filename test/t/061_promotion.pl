
# What the old primary had not published is not lost to a checkpoint: neither to
# that of the promotion, which asked what slots need before there was one, nor to
# later ones, however long it takes until somebody calls take_over().  And a
# server that is restored from the archive begins exactly where its timeline
# says that the original stopped.
use strict;
use warnings;

use EvpubKafka;
use EvpubLicence;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$EvpubLicence::kafka = $kafka;

# Segments of 1 MB that nothing keeps.  A checkpoint that nobody is in a hurry
# for takes a second for every ten pages that are to be written.
my $conf = q{
wal_keep_size = 0
min_wal_size = 2MB
max_wal_size = 200MB
checkpoint_timeout = 1h
checkpoint_completion_target = 0.9
bgwriter_lru_maxpages = 0
};
my $main = capture_node('main', kafka => $kafka, archive => 1,
	initdb => ['--wal-segsize=1'], conf => $conf);
code_table($main);
$main->safe_psql('postgres', 'CREATE TABLE dirt (filler text)');
publish_row($main, 'main-1');
my $main_id = status($main, 'publisher_id');
my $root = substr $main_id, 0, 8;
$main->backup('base');

# All that is written so far is in the archive.
sub archived
{
	my $segment = $main->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
	$main->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver")
	  or die 'not archived';
	return;
}

sub gap_events
{
	return grep { $_->{event}{type} eq 'evpub.gap' } events($kafka);
}

# The codes that were published, by publisher.
sub codes_by_publisher
{
	my %codes;
	push @{ $codes{ event_publisher($_->{event}) } }, $_->{code} for codes_in_kafka();
	return { map { $_ => join ' ', sort @{ $codes{$_} } } keys %codes };
}

# ---- restored from the archive ----

# Recovery leaves nothing in pg_wal of what it has read, but for what
# wal_keep_size says, or what is put back from the archive.
sub restored
{
	my ($name, $state, %args) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($main, 'base', standby => 0, has_restoring => 1);
	$node->append_conf('postgresql.conf', "archive_mode = off\n$conf" . ($args{conf} || ''));
	start_logged($node);
	wait_until('end of recovery',
		sub { $node->log_contains(qr/database system is ready to accept connections/) });
	ok(wait_for_state($node, 'fenced'), "$name: fenced");
	is(slots($node), '', "$name: no slot was made");
	my $archive = $main->archive_dir;
	my $pg_wal = $node->data_dir . '/pg_wal';
	system("for file in $archive/*; do [ -e $pg_wal/\${file##*/} ] || cp \$file $pg_wal; done") == 0 or die
	  if $args{put_back};
	$node->safe_psql('postgres', 'SELECT evpub.take_over()');
	ok(wait_for_state($node, $state, 60), "$name: taken over, $state");
	return $node;
}

# Segments go by with rows in each, and the last position is in the archive.
for (2 .. 5)
{
	publish_row($main, "main-$_");
	$main->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
publish_row($main, 'main-6');

# The target lies behind a row that is published only after it.
$main->safe_psql('postgres', 'SELECT evpub.pause()');
write_row($main, 'main-7');
$main->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
$main->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($main), 'published behind the target');
publish_row($main, 'main-8');

# the file is written before the message; these return when theirs is in WAL
$main->safe_psql('postgres', 'SELECT evpub.pause()');
$main->safe_psql('postgres', 'SELECT evpub.resume()');
archived();

my $node = restored('end', 'streaming', put_back => 1);
is($node->safe_psql('postgres', q{SELECT count(*) FROM code}), '8', 'end: all is there');
my $id = status($node, 'publisher_id');
isnt($id, $main_id, 'end: a new entry');
is(substr($id, 0, 8), $root, 'end: of the same root');
write_row($node, 'end-1');
ok(wait_published($node, 60), 'end: published');
is(codes_by_publisher()->{$id}, 'end-1', 'end: goes on exactly where the original stopped');
is(scalar(gap_events()), 0, 'end: no gap');
$node->stop;

$node = restored('target', 'paused',
	conf => "wal_keep_size = 100MB\nrecovery_target_name = 'here'\nrecovery_target_action = 'promote'\n");
is($node->safe_psql('postgres', q{SELECT string_agg(code, ' ' ORDER BY code) FROM code WHERE code > 'main-6'}),
	'main-7', 'target: what is before it is there');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
$id = status($node, 'publisher_id');
write_row($node, 'target-1');
ok(wait_published($node, 60), 'target: published');
is(codes_by_publisher()->{$id}, 'target-1', 'target: publishes what is new');
is(codes_by_publisher()->{$main_id}, join(' ', map { "main-$_" } 1 .. 8),
	'target: what the original published behind the target does not come again');
is(status($node, 'duplicates_dropped'), '1', 'target: it was read back');
is(scalar(gap_events()), 0, 'target: no gap');
$node->stop;

# ---- promoted ----

sub standby
{
	my ($name, %args) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($main, 'base', has_streaming => 1);
	$node->append_conf('postgresql.conf', "archive_mode = off\n$conf" . ($args{conf} || ''));
	$node->enable_streaming($args{primary}) if $args{primary};
	start_logged($node);
	return $node;
}
my $can_summarize = $main->pg_version >= 17;
my $early = standby('early');
my $stopped = standby('stopped');
my $late = standby('late', conf => $can_summarize ? "summarize_wal = on\n" : '');
my $cascade = standby('cascade', primary => $late);
my @standbys = ($early, $stopped, $late, $cascade);

# What an ordinary role writes is no position, and makes no WAL needed.
$main->safe_psql(
	'postgres', q{
CREATE ROLE anyone;
SET ROLE anyone;
SELECT pg_logical_emit_message(transactional, 'evpub', message)
  FROM unnest(ARRAY[true, false]) transactional,
       unnest(ARRAY['P' || repeat('x', 200), 'C' || repeat('x', 200)]) message;
});

# Rows that are not published, segments older than where WAL ends; and pages that
# are to be written.
$main->safe_psql('postgres', 'SELECT evpub.pause()');
write_row($main, 'main-10');
$main->safe_psql('postgres', 'SELECT pg_switch_wal()');

# A summary ends where a checkpoint began, and behind that one the summarizer
# stands still: WAL from there on must stay in its place for it.
$main->safe_psql('postgres', 'CHECKPOINT');
my $summarized = $main->safe_psql('postgres', 'SELECT redo_lsn FROM pg_control_checkpoint()');
my $summarizer;
if ($can_summarize)
{
	wait_until('summary', sub {
		my ($pid, $there, $waits) = split /\|/, $late->safe_psql('postgres', qq{
SELECT summarizer_pid, summarized_lsn >= '$summarized', wait_event IS NOT DISTINCT FROM 'WalSummarizerWal'
  FROM pg_get_wal_summarizer_state() LEFT JOIN pg_stat_activity ON pid = summarizer_pid});
		return if $pid < 0;
		$summarizer = $pid;

		# it sleeps up to 30 s when it finds nothing to do
		kill 'USR1', $pid if $there ne 't';

		# one that is not asleep may hold a lock that others wait for
		return if $there ne 't' || $waits ne 't';
		kill 'STOP', $pid or return;
		return 1 if $late->safe_psql('postgres',
			"SELECT wait_event = 'WalSummarizerWal' FROM pg_stat_activity WHERE pid = $pid") eq 't';
		kill 'CONT', $pid;
		return;
	});
}
for (11 .. 12)
{
	write_row($main, "main-$_");
	$main->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
$main->safe_psql('postgres', q{INSERT INTO dirt SELECT repeat('x', 1000) FROM generate_series(1, 3000)});
my $end = $main->lsn('flush');
for (@standbys)
{
	$_->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'") or die 'not replayed';
}
$main->stop('fast');
my $needed = sprintf '00000001%08X%08X', 0, read_state($main->data_dir)->{restart_lsn} >> 20;

# Promoted, and its checkpoint has begun before the worker could do anything.
sub promoted_in_checkpoint
{
	my ($node) = @_;
	promote_into_checkpoint($node);
	ok(wait_for_state($node, 'fenced'), $node->name . ': fenced');
	is(slots($node), 'evpub', $node->name . ': WAL is kept from the end of recovery on');

	# what the next checkpoint would remove, too, if it begins while the slot is
	# not valid
	$node->safe_psql('postgres', "INSERT INTO dirt VALUES ('y')"), $node->safe_psql('postgres', 'SELECT pg_switch_wal()') for 1 .. 3;
	return;
}

# A later checkpoint removes none of it.
sub keeps
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->safe_psql('postgres', 'CHECKPOINT');
	ok(-e $node->data_dir . "/pg_wal/$needed", $node->name . ': WAL that is needed is there');
	is($node->safe_psql('postgres', q{SELECT wal_status FROM pg_replication_slots}),
		'reserved', $node->name . ': and the slot keeps it');
	return;
}

# The checkpoint ends, and with it the worker.  From 18 on, a checkpoint asks at
# its end what slots need, and leaves ours.
my $asks_first = $main->pg_version < 18;
sub checkpoint_ends
{
	my ($node) = @_;
	my $name = $node->name;
	my $worker = worker_pid($node);
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', 'CHECKPOINT');
	if (!$asks_first)
	{
		ok(!$node->log_contains(qr/invalidating|set \d+ segments aside/, $offset), "$name: the checkpoint left the slot");
		is(worker_pid($node), $worker, "$name: and the worker");
		return;
	}
	ok($node->log_contains(qr/invalidating/, $offset), "$name: the checkpoint took the slot");
	wait_until('WAL is put back', sub { $node->log_contains(qr/put back [1-9]\d* segments/, $offset) });
	keeps($node);
	wait_until('another worker', sub { (worker_pid($node) // $worker) != $worker });
	ok(wait_for_status($node, "state IN ('fenced', 'paused')"), "$name: the worker is back");
	ok(!-e $node->data_dir . '/pg_wal/evpub.kept', "$name: nothing is set aside any more");
	return;
}

sub keeps_and_publishes
{
	my ($node) = @_;
	my $name = $node->name;
	keeps($node);
	$node->safe_psql('postgres', 'SELECT evpub.take_over()') if status($node, 'state') eq 'fenced';
	ok(wait_for_state($node, 'paused'), "$name: taken over, and paused as the old primary was");
	$node->safe_psql('postgres', 'SELECT evpub.resume()');
	ok(wait_published($node, 60), "$name: published");

	# it bears the old primary's id, so those that come later find it in Kafka
	is(codes_by_publisher()->{$main_id}, join(' ', sort map { "main-$_" } 1 .. 8, 10 .. 12),
		"$name: exactly what the old primary had not published, once");
	is(status($node, 'duplicates_dropped'), $node == $early ? '0' : '3', "$name: from its own WAL");
	is(scalar(gap_events()), 0, "$name: no gap");
	return;
}

# taken over while that checkpoint runs
promoted_in_checkpoint($early);
$early->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($early, 'paused'), 'early: taken over');
checkpoint_ends($early);
keeps_and_publishes($early);
$early->stop;

# The server is stopped while that checkpoint runs, and so is the worker: no
# process is there whom the checkpoint could ask.
promoted_in_checkpoint($stopped);
$stopped->stop('fast');
start_logged($stopped);
ok(wait_for_state($stopped, 'fenced'), 'stopped: fenced');
keeps_and_publishes($stopped);
$stopped->stop;

# taken over long after it
promoted_in_checkpoint($late);
like(status($late, 'state_reason'), qr/keeps WAL/, 'late: says that WAL is kept');
checkpoint_ends($late);
SKIP:
{
	skip 'no WAL summarizer before 17', 1 unless $can_summarize;
	kill 'CONT', $summarizer;
	wait_until('summaries', sub {
		kill 'USR1', $summarizer;
		$late->safe_psql('postgres',
			"SELECT summarized_tli > 1 FROM pg_get_wal_summarizer_state()") eq 't';
	});
	ok(!$late->log_contains(qr/requested WAL segment|could not open file "pg_wal/),
		'late: all of it is summarized');
}
keeps_and_publishes($late);

# a standby of it, which has followed over two publishers
write_row($late, 'late-1');
ok(wait_published($late, 60), 'late: published');
my $late_id = status($late, 'publisher_id');
$end = $late->lsn('flush');
$cascade->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'") or die 'not replayed';
$late->stop('fast');

$cascade->promote;
ok(wait_for_state($cascade, 'fenced'), 'cascade: fenced');
$cascade->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($cascade, 'streaming', 60), 'cascade: taken over, publishes');
write_row($cascade, 'cascade-1');
ok(wait_published($cascade, 60), 'cascade: published');
my $cascade_id = status($cascade, 'publisher_id');
isnt($cascade_id, $late_id, 'cascade: a new entry');
is(codes_by_publisher()->{$cascade_id}, 'cascade-1', 'cascade: goes on exactly where the second publisher stopped');
is(scalar(gap_events()), 0, 'cascade: no gap');
$cascade->stop;

done_testing();
