#!/usr/bin/perl

# The figures of evpub and of what does the same work, on one machine, in one run;
# see "run" beside it.
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Spec;
use lib dirname(File::Spec->rel2abs(__FILE__)), dirname(File::Spec->rel2abs(__FILE__)) . '/../test/lib';
use EvpubBench;
use EvpubFigures;
use EvpubGrowth;
use EvpubKafka;
use EvpubPeers;

# quick: little of all; others: only these parts, and of the growth curves only these
my %asked = map { $_ => 1 } @ARGV;
my $quick = delete $asked{quick};
my @curves = grep { delete $asked{$_} } EvpubGrowth::names();
$asked{growth} = 1 if @curves;
my %do = $quick
  ? (quick => 1, pairs => 1, commits => 500, ddl => 250, rows => 10_000, backlog => 5_000, peer_rows => 20_000, seconds => 1,
	rates => [1000], latency_rates => [500])
  : (pairs => 5, commits => 40_000, ddl => 5000, rows => 500_000, backlog => 500_000, peer_rows => 100_000, seconds => 5,
	rates => [ 2000, 8000 ], latency_rates => [ 500, 2000, 5000 ]);

$do{pairs} = $ENV{PAIRS} if $ENV{PAIRS};
# In the order in which they run; throughput first: it warms the broker, whose
# compiler would else take a core.
my @parts = (
	throughput => sub { EvpubFigures::throughput() },
	writers => sub { EvpubFigures::writers() },
	paced => sub { EvpubFigures::paced() },
	latency => sub { EvpubFigures::latency('evpub', 'bench', 'captured', sub { settle() }) },
	passing => sub { EvpubFigures::passing() },
	options => sub { EvpubFigures::options() },
	outbox => sub { EvpubPeers::outbox() },
	debezium => sub { EvpubPeers::debezium() },
	restart => sub { EvpubFigures::restart() },
	growth => sub { EvpubGrowth::curves(@curves) });

# A row of the table: part, series, x, what it is, format, and what for the median
# is multiplied with.
my @rows = (
	[ 'writer', 'without capture', 'CPU', "CPU of a writer's single-row transaction without capture", '%.1f' ],
	[ 'writer', 'empty trigger', 'more', 'more with a C trigger that does nothing', '%+.1f' ],
	[ 'writer', 'trigger that logs', 'more', 'more with a C trigger that logs as many bytes', '%+.1f' ],
	[ 'writer', 'captured, paused', 'more', 'more with capture, nothing is published', '%+.1f' ],
	[ 'writer', 'captured, paused', 'above logs', 'the same, above the trigger that logs', '%+.1f' ],
	[ 'writer', 'captured, publishing', 'more', 'more with capture, while publishing', '%+.1f' ],
	[ 'writer', 'outbox table', 'more', 'more with an outbox table, nothing is polled', '%+.1f' ],
	[ 'writer', 'captured, paused', 'ratio', 'rate of single-row commits with capture, of that without; nothing is published', '%.3f' ],
	[ 'writer', 'captured, publishing', 'ratio', 'the same while publishing, broker on the same cores', '%.3f' ],
	[ 'writer', 'outbox table', 'ratio', 'the same with an outbox table, nothing is polled', '%.3f' ],
	[ 'wal', 'event', '', 'WAL of a single-row event', '%.0f' ],
	[ 'wal', 'event of many', '', 'WAL of an event of a large transaction', '%.0f' ],
	[ 'bulk', 'value', '', 'value of its record in Kafka', '%.0f' ],
	map({ my $rate = $_; map { [ 'paced', $_, $rate, $_ eq 'commits' ? "commits that came when $rate/s were asked for" : "CPU of $_ per event, at $rate commits/s", $_ eq 'commits' ? '%.0f' : '%.1f' ] }
		'worker + relay', 'worker', 'relay', 'broker', 'commits' } @{ $do{rates} }),
	[ 'bulk', 'statement', '', "INSERT of $do{rows} rows, with / without capture", '%.3f' ],
	[ 'bulk', 'drained', '', "$do{rows} events of one transaction, from commit to the last acknowledgement", '%.0f' ],
	[ 'bulk', 'bare producer', '', 'bare producer, same records', '%.0f' ],
	[ 'bulk', 'of the bare producer', '', 'one transaction, of the bare producer', '%.2f' ],
	[ 'bulk', 'memory', '', 'own memory of worker and relay meanwhile, largest', '%.1f' ],
	[ 'backlog', 'drained', '', "backlog of $do{backlog} single-row commits", '%.0f' ],
	[ 'backlog', 'of the bare producer', '', 'the same, of the bare producer', '%.2f' ],
	[ 'backlog', 'worker', '', 'the same, CPU of the worker per event', '%.2f' ],
	[ 'backlog', 'relay', '', 'the same, CPU of the relay per event', '%.2f' ],
	map({ my $peer = $_; map { my $rate = $_; map { [ 'latency', "$peer $_", $rate, "INSERT to consumer at $rate/s, $peer, $_", '%.2f' ] } qw(p50 p99) }
		@{ $do{latency_rates} } } 'evpub', EvpubPeers::names()),
	map({ my $peer = $_; map { [ 'peer', "$peer $_->[0]", '', "$peer: $_->[1]", $_->[2] ] }
			[ 'delivery', "CPU of all between WAL or table and broker, per event, at $do{rates}[0]/s", '%.1f' ],
			[ 'writer', "CPU of the writer's transaction then", '%.1f' ],
			[ 'drained', "backlog of $do{peer_rows} rows of one transaction", '%.0f' ],
			[ 'memory', 'memory of its own', '%.0f' ] } EvpubPeers::names()),
	[ 'passed', 'rows of others', '', 'WAL of others that is read past', '%.2f' ],
	[ 'passed', 'DDL and temporary tables, 60 open writers', '', 'the same, DDL and temporary tables with 60 open writers', '%.2f' ],
	[ 'options', 'insert zero', '', 'INSERT, zero payload / none', '%.3f' ],
	[ 'options', 'insert columns', '', 'INSERT, two data_columns / none', '%.3f' ],
	[ 'options', 'insert row', '', q{INSERT, payload 'row' / none}, '%.3f' ],
	[ 'options', 'again zero', '', '1000 rows updated 100 times, collapsed / none', '%.3f' ],
	[ 'options', 'again kept', '', '1000 rows updated 100 times, all kept / none', '%.3f' ],
	[ 'options', 'rejecting', '', 'bulk UPDATE, update_columns rejects / none', '%.3f' ],
	[ 'restart', 'first', undef, 'relay killed, 20 topics: first acknowledgement', '%.0f' ],
	[ 'restart', 'all', undef, 'the same: 20 records a partition, all acknowledged', '%.0f' ],
	[ 'restart', 'memory', undef, 'own memory of the relay then', '%.1f' ]);

sub machine
{
	my $slurp = sub { open(my $in, '<', $_[0]) or return ''; local $/; return <$in> };
	my ($cpu) = $slurp->('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)/m;
	my $cores = () = $slurp->('/proc/cpuinfo') =~ /^processor/mg;
	my ($memory) = $slurp->('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/;
	my ($os) = $slurp->('/etc/os-release') =~ /^PRETTY_NAME="(.*)"/m;
	return sprintf '%d cores of %s, %.0f GiB, %s', $cores, $cpu // 'unknown', $memory / 1048576, $os // '';
}

sub notes
{
	my ($kafka) = @_;
	note('machine', machine());
	note('command', 'bench/run ' . join ' ', @ARGV);
	note('evpub', $ENV{EVPUB_COMMIT}) if $ENV{EVPUB_COMMIT};
	note('date', run('date', '-u', '+%F %H:%M') =~ s/\n//r);
	note('versions', join '; ', sql('SELECT version()') =~ s/ on .*//r,
		'librdkafka ' . sql('SELECT librdkafka_version FROM evpub.status'),
		(glob "$ENV{EVPUB_KAFKA_JARS}/kafka_2*.jar")[0] =~ s/.*kafka_[\d.]+-(.*)\.jar/Kafka $1/r);
	note('pairs', $do{pairs});
	return;
}

# In Markdown, as it stands in docs/performance.md.
sub table
{
	print "| figure | median | least | most | |\n| --- | --- | --- | --- | --- |\n";
	for my $row (@rows)
	{
		my ($part, $series, $x, $what, $format) = @$row;
		my @values = sort { $a <=> $b } values_of($part, $series, $x) or next;
		printf "| %s | %s | %s | %s | %s |\n", $what,
		  map({ sprintf $format, $_ } median(@values), $values[0], $values[-1]),
		  EvpubBench::unit_of($part, $series, $x);
	}
	return;
}

# the broker as it is in production: no limit on its compiler
my $kafka = EvpubKafka->new(java => ['-Xmx1g'], conf => { 'num.partitions' => $partitions });
$kafka->start;
EvpubFigures::prepare($kafka, %do);
EvpubPeers::prepare($kafka, %do);
EvpubGrowth::prepare($kafka, $quick);
notes($kafka);
while (my ($part, $sub) = splice @parts, 0, 2)
{
	# hours of growth curves only where they are asked for
	next if %asked ? !$asked{$part} : $part eq 'growth';
	my $begin = now();
	$sub->();
	printf STDERR "%s: %.0f s\n", $part, now() - $begin;
}
table() if grep { $_ ne 'growth' } keys %asked or !%asked;
