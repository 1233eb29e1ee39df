
# evpub.delivery = 'deduplicated': what a predecessor got into Kafka is read back,
# and not sent again, whatever has died.  What cannot be this server's fences it, with
# nothing confirmed that is not there.
use strict;
use warnings;

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }

$kafka->create_topic('one', 1);
$kafka->create_topic('four', 4);
sql(q{
CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
CREATE TABLE four (id int PRIMARY KEY, tenant text NOT NULL);
SELECT evpub.capture_table('one', tenant_column => 'tenant', topic => 'one');
SELECT evpub.capture_table('four', tenant_column => 'tenant', topic => 'four')});

# The rows whose events are in a topic, in the order of the partition.
sub rows
{
	my ($topic) = @_;
	return map { $_->{event}{pk}{id} } grep { $_->{event}{type} =~ /created$/ } events($kafka, $topic);
}

# Insert a row of table "one" and wait until Kafka has it.
sub publish
{
	my ($id) = @_;
	sql("INSERT INTO one VALUES ($id)");
	return wait_published($node);
}

sub dropped { return status($node, 'duplicates_dropped') }

# End the server at once, within the second before the position is written: the
# newest event is in Kafka, and the state file does not know.
sub crash_unwritten
{
	my ($id, $before_it) = @_;
	my $written = sub { (Time::HiRes::stat($node->data_dir . '/evpub/state'))[9] };

	# the first one is written at once, and the second one waits for its second
	for (1 .. 20)
	{
		wait_until('the position is at rest', sub {
			my $before = $written->();
			usleep(1_100_000);
			return $written->() == $before;
		});
		publish($id++);
		my $before = $written->();
		publish($id++);
		$before_it->() if $before_it;
		$node->stop('immediate');
		my $after = $written->();
		$node->start;
		return $id if $before == $after;
		wait_published($node);
	}
	return $id;
}

# ---- a crash of the server ----

is(sql('SHOW evpub.delivery'), 'deduplicated', 'the default');
my $id = crash_unwritten(1);
ok(publish($id), 'goes on after a crash');
is_deeply([ rows('one') ], [ 1 .. $id ], 'each event is in Kafka once');
cmp_ok(dropped(), '>', 0, 'what was there was dropped, and counted');

# figures that are newer than the position do not count its transaction again
$id = crash_unwritten($id + 1, sub {
	my $file = $node->data_dir . '/evpub/figures';
	my $old = (stat $file)[1];
	sql('SELECT evpub.stat_reset()');
	wait_until('the figures', sub { (stat $file)[1] != $old });
});
ok(publish($id), 'goes on after a crash with newer figures');
is(sql('SELECT concat_ws($$ $$, transactions, events) FROM evpub.stat'), '1 1', 'a transaction that was counted before the crash is not counted again');

# the same without: this is what read-back prevents
$node->append_conf('postgresql.conf', "evpub.delivery = 'at_least_once'");
$node->reload;
my $first = $id + 1;
$id = crash_unwritten($first);
ok(publish($id), 'at_least_once: goes on after a crash');
my %count;
$count{$_}++ for rows('one');
is(scalar(grep { !$count{$_} } 1 .. $id), 0, 'at_least_once: nothing is lost');
cmp_ok(scalar(grep { $_ > 1 } values %count), '>', 0, 'at_least_once: the last event comes twice');
$node->append_conf('postgresql.conf', "evpub.delivery = 'deduplicated'");
$node->reload;

# ---- relays and workers are killed under load ----

$kafka->create_topic('items', 6);
load_tables($node, 20);
sql('SELECT evpub.stat_reset()');
my $load = start_load($node, 20, 4, 600);
for my $i (1 .. 12)
{
	wait_until('a relay that sends', sub {
		return status($node, 'state') eq 'streaming' && status($node, 'events_in_flight') > 0 });
	another_relay($node, kill_relay($node));
}
for (1 .. 2)
{
	my $worker = worker_pid($node);
	sql("SELECT pg_terminate_backend($worker)");
	wait_until('another worker', sub { my $now = worker_pid($node); $now && $now != $worker && relay_pid($node) });
}
end_pgbench($node, $load);
ok(wait_published($node), 'published under kills');
cmp_ok(check_complete('kills', $node, $kafka, late => 1), '>', 100, 'a load worth the name');
cmp_ok(dropped(), '>', 0, 'duplicates were dropped');

# Of a late record, the worker knows one copy: it was acknowledged, or found and dropped.
# Bytes 26 to 42 of an id are where its transaction was committed.
my %items = map { $_->{event}{id} => 1 } events($kafka, 'items');
my %transactions = map { substr($_, 26, 16) => 1 } keys %items;
is(sql('SELECT concat_ws($$ $$, transactions, events + duplicates_dropped) FROM evpub.stat'),
	join(' ', scalar(keys %transactions), scalar(keys %items)), 'each transaction and each event was counted once');

# ---- another server has taken over ----

sub newest { return (events($kafka, 'one'))[-1]{event}{id} }

# A record of evpub's form that this server did not send.
sub plant
{
	my ($planted, $topic) = @_;
	$kafka->produce($topic // 'one', 'acme', '{"planted": true}', '-p', 0, '-H', "evpub-id=$planted");
	return;
}

sub new_relay
{
	my $relay = kill_relay($node);
	# it may be gone again: what it finds at its start may fence the server
	wait_until('another relay', sub {
		return (relay_pid($node) || $relay) != $relay || status($node, 'state') eq 'fenced' });
	return;
}

# events(), without what was planted
sub sent { return grep { exists $_->{event}{type} } events($kafka, 'one') }

publish(++$id);
my $unknown = newest();
substr($unknown, 8, 8) = 'deadbeef';
plant($unknown);
new_relay();
sql('INSERT INTO one VALUES (' . ++$id . ')');
ok(wait_for_state($node, 'fenced'), 'an unknown publisher of our root: fenced');
like(status($node, 'state_reason'), qr/partition 0 of topic "one" has event $unknown, of a publisher that this server does not know/,
	'the reason says what was found');
like(status($node, 'hint'), qr/SELECT evpub\.take_over\(\)/, 'and the hint what to type');
$node->restart;
ok(wait_for_state($node, 'fenced'), 'a restart does not publish');
like(status($node, 'state_reason'), qr/has event $unknown/, 'and knows the reason');
sql('SELECT evpub.take_over()');
ok(wait_published($node), 'take_over() goes on');
is((sent())[-1]{event}{pk}{id}, $id, 'with what was not published');
new_relay();
ok(publish(++$id), 'the unknown publisher is replaced, and does not fence again');
plant($unknown);
new_relay();
ok(publish(++$id), 'also with a late record');

# ---- a copy with our id ----

publish(++$id);
my $beyond = (sent())[-1]{event}{id};
substr($beyond, 26, 16) = 'FFFFFFFF00000000';
plant($beyond);
new_relay();
sql('INSERT INTO one VALUES (' . ++$id . ')');
ok(wait_for_state($node, 'fenced'), 'beyond our WAL: fenced');
like(status($node, 'state_reason'), qr/has event $beyond, but this server's WAL ends at/, 'the reason says so');
sql('SELECT evpub.take_over()');
ok(wait_published($node), 'take_over() goes on after that');

# within our WAL, but nothing that we have committed
$node->stop;
my $previous = (sent())[-1]{event}{id};
$node->append_conf('postgresql.conf', "evpub.bootstrap_servers = ''");
$node->start;
sql('INSERT INTO one VALUES (' . ++$id . ')');
my $end = sql('SELECT pg_current_wal_flush_lsn()');
sql('INSERT INTO one VALUES (' . ++$id . ')');
my ($high, $low) = map { hex } split m{/}, $end;
my $never = $previous;
substr($never, 26, 16) = sprintf '%08X%08X', $high, $low + 8;
plant($never);
set_brokers($node, $kafka->bootstrap);
ok(wait_for_state($node, 'fenced'), 'a record that we never committed: fenced');
like(status($node, 'state_reason'), qr/has event $never, which this server never committed/, 'the reason says so');
sql('SELECT evpub.take_over()');
ok(wait_published($node), 'take_over() goes on after that, too');
my @last = map { $_->{event}{pk}{id} } (sent())[ -2, -1 ];
is_deeply(\@last, [ $id - 1, $id ], 'and what was dropped for it is published');

# ---- records of others do not matter ----

$kafka->produce('one', 'acme', 'x', '-p', 0, '-H', "evpub-id=$_")
  for 'garbage', '', '00000001' . substr($previous, 8), substr($previous, 0, 50), substr($previous, 0, 50) . 'x';
$kafka->produce('one', 'acme', 'without a header', '-p', 0);
new_relay();
ok(publish(++$id), 'foreign records are passed over');

# The partition is read again behind them, so the offset of the record is not known to be
# right when that is acknowledged, and nothing follows.
$kafka->create_topic('rest', 1);
sql(q{
CREATE TABLE rest (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme');
SELECT evpub.capture_table('rest', tenant_column => 'tenant', topic => 'rest')});
sub last_offset { return sql(q{SELECT last_offsets[0] FROM evpub.topics WHERE topic = 'rest'}) }
for my $n (1 .. 3)
{
	sql("INSERT INTO rest VALUES ($n)");
	ok(wait_published($node), 'published behind foreign records');
	my $end = ($kafka->end_offsets('rest'))[0];
	ok(wait_until('the offset', sub { last_offset() eq $end - 1 }), 'the next relay begins behind it');
	new_relay();
	$kafka->produce('rest', 'acme', 'without a header', '-p', 0);
}

$node->stop;
done_testing;
