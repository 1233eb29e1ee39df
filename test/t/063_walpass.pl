# The publisher's reader of WAL returns what pg_waldump shows, less the records
# that nobody wants: changes of heaps and indexes, full-page images, large messages
# of others, records that cross pages and segments, a switch of the timeline, a
# record that a crash cut.  Small records are passed over by walskim.c, larger ones
# by walpass.c.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# up to this length it returns whatever message there is
my $assembled = 128;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', <<~'END');
	wal_level = replica
	wal_keep_size = 1GB
	max_wal_size = 1GB
	checkpoint_timeout = 1h
	autovacuum = off
	full_page_writes = on
	END
$node->start;
$node->safe_psql('postgres', qq{
CREATE FUNCTION evpub_walk(pg_lsn, pg_lsn, int, int) RETURNS SETOF text
	LANGUAGE C VOLATILE STRICT AS '$ENV{EVPUB_WALK}', 'evpub_walk';
CREATE FUNCTION evpub_walk_longest(pg_lsn, pg_lsn, int) RETURNS bigint
	LANGUAGE C VOLATILE STRICT AS '$ENV{EVPUB_WALK}', 'evpub_walk_longest';
CREATE TABLE t (id int PRIMARY KEY, filler text);
INSERT INTO t SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 2000) i;
});

# behind the last record, and flushed
sub lsn { return $node->safe_psql('postgres', 'CHECKPOINT; SELECT pg_current_wal_flush_lsn()') }

# Commits, full-page images, and messages of ours and others' of all lengths.
sub write_wal
{
	my ($rounds) = @_;
	for my $round (1 .. $rounds)
	{
		# the next change of each page writes it whole
		$node->safe_psql('postgres', qq{
CHECKPOINT;
UPDATE t SET filler = md5(random()::text) WHERE id % 97 = $round;
DO \$\$
BEGIN
	FOR i IN 1 .. 60 LOOP
		PERFORM pg_logical_emit_message(random() < 0.7, (ARRAY['evpub', 'evpubs', 'e', 'other'])[1 + floor(random() * 4)],
			-- a shorter one has another header, and is always returned
			convert_to(repeat('x', 256 + (CASE WHEN random() < 0.1 THEN 300000 WHEN random() < 0.3 THEN 20000 ELSE 300 END * random())::int), 'UTF8'));
		UPDATE t SET filler = filler WHERE id = 1 + floor(random() * 2000);
		PERFORM pg_logical_emit_message(true, 'evpub', 'short') WHERE random() < 0.3;
		IF random() < 0.3 THEN COMMIT; END IF;
	END LOOP;
END \$\$;
-- over more than a segment
SELECT pg_logical_emit_message(false, 'other', repeat('y', 2500000));
SELECT pg_logical_emit_message(true, 'evpub', repeat('z', 1200000));
SELECT pg_logical_emit_message(true, 'evpub', repeat('o', 17 * 1024 * 1024)) WHERE $round = 1;
SELECT pg_switch_wal() WHERE $round = 1;
});
	}
	return lsn();
}

# The file that holds the byte so many before this one.
sub segment
{
	my ($timeline, $lsn, $before) = @_;
	my ($high, $low) = map { hex } split m{/}, $lsn;
	return sprintf('%08X%08X%08X', $timeline, $high, ($low - $before) >> 20);
}

# What pg_waldump shows of a range of one timeline: [start, length, wanted].
sub dumped
{
	my ($from, $to, $timeline) = @_;
	my ($out, $err) = ('', '');
	# without names it takes the size of segments from any file, and one that was
	# made for later is full of zeros
	IPC::Run::run([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '-s', $from, '-e', $to,
			segment($timeline, $from, 0), segment($timeline, $to, 1) ], '>', \$out, '2>', \$err);
	my @records;
	for (split /\n/, $out)
	{
		m{^rmgr: (\S+)\s+len \(rec/tot\):\s+\d+/\s*(\d+), tx:\s+\d+, lsn: (\S+), prev \S+, desc: (.*)}
			or next;
		my ($rmgr, $length, $start, $text) = ($1, $2, $3, $4);
		my $ours = $rmgr eq 'LogicalMessage' && $text =~ /prefix "evpub"/;
		$start =~ s{/0*(?=.)}{/};
		$start =~ s{^0+(?=[^/])}{};
		push @records, [ $start, $length,
			($rmgr eq 'Transaction' && $text !~ /^(?:ASSIGNMENT|INVALIDATION)/)
			  || ($rmgr eq 'Standby' && $text =~ /^RUNNING_XACTS/)
			  || $ours || ($rmgr eq 'LogicalMessage' && $length <= $assembled) ];
	}
	return @records;
}

sub compare
{
	my ($what, $from, $to, @records) = @_;
	my $longest = 17 * 1024 * 1024;
	my @expected = map { $_->[1] > $longest ? "$_->[0] oversized" : "$_->[0] $_->[1]" }
		grep { $_->[2] } @records;
	my $passed = grep { !$_->[2] } @records;
	note(scalar(@expected) . " returned, $passed passed, from $from to $to");
	ok($passed > 20 && @expected > 20, "$what: there is something to compare");
	for my $way ([ 100_000_000, 0 ], [ 100_000, 0 ], [ 5000, 140_000 ])
	{
		my @got = split /\n/, $node->safe_psql('postgres',
			"SELECT evpub_walk('$from', '$to', $way->[0], $way->[1])");
		is_deeply(\@got, \@expected, "$what: the same records, limits up to $way->[0] apart");
	}
	return;
}

my $start = $node->safe_psql('postgres', 'SELECT pg_switch_wal() IS NULL; CHECKPOINT; SELECT redo_lsn FROM pg_control_checkpoint()');
$start =~ s/^.*\n//s;
my $end = write_wal(4);
my @first = dumped($start, $end, 1);
compare('one timeline', $start, $end, @first);

# a crash cuts a record: its last segment did not reach the disk
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', q{
SELECT pg_logical_emit_message(false, 'other', repeat('c', 1500000));
SELECT pg_logical_emit_message(true, 'evpub', 'the next');});
my $last = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
$node->stop('immediate');
unlink $node->data_dir . "/pg_wal/$last";
$node->start;
like(slurp_file($node->logfile), qr/overwritten contrecord|overwrote missing contrecord|resetting|redo done/,
	'recovered');
my $crashed = write_wal(1);
my @cut = dumped($end, $crashed, 1);
compare('a cut record', $end, $crashed, @cut);

# the same server goes on as its own promoted standby
$node->stop;
my ($switch) = do {
	my $data = $node->data_dir;
	my ($out) = run_command([ 'pg_controldata', $data ]);
	$out =~ /Latest checkpoint location:\s+(\S+)/;
};
$node->set_standby_mode;
$node->start;
$node->promote;
$node->safe_psql('postgres', 'CHECKPOINT');
my $promoted = write_wal(2);
is($node->safe_psql('postgres', q{SELECT timeline_id FROM pg_control_checkpoint()}), '2',
	'promoted');
my ($history) = slurp_file($node->data_dir . '/pg_wal/00000002.history') =~ m{^1\s+(\S+)}m;
my @both = (dumped($crashed, $history, 1), dumped($history, $promoted, 2));
compare('two timelines', $crashed, $promoted, @both);
compare('all of it', $start, $promoted, @first, @cut, @both);

# one long transaction of small records, some of which XLogReader has to read
$node->safe_psql('postgres', q{
INSERT INTO t SELECT i, repeat('x', i % 97) FROM generate_series(2001, 40000) i;
DELETE FROM t WHERE id > 2000;});
$end = lsn();
cmp_ok($node->safe_psql('postgres', "SELECT evpub_walk_longest('$promoted', '$end', 300000)"), '<=', 600_000,
	'the reader returns after each slice');
$node->stop;
done_testing();
