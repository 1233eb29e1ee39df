
# The contract as consumers get it: every event in Kafka is one of the messages that
# evpub.asyncapi() names for its topic, with that key, these headers and a value that
# fits its JSON Schema, of all types of columns and in all envelopes; each message
# and each member of one is seen; values that are wrong do not fit.  CloudEvents are
# as their Kafka binding has them.  The AsyncAPI parser takes the document, and types
# that generators make of the schemas compile and read the events.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $tools = $ENV{EVPUB_CONTRACT_TOOLS} or die "EVPUB_CONTRACT_TOOLS is not set: run this by test/run\n";
my $here = "$ENV{EVPUB_TEST_DIR}/contract";
my $dir = PostgreSQL::Test::Utils::tempdir();

my $kafka = EvpubKafka->new->start;
$kafka->create_topic('log', 1, { 'max.message.bytes' => 2000 });
my $node = capture_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }

sub write_file
{
	my ($name, $text) = @_;
	open my $out, '>', "$dir/$name" or die "$dir/$name: $!";
	print $out $text;
	close $out or die "$dir/$name: $!";
	return;
}

sql(slurp_file("$ENV{EVPUB_TEST_DIR}/lib/contract.sql"));
my $document = sql('SELECT evpub.asyncapi()');
write_file('asyncapi.json', $document);
write_file('schemas.json', sql(q{
SELECT jsonb_object_agg(t, evpub.json_schema(t)) FROM (
	SELECT DISTINCT m.value ->> 'name' FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') m) AS m (t)}));

# ---- events of all kinds ----

sql(q{
INSERT INTO code VALUES ('acme', '1', 'one'), ('acme', '2/3', 'two');
UPDATE code SET label = 'x' WHERE code = '1';
UPDATE code SET code = '4' WHERE code = '1';
DELETE FROM code WHERE code = '4';
TRUNCATE code;
INSERT INTO everything (tenant_id, id, i4, jb, "odd ""name""") VALUES ('acme', 1, 0, 'null', NULL);
INSERT INTO everything VALUES ('acme', 2, 1, 2, 3, 1.50, 2.25, 3.75, 0.5, 1e300, true, 'text', 'varchar', 'char', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\x00ff',
	'2026-11-20', '2026-11-20 13:43:46.5', '2026-11-20 13:43:46.5+02', '10:00', '10:00:00+02', '1 mon -2 days 03:04:05.6', 1234.5, 'ok',
	'{sad,NULL,"it''s \"fine\""}', '{1,NULL}', '{1.5,NaN}', '[1,5)', '{[1,2),[4,5)}', '{"a": 1, "a": 2}', '[1, {"b": null}]',
	ROW('street', 7, 'NaN', '2026-11-20 00:00Z', 'sad', '{x,NULL}'), ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, NULL)::address, NULL],
	'{1,2}', '10.0.0.0/8', 4294967295, 'c', 'name', '(1,2)');
INSERT INTO everything VALUES ('', -9223372036854775808, -32768, -2147483648, 2147483647, 'Infinity', 'NaN', 'NaN', 'NaN', '-Infinity', false, '', '', '', '00000000-0000-0000-0000-000000000000', '',
	'infinity', '-infinity', 'infinity', '24:00', '00:00:00.123456-15:59:59', '-178000000 years', -0.01, 'it''s "fine"',
	'{}', '{{1,2},{3,4}}', '{-Infinity}', 'empty', '{}', '"text"', '"text"', ROW('', 1, 1e100, 'infinity', NULL, '{{a,b},{c,d}}'), '{}',
	'[5:6]={3,4}', '::1', 0, '', '', '(NaN,Infinity)');
INSERT INTO everything VALUES ('b', 9223372036854775807, 32767, 2147483647, 1, '-1e1000', -99999999.99, 0, -0.0, 5e-324, NULL, E'\u00e9\n', 'éééééééééé', 'é', NULL, NULL,
	'0044-03-15 BC', '0044-03-15 00:00 BC', '0044-03-15 00:00:00.25+00 BC', NULL, '10:00+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '1', 'true', NULL, NULL);
INSERT INTO everything VALUES ('b', 5, 0, 0, 1, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, '20026-11-20', '20026-11-20 00:00', '20026-11-20 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'null', NULL, NULL);
UPDATE everything SET t = 'y';
UPDATE everything SET id = 6 WHERE id = 5;
});
for my $table (qw(member structured binary_mode bare_key))
{
	sql(qq{INSERT INTO $table VALUES ('acme', 1, 'one'), ('acme', 2, 'two'), ('acme', 3, 'three')});
	sql("UPDATE $table SET at = '2026-11-20 13:43Z' WHERE id = 2") if $table ne 'bare_key';
	sql("UPDATE $table SET name = 'x' WHERE id < 3");
	sql("UPDATE $table SET id = 4 WHERE id = 1");
	# another key, which collapsing makes an update that has old_pk
	sql("BEGIN; DELETE FROM $table WHERE id = 2; UPDATE $table SET id = 2 WHERE id = 3; COMMIT");
}
sql(q{
DELETE FROM member WHERE id = 4;
DELETE FROM structured WHERE id = 4;
DELETE FROM binary_mode WHERE id = 4;
BEGIN; DELETE FROM everything WHERE id > 6; UPDATE everything SET id = 9223372036854775807 WHERE id = 6; COMMIT;
BEGIN; INSERT INTO code VALUES ('acme', 'a'), ('acme', 'b'); COMMIT;
BEGIN; DELETE FROM code WHERE code = 'a'; UPDATE code SET code = 'a' WHERE code = 'b'; COMMIT;
INSERT INTO bare VALUES ('acme', '2026-11-20', 1, 'one'), ('b', '2026-11-21', 2, NULL), ('b', '2026-11-21', 3, 'hidden');
UPDATE bare SET name = 'x' WHERE n = 1;
UPDATE bare SET name = 'x';
DELETE FROM bare WHERE n = 1;
INSERT INTO parts VALUES ('acme', 1), ('acme', 101), ('b', 102);
TRUNCATE parts_1;
INSERT INTO by_hand VALUES (gen_random_uuid(), 'one');
BEGIN; DELETE FROM by_hand; INSERT INTO by_hand VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'); COMMIT;
BEGIN; DELETE FROM by_hand; INSERT INTO by_hand VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'again'); COMMIT;
INSERT INTO log VALUES (1, 'one')});
$node->safe_psql('postgres', $_) for 'CALL evpub.resync($${code,everything,member,structured,binary_mode,bare,bare_key,parts,by_hand,log}$$)',
	map { "CALL evpub.resync('{$_}', filter => 'true')" } qw(code everything member structured binary_mode bare bare_key parts by_hand log);
sql('DELETE FROM everything WHERE id < 3; TRUNCATE everything, structured, binary_mode, bare, parts');

# ---- what publishing says of itself ----

ok(wait_published($node), 'published');
sql(q{INSERT INTO log SELECT 2, string_agg(md5(i::text), '') FROM generate_series(1, 100) i});
my $id;
wait_until('an event is refused', sub {
	($id) = status($node, 'state_reason') =~ /at event ([0-9a-fA-F-]{51})$/;
	my ($rc) = $id ? $node->psql('postgres', "SELECT evpub.skip_event('$id')") : 3;
	return $rc == 0;
});
ok(wait_published($node), 'an event is given up');
sql('SELECT evpub.pause()');
sql(q{INSERT INTO log VALUES (3, 'lost')});
sql('SELECT evpub.discard(pg_current_wal_flush_lsn()); SELECT evpub.resume()');
ok(wait_published($node), 'a backlog is given up');

is(sql('SELECT evpub.asyncapi()'), $document, 'the document is the same as before the events');
open my $records, '>', "$dir/records" or die "$dir/records: $!";
for my $topic (sort keys %{ $kafka->topics })
{
	next if $topic =~ /^__/;
	print $records $kafka->as_json($topic);
}
close $records or die "$dir/records: $!";
$node->stop;
$kafka->stop;

# ---- they are what the contract says ----

# contract(name, command, environment): the program's one line, and nothing wrong
sub contract
{
	my ($name, $expected, @command) = @_;
	my ($out, $err) = run_command(\@command);
	my ($line, @wrong) = split /\n/, $out;
	like($line // '', $expected, $name) or diag $err;
	is(join("\n", @wrong), '', "$name: nothing is wrong");
	note $line // '';
	return;
}

contract('events fit, and wrong ones do not', qr/^\d+ events of 65 messages, \d{4,} wrong ones$/, '/usr/bin/python3', "$here/contract.py", 'check', $dir);
contract('the AsyncAPI parser', qr/^10 channels, 65 messages$/, 'node', "$here/generate.mjs", '--asyncapi', $dir, $tools);

$ENV{PYTHONPATH} = "$tools/python";
my ($out, $err) = run_command([ '/usr/bin/python3', '-W', 'ignore', '-m', 'datamodel_code_generator', '--input', "$dir/schemas",
	'--input-file-type', 'jsonschema', '--output', "$dir/models", '--output-model-type', 'pydantic_v2.BaseModel', '--class-name', 'Event' ]);
ok(-e "$dir/models/__init__.py" || -e "$dir/models/Tcode_created.py", 'models for Python are made') or diag "$out$err";
contract('models read the events', qr/^\d{3,} events read$/, '/usr/bin/python3', "$here/contract.py", 'models', $dir);

($out, $err) = run_command([ 'node', "$here/generate.mjs", $dir, $tools ]);
ok(-s "$dir/events.ts", 'types for TypeScript are made') or diag $err;
($out, $err) = run_command([ 'node', "$tools/node_modules/typescript/bin/tsc", '--noEmit', '--strict', '--target', 'es2022', '--module', 'es2022', "$dir/events.ts" ]);
is($out, '', 'types compile; the events are of these types, and a wrong one is not');

done_testing();
