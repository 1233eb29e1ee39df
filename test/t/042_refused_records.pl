# Records that a broker refuses for what they are: those that were refused only
# together get through, one that is refused alone stops publishing with a
# reason that names it, and neither floods the topic or the log.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new(
	conf => {
		'message.max.bytes' => 20_000_000,
		'socket.request.max.bytes' => 100_000_000
	})->start;
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql(
	'postgres', q{
CREATE TABLE narrow (id int PRIMARY KEY, v text);
CREATE TABLE wide (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY);
SELECT evpub.capture_table('narrow', tenant => 'acme', payload => 'row', topic => 'narrow');
SELECT evpub.capture_table('wide', tenant => 'acme', payload => 'row', topic => 'wide');
SELECT evpub.capture_table('other', tenant => 'acme', key => '{tenant}/{table}/{pk}',
	topic => 'other');
});
$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
$kafka->create_topic('wide', 1, { 'max.message.bytes' => 10_000_000 });
$kafka->create_topic('other', 6);
$kafka->create_topic('compacted', 2, { 'cleanup.policy' => 'compact' });

sub ids
{
	my ($topic) = @_;
	return map { $_->{event}{pk}{id} } events($kafka, $topic);
}

# how often the log says that an event was refused
sub log_lines
{
	my $count = () = slurp_file($node->logfile) =~ / evpub: topic /g;
	return $count;
}

# --- together too large
my $attempts = status($node, 'relay_restarts');
$node->safe_psql('postgres',
	"INSERT INTO narrow SELECT i, repeat('x', 700) FROM generate_series(1, 500) i");
ok(wait_published($node), 'events that are too large only together arrive');
# the pauses between so many are 6 s: time itself depends on what else runs here
$attempts = status($node, 'relay_restarts') - $attempts;
cmp_ok($attempts, '<=', 6, "with few attempts ($attempts)");
my @ids = ids('narrow');
is_deeply(\@ids, [ 1 .. 500 ], 'all, in order, and none twice');
is(status($node, 'events_published'), 500, 'none is counted twice');

# the partition is known to take small batches only
my $restarts = status($node, 'relay_restarts');
for my $n (1 .. 12)
{
	$node->safe_psql('postgres',
		"INSERT INTO narrow SELECT $n * 1000 + i, repeat('x', 700) FROM generate_series(1, 400) i");
	last if !wait_published($node);
}
is(scalar(ids('narrow')), 500 + 12 * 400, 'later ones arrive, too, none twice');
cmp_ok(status($node, 'relay_restarts') - $restarts,
	'<', 12, 'and batches become small enough');
$restarts = status($node, 'relay_restarts');
$node->safe_psql('postgres',
	"INSERT INTO narrow SELECT 20000 + i, repeat('x', 700) FROM generate_series(1, 2000) i");
ok(wait_published($node), 'a larger transaction');
is(status($node, 'relay_restarts'), $restarts, 'is not refused any more');

# --- large events
$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.max_event_bytes = '5MB'");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('evpub.max_event_bytes') = '5MB'");
$node->safe_psql('postgres', "INSERT INTO wide VALUES (1, repeat('x', 3000000))");
ok(wait_published($node), 'an event of 3 MB goes to a topic that takes it');
is(scalar(ids('wide')), 1, 'once');

# --- refused alone, behind accepted ones and before others
my $restarts_before = status($node, 'relay_restarts');
my $published = status($node, 'events_published');
$node->safe_psql(
	'postgres', q{
BEGIN;
INSERT INTO other SELECT generate_series(1, 20);
SELECT evpub.publish_raw('compacted', NULL, '{"a":1}');
INSERT INTO other SELECT generate_series(21, 2000);
COMMIT;
INSERT INTO other VALUES (3000);
});
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE 'topic \"compacted\" partition % INVALID_RECORD %'"),
	'a record refused alone blocks');
my $id = $node->safe_psql('postgres',
	q{SELECT id FROM evpub.peek(3000) WHERE topic = 'compacted'});
ok( wait_for_status($node,
		"state_reason LIKE '%INVALID_RECORD%' AND state_reason NOT LIKE '%together%' AND state_reason LIKE '%$id%'"),
	'the reason names exactly that event');
# The first attempt need not wait for all of them; the next goes on one by one.  What the
# first one has got in without being told is counted later: behind its tail, which may
# lie behind the refused event.
wait_until('what is before it is published', sub {
	my %there = map { $_ => 1 } ids('other');
	return !grep { !$there{$_} } 1 .. 20 });
pass('what is before it is published');
ok(wait_for_status($node, "relay_restarts >= $restarts_before + 2"), 'nothing of the first attempt is on its way');
my $records = $kafka->record_count('other');
cmp_ok($records, '<=', 2001, 'what is behind it was sent once at the most');

# the pauses between attempts grow: after some seven the tenth of a second has
# become more than 10 s, and until then nothing else is sent
my $lines = log_lines();
ok(wait_for_status($node, "relay_restarts >= $restarts_before + 7"), 'it is tried again and again');
is($kafka->record_count('other'), $records, 'without sending anything else');
cmp_ok(log_lines() - $lines, '<=', 2, 'and without filling the log');
is(status($node, 'state'), 'blocked', 'the state does not change meanwhile');

# the relay killed, and the worker ended, while it is careful
my $relay = kill_relay($node);
my $worker = worker_pid($node);
my $next = another_relay($node, $relay);
kill 'TERM', $worker;
wait_until('another worker', sub { (worker_pid($node) // $worker) != $worker });
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%$id%' AND state_reason NOT LIKE '%together%' AND relay_pid NOT IN ($relay, $next)"),
	'a new worker finds the same event');

# the administrator makes the topic take it
$kafka->set_topic('compacted', { 'cleanup.policy' => 'delete' });
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'it goes on when the topic takes the record');
is(scalar(ids('other')), 2001, 'nothing is lost, and nothing comes twice');
is($kafka->record_count('compacted'), 1, 'the record itself comes once');
is(status($node, 'events_published'), $published + 2002, 'and each is counted once');

# --- too large alone, and the limit is raised
$node->safe_psql('postgres',
	"INSERT INTO narrow SELECT i, repeat('x', CASE i WHEN 50010 THEN 9000 ELSE 500 END)
	 FROM generate_series(50001, 50020) i");
$id = $node->safe_psql('postgres', q{
SELECT id FROM evpub.peek(100) WHERE value LIKE '%"pk":{"id":50010}%'});
ok( wait_for_status($node,
		"state = 'blocked' AND state_reason LIKE '%MSG_SIZE_TOO_LARGE%$id%' AND state_reason NOT LIKE '%together%'"),
	'one that is too large alone blocks, by name');
ok( $node->poll_query_until('postgres',
		q{SELECT bool_or(hint LIKE '%max.message.bytes%') FROM evpub.check() WHERE NOT ok}),
	'the hint says what to do');
my ($enough) = status($node, 'hint') =~ /Set max\.message\.bytes of topic "narrow" to (\d+) or more/;
cmp_ok($enough, '<', 11_000, 'the hint says how large, and not too large');
$kafka->set_topic('narrow', { 'max.message.bytes' => $enough });
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'it goes on when the topic takes it');
is_deeply([ grep { $_ > 50000 } ids('narrow') ], [ 50001 .. 50020 ], 'in order, none twice');

# --- given up while Kafka has events from behind the refused one
$kafka->set_topic('compacted', { 'cleanup.policy' => 'compact' });
my $behind = 0;
for my $try (1 .. 5)
{
	# the refusal may be faster than what is sent behind the event
	last if $behind > 0;
	$restarts_before = status($node, 'relay_restarts');
	$records = $kafka->record_count('other');
	$node->safe_psql(
		'postgres', qq{
BEGIN;
SELECT evpub.publish_raw('compacted', NULL, '{"a":1}');
INSERT INTO other SELECT generate_series(${try}0001, ${try}2000);
COMMIT;
});
	ok(wait_for_status($node, "state_reason LIKE '%INVALID_RECORD%' AND relay_restarts >= $restarts_before + 2"),
		'a record refused alone blocks');
	$behind = $kafka->record_count('other') - $records;
	$node->safe_psql('postgres', 'SELECT evpub.discard(pg_current_wal_flush_lsn())');
	$node->safe_psql('postgres', "INSERT INTO other VALUES (${try}3000)");
	ok(wait_published($node), 'what is there of a transaction that was given up fences nobody');
	is(scalar(grep { $_ == "${try}3000" } ids('other')), 1, 'the next one comes');
}
cmp_ok($behind, '>', 0, 'something of it was there');

$node->stop;
done_testing();
