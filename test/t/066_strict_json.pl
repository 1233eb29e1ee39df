
# Every event parses in strict parsers (Python's and Jackson's) and says what
# the row says, for every code point and every byte that a type takes, and for
# random values.  EVPUB_SEED=n tries others.
use strict;
use warnings;

use EvpubKafka;
use EvpubRendering;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EVPUB_SEED} || 20261120;
note "seed $seed";
my $dir = PostgreSQL::Test::Utils::tempdir();
rendering('values', $seed, $dir);

my $kafka = EvpubKafka->new(name => 'kafka')->start;
$kafka->create_topic('values', 1);
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql(
	'postgres', q{
CREATE TYPE label AS ENUM ();
CREATE TYPE two AS (a text, b text);
CREATE TABLE points (k text PRIMARY KEY, j json, jb jsonb);
CREATE TABLE bytes (k bytea PRIMARY KEY, c "char");
CREATE TABLE mixed (k text PRIMARY KEY, e label, n name, p char(30), t text, a text[], r two,
	j json, jb jsonb, ja json[], x numeric, f float8);
SELECT evpub.capture_table(t, topic => 'values', tenant_column => 'k', key => '{pk}', type => '{table}', payload => 'row')
  FROM unnest('{points,bytes,mixed}'::regclass[]) t;
});
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
		'-f', "$dir/load.sql"
	],
	'all of it can be captured');
ok(wait_published($node), 'published');
my $count = judge_events($kafka, 'values', $dir);
note "$count events";
is($count,
	$node->safe_psql('postgres',
		'SELECT (SELECT count(*) FROM points) + (SELECT count(*) FROM bytes) + (SELECT count(*) FROM mixed)'),
	'every event is right');
$node->stop;
done_testing();
