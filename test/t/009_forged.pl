
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
	[ 'only the header of a chunk', q{(SELECT substr(chunk, 1, 18) FROM copied)} ],
	[ 'a changed chunk', q{(SELECT set_byte(chunk, 40, 65) FROM copied)} ],
	[ 'a chunk that claims to be of a later format', q{(SELECT set_byte(chunk, 1, (get_byte(chunk, 1) & 240) + 3) FROM copied)} ],
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

# SipHash-2-4 of 128 bits, with words of 64 bits that wrap around.
sub add
{
	my ($x, $y) = @_;
	use integer;
	return $x + $y;
}
sub rotate
{
	my ($word, $bits) = @_;
	return ($word << $bits | ($word & ~0) >> 64 - $bits) & ~0;
}
sub mix
{
	my ($v, $rounds) = @_;
	for (1 .. $rounds)
	{
		for my $step ([ 0, 1, 13, 32 ], [ 2, 3, 16, 0 ], [ 0, 3, 21, 0 ], [ 2, 1, 17, 32 ])
		{
			my ($to, $from, $bits, $half) = @$step;
			$v->[$to] = add($v->[$to], $v->[$from]) & ~0;
			$v->[$from] = rotate($v->[$from], $bits) ^ $v->[$to];
			$v->[$to] = rotate($v->[$to], $half) if $half;
		}
	}
	return;
}
sub siphash
{
	my ($key, $message) = @_;
	my ($k0, $k1) = unpack 'Q<2', $key;
	my @v = (
		$k0 ^ unpack('Q>', 'somepseu'),
		$k1 ^ unpack('Q>', 'dorandom') ^ 0xee,
		$k0 ^ unpack('Q>', 'lygenera'),
		$k1 ^ unpack('Q>', 'tedbytes'));
	my $padded = $message . "\0" x (7 - length($message) % 8) . chr(length($message) % 256);
	for my $word (unpack 'Q<*', $padded)
	{
		$v[3] ^= $word;
		mix(\@v, 2);
		$v[0] ^= $word;
	}
	$v[2] ^= 0xee;
	mix(\@v, 4);
	my $result = pack 'Q<', $v[0] ^ $v[1] ^ $v[2] ^ $v[3];
	$v[1] ^= 0xdd;
	mix(\@v, 4);
	return $result . pack('Q<', $v[0] ^ $v[1] ^ $v[2] ^ $v[3]);
}
is(unpack('H*', siphash(pack('C*', 0 .. 15), pack('C*', 0 .. 14))),
	'5493e99933b0a8117e08ec0f97cfc3d9', 'a vector of the reference implementation');

# mac(): of a chunk without its MAC, as evpub makes it from the number in pg_control.
sub mac
{
	my ($nonce, $database, $xid, $header, $body) = @_;
	my $key = siphash(substr($nonce, 0, 16), "evpub message authentication\0" . substr($nonce, 16));
	return siphash($key, pack('L<2 a8', $database, $xid, $header) . $body);
}
$node->safe_psql(
	'postgres', q{
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO anyone;
GRANT CREATE ON SCHEMA public TO anyone;
SET ROLE anyone;
CREATE FUNCTION forge(chunk bytea) RETURNS void LANGUAGE sql AS
$$ SELECT pg_logical_emit_message(true, 'evpub', chunk) $$;
});
my ($database, $xid, $chunk, $control) = split /\|/,
  $node->safe_psql(
	'postgres', q{
SET ROLE anyone;
SELECT oid, xid, encode(chunk, 'hex'), encode(pg_read_binary_file('global/pg_control'), 'hex')
  FROM pg_database, copied WHERE datname = current_database()});
$_ = pack 'H*', $_ for $chunk, $control;
my ($header, $mac, $body) = unpack 'a2 a16 a*', $chunk;
my ($nonce) = grep { mac($_, $database, $xid, $header, $body) eq $mac }
  map { substr $control, $_, 32 } 0 .. 400;
ok($nonce, 'pg_control has the key');
my $records = $kafka->record_count('real');
my $forger = $node->background_psql('postgres');
$forger->query_safe('SET ROLE anyone; BEGIN');
my $own = $forger->query_safe('SELECT pg_current_xact_id()::text::bigint & 4294967295');
my $forged = unpack 'H*', $header . mac($nonce, $database, $own, $header, $body) . $body;
$forger->query_safe("SELECT forge('\\x$forged')");
$forger->query_safe('COMMIT');
$forger->quit;
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
isnt($node->psql('postgres', q{SET ROLE anyone; SELECT forge('x')}, stdout => \$out, stderr => \$err),
	0, 'nobody forges now');
like($err, qr/permission denied for function pg_logical_emit_message/, 'since he may not write messages');
$node->safe_psql('postgres', 'GRANT INSERT ON t TO anyone; SET ROLE anyone; INSERT INTO t VALUES (103)');
ok(wait_published($node), 'evpub needs no such right, nor do writers');
is($kafka->record_count('real'), $records + 2, 'their events are published');
$node->stop;
done_testing();
