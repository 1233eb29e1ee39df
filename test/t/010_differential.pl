
# The publisher's own reader of WAL against PostgreSQL's logical decoding: the
# same messages in the same commits in the same order, over savepoints,
# rollbacks, prepared transactions, and a crash in the middle.
use strict;
use warnings;

use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

# No broker: WAL is the queue, and stays.
my $node = capture_node('main', wal_level => 'logical',
	# those that the crash leaves, and one of each client
	conf => "max_prepared_transactions = 20\n");
$node->safe_psql(
	'postgres', q{
CREATE FUNCTION wal_chunks(from_lsn pg_lsn)
RETURNS TABLE (commit_lsn pg_lsn, xid xid, chunk bytea)
AS '$libdir/evpub', 'evpub_wal_chunks' LANGUAGE C;
CREATE TABLE t (id bigserial PRIMARY KEY, x int);
SELECT evpub.capture_table('t', tenant => 'acme', topic => 'x');
});
load_tables($node, 20);
my $from = $node->safe_psql('postgres',
	q{SELECT lsn FROM pg_create_logical_replication_slot('judge', 'test_decoding')});

# (mode simple: names of prepared transactions are no parameters.)
# Single rows in many transactions, some of them in savepoints, some of which
# are rolled back, and exceptions, which are savepoints too.
my %scripts = (
	"INSERT INTO t (x) VALUES (1);\n" => 10,
	"BEGIN;\nINSERT INTO t (x) VALUES (1);\nSAVEPOINT a;\nINSERT INTO t (x) VALUES (2);\nROLLBACK TO a;\nINSERT INTO t (x) VALUES (3);\nSAVEPOINT b;\nINSERT INTO t (x) VALUES (4);\nSAVEPOINT c;\nINSERT INTO t (x) VALUES (5);\nRELEASE b;\nCOMMIT;\n" => 3,
	"BEGIN;\nINSERT INTO t (x) SELECT 6 FROM generate_series(1, 20);\nROLLBACK;\n" => 1,
	"\\set id random(1, 1000000000)\nBEGIN;\nINSERT INTO t (x) VALUES (7);\nPREPARE TRANSACTION 'p:id-:client_id';\nCOMMIT PREPARED 'p:id-:client_id';\n" => 1,
	"\\set id random(1, 1000000000)\nBEGIN;\nINSERT INTO t (x) VALUES (8);\nSAVEPOINT a;\nINSERT INTO t (x) VALUES (9);\nPREPARE TRANSACTION 'q:id-:client_id';\nROLLBACK PREPARED 'q:id-:client_id';\n" => 1);

# chunks that are spilled while their transaction runs, also in savepoints
my $large = q{
BEGIN;
INSERT INTO t (x) SELECT 10 FROM generate_series(1, 50000);
SAVEPOINT a;
INSERT INTO t (x) SELECT 11 FROM generate_series(1, 50000);
SAVEPOINT b;
INSERT INTO t (x) SELECT 12 FROM generate_series(1, 50000);
ROLLBACK TO b;
INSERT INTO t (x) SELECT 13 FROM generate_series(1, 50000);
RELEASE a;
INSERT INTO t (x) SELECT 14 FROM generate_series(1, 50000);
COMMIT;
BEGIN;
INSERT INTO t (x) SELECT 15 FROM generate_series(1, 50000);
ROLLBACK;
};

sub round_of_load
{
	my ($transactions) = @_;
	my $load = start_pgbench($node, \%scripts,
		clients => 8, transactions => $transactions, mode => 'simple');
	my $more = start_load($node, 20, 4, 3);
	$node->safe_psql('postgres', $large);
	ok(finish($load), 'load') or diag $load->{err};
	ok(finish($more), 'load with counters') or diag $more->{err};
	return;
}

$node->safe_psql('postgres', 'ALTER SYSTEM SET synchronous_commit = off');
$node->reload;
round_of_load(8000);

# A prepared transaction outlives the crash; open ones do not.
$node->safe_psql('postgres',
	q{BEGIN; INSERT INTO t (x) VALUES (20); PREPARE TRANSACTION 'survivor'});
my $load = start_pgbench($node, \%scripts, clients => 8, seconds => 60, mode => 'simple');
my $lsn = $node->lsn('insert');
$node->poll_query_until('postgres',
	"SELECT pg_current_wal_insert_lsn() - '$lsn' > 2000000");
my $open = start_psql($node,
	q{BEGIN; INSERT INTO t (x) SELECT 21 FROM generate_series(1, 100000); SELECT pg_sleep(60)});
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
$node->stop('immediate');
finish($load);
finish($open);
$node->start;
$node->safe_psql('postgres', q{COMMIT PREPARED 'survivor'});
round_of_load(8000);

# Logical decoding sees what is flushed; the last commits were asynchronous.
$node->safe_psql('postgres', q{SET synchronous_commit = on; CREATE TABLE flushed ()});

# The judge: BEGIN, messages, COMMIT lines; commits without messages are empty.
$node->safe_psql(
	'postgres', q{
CREATE TEMP TABLE decoded AS
SELECT row_number() OVER () AS n, xid, data
FROM pg_logical_slot_peek_binary_changes('judge', NULL, NULL,
	'skip-empty-xacts', '1', 'include-xids', '1');
CREATE TABLE judged AS
SELECT row_number() OVER (ORDER BY n) AS n, xid,
	   substr(data, position('content:'::bytea in data) + 8) AS chunk
FROM decoded
WHERE position('message: transactional: 1 prefix: evpub,'::bytea in data) = 1;
CREATE TABLE own AS
SELECT row_number() OVER () AS n, xid, chunk
FROM wal_chunks('} . $from . q{');
});
my $judged = $node->safe_psql('postgres', 'SELECT count(*) FROM judged');
note "$judged messages";
cmp_ok($judged, '>=', 100_000, 'there is enough to compare');
is($node->safe_psql('postgres', 'SELECT count(*) FROM own'),
	$judged, 'the own reader finds as many messages');
is( $node->safe_psql(
		'postgres', q{
SELECT count(*) FROM own FULL JOIN judged USING (n)
WHERE own.xid IS DISTINCT FROM judged.xid OR own.chunk IS DISTINCT FROM judged.chunk}),
	'0',
	'the same ones, of the same transactions, in the same order');
$node->stop;
done_testing();
