
# The consumer of examples/spring: it keeps a copy of organizations and members,
# which a foreign key ties, through bulk, duplicates, poison, outages and a
# resync, by field "type" and by header __TypeId__, and reads back over HTTP from the
# service in examples/cms, and over JDBC.  What it does step by step is
# in its own JUnit tests; here is what they need, and the count at the end.
use strict;
use warnings;

use Cwd qw(abs_path);
use EvpubConsumer;
use EvpubKafka;
use EvpubTest;
use File::Basename qw(dirname);
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP qw(encode_json);
use PostgreSQL::Test::Utils;
use Test::More;

my $example = abs_path(dirname(__FILE__) . '/../../examples/spring');
my $jars = $ENV{EVPUB_SPRING_JARS}
  or die "EVPUB_SPRING_JARS is not set: run this by test/run\n";
my $topic = $EvpubTest::TOPIC;
my $dir = PostgreSQL::Test::Utils::tempdir();

sub files
{
	return split /\n/, scalar `find '$example/src' -name '*.java'`;
}

# The compiler works while the servers start.
my ($compiled, $out, $err) = ('', '', '');
my $javac = IPC::Run::start(
	[
		'javac', '-J-XX:TieredStopAtLevel=1', '-parameters', '-Xlint:all',
		'-Werror', '-proc:none', '-d', "$dir/classes", '-cp', "$jars/*", files()
	],
	'>', \$compiled, '2>&1');

my $kafka = EvpubKafka->new->start;
# JDBC knows no Unix-domain sockets
my $node = capture_node('main',
	kafka => $kafka,
	conf => "listen_addresses = '127.0.0.1'");
cms_tables($node, capture => 0);
for my $table (qw(code organization member))
{
	$node->safe_psql('postgres',
		"SELECT evpub.capture_table('$table', tenant_column => 'tenant_id',"
		  . " headers => '{\"__TypeId__\": \"$table\"}')");
}
$node->safe_psql('postgres', 'CREATE DATABASE copy');
# of tens of thousands of small transactions; nothing crashes here
$node->safe_psql('postgres', 'ALTER DATABASE copy SET synchronous_commit = off');

# Organizations in one transaction, and their members from another session
# right after; the same ids for two tenants.
$node->safe_psql(
	'postgres', q{
INSERT INTO organization
SELECT t, i, 'o' FROM unnest('{acme,globex}'::text[]) t, generate_series(1, 3000) i});
$node->safe_psql(
	'postgres', q{
INSERT INTO member
SELECT t, i, i, 'm' FROM unnest('{acme,globex}'::text[]) t, generate_series(1, 3000) i});
ok(wait_published($node), 'organizations and members are published');

my $cms_port = EvpubKafka::free_port();
my $cms = start_consumer('cms', '/usr/bin/python3', "$example/../cms/cms.py",
	'--database', $node->connstr('postgres'), '--port', $cms_port);
wait_until('the CMS', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $cms_port) });

ok(IPC::Run::finish($javac), 'the example compiles without a warning')
  or diag $compiled;

# Heap and compiler as small as will do.
my $url = 'jdbc:postgresql://127.0.0.1:' . $node->port;
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my $passed;
{
	local $ENV{EVPUB_BROKERS} = $kafka->bootstrap;
	local $ENV{EVPUB_SOURCE_JDBC} = "$url/postgres?user=$user";
	local $ENV{EVPUB_CMS} = "http://127.0.0.1:$cms_port";
	local $ENV{EVPUB_COPY_JDBC} = "$url/copy?user=$user";
	$passed = IPC::Run::run(
		[
			'java', '-Xmx256m', '-XX:TieredStopAtLevel=1',
			'-cp',
			"$dir/classes:$example/src/main/resources:$example/src/test/resources:$jars/*",
			'org.junit.platform.console.ConsoleLauncher', 'execute',
			'--disable-banner', '--disable-ansi-colors', '--details=verbose',
			'--scan-classpath', "$dir/classes"
		],
		'>', \$out, '2>', \$err);
}
ok($passed, 'its tests pass') or diag "$out\n$err";
note $out;
my ($found) = $out =~ /\[\s+(\d+) tests found/;
my ($successful) = $out =~ /\[\s+(\d+) tests successful/;
cmp_ok($found // 0, '>=', 20, 'all of them were found');
is($successful, $found, 'none was left out');

# The copies once more, seen from outside.
my $rows = q{
SELECT count(*), md5(string_agg(concat_ws('|', tenant_id, id, name), ',' ORDER BY tenant_id COLLATE "C", id))
FROM %s.organization};
my $expected = $node->safe_psql('postgres', sprintf($rows, 'public'));
like($expected, qr/^[56]\d{3}\|/, 'organizations are there');
for my $copy (qw(plain headers))
{
	is($node->safe_psql('copy', sprintf($rows, $copy)), $expected,
		"$copy: every organization as it is, and no other");
	is($node->safe_psql('copy', "SELECT count(*) FROM $copy.member"), '0',
		"$copy: no member that was truncated");
	is($kafka->record_count("$topic-hr-$copy-dlt"), 3,
		"$copy: dead letters are the three that had to be");
}

# What docs/consumers.md shows is what was tested: its Java is in the example,
# and its Python gives the rows that there are.
my $docs = slurp_file(abs_path(dirname(__FILE__) . '/../../docs/consumers.md'));
my $code = join '', map { slurp_file($_) } files();
my @java = $docs =~ /^```java\n(.*?)^```$/msg;
cmp_ok(scalar @java, '>=', 5, 'the documentation has Java');
ok(index($code, $_) >= 0, 'excerpt is in the example: ' . (split /\n/)[0])
  for @java;

my ($python) = grep { /^TABLES = /m } $docs =~ /^```python\n(.*?)^```$/msg;
append_to_file("$dir/consumer.py", $python);
ok( IPC::Run::run(
		[ 'kcat', '-C', '-q', '-e', '-J', '-b', $kafka->bootstrap, '-t', $topic ],
		'|', [ 'python3', "$dir/consumer.py" ],
		'>', \$out, '2>', \$err),
	'the Python of the documentation runs') or diag $err;
my ($organizations) = split /\|/, $expected;
is($out, "organization $organizations\nmember 0\n", 'it finds the rows that there are');
like($err, qr{\Ano event at \S+: .*\nno event at \S+: .*\n\z}, 'and the poison and the tombstone');

# What is no change of a row: a gap, and events that were given up, with and without
# what is needed to read the row back.
my $offset = 0;
my $lines = join '', map { encode_json({ topic => 't', partition => 0, offset => $offset,
		payload => sprintf '{"id": "97905f8ef4377564-%d", "tenant": "a", %s}', $offset++, $_ }) . "\n" }
  '"type": "member.created", "pk": {"id": 1}',
  '"type": "evpub.skipped", "pk": {"id": 2}, "data": {"type": "member.created", "reason": "large"}',
  '"type": "evpub.skipped", "pk": {"id": 4}, "data": {"type": "member.resynced", "reason": "large"}',
  '"type": "evpub.skipped", "pk": {"id": 1}, "data": {"type": "member.deleted", "reason": "large"}',
  '"type": "evpub.skipped", "pk": {"id": 3}, "data": {"type": null, "reason": "no type"}',
  '"type": "evpub.skipped", "pk": null, "data": {"type": "member.created", "reason": "no pk"}',
  '"type": "evpub.gap", "pk": null, "data": {"reason": "lost"}';
ok(IPC::Run::run([ 'python3', "$dir/consumer.py" ], '<', \$lines, '>', \$out, '2>', \$err), 'it runs with a gap');
is($out, "organization 0\nmember 2\n", 'what was given up is read back');
is($err, "resync, evpub.skipped: no type\nresync, evpub.skipped: no pk\nresync, evpub.gap: lost\n", 'a gap, and what cannot be read back, ask for a resync');

$cms->end('KILL');
$node->stop;
done_testing();
