
# A planned switchover is silent: the primary is stopped, the standby promoted,
# take_over() called, and every event is in Kafka exactly once, with no
# evpub.gap, though the standby's state file is that of its base backup and the
# WAL of that time is gone.  A paused publisher stays paused; and what really is
# missing is a gap.
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
# nothing keeps WAL for those that come later
my $conf = "wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 64MB\ncheckpoint_timeout = 1h";
my $main = capture_node('main', kafka => $kafka, archive => 1, conf => $conf);
$main->safe_psql(
	'postgres', q{
CREATE TABLE t (id bigserial PRIMARY KEY, tenant text, filler text);
SELECT evpub.capture_table('t', tenant_column => 'tenant');
});
my $insert = q{INSERT INTO t (tenant, filler)
	SELECT 't' || i % 7, repeat('x', 100) FROM generate_series(1, 5) i};
$main->safe_psql('postgres', $insert);
ok(wait_published($main), 'published before the backup');
my $root = substr status($main, 'publisher_id'), 0, 8;
$main->backup('base');

# Segments that begin and end, with rows in them, so that WAL of before is gone.
sub wal_goes_by
{
	my ($node, $standby) = @_;
	my $before = $node->lsn('insert');
	for (1 .. 4)
	{
		$node->safe_psql('postgres', $insert);
		$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	}
	ok(wait_published($node), 'published');
	# nothing keeps WAL for the standby: it must have it before it goes
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush')) if $standby;
	$node->safe_psql('postgres', 'CHECKPOINT');
	return unless $standby;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	# it writes its file once a segment
	wait_until('the standby takes in what is said in WAL',
		sub {
			$node->safe_psql('postgres', "$insert; SELECT pg_switch_wal()");
			$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
			return read_state($standby->data_dir)->{confirmed_lsn} > lsn_number($before);
		});
	ok(wait_published($node), 'published');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	$standby->safe_psql('postgres', 'CHECKPOINT');
	return;
}

sub standby_of
{
	my ($name, $primary, $backup) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($primary, $backup, has_streaming => 1);
	$node->append_conf('postgresql.conf', "archive_mode = off\n$conf");
	start_logged($node);
	$primary->wait_for_catchup($node, 'replay', $primary->lsn('flush'));
	return $node;
}

# All rows of the table exactly once, in no order that is not theirs, no gap.
sub check_silent
{
	my ($name, $node) = @_;
	my @events = events($kafka);
	is(scalar(grep { $_->{event}{type} eq 'evpub.gap' } @events), 0, "$name: no evpub.gap");
	my %times;
	$times{ $_->{event}{pk}{id} }++ for grep { $_->{event}{type} eq 't.created' } @events;
	my @rows = split /\n/, $node->safe_psql('postgres', 'SELECT id FROM t ORDER BY 1');
	cmp_ok(scalar @rows, '>', 20, "$name: rows");
	is(scalar(grep { !$times{$_} } @rows), 0, "$name: nothing is missing of " . @rows . ' rows');
	is(scalar(grep { $times{$_} > 1 } @rows), 0, "$name: nothing came twice");
	my %publishers = map { event_publisher($_->{event}) => 1 } @events;
	is_deeply([ grep { substr($_, 0, 8) ne $root } keys %publishers ],
		[], "$name: the root of the publisher id stays");
	return scalar keys %publishers;
}

# ---- under load, with a clean stop ----

my $standby = standby_of('standby', $main, 'base');
wal_goes_by($main, $standby);
ok(wait_for_state($standby, 'standby'), 'the standby follows');
my $load = start_pgbench($main, { "$insert;\n" =~ s/\n\s+/ /r => 1 }, clients => 4, seconds => 60, rate => 200);
my $lsn = $main->lsn('insert');
ok(wait_for_status($main, "confirmed_lsn > '$lsn'::pg_lsn + 300000"), 'load is published');
$main->stop('fast');
$load->{handle}->finish;
$standby->promote;
# its checkpoint, which goes by what slots there were when it began, is made
# while the publisher is taken over
ok(wait_for_state($standby, 'fenced'), 'promoted, it is fenced');
my $checkpoint = start_psql($standby, 'CHECKPOINT');
$standby->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(finish($checkpoint), 'checkpoint');
$standby->safe_psql('postgres', 'CHECKPOINT');
ok(wait_for_state($standby, 'streaming'), 'taken over: publishes');
$standby->safe_psql('postgres', $insert);
ok(wait_published($standby), 'published');
is(check_silent('switchover', $standby), 2, 'switchover: two entries of one publisher');
is($standby->safe_psql('postgres', q{SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'evpub'}),
	'reserved', 'switchover: the slot is whole');
ok(!$standby->log_contains(qr/exceeds max_slot_wal_keep_size|invalidating/), 'switchover: no slot was invalidated');

# ---- back, and paused ----

$standby->backup('second');
my $third = standby_of('third', $standby, 'second');
wal_goes_by($standby, $third);
$standby->safe_psql('postgres', 'SELECT evpub.pause()');
$standby->safe_psql('postgres', $insert);
$standby->stop('fast');
$third->promote;
ok(wait_for_state($third, 'fenced'), 'promoted again, it is fenced');
$third->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($third, 'paused'), 'a paused publisher stays paused');
$third->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($third), 'resumed: what was held back is published');
check_silent('paused', $third);

# ---- what is missing is a gap ----

$third->backup('third');
my $fourth = standby_of('fourth', $third, 'third');
$third->safe_psql('postgres', 'SELECT evpub.pause()');
$third->safe_psql('postgres', $insert);
for (1 .. 4)
{
	$third->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()});
}
$third->safe_psql('postgres', 'CHECKPOINT');
$third->wait_for_catchup($fourth, 'replay', $third->lsn('flush'));
$fourth->safe_psql('postgres', 'CHECKPOINT');
$third->stop('fast');
$fourth->promote;
ok(wait_for_state($fourth, 'fenced'), 'once more');
$fourth->safe_psql('postgres', 'CHECKPOINT');
$fourth->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($fourth, 'gap'), 'unpublished, and its WAL is gone: a gap');
$fourth->stop;
done_testing();
