# WAL from long ago is kept for a prepared transaction.  When it is lost, only
# that transaction is: what was published since is not published again.
use strict;
use warnings;

use EvpubKafka;
use EvpubState;
use EvpubTest;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, conf => "evpub.min_disk_free = '-1'");
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme');
INSERT INTO t VALUES (0);
});
ok(wait_published($node), 'published before');

sub accept_gap
{
	my ($lsn) = status($node, 'state_reason') =~ /accept_gap\('([^']+)'\)/
	  or die 'no gap';
	$node->safe_psql('postgres', "SELECT evpub.accept_gap('$lsn')");
	return $lsn;
}

# xid of a transaction that inserts an id and is prepared
sub prepare
{
	my ($id) = @_;
	return $node->safe_psql('postgres',
		"BEGIN; INSERT INTO t VALUES ($id); SELECT pg_current_xact_id(); PREPARE TRANSACTION 'p$id'");
}

my $prepared = prepare(1000);
my $segment = $node->data_dir . '/pg_wal/'
  . $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', "INSERT INTO t VALUES ($_)") for 1 .. 20;
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok(wait_published($node), 'published since');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop;
my $confirmed = '0/0';
unlink $segment or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'the WAL that the prepared transaction needs is lost');
$confirmed = status($node, 'confirmed_lsn');
accept_gap();
is(status($node, "confirmed_lsn >= '$confirmed'"), 't', 'confirmed does not move back');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (21)');
ok(wait_published($node), 'published after');

my @all = events($kafka);
my %times;
$times{ $_->{event}{id} }++ for @all;
is(scalar(grep { $_ > 1 } values %times), 0, 'no event comes twice');
check_ids('events', @all);
my @gaps = grep { $_->{event}{type} eq 'evpub.gap' } @all;
cmp_ok(scalar @gaps, '>', 0, 'the gap is announced');
is_deeply($gaps[0]{event}{data}{transactions}, [$prepared], 'with the prepared transaction');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p1000'");

# Two segments apart from each other: two gaps that end where all was published.
sub current_segment
{
	return $node->data_dir . '/pg_wal/'
	  . $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
}
prepare(3000);
my @lost = current_segment();
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (201)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (202)');
push @lost, current_segment();
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (203)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok(wait_published($node), 'published');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop;
is(unlink(@lost), 2, 'two segments are lost');
$node->start;
for my $which ('the first', 'the second')
{
	ok(wait_for_state($node, 'gap'), "$which is a gap");
	accept_gap();
}
$node->safe_psql('postgres', 'INSERT INTO t VALUES (204)');
ok(wait_published($node), 'published after');
my %bounds;
for my $record (grep { $_->{event}{type} eq 'evpub.gap' } events($kafka))
{
	$bounds{ $record->{event}{id} }{ $record->{event}{data}{first_lsn} } = 1;
}
is(scalar(grep { keys %$_ > 1 } values %bounds), 0, 'no two gaps have the same ids');
cmp_ok(scalar(keys %{ { map { %$_ } values %bounds } }), '>=', 3, 'all of them are announced');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p3000'");

# One of which a part is published, when all its messages are lost: how far it had
# come says nothing of the transaction behind it.
$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
$node->safe_psql('postgres', q{
BEGIN;
INSERT INTO t VALUES (4000);
SELECT evpub.publish_raw('narrow', 'k', to_jsonb(string_agg(md5(g::text), ''))) FROM generate_series(1, 1000) g;
PREPARE TRANSACTION 'p4000'});
$segment = current_segment();
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (301)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok(wait_published($node), 'published');
$node->safe_psql('postgres', "COMMIT PREPARED 'p4000'");
wait_until('the file says that its first event is published',
	sub { read_state($node->data_dir)->{next_event} == 1 });
$node->stop;
unlink $segment or die $!;
$node->start;
ok(wait_for_state($node, 'gap'), 'the WAL that it needs is lost');
accept_gap();
$node->safe_psql('postgres', 'INSERT INTO t VALUES (302)');
ok(wait_published($node), 'published after');
is(scalar(grep { ($_->{event}{pk}{id} // 0) == 302 } events($kafka)), 1,
	'what committed behind it is published');

# One that was prepared when the backlog was given up, and was committed before
# the gap was accepted.
set_brokers($node, '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers');
$prepared = prepare(2000);
for my $id (101 .. 105)
{
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->safe_psql('postgres', "INSERT INTO t VALUES ($id)");
}
$node->append_conf('postgresql.conf', 'evpub.max_lag_size = 20');
$node->reload;
ok(wait_for_state($node, 'gap'), 'given up');
$node->append_conf('postgresql.conf', 'evpub.max_lag_size = -1');
$node->reload;
$node->safe_psql('postgres', "COMMIT PREPARED 'p2000'");
$node->restart;
ok(wait_for_state($node, 'gap'), 'after a restart, too');
set_brokers($node, $kafka->bootstrap);
my $end = accept_gap();
ok(wait_published($node), 'published');
(@gaps) = grep { $_->{event}{type} eq 'evpub.gap' && $_->{event}{data}{last_lsn} eq $end } events($kafka);
cmp_ok(scalar @gaps, '>', 0, 'the gap is announced');
is_deeply($gaps[0]{event}{data}{transactions}, [$prepared],
	'a transaction that was prepared then is named, though it has committed since');
$node->stop;
done_testing();
