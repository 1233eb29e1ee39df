
# EvpubGap - backlogs that grow and are given up, gaps, and what consumers are
# told of them.
package EvpubGap;

use strict;
use warnings;

use EvpubTest;
use Exporter 'import';
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(gap_node grow_wal set_conf segments oldest_segment
  gap_of accept_gap sqlstate check_gap_events hold let_go);

# gap_node(name, kafka => ..., conf => ...): segments of 1 MB, that checkpoints
# remove, and three captured tables: a in topic "one" (3 partitions), b in topic
# "two" (2 partitions), c in topic "three", which nothing was published to.
sub gap_node
{
	my ($name, %args) = @_;
	my $kafka = $args{kafka};
	$kafka->create_topic('one', 3);
	$kafka->create_topic('two', 2);
	my $node = capture_node(
		$name,
		kafka => $kafka,
		initdb => [ '--wal-segsize=1', @{ $args{initdb} || [] } ],
		conf => "max_wal_size = 4MB\nmin_wal_size = 2MB\n"
		  . "evpub.min_disk_free = '-1'\n"
		  . ($args{conf} || ''));
	$node->safe_psql(
		'postgres', q{
CREATE TABLE a (id int PRIMARY KEY, tenant text);
CREATE TABLE b (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('a', tenant_column => 'tenant', topic => 'one', collapse => false);
SELECT evpub.capture_table('b', tenant_column => 'tenant', topic => 'two', collapse => false);
});
	return $node;
}

# So many MB of WAL that have nothing to do with evpub.
sub grow_wal
{
	my ($node, $megabytes) = @_;
	$node->safe_psql('postgres',
		qq{SELECT count(pg_logical_emit_message(false, 'noise', repeat('x', 1000000)))
		   FROM generate_series(1, $megabytes)});
	return;
}

sub set_conf
{
	my ($node, %conf) = @_;
	$node->append_conf('postgresql.conf', "$_ = '$conf{$_}'") for sort keys %conf;
	$node->reload;
	return;
}

# Names of the segments in pg_wal, oldest first.  Recycled ones for later are
# among them.
sub segments
{
	my ($node) = @_;
	opendir my $dir, $node->data_dir . '/pg_wal' or die $!;
	return sort grep { /^[0-9A-F]{24}$/ } readdir $dir;
}

sub oldest_segment { return (segments($_[0]))[0] }

# The gap that evpub.status shows: (from, to).
sub gap_of
{
	my ($node) = @_;
	my $reason = status($node, 'state_reason');
	$reason =~ m{gap from (\S+) to (\S+), SELECT evpub\.accept_gap\('(\S+)'\)} or return;
	is($3, $2, 'the reason names the call');
	return ($1, $2);
}

# What an SQL statement ends with: 00000, or the code of its error.
sub sqlstate
{
	my ($node, $sql, $database) = @_;
	my ($out, $err) = ('', '');
	$node->psql(
		$database || 'postgres', $sql,
		stdout => \$out,
		stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	note $err if $err;
	return $err =~ /^(?:psql:\S+ )?ERROR:\s+([0-9A-Z]{5}):/m ? $1 : '00000';
}

# accept_gap(node, name): accepts what is shown; returns (from, to).
sub accept_gap
{
	my ($node, $name) = @_;
	my ($from, $to) = gap_of($node);
	is(sqlstate($node, "SELECT evpub.accept_gap('$to')"), '00000', "$name: accepted");
	return ($from, $to);
}

sub lsn_number
{
	my ($high, $low) = split m{/}, $_[0];
	return hex($high) * 2**32 + hex($low);
}

# check_gap_events(name, kafka, {topic => partitions}, [from, to, pattern of
# reason, [xids]], ...): the evpub.gap events with other than seen ids are one in
# each partition of each topic for each gap, in this order, behind all events up
# to the gap and before all later ones.  Returns the ids of ordinary events by
# topic.
my %seen;

sub check_gap_events
{
	my ($name, $kafka, $topics, @gaps) = @_;
	my %ordinary;
	for my $topic (sort keys %$topics)
	{
		my %found;
		my %place;
		my $misplaced = 0;
		for my $record (check_ids("$name, $topic", events($kafka, $topic)))
		{
			my $event = $record->{event};
			my $partition = $record->{partition};
			if ($event->{type} ne 'evpub.gap')
			{
				push @{ $ordinary{$topic} }, $event->{pk}{id};
				$misplaced++ if lsn_number($event->{lsn}) <= ($place{$partition} // 0);
				next;
			}
			$place{$partition} = lsn_number($event->{data}{last_lsn});
			next if $seen{ $event->{id} }++;
			ok(!defined $event->{tenant} && !defined $event->{pk}, "$name: no tenant, no pk");
			is($record->{key}, "evpub.gap/$partition", "$name: the key names the partition");
			is($event->{lsn}, $event->{data}{last_lsn}, "$name: its lsn is the end of the gap");
			push @{ $found{$partition} }, $event->{data};
		}
		is($misplaced, 0, "$name: no event of a gap behind its evpub.gap");
		for my $partition (0 .. $topics->{$topic} - 1)
		{
			my @announced = @{ $found{$partition} || [] };
			is(scalar(@announced), scalar(@gaps), "$name: $topic, each gap is announced once in partition $partition")
			  or next;
			for my $i (0 .. $#gaps)
			{
				my ($from, $to, $reason, $xids) = @{ $gaps[$i] };
				is($announced[$i]{first_lsn}, $from, "$name: first_lsn") if $from;
				is($announced[$i]{last_lsn}, $to, "$name: last_lsn") if $to;
				like($announced[$i]{reason}, $reason, "$name: reason");
				is_deeply($announced[$i]{transactions}, $xids, "$name: transactions") if $xids;
			}
		}
		is(scalar(grep { $_ >= $topics->{$topic} } keys %found), 0, "$name: nothing elsewhere");
	}
	return \%ordinary;
}

# hold(node, sql, sql): a session that runs the first in a transaction and then
# waits; let_go() has it run the second and commit.
sub hold
{
	my ($node, $before, $after) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/go';
	my $run = start_psql(
		$node, qq{BEGIN;
$before;
\\! touch $file.ready; for i in \$(seq 4000); do [ -e $file ] && break; sleep 0.05; done
$after;
COMMIT;
});
	$run->{go} = $file;
	wait_until('a session that holds', sub { -e "$file.ready" });
	return $run;
}

sub let_go
{
	my ($run) = @_;
	open my $go, '>', $run->{go} or die "$run->{go}: $!";
	close $go;
	my $ok = finish($run);
	diag $run->{err} unless $ok;
	return $ok;
}

1;
