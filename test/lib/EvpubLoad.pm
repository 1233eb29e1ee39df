
# EvpubLoad - writers whose events tell whether anything was lost, invented or
# reordered.
#
# Each tenant has a counter row.  A transaction locks it by an update, and
# inserts rows (tenant, seq) with the numbers it got into "item", which is
# captured.  So, for each tenant, the order of commits is the order of seq,
# without holes; what is rolled back gives its numbers back.  Rows that must
# never be seen have a negative seq.
package EvpubLoad;

use strict;
use warnings;

use EvpubTest;
use Exporter 'import';
use Test::More;
use Time::Local qw(timegm);

our @EXPORT = qw(load_tables start_load item_events check_complete log_readings readings is_late);
our $TOPIC = 'items';

# load_tables(node, tenants); for check_complete(), the server's log says how far
# partitions were read back.
sub load_tables
{
	my ($node, $tenants) = @_;
	log_readings($node);
	$node->safe_psql(
		'postgres', qq{
CREATE TABLE counter (tenant text PRIMARY KEY, n bigint NOT NULL);
INSERT INTO counter SELECT 't' || i, 0 FROM generate_series(1, $tenants) i;
CREATE TABLE item (tenant text, seq bigint, PRIMARY KEY (tenant, seq));
SELECT evpub.capture_table('item', tenant_column => 'tenant', topic => '$TOPIC');
});
	return;
}

# Most transactions are small and commit; some roll back, wholly or to a
# savepoint, some insert several rows.
my $take = q{UPDATE counter SET n = n + 1 WHERE tenant = 't' || :t RETURNING n \gset
};
my $put = q{INSERT INTO item VALUES ('t' || :t, :n);
};
my $phantom = q{INSERT INTO item VALUES ('t' || :t, - :n::bigint);
};
my %scripts = (
	"BEGIN;\n$take$put" . "COMMIT;\n" => 6,
	"BEGIN;\n$take$phantom" . "ROLLBACK;\n" => 2,
	"BEGIN;\nSAVEPOINT a;\n$take$phantom"
	  . "ROLLBACK TO a;\n$take$put"
	  . "SAVEPOINT b;\n$take$put"
	  . "RELEASE b;\nSAVEPOINT c;\n$phantom"
	  . "SAVEPOINT d;\n$phantom"
	  =~ s/bigint/bigint - 1000000/r
	  . "ROLLBACK TO c;\n$take$put" . "COMMIT;\n" => 2,
	"BEGIN;\n" . ("$take$put" x 5) . "COMMIT;\n" => 1);

# start_load(node, tenants, clients, seconds, rate => transactions a second):
# pgbench in the background.
sub start_load
{
	my ($node, $tenants, $clients, $seconds, %args) = @_;
	my %with_tenant =
	  map { ("\\set t random(1, $tenants)\n$_" => $scripts{$_}) } keys %scripts;
	return start_pgbench(
		$node, \%with_tenant,
		clients => $clients,
		seconds => $seconds,
		%args);
}

# item_events(kafka): [tenant, seq, id, timestamp, partition, offset] of each record,
# in partition order, and the number of records that were no such event.
sub item_events
{
	my ($kafka) = @_;
	my %partitions;
	my $strange = 0;
	$kafka->each_line(
		$TOPIC,
		sub {
			my ($partition, $key, $value, $timestamp, $offset) = @_;
			if ($value =~
				/^\{"id":"([^"]+)","type":"item\.created","tenant":"([^"]+)","pk":\{"tenant":"([^"]+)","seq":(-?\d+)\}/
				&& $2 eq $3
				&& $2 eq $key)
			{
				push @{ $partitions{$partition} }, [ $2, $4, $1, $timestamp, $partition, $offset ];
			}
			else
			{
				diag "not an event of item: $key $value" if $strange++ < 5;
			}
		});
	return ($strange, map { @{ $partitions{$_} } } sort keys %partitions);
}

# From now on the server's log has what readings() takes from it.
sub log_readings
{
	my ($node) = @_;
	$node->safe_psql('postgres', $_)
	  for 'ALTER SYSTEM SET log_min_messages = debug1', q{ALTER SYSTEM SET log_timezone = 'UTC'}, 'SELECT pg_reload_conf()';
	return;
}

# What relays have read of partitions of a topic, from the server's log: of each partition,
# when and up to which offset, in the order of time; in milliseconds, as a record's timestamp.
sub readings
{
	my ($node, $topic) = @_;
	my %readings;
	open my $log, '<', $node->logfile or die $node->logfile . ": $!";
	while (<$log>)
	{
		next unless /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)\.(\d+) UTC .*DEBUG:  evpub: partition (\d+) of topic "$topic" was read (?:back|again) up to offset (\d+)/;
		push @{ $readings{$8} }, [ timegm($6, $5, $4, $3, $2 - 1, $1) * 1000 + $7, $9 ];
	}
	close $log;
	return \%readings;
}

# How far the relay had read a partition that has sent a record at this time.
sub known_to_sender
{
	my ($readings, $sent) = @_;
	my @before = grep { $_->[0] <= $sent } @{ $readings || [] };
	return @before ? $before[-1][1] : undef;
}

# What a relay had sent when it was killed may come when its successor has already read what
# is there.  Then the older record stands behind the newer one; or the newer one stands
# behind it, and whoever sent that had read the partition up to the older one's place at
# most, when it was not there yet.  Takes the readings of the partition, when and where the
# first of the two records is, and when the second was sent.
sub is_late
{
	my ($readings, $first_sent, $first_offset, $sent) = @_;
	my $known = known_to_sender($readings, $sent);
	return $sent < $first_sent || defined $known && $known <= $first_offset;
}

# check_complete(name, node, kafka, late => 1, duplicates => 1): what is in Kafka
# is what is in the table, in order, and once only.  Returns the number of events.
#
# "late": a relay was killed, or left a broker that did not answer, and what it had sent
# last may come late.  Nothing else may come twice.  "duplicates": evpub.delivery =
# 'at_least_once'.  What is repeated must have the id of the first.
sub check_complete
{
	my ($name, $node, $kafka, %args) = @_;
	my ($strange, @events) = item_events($kafka);
	my $readings = $args{late} ? readings($node, $TOPIC) : {};
	my (%first, %last, %count);
	my ($duplicates, $late, $disorder, $phantoms) = (0, 0, 0, 0);

	for my $event (@events)
	{
		my ($tenant, $seq, $id, $sent, $partition, $offset) = @$event;
		if (my $first = $first{$id})
		{
			my ($first_sent, $first_offset) = @$first;
			if ($args{late} && is_late($readings->{$partition}, $first_sent, $first_offset, $sent))
			{
				$late++;
				next;
			}
			diag "twice: $tenant $seq $id of partition $partition, sent at $first_sent and at $sent, "
			  . "at offsets $first_offset and $offset, by a relay that had read up to "
			  . (known_to_sender($readings->{$partition}, $sent) // 'nothing') . '; all readings: '
			  . join(' ', map { "$_->[1] at $_->[0]" } @{ $readings->{$partition} || [] })
			  if !$args{duplicates} && $duplicates < 5;
			$duplicates++;
			next;
		}
		$first{$id} = [ $sent, $offset ];
		if ($seq < 1)
		{
			diag "phantom: $tenant $seq $id" if $phantoms++ < 5;
			next;
		}
		$last{$tenant} //= 0;
		if ($seq != $last{$tenant} + 1)
		{
			diag "tenant $tenant: $seq after $last{$tenant} ($id)"
			  if $disorder++ < 5;
		}
		$last{$tenant} = $seq;
		$count{$tenant}++;
	}

	my %rows = map { split /\|/ } split /\n/,
	  $node->safe_psql('postgres',
		"SELECT tenant, count(*) FROM item GROUP BY 1 HAVING count(*) = max(seq)");
	my $total = $node->safe_psql('postgres', 'SELECT count(*) FROM item');

	is($strange, 0, "$name: every record is an event of the table");
	is($phantoms, 0, "$name: nothing that was rolled back");
	is($disorder, 0, "$name: every tenant's sequence in order, without holes");
	is_deeply(\%count, \%rows, "$name: every tenant's sequence complete");
	is($duplicates, 0, "$name: nothing twice") unless $args{duplicates};
	note "$name: $total events, $duplicates of them again, and $late that were late";
	cmp_ok($total, '>', $args{at_least} || 100, "$name: there was something to see");
	return $total;
}

1;
