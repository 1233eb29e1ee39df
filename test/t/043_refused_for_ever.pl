
# A record that Kafka refuses for ever, inside a large transaction with traffic
# to other partitions: it is sent once a backoff, nothing behind it meanwhile,
# and the log stays short, while relay and worker end and publishing is paused.
# When the topic takes it, nothing is lost, out of order, or counted twice.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
my $log = 0;

$kafka->create_topic('compacted', 1, { 'cleanup.policy' => 'compact' });
$kafka->create_topic('wide', 3);
$node->safe_psql(
	'postgres', q{
CREATE TABLE wide (id int PRIMARY KEY, tenant text NOT NULL);
SELECT evpub.capture_table('wide', tenant_column => 'tenant', topic => 'wide');
});

# The log since the last call.
sub new_log
{
	my $text = slurp_file($node->logfile, $log);
	$log += length $text;
	return $text;
}

# Relays that were started since something failed.
sub restarts { return status($node, 'relay_restarts') }

# all_there(name, topic, expected ids in order)
sub all_there
{
	my ($name, $topic, @expected) = @_;
	my @records = events($kafka, $topic);
	my %ids;
	my @first = check_ids($name, @records);
	push @{ $ids{ $_->{event}{tenant} } }, $_->{event}{pk}{id} for @first;
	is_deeply([ sort { $a <=> $b } map { @$_ } values %ids ], \@expected, "$name: each event is there");
	for my $tenant (sort keys %ids)
	{
		my $sorted = join ' ', sort { $a <=> $b } @{ $ids{$tenant} };
		is(join(' ', @{ $ids{$tenant} }), $sorted, "$name: in order, $tenant");
	}
	note "$name: " . @records . ' records of ' . @expected . ' events';
	return;
}

# One record that is refused for ever, behind accepted ones, and traffic behind it.
# the 20 before it are numbered from 0
my $refused = q{state = 'blocked' AND state_reason ~ '"compacted" partition 0.*INVALID_RECORD.*-00000014$'};
my $restarts = restarts();
my $published = status($node, 'events_published');
$node->safe_psql('postgres', q{
BEGIN;
INSERT INTO wide SELECT i, 'before' FROM generate_series(100001, 100020) i;
SELECT evpub.publish_raw('compacted', NULL, '{"a": 1}');
INSERT INTO wide SELECT i, 't' || i % 7 FROM generate_series(100021, 200000) i;
COMMIT});
ok(wait_for_status($node, $refused),
	'refused for ever: blocked, and the reason names that record');
# pauses of 100, 200, 400, 800 ms lie behind, the next ones are longer
wait_until('some attempts', sub { restarts() >= $restarts + 4 });
new_log();
my $count = $kafka->record_count('wide');
my $begin = time;
$restarts = restarts();
wait_until('more attempts', sub { restarts() >= $restarts + 2 });
cmp_ok(time - $begin, '>', 2, 'refused for ever: attempts are far between');
is($kafka->record_count('wide'), $count, 'refused for ever: an attempt sends nothing else');
is(status($node, 'events_published') - $published, 20, 'refused for ever: what is before it is confirmed');
my $text = new_log();
my $lines = () = $text =~ /\n/g;
# once a minute it is said again, with a hint
cmp_ok($lines, '<=', 2, 'refused for ever: few lines in the log') or diag $text;
unlike($text, qr/FATAL/, 'refused for ever: none for each attempt');
is($kafka->record_count('compacted'), 0, 'refused for ever: not there');
is($node->safe_psql('postgres', q{INSERT INTO wide VALUES (200001, 'after') RETURNING id}), 200001,
	'refused for ever: writers write');

# Relay and worker are killed, publishing is paused meanwhile.
$restarts = restarts();
kill_relay($node);
wait_until('another attempt', sub { restarts() > $restarts });
ok(wait_for_status($node, $refused), 'relay killed: blocked again');
my $worker = worker_pid($node);
my $relay = running_relay($node);
kill 'TERM', $worker;
wait_until('a new worker', sub { my $new = worker_pid($node); $new && $new != $worker });
ok(wait_for_status($node, "$refused AND relay_pid <> $relay"), 'worker ended: blocked again');
is(status($node, 'events_published') - $published, 20, 'worker ended: nothing is counted twice');
$node->safe_psql('postgres', 'SELECT evpub.pause()');
is(status($node, 'state'), 'paused', 'paused');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_for_status($node, $refused), 'resumed: blocked again');

# Mended: the topic takes it, and all behind it follows.
$kafka->set_topic('compacted', { 'cleanup.policy' => 'delete' });
$node->reload;
ok(wait_published($node), 'mended: published');
is(wait_for_state($node, 'streaming'), 1, 'mended: streaming');
all_there('mended', 'wide', 100001 .. 200001);
is($kafka->record_count('compacted'), 1, 'mended: the refused one once');
is(status($node, 'events_published') - $published, 100002, 'mended: each event is counted once');

$node->stop;
done_testing();
