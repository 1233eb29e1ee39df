
# EvpubLicence - what holds for every server that may not publish: it says so
# in its status, in evpub.check() and in the log, nothing that is committed
# there reaches Kafka, and once a person decides, nothing of it is lost.
#
# Rows are written as "<name of the server>-<number>", so that what is found in
# Kafka tells who wrote it.
package EvpubLicence;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use Test::More;

use EvpubState;
use EvpubTest;

our @EXPORT = qw(
  code_table write_row codes_in_kafka event_publisher
  publish_row start_logged restart_logged log_since_start entered_once
  stands_still goes_on taken_over accept_gap refuses complaints labels slots
);

our $kafka;

sub code_table
{
	my ($node, $database) = @_;
	$node->safe_psql(
		$database || $EvpubTest::DATABASE, q{
CREATE TABLE code (tenant_id text, code text, PRIMARY KEY (tenant_id, code));
SELECT evpub.capture_table('code', tenant_column => 'tenant_id');
});
	return;
}

sub write_row
{
	my ($node, $code, $database) = @_;
	$node->safe_psql($database || $EvpubTest::DATABASE,
		"INSERT INTO code VALUES ('acme', '$code')");
	return;
}

# The events of the rows of one server (or all of them): {code, event}, in the
# order of their partition.
sub codes_in_kafka
{
	my ($name) = @_;
	return
	  grep { !defined $name || $_->{code} =~ /^\Q$name\E-\d+$/ }
	  map { { code => $_->{event}{pk}{code}, event => $_->{event} } }
	  grep { $_->{event}{type} eq 'code.created' } events($kafka);
}

# Who published an event: the first part of its id.
sub event_publisher
{
	my ($event) = @_;
	return (split /-/, $event->{id})[0];
}

# Write a row, and wait until it is published and the state file says so.
sub publish_row
{
	my ($node, $code) = @_;
	my $before = lsn_number($node->lsn('insert'));
	write_row($node, $code);
	ok(wait_published($node), "$code: published");
	wait_until('state file moves on',
		sub { read_state($node->data_dir)->{confirmed_lsn} > $before });
	return;
}

sub start_logged
{
	my ($node) = @_;
	$node->{evpub_log_offset} = -s $node->logfile || 0;
	$node->start;
	return;
}

sub restart_logged
{
	my ($node) = @_;
	$node->stop;
	start_logged($node);
	return;
}

sub log_since_start
{
	my ($node) = @_;
	return PostgreSQL::Test::Utils::slurp_file($node->logfile,
		$node->{evpub_log_offset});
}

# One LOG line since the start says which state was entered.
sub entered_once
{
	my ($node, $name, $state) = @_;
	my $count = () = log_since_start($node) =~ /(?:LOG|WARNING):  evpub is $state\b/g;
	is($count, 1, "$name: one line in the log for state \"$state\"");
	return;
}

sub labels
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT string_agg(DISTINCT label, ' ') FROM pg_shseclabel
		  WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass});
}

sub slots
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT string_agg(slot_name, ' ') FROM pg_replication_slots});
}

# How many rows of evpub.check() are not as they should be.
sub complaints
{
	my ($node, $database) = @_;
	return $node->safe_psql($database || $EvpubTest::DATABASE,
		'SELECT count(*) FROM evpub.check() WHERE NOT ok');
}

# The server stands in a state, has said so, and what commits is not published.
sub _looks_still
{
	my ($node, $name, $state, $reason, $number) = @_;
	ok(wait_for_state($node, $state), "$name: state \"$state\"");
	like(status($node, 'state_reason'), $reason, "$name: the reason tells");
	entered_once($node, $name, $state);
	cmp_ok(complaints($node), '>', 0, "$name: evpub.check() complains");

	write_row($node, "$name-$number");
	my $lsn = $node->lsn('insert');
	is( $node->safe_psql($EvpubTest::DATABASE,
			q{SELECT evpub.wait_published(NULL, '200 ms')}),
		'f', "$name: what is committed is not published");
	ok(wait_for_status($node, "flush_lsn >= '$lsn'"), "$name: although it is flushed");
	is(status($node, 'concat(relay_pid, state)'), $state, "$name: no relay runs");
	return;
}

# stands_still(node, name, state, reason): twice, since a restart changes
# nothing.  The node was started by start_logged().  Leaves rows -1 and -2.
sub stands_still
{
	my ($node, $name, $state, $reason) = @_;
	_looks_still($node, $name, $state, $reason, 1);
	restart_logged($node);
	_looks_still($node, "$name", $state, $reason, 2);
	is(scalar(codes_in_kafka($name)), 0, "$name: nothing of it is in Kafka");
	return;
}

# The server publishes (again), under an id that it never had before; the rows
# -1 and -2, if they are wanted, and -3, from now, are in Kafka.
sub goes_on
{
	my ($node, $name, %args) = @_;
	ok(wait_for_state($node, 'streaming'), "$name: publishes");
	my $publisher = status($node, 'publisher_id');
	isnt($publisher, $args{not}, "$name: as a new publisher");
	is(labels($node), $publisher, "$name: all labels name it");
	is(slots($node), 'evpub', "$name: with a slot");

	write_row($node, "$name-3");
	ok(wait_published($node), "$name: published");
	my @found = codes_in_kafka($name);
	my %codes = map { $_->{code} => 1 } @found;
	my @wanted = $args{lost} ? ("$name-3") : map { "$name-$_" } 1 .. 3;
	is_deeply([ grep { !$codes{$_} } @wanted ],
		[], "$name: all that was committed here is published");
	is_deeply(
		[ grep { event_publisher($_->{event}) ne $publisher } @found ],
		[], "$name: under the new id");
	return $publisher;
}

# refuses(node, name, statement, sqlstate)
sub refuses
{
	my ($node, $name, $statement, $code) = @_;
	my $err;
	$node->psql($EvpubTest::DATABASE, "\\set VERBOSITY verbose\n$statement",
		stderr => \$err);
	like($err, qr/ERROR:  \Q$code\E:/, "$name: refused");
	like($err, qr/DETAIL|HINT/, "$name: with what to do");
	return;
}

# taken_over(node, name, not => id of the original, gap => 1): with "gap", WAL of
# before the copy may be missing, as in a base backup of a server in which
# little happens; then that gap, and nothing later, is accepted.
sub taken_over
{
	my ($node, $name, %args) = @_;
	my $offset = -s $node->logfile;
	$node->safe_psql($EvpubTest::DATABASE, 'SELECT evpub.take_over()');
	ok($node->log_contains(qr/LOG:  evpub: publishing was taken over/, $offset),
		"$name: take_over() leaves a line in the log");
	if ($args{gap})
	{
		wait_for_status($node, q{state IN ('streaming', 'gap')});
		accept_gap($node, $name) if status($node, 'state') eq 'gap';
	}
	return goes_on($node, $name, %args);
}

# Accept the gap that status shows; a position before it is refused.  With a
# lost file there is a gap in what is known, not in what is published.
sub accept_gap
{
	my ($node, $name, %args) = @_;
	my $reason = status($node, 'state_reason');
	my ($lsn) = $reason =~ m{evpub\.accept_gap\('([0-9A-F]+/[0-9A-F]+)'\)};
	ok($lsn, "$name: the reason names the call that accepts the gap") or diag $reason;
	like($reason, qr{gap from [0-9A-F]+/[0-9A-F]+ to \Q$lsn\E}, "$name: and the gap")
	  unless $args{file_lost};
	refuses($node, "$name: a position before the end of the gap",
		"SELECT evpub.accept_gap('" . lsn_text(lsn_number($lsn) - 1) . "')", '22023');
	is(status($node, 'state'), 'gap', "$name: so it stands in the gap still");

	my $offset = -s $node->logfile;
	$node->safe_psql($EvpubTest::DATABASE, "SELECT evpub.accept_gap('$lsn')");
	ok($node->log_contains(qr/LOG:  evpub: (?:the gap .* was accepted|publishing goes on)/, $offset),
		"$name: accept_gap() leaves a line in the log");
	return $lsn;
}

1;
