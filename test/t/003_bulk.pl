
# Bulk: an organization comes before its members although both come by the ten
# thousands; transactions of millions of events, and of a thousand nested
# savepoints, are in order and complete, while memory stays bounded.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
my $topic = $EvpubTest::TOPIC;
cms_tables($node);

# Organizations in one transaction, then, from another session, their members.
$node->safe_psql(
	'postgres', q{
INSERT INTO organization SELECT 'acme', i, 'o' FROM generate_series(1, 20000) i});
$node->safe_psql(
	'postgres', q{
INSERT INTO member SELECT 'acme', i, i, 'm' FROM generate_series(1, 20000) i});
ok(wait_published($node), 'organizations and members are published');
{
	my (%organizations, %members);
	my $early = 0;
	$kafka->each_line(
		$topic,
		sub {
			my ($partition, $key, $value) = @_;
			my ($type, $id) =
			  $value =~ /"type":"(\w+)\.created".*"id":(\d+)\},/ or return;
			if ($type eq 'organization') { $organizations{$id}++ }
			else
			{
				$members{$id}++;
				$early++ unless $organizations{$id};
			}
		});
	is(scalar keys %organizations, 20000, 'all organizations');
	is(scalar keys %members, 20000, 'all members');
	is($early, 0, 'no member before its organization');
}

# Millions of events in one transaction, nested savepoints in another, small
# transactions all the while.
$node->safe_psql(
	'postgres', q{
CREATE TABLE big (id bigint PRIMARY KEY);
CREATE TABLE nested (id bigint PRIMARY KEY);
CREATE TABLE small (id bigserial PRIMARY KEY, x int);
SELECT evpub.capture_table('big', tenant => 'big', topic => 'big');
SELECT evpub.capture_table('nested', tenant => 'nested', topic => 'nested');
SELECT evpub.capture_table('small', tenant => 'small', topic => 'small');
});

# a savepoint in each other: odd ones stay, even ones roll back, and the row
# after a rollback belongs to the level above
my $savepoints = "BEGIN;\n";
for my $i (1 .. 500)
{
	$savepoints .= "SAVEPOINT kept$i;\nINSERT INTO nested VALUES ($i);\n"
	  . "SAVEPOINT gone$i;\nINSERT INTO nested VALUES (-$i);\n"
	  . "ROLLBACK TO gone$i;\n";
}
$savepoints .= "INSERT INTO nested VALUES (501);\nCOMMIT;\n";

my $big = start_psql($node,
	'INSERT INTO big SELECT generate_series(1, 3000000)');
my $nested = start_psql($node, $savepoints);
my $small = start_pgbench($node, { "INSERT INTO small (x) VALUES (1);\n" => 1 },
	clients => 2,
	transactions => 1000);

my $memory = watch_memory($node, sub { return !grep { running($_) } $big, $nested, $small }, 600);
ok(finish($big), 'the large transaction commits') or diag $big->{err};
ok(finish($nested), 'the nested one commits') or diag $nested->{err};
ok(finish($small), 'the small ones commit') or diag $small->{err};

my $done = start_psql($node, q{SELECT evpub.wait_published(NULL, '600 s')});
my $later = watch_memory($node, sub { return !running($done) }, 600);
finish($done);
is($done->{out}, "t\n", 'all of it is published');
$memory = $later if $later > $memory;
note "worker and relay: at most $memory kB";
cmp_ok($memory, '>', 0, 'memory of worker and relay was seen');
cmp_ok($memory, '<=', $EvpubTest::MEMORY_LIMIT_KB,
	'worker and relay stay within 64 MiB');

sub check_sequence
{
	my ($name, $expected) = @_;
	my ($next, $wrong) = (1, 0);
	$kafka->each_line(
		$name,
		sub {
			my ($partition, $key, $value) = @_;
			my ($id) =
			  $value =~ /"pk":\{"id":(-?\d+)\}/;
			my ($tx) = $value =~ /"tx":(\d+)/;
			$wrong++ if !defined $id || $id != $next || $tx != $expected;
			$next++;
		});
	is($next - 1, $expected, "$name: all events, and no other");
	is($wrong, 0, "$name: in order, each with the right count in tx");
	return;
}

check_sequence('big', 3_000_000);
check_sequence('nested', 501);
is($kafka->record_count('small'), 2000, 'small: all events');

$node->stop;
done_testing();
