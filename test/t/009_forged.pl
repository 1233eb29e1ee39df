
# Any role may write messages into WAL, with any prefix.  Messages that capture
# did not write are dropped and counted, and stop nothing.  Who has the key writes
# messages like capture's, unless the right to write any is revoked.
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
SELECT substr(data, position('content:'::bytea in data) + 8) AS chunk, xid
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

# Who may read pg_control has the key.  Then a forgery is an event like any other.
$node->safe_psql(
	'postgres', q{
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO anyone;
GRANT CREATE ON SCHEMA public TO anyone;
SET ROLE anyone;
CREATE FUNCTION hmac(key bytea, message bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	inside  bytea := decode(repeat('36', 64), 'hex');
	outside bytea := decode(repeat('5c', 64), 'hex');
BEGIN
	FOR i IN 0 .. length(key) - 1 LOOP
		inside := set_byte(inside, i, get_byte(inside, i) # get_byte(key, i));
		outside := set_byte(outside, i, get_byte(outside, i) # get_byte(key, i));
	END LOOP;
	RETURN sha256(outside || sha256(inside || message));
END $$;
CREATE FUNCTION little_endian(n bigint) RETURNS bytea LANGUAGE sql AS $$
SELECT decode(string_agg(lpad(to_hex((n >> 8 * i) & 255), 2, '0'), '' ORDER BY i), 'hex') FROM generate_series(0, 3) i
$$;
CREATE FUNCTION mac(key bytea, xid text, chunk bytea) RETURNS bytea LANGUAGE sql AS $$
SELECT substr(hmac(key, little_endian((SELECT oid::bigint FROM pg_database WHERE datname = current_database()))
              || little_endian(xid::bigint & 4294967295) || substr(chunk, 1, 20) || substr(chunk, 37)), 1, 16)
$$;
CREATE FUNCTION forge() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	control bytea := pg_read_binary_file('global/pg_control');
	chunk   bytea := (SELECT c.chunk FROM copied c);
	xid     text := (SELECT c.xid::text FROM copied c);
	key     bytea := (SELECT substr(control, o, 32) FROM generate_series(1, 400) o
	                   WHERE mac(substr(control, o, 32), xid, chunk) = substr(chunk, 21, 16));
BEGIN
	IF key IS NULL THEN RAISE EXCEPTION 'no key'; END IF;
	PERFORM pg_logical_emit_message(true, 'evpub', substr(chunk, 1, 20)
		|| mac(key, pg_current_xact_id()::text, chunk) || substr(chunk, 37));
END $$;
});
my $records = $kafka->record_count('real');
$node->safe_psql('postgres', 'SET ROLE anyone; SELECT forge()');
ok(wait_published($node), 'who can read pg_control writes an event');
is($kafka->record_count('real'), $records + 1, 'and it is published');

# What check() advises ends that, and takes nothing away from evpub.
my $check = q{SELECT ok, detail, hint FROM evpub.check() WHERE name = 'logical_messages'};
my $advised = $node->safe_psql('postgres', $check);
like($advised, qr/^t\|every role may write messages into WAL/, 'check() names it, as no fault');
my ($statement) = $advised =~ /(REVOKE EXECUTE ON FUNCTION .* FROM PUBLIC;)/;
my $documented = slurp_file('docs/security.md') =~ s/, /,/gr;
like($documented, qr/^ +\Q@{[ $statement =~ s|, |,|gr ]}\E$/m, 'the documentation gives the same statement');
$node->safe_psql('postgres', $statement);
is($node->safe_psql('postgres', $check),
	't|only roles that were given the right may write messages into WAL|', 'after that, it is content');
my ($out, $err);
isnt($node->psql('postgres', 'SET ROLE anyone; SELECT forge()', stdout => \$out, stderr => \$err),
	0, 'nobody forges now');
like($err, qr/permission denied for function pg_logical_emit_message/, 'since he may not write messages');
$node->safe_psql('postgres', 'GRANT INSERT ON t TO anyone; SET ROLE anyone; INSERT INTO t VALUES (103)');
ok(wait_published($node), 'evpub needs no such right, nor do writers');
is($kafka->record_count('real'), $records + 2, 'their events are published');
$node->stop;
done_testing();
