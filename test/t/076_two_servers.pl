
# Two servers that publish under one id, or one after the other: what the first one
# got into Kafka is not sent again by the second, and of two that both publish, one
# finds out at the next start of its relay, and loses nothing of its own.
use strict;
use warnings;

use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kafka = EvpubKafka->new->start;
my $old = capture_node('old', kafka => $kafka);
$kafka->create_topic('rows', 3);
$old->safe_psql('postgres', q{
CREATE TABLE r (id int PRIMARY KEY, tenant text NOT NULL, who text NOT NULL);
SELECT evpub.capture_table('r', tenant_column => 'tenant', topic => 'rows', data_columns => '{who}')});
my $next = 1;

# put(server, who, rows): new rows, of 20 tenants
sub put
{
	my ($server, $who, $rows) = @_;
	$server->safe_psql('postgres', "INSERT INTO r SELECT i, 't' || i % 20, '$who'
		FROM generate_series($next, $next + $rows - 1) i");
	$next += $rows;
	return;
}

# The events of a server, by row: how often each is in Kafka, and their publishers.
sub sent
{
	my ($who) = @_;
	my (%count, %publishers);
	for my $record (events($kafka, 'rows'))
	{
		my $event = $record->{event};
		next unless $event->{type} eq 'r.created' && $event->{data}{who} eq $who;
		$count{ $event->{pk}{id} }++;
		$publishers{ substr $event->{id}, 0, 16 }++;
	}
	return (\%count, \%publishers);
}

# Each row that "who" has put, and this server has, is in Kafka once.
sub once
{
	my ($name, $server, $who) = @_;
	my ($count) = sent($who);
	my @rows = split /\n/, $server->safe_psql('postgres', "SELECT id FROM r WHERE who = '$who'");
	my @missing = grep { !$count->{$_} } @rows;
	my @twice = grep { ($count->{$_} || 0) > 1 } @rows;
	is("@missing", '', "$name: nothing is lost");
	is("@twice", '', "$name: nothing comes twice");
	return scalar @rows;
}

sub new_relay
{
	my ($server) = @_;
	my $relay = kill_relay($server);
	# it may be gone again: what it finds at its start may fence the server
	wait_until('another relay', sub {
		return (relay_pid($server) || $relay) != $relay || status($server, 'state') eq 'fenced' });
	return;
}

sub state_at_rest
{
	my ($server) = @_;
	my $written = sub { (stat(EvpubState::state_file($server->data_dir)))[1] };
	wait_until('the position is at rest', sub {
		my $before = $written->();
		usleep(1_100_000);
		return $written->() == $before;
	});
	return;
}

# ---- an unplanned promotion ----

put($old, 'old', 50);
ok(wait_published($old), 'published');
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;

# The first one is written down at once, the others a second later: before that, the
# primary dies.
state_at_rest($old);
put($old, 'old', 1);
wait_published($old);
put($old, 'old', 500);
ok(wait_published($old), 'published in the last second');
$old->wait_for_catchup($new, 'replay', $old->lsn('flush'));

# A topic whose count the standby never gets to know: what commits first is replicated,
# the message with the count, which comes when the publisher has asked for it, is not.
$kafka->create_topic('late', 2);
set_brokers($old, '');
ok(wait_for_state($old, 'unconfigured'), 'the primary has no brokers');
$old->safe_psql('postgres', q{SELECT evpub.publish_raw('late', 'k' || i, to_jsonb(i)) FROM generate_series(1, 50) i});
$old->wait_for_catchup($new, 'replay', $old->lsn('flush'));
$new->safe_psql('postgres', 'ALTER SYSTEM SET primary_conninfo = $$host=/nowhere$$');
$new->reload;
$new->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver') or die;
set_brokers($old, $kafka->bootstrap);
ok(wait_published($old), 'published into a topic that the standby does not know');
my $first_publisher = status($old, 'publisher_id');
$old->stop('immediate');
$new->promote;
ok(wait_for_state($new, 'fenced'), 'the promoted standby is fenced');
$new->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_published($new), 'it goes on');
put($new, 'new', 100);
ok(wait_published($new), 'and publishes');
cmp_ok(once('unplanned promotion', $new, 'old'), '>', 500, 'rows of the old primary');
once('unplanned promotion, after it', $new, 'new');
my (undef, $publishers) = sent('old');
is_deeply([ keys %$publishers ], [$first_publisher], 'what was committed before bears the id of the old primary');
is((() = grep { $_->{event}{type} eq 'evpub.gap' } events($kafka, 'rows')), 0, 'consumers get no gap');

my @late = map { $_->{value} } $kafka->consume('late');
is(join(' ', sort { $a <=> $b } @late), join(' ', 1 .. 50), 'a topic that only the old primary knew: nothing comes twice');

# ---- the old primary comes back as a primary ----

$old->start;
ok(wait_for_state($old, 'fenced'), 'the old primary finds the other one, and is fenced');
like(status($old, 'state_reason'), qr/of a publisher that this server does not know/, 'and says why');
my $find = qr/^Look for another server that publishes: .* stop the other for good, then: SELECT evpub\.take_over\(\);/;
like(status($old, 'hint'), $find, 'and what to look at before it is taken over');
$old->restart;
ok(wait_for_state($old, 'fenced'), 'it stays so over a restart');
like(status($old, 'hint'), $find, 'with the same hint');
put($new, 'new', 20);
new_relay($new);
put($new, 'new', 20);
ok(wait_published($new), 'the new primary goes on');
once('the old primary is back', $new, 'new');
$old->stop;

# ---- a copy of blocks ----

# A stopped server whose files are copied; that the copy has the same inode, as on a
# copied device, is written into its state file.
put($new, 'new', 10);
ok(wait_published($new), 'published');
$new->stop;
$new->backup_fs_cold('cold');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($new, 'cold');
my $state = read_state($copy->data_dir);
$state->{directory_inode} = (stat $copy->data_dir . '/evpub')[1];
write_state($copy->data_dir, $state);
$new->start;
$copy->start;
ok(wait_for_state($_, 'streaming'), $_->name . ' publishes') for $new, $copy;
$next = 10_001;
put($new, 'new', 200);
$next = 20_001;
$copy->safe_psql('postgres', 'SELECT pg_switch_wal()');    # so that their LSNs differ
put($copy, 'copy', 200);
ok(wait_published($_), 'published') for $new, $copy;

# One of them is found out, whichever has got more WAL: the other's records are beyond
# its end, or are none of its own.
my @fenced;
ROUND: for my $round (1 .. 10)
{
	for my $server ($new, $copy)
	{
		new_relay($server);
		put($server, $server->name, 20);
		wait_until('published, or fenced', sub {
			my $now = status($server, 'state');
			push @fenced, $server if $now eq 'fenced';
			return $now eq 'fenced' || ($now eq 'streaming' && status($server, 'lag_seconds') == 0);
		});
		last ROUND if @fenced;
	}
}
is(scalar @fenced, 1, 'one of two that publish under one id is fenced');
my ($other) = grep { $_ != $fenced[0] } $new, $copy;
$other->stop;
$fenced[0]->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_published($fenced[0]), 'the one that was fenced goes on when a person says so');
my ($count) = sent($fenced[0]->name);
my @missing = grep { !$count->{$_} } split /\n/,
  $fenced[0]->safe_psql('postgres', "SELECT id FROM r WHERE who = '@{[ $fenced[0]->name ]}'");
is("@missing", '', 'and has lost nothing');

$_->stop for $fenced[0];
done_testing;
