
# The bench runs: each figure and a growth curve, in small.  What it measures here
# is worth nothing, since other tests run before and beside it.
use strict;
use warnings;

use Test::More;

my $bench = "$ENV{EVPUB_TEST_DIR}/../bench";
my $results = "$ENV{TESTDIR}/results.tsv";
my $plots = "$ENV{TESTDIR}/plots";

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or return '';
	local $/;
	return <$in>;
}

# Debezium has to be fetched, and takes a minute: only by "make bench"
local $ENV{EVPUB_DEBEZIUM_JARS} = 'none';
local $ENV{RESULTS} = $results;
my $table = "$ENV{TESTDIR}/table.md";
my $status = system(
	"'$bench/run' quick throughput writers paced latency passing outbox debezium events >'$table' 2>'$ENV{TESTDIR}/bench.log'");
is($status, 0, 'bench/run quick') or diag slurp("$ENV{TESTDIR}/bench.log");

my (%values, @odd);
for (split /\n/, slurp($results))
{
	next if /^#/;
	my ($part, $series, $x, $pair, $unit, $value) = split /\t/;
	# what is measured is more than nothing, but for a difference
	push @odd, $_
	  if !defined $value || $value !~ /^-?\d/ || ($value <= 0 && $x !~ /^(more|above logs)$/);
	$values{"$part: $series"}++;
}
is_deeply(\@odd, [], 'raw values are numbers, and above zero');
my @wanted = (
	map({ "writer: $_" } 'without capture', 'empty trigger', 'trigger that logs',
		'captured, paused', 'captured, publishing', 'outbox table'),
	map({ "wal: $_" } 'without capture', 'logs', 'captured', 'event'),
	map({ "paced: $_" } 'worker', 'relay', 'worker + relay', 'broker', 'writer'),
	map({ "bulk: $_" } 'statement', 'drained', 'bare producer', 'of the bare producer', 'memory'),
	map({ "backlog: $_" } 'drained', 'of the bare producer'),
	map({ ("latency: evpub $_", "latency: outbox table polled every 10 ms $_") } 'p50', 'p99'),
	map({ "passed: $_" } 'rows of others', 'DDL and temporary tables, 60 open writers'),
	map({ "peer: outbox table polled every 10 ms $_" } 'delivery', 'drained', 'memory'),
	map({ my $curve = $_; map { "growth $curve: $_" } 'writer', 'writer without capture',
			'worker', 'relay', 'worker memory', 'relay memory' } 'events'));
is_deeply([ grep { !$values{$_} } @wanted ], [], 'each of them is there');
like(slurp($results), qr/^# skipped: Debezium/m, 'it says that Debezium was not measured');
like(slurp($results), qr/^# machine: \d+ cores of /m, 'it says on what machine');

# The trigger that only logs is the measure for capture: same WAL, to the byte
# or to the next multiple of eight.
my ($logs, $captured) = map { slurp($results) =~ /^wal\t$_\t.*\t(\S+)$/m } 'logs', 'captured';
cmp_ok(abs($logs - $captured), '<=', 8, 'the trigger that logs writes as much WAL as capture');

my @rows = grep { /^\| / } split /\n/, slurp($table);
cmp_ok(scalar @rows, '>', 25, 'a table in Markdown') or diag slurp($table);
is_deeply([ grep { (() = /\|/g) != 6 } @rows ], [], 'its rows have five columns');

is(system("'$bench/plot' '$results' '$plots' >'$ENV{TESTDIR}/plot.log' 2>&1"), 0, 'bench/plot')
  or diag slurp("$ENV{TESTDIR}/plot.log");
is_deeply(
	[ map { s{.*/}{}r } sort glob "$plots/*" ],
	[ qw(growth-events.svg latency.svg peers.svg) ],
	'pictures of what was measured');
is(system('/usr/bin/python3', '-c',
		'import sys, xml.dom.minidom; [xml.dom.minidom.parse(name) for name in sys.argv[1:]]',
		glob "$plots/*"), 0, 'they are XML');

done_testing();
