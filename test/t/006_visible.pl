
# Published only when visible: a commit that waits for a synchronous standby is
# in WAL, but nobody can see it yet, and Kafka neither.  Also beyond 2^31
# transactions, where comparing ids as plain numbers goes wrong.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $topic = $EvpubTest::TOPIC;

# Checks the gate on a running server.
sub check_gate
{
	my ($name, $node, $tenant) = @_;

	ok(wait_for_state($node, 'streaming'), "$name: streaming");
	$node->safe_psql('postgres',
		"INSERT INTO code VALUES ('$tenant', 'before', '')");
	ok(wait_published($node), "$name: published");
	my $before = $kafka->record_count($topic);

	want_standby($node);
	my $waiting = start_psql($node,
		"INSERT INTO code VALUES ('$tenant', 'waiting', '')");
	ok( $node->poll_query_until(
			'postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
		"$name: a commit waits for its standby");
	my $xid = $node->safe_psql('postgres',
		q{SELECT backend_xid FROM pg_stat_activity WHERE wait_event = 'SyncRep'});

	# Later commits that do not wait wake the publisher again and again; they
	# stand behind the one that waits.
	for (1 .. 10)
	{
		my $lsn = $node->safe_psql(
			'postgres', qq{
SET synchronous_commit = local;
INSERT INTO code VALUES ('$tenant', 'after $_', '');
SELECT pg_current_wal_insert_lsn()});
		ok(wait_for_status($node, "read_lsn >= '$lsn'"),
			"$name: the publisher has read it");
	}
	is($node->safe_psql('postgres',
			"SELECT count(*) FROM code WHERE (tenant_id, code) = ('$tenant', 'waiting')"),
		'0', "$name: it is not visible");
	is($kafka->record_count($topic), $before, "$name: so it is not in Kafka");
	is( $node->safe_psql(
			'postgres', q{SELECT evpub.wait_published(NULL, '200 ms')}),
		'f',
		"$name: nor published");
	ok(wait_for_status($node, "state_reason LIKE '%transaction $xid%'"),
		"$name: status names the transaction that waits");

	$node->safe_psql('postgres',
		'ALTER SYSTEM RESET synchronous_standby_names');
	$node->reload;
	ok(finish($waiting), "$name: no standby is asked any more: it commits");
	ok(wait_published($node), "$name: and is published");
	my @codes = map { $_->{event}{pk}{code} }
	  grep { $_->{event}{tenant} eq $tenant } events($kafka);
	is_deeply(
		\@codes,
		[ 'before', 'waiting', map { "after $_" } 1 .. 10 ],
		"$name: in the order of commits");
	return;
}

my $node = capture_node('main', kafka => $kafka);
cms_tables($node);
check_gate('synchronous replication', $node, 'young');

# A wait that is cancelled makes the commit visible, replicated or not.
want_standby($node);
my $waiting = start_psql($node,
	q{INSERT INTO code VALUES ('young', 'cancelled', '')});
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
	'a commit waits');
$node->safe_psql('postgres',
	"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
finish($waiting);
like($waiting->{err}, qr/canceling wait for synchronous replication/,
	'the wait is cancelled');
ok(wait_published($node), 'the commit is published');
is((events($kafka))[-1]{event}{pk}{code},
	'cancelled', 'with its event');

$node->safe_psql('postgres',
	'ALTER SYSTEM RESET synchronous_standby_names');
$node->reload;
$node->stop;

# The same at transaction 3,000,000,000.  The jump is made in steps of less
# than 2^31, with everything frozen in between, in a server without evpub: the
# tool discards WAL.
sub jump
{
	my ($old, $xid) = @_;
	for my $database (qw(postgres template1 template0))
	{
		$old->safe_psql($database, 'VACUUM (FREEZE)');
	}
	$old->stop;
	command_ok([ 'pg_resetwal', '-x', $xid, $old->data_dir ],
		"jump to transaction $xid");
	# the server expects the segment of pg_xact in which it goes on
	my $segment = sprintf '%s/pg_xact/%04X', $old->data_dir, $xid / 1048576;
	open my $out, '>', $segment or die "$segment: $!";
	print $out "\0" x 262144;
	close $out;
	$old->start;
	return;
}

my $old = capture_node('old', kafka => $kafka, start => 0, extension => 0);
$old->start;
$old->safe_psql('postgres',
	'ALTER DATABASE template0 ALLOW_CONNECTIONS true');
jump($old, 1_500_000_000);
jump($old, 3_000_000_000);
is( $old->safe_psql('postgres', 'SELECT txid_current() >= 3000000000'),
	't', 'beyond 2^31 transactions');
create_evpub($old);
cms_tables($old);
check_gate('transaction 3e9', $old, 'old');

# An open transaction is in progress, at whatever number.
my $open = $old->background_psql('postgres');
$open->query_safe(q{BEGIN; INSERT INTO code VALUES ('old', 'open', '')});
$old->safe_psql('postgres', q{INSERT INTO code VALUES ('old', 'other', '')});
ok(wait_published($old), 'others are published while it is open');
$open->query_safe('COMMIT');
$open->quit;
ok(wait_published($old), 'and it, once it commits');
is_deeply(
	[ (map { $_->{event}{pk}{code} } grep { $_->{event}{tenant} eq 'old' } events($kafka))[ -2, -1 ] ],
	[ 'other', 'open' ],
	'in the order of commits');
$old->stop;
done_testing();
