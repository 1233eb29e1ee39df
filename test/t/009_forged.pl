
# Any role may write messages into WAL, with any prefix.  Messages that capture
# did not write are dropped and counted, and stop nothing.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, wal_level => 'logical');
$node->safe_psql(
	'postgres', q{
CREATE ROLE anyone LOGIN;
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme', topic => 'real');
SELECT pg_create_logical_replication_slot('spy', 'test_decoding');
INSERT INTO t VALUES (1);
});
ok(wait_published($node), 'an authentic event is published');

# Whoever can read WAL can copy a chunk of it.
$node->safe_psql(
	'postgres', q{
CREATE TABLE copied AS
SELECT substr(data, position('content:'::bytea in data) + 8) AS chunk
FROM pg_logical_slot_peek_binary_changes('spy', NULL, NULL)
WHERE position('prefix: evpub'::bytea in data) > 0;
GRANT SELECT ON copied TO anyone;
});
is($node->safe_psql('postgres', 'SELECT count(*) FROM copied'),
	'1', 'a chunk was copied');

my @forgeries = (
	[ 'garbage', q{'garbage'} ],
	[ 'nothing', q{''} ],
	[ 'zeros', q{decode(repeat('00', 100), 'hex')} ],
	[ 'a copied chunk', q{(SELECT chunk FROM copied)} ],
	[ 'half a chunk', q{(SELECT substr(chunk, 1, 30) FROM copied)} ],
	[ 'only the header of a chunk', q{(SELECT substr(chunk, 1, 36) FROM copied)} ],
	[ 'a changed chunk', q{(SELECT set_byte(chunk, 40, 65) FROM copied)} ],
	[ 'a chunk that claims to be of a later format', q{(SELECT set_byte(chunk, 1, 2) FROM copied)} ],
	[ 'a position message', q{'P' || repeat('x', 63)} ],
	[ 'a megabyte', q{repeat('C', 1000000)} ],
);
my $number = 1;
my $dropped = 0;
for my $forgery (@forgeries)
{
	my ($name, $content) = @$forgery;
	for my $transactional ('true', 'false')
	{
		my ($out, $err);
		my $status = $node->psql(
			'postgres',
			"SET ROLE anyone; SELECT pg_logical_emit_message($transactional, 'evpub', $content)",
			stdout => \$out, stderr => \$err);
		is($status, 0, "$name, transactional $transactional: anyone can write it")
		  or diag $err;
	}
	$dropped++;
	$number++;
	$node->safe_psql('postgres', "INSERT INTO t VALUES ($number)");
	ok(wait_published($node), "$name: stops nothing");
	ok(wait_for_status($node, "forged_dropped >= $dropped"),
		"$name: counted as dropped");
	$dropped = status($node, 'forged_dropped');
}

# Together with authentic events, in one transaction.
$node->safe_psql(
	'postgres', q{
BEGIN;
INSERT INTO t VALUES (100);
SELECT pg_logical_emit_message(true, 'evpub', 'garbage');
SELECT pg_logical_emit_message(true, 'evpub', (SELECT chunk FROM copied));
INSERT INTO t VALUES (101);
COMMIT;
});
ok(wait_published($node), 'a forgery beside authentic events: published');
ok(wait_for_status($node, 'forged_dropped >= ' . ($dropped + 2)), 'and counted');

# Another prefix is nobody's business.
$dropped = status($node, 'forged_dropped');
$node->safe_psql('postgres',
	q{SELECT pg_logical_emit_message(true, 'evpubx', 'x'), pg_logical_emit_message(true, 'ev', 'x')});
$node->safe_psql('postgres', 'INSERT INTO t VALUES (102)');
ok(wait_published($node), 'published');
is(status($node, 'forged_dropped'), $dropped, 'other prefixes are not counted');

is_deeply(
	[ map { $_->{event}{pk}{id} } events($kafka, 'real') ],
	[ 1 .. $number, 100, 101, 102 ],
	'Kafka has the authentic events, and nothing else');
ok($node->log_contains(qr/dropped a message at [0-9A-F]+\/[0-9A-F]+/),
	'the log tells where');
is(status($node, 'state'), 'streaming', 'it streams on');

# Neither peek nor the publisher shows them after a restart.
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*) FROM evpub.peek()'),
	'0', 'peek shows none');
$node->stop;
done_testing();
