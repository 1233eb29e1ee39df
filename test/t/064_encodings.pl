
# Databases of every encoding that a server can have: whatever characters are in
# names and values, events are valid JSON in UTF-8, or the writer's statement
# fails and says why.
use strict;
use warnings;

use EvpubKafka;
use EvpubRendering;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $kafka = EvpubKafka->new(name => 'kafka')->start;
$kafka->create_topic($_, 1) for qw(characters names);
my $node = capture_node('main', kafka => $kafka);

# MULE_INTERNAL comes below; client encodings are after the last of servers
my @encodings = grep { !/MULE/ } split /\n/, $node->safe_psql('postgres',
	q{SELECT pg_encoding_to_char(i) FROM generate_series(0, 100) i
	   WHERE pg_encoding_to_char(i) <> '' AND i <= pg_char_to_encoding('KOI8U') ORDER BY i});
cmp_ok(scalar @encodings, '>=', 33, 'encodings: ' . join(' ', @encodings));

sub create_database
{
	my ($name, $encoding) = @_;
	$node->safe_psql('postgres',
		"CREATE DATABASE $name ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	create_evpub($node, $name);
	return;
}

# Output of a script in a database, as a client of UTF-8 sees it.
sub run_script
{
	my ($database, $file, %variables) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGCLIENTENCODING} =
	  $database eq 'sql_ascii' ? 'SQL_ASCII' : 'UTF8';
	IPC::Run::run(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database),
			'-f', $file, map { ('-v', "$_=$variables{$_}") } sort keys %variables
		],
		'<', \undef, '>', \$out, '2>', \$err) or BAIL_OUT("$database: $err");
	return $out;
}

my $detail = 'Events are UTF-8; the encoding of the database is';
my $hint = 'Correct the value, or store what is not text in a column of type bytea.';
my $dump = "$dir/dump";
my %names;
for my $encoding (@encodings)
{
	my $database = lc $encoding;
	create_database($database, $encoding);
	my $out = run_script($database, 'test/lib/encodings.sql',
		dump => "$dir/$database.dump");
	my ($characters, $refused) = $out =~ /^characters=(\d+) refused=(\d+)$/m;
	my @refusals = $out =~ /^refusal: (.*)$/mg;
	my @wrong = grep { !/^(?:Column "\?" holds it. )?\Q$detail $encoding. $hint\E$/ } @refusals;
	is_deeply(\@wrong, [], "$encoding: $characters characters; $refused refused, with a reason")
	  or diag $out;
	cmp_ok($characters, '>=', $encoding =~ /^(?:SQL_ASCII|UTF8)$/ ? 130 : 200, "$encoding: enough of them");
	is(scalar @refusals, $refused ? 2 : 0, "$encoding: all that has no place in UTF-8 was refused");
	like($out, $encoding eq 'UTF8' ? qr/^escape: was taken/m : qr/^escape: .*Values of type json are sent as jsonb has them/m,
		"$encoding: escapes in json");
	like($out, qr/^left=0$/m, "$encoding: and left nothing");
	is(join(' ', sort $out =~ /^extra (.*)$/mg), $refused ? 'false refused true taken' : 'true taken',
		"$encoding: extra_headers are refused when they are set");
	like($out, qr/^named=true$/m, "$encoding: a hint has the name");
}
ok(wait_published($node), 'published');

system_or_bail('sh', '-c', 'cat "$@" > ' . $dump, 'cat',
	map { "$dir/" . lc($_) . '.dump' } @encodings);
rendering('expect', $dump, "$dir/expected");
cmp_ok(judge_events($kafka, 'characters', $dir), '>', 500, 'every event is right');

# Names: both events of each database say the same word everywhere.
my @names = events($kafka, 'names');
is(scalar @names, 2 * @encodings, 'an event of each table, and one by hand');
my @wrong;
while (my ($row, $by_hand) = splice @names, 0, 2)
{
	my $word = $by_hand->{event}{type};
	my $utf8 = $word;
	utf8::encode($utf8);
	push @wrong, $row->{value}
	  unless length($word) == 3
	  && $row->{event}{type} eq "$word.$word"
	  && $row->{event}{tenant} eq $word
	  && $row->{event}{pk}{$word} eq $word
	  && $row->{key} eq "$utf8/$utf8"
	  && $row->{headers} =~ /(?:^|,)$utf8=$utf8(?:,|$)/
	  && $by_hand->{event}{tenant} eq $word
	  && $by_hand->{event}{pk} eq $word
	  && $by_hand->{event}{data}{$word} eq $word
	  && $by_hand->{key} eq $utf8;
}
is_deeply(\@wrong, [], 'names of schemas, tables, columns, types, tenants and headers');

# An encoding without a conversion to UTF-8 is refused before there is a writer.
create_database('mule', 'MULE_INTERNAL');
my ($ret, $out, $err) = $node->psql(
	'mule', q{\set VERBOSITY verbose
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', topic => 'names', tenant => 'x');});
like($err, qr/ERROR:  42883: .*MULE_INTERNAL.*DETAIL:  \Q$detail\E MULE_INTERNAL\..*HINT:  Use a database/s,
	'MULE_INTERNAL: refused at capture_table()');

# Names of databases and roles are in the encoding of whoever gave them: here
# bytes of LATIN1, met in a database whose encoding is UTF-8.
$node->safe_psql('latin1', q{SET client_encoding = 'UTF8';
CREATE DATABASE "bäd" ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
CREATE ROLE "bäd"});
my $script = q{
\set VERBOSITY verbose
SET client_min_messages = warning;
SET client_encoding = 'SQL_ASCII';
CREATE EXTENSION evpub;
CREATE TABLE t (id int PRIMARY KEY, by text, role regrole);
\echo - as a placeholder
SELECT evpub.capture_table('t', topic => 'bad', tenant => '{database}');
\echo - in a URI
SELECT evpub.capture_table('t', topic => 'bad', tenant => 'x', envelope => 'cloudevents', payload => 'row');
INSERT INTO t VALUES (1, 'good');
SELECT value FROM evpub.peek(10, '0/1') WHERE topic = 'bad';
\echo - as text
INSERT INTO t SELECT 2, rolname FROM pg_authid WHERE oid >= 16384;
\echo - as the output of a type
INSERT INTO t SELECT 3, NULL, oid FROM pg_authid WHERE oid >= 16384;
};
$script =~ s/'0\/1'/"'" . $node->lsn('insert') . "'"/e;
my $all = '';
IPC::Run::run(
	[ 'psql', '-XAtq', '-d', $node->connstr . " dbname='b\xe4d'" ],
	'<', \$script, '>&', \$all);
my %said = $all =~ /^- ([^\n]*)\n(.*?)(?=^- |\z)/gms;
like($said{'as a placeholder'}, qr/ERROR:  22021: .*DETAIL:  Template "\{database\}" .*HINT:  /s,
	'a name of the database that is not UTF-8 cannot be asked for');
like($said{'in a URI'}, qr{"source":"/evpub/[0-9a-f]{16}/b%E4d"}, 'and stands in a URI by its bytes');
like($said{'as text'}, qr/ERROR:  22021: .*DETAIL:  Column "by" holds it\. \Q$detail\E UTF8\..*HINT:  /s,
	'a name of a role that is not UTF-8 is refused as text');
like($said{'as the output of a type'}, qr/ERROR:  22021: .*DETAIL:  Column "role" holds it\. .*HINT:  /s,
	'and as the output of a type');
$node->stop;
done_testing();
