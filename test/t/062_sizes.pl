# What topics take: evpub asks the cluster where it may, check() reports topics
# that take less than an event may have, and a cap of bytes in flight ends when
# the limit of its topic was raised.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = EvpubKafka->new(
	listeners => { SASL => 'SASL_PLAINTEXT' },
	conf => {
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users' => 'User:ANONYMOUS',
		'listener.name.sasl.sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_evpub="secret";'
	})->start;
my $node = capture_node('main', kafka => $kafka, conf => q{evpub.max_event_bytes = '100kB'});
$node->safe_psql(
	'postgres', q{
CREATE TABLE narrow (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY);
SELECT evpub.capture_table('narrow', tenant => 'acme', payload => 'row', topic => 'narrow');
SELECT evpub.capture_table('other', tenant => 'acme', topic => 'other');
});
$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
$kafka->create_topic('other', 1);

my $check = q{SELECT ok, detail, hint FROM evpub.check() WHERE name = 'topic_sizes'};

sub wait_check
{
	my ($regex) = @_;
	my $found;
	eval {
		wait_until("check() says $regex",
			sub { ($found = $node->safe_psql('postgres', $check)) =~ $regex }, 30);
	};
	return $found;
}

my $nothing = qr/^t\|none is known to take less than events may have\|$/;
like($node->safe_psql('postgres', $check), $nothing, 'nothing is known before a topic is used');

# --- as soon as it is used
$node->safe_psql('postgres', q{INSERT INTO narrow VALUES (0, 'x'); INSERT INTO other VALUES (0)});
ok(wait_published($node), 'first events');
my $told = wait_check(qr/^f/);
like($told,
	qr/^f\|an event may have 102400 bytes, with 512 around it; less is taken by topic "narrow" 5000\|Raise max.message.bytes/,
	'check() reports a topic that takes less than an event may have, and of no other');

# --- throughput with a cap, beside other topics
my $start = time;
$node->safe_psql('postgres', q{
INSERT INTO narrow SELECT i, repeat('x', 700) FROM generate_series(1, 5000) i;
INSERT INTO other SELECT generate_series(1, 5000)});
ok(wait_published($node, 60), 'events into a topic that takes small batches only');
my $capped = time - $start;
diag sprintf '5,000 events of 1 kB into a topic that takes 5 kB, and 5,000 beside: %.1f s', $capped;
my $log = slurp_file($node->logfile);
my $refused = () = $log =~ /WARNING:  evpub: topic "narrow" partition 0 refused/g;
cmp_ok($refused, '<=', 2, 'one refusal, and the cap is what the topic takes');
my $offset = -s $node->logfile;

# --- resume() ends the cap, which shows by a refusal while the limit is the same
sub refusals
{
	my ($topic, $sql) = @_;
	my $from = -s $node->logfile;
	$node->safe_psql('postgres', $sql);
	ok(wait_published($node, 60), "events into $topic");
	my $lines = slurp_file($node->logfile, $from);
	return scalar(() = $lines =~ /WARNING:  evpub: topic "$topic" partition 0 refused/g);
}
my $row = q{repeat('x', 700)};
is(refusals('narrow', "INSERT INTO narrow SELECT i, $row FROM generate_series(5001, 5500) i"),
	0, 'the cap holds');
$node->safe_psql('postgres', q{SELECT evpub.pause(); SELECT evpub.resume()});
cmp_ok(refusals('narrow', "INSERT INTO narrow SELECT i, $row FROM generate_series(5501, 6000) i"),
	'>=', 1, 'until resume()');
$offset = -s $node->logfile;

# --- the limit is raised, and what it takes now goes at once
$kafka->set_topic('narrow', { 'max.message.bytes' => 1_000_000 });
# the broker has the setting when it has a topic of after it
$kafka->create_topic('later', 1);
$node->safe_psql('postgres', q{SELECT evpub.pause(); SELECT evpub.resume()});
$start = time;
$node->safe_psql('postgres', q{INSERT INTO narrow SELECT i, repeat('x', 700) FROM generate_series(10001, 15000) i});
ok(wait_published($node, 60), 'after the limit was raised');
my $free = time - $start;
diag sprintf '5,000 events of 1 kB without a cap: %.1f s', $free;
cmp_ok($free, '<', $capped / 2, 'resume() has ended the cap');
unlike(slurp_file($node->logfile, $offset), qr/refused|too large/, 'nothing is refused any more');

# --- the next relay asks again
$node->safe_psql('postgres', q{ALTER SYSTEM SET evpub.topic_partitions = 3; SELECT pg_reload_conf()});
$node->safe_psql('postgres', q{INSERT INTO narrow VALUES (-1, 'x')});
ok(wait_published($node), 'a new relay');
like(wait_check($nothing), $nothing, 'and check() is silent');

# --- by lowering the setting, too
$kafka->set_topic('narrow', { 'max.message.bytes' => 5000 });
$kafka->create_topic('still_later', 1);
$node->safe_psql('postgres', q{ALTER SYSTEM SET evpub.topic_partitions = 2; SELECT pg_reload_conf()});
$node->safe_psql('postgres', q{INSERT INTO narrow VALUES (-2, 'x')});
like(wait_check(qr/^f/), qr/^f/, 'lowered again');
$node->safe_psql('postgres', q{ALTER SYSTEM SET evpub.max_event_bytes = '4kB'; SELECT pg_reload_conf()});
like(wait_check($nothing), $nothing, 'smaller events are a cure');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET evpub.max_event_bytes; SELECT pg_reload_conf()});

# --- who may write, and not ask
for my $topic (qw(denied allowed))
{
	# a new relay reads what is there
	$kafka->allow($topic, 'evpub', $_) for qw(READ WRITE);
}
$kafka->allow('allowed', 'evpub', 'DESCRIBE_CONFIGS');
$kafka->create_topic($_, 1, { 'max.message.bytes' => 5000 }) for qw(denied allowed);
my $file = PostgreSQL::Test::Utils::tempdir() . '/kafka.properties';
append_to_file($file, "security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\n"
	  . "sasl.username=evpub\nsasl.password=secret\n");
chmod 0600, $file;
$offset = -s $node->logfile;
$node->safe_psql('postgres', qq{SELECT evpub.forget_topic('narrow')});
$node->append_conf('postgresql.conf', "evpub.kafka_config_file = '$file'");
set_brokers($node, $kafka->bootstrap('SASL'));
# one request asks for both, so when one is reported the other was answered, too
$node->safe_psql('postgres', q{
BEGIN;
SELECT evpub.publish('t', 'acme', topic => 'denied');
SELECT evpub.publish('t', 'acme', topic => 'allowed');
COMMIT});
ok(wait_published($node, 60), 'a user who may only write publishes');
like(wait_check(qr/topic "allowed"/), qr/taken by topic "allowed" 5000\|/,
	'the topic that he may ask for is reported, the other is not known');
unlike(slurp_file($node->logfile, $offset), qr/denied/, 'and nobody hears of that');

# --- who may write, but not create
$kafka->allow('created', 'evpub', 'WRITE');
$node->safe_psql('postgres', q{SELECT evpub.publish('t', 'acme', topic => 'created')});
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%\"created\" does not exist and cannot be created%'"),
	'a topic that the user may not create');
like(status($node, 'hint'), qr/--operation Create --topic/, 'and what to type');
$kafka->allow('created', 'evpub', 'CREATE');
ok(wait_published($node), 'Write and Create on a topic are enough to create it and to publish');

# --- what the topic takes is found by trying then, and a reload tries again
my $denied = q{SELECT count(evpub.publish('t', 'acme', topic => 'denied',
	data => jsonb_build_object('v', repeat('x', 700)))) FROM generate_series(1, 300)};
# what was refused goes one by one, so it may take several times to find out
my $tries = 0;
while (refusals('denied', $denied) > 0)
{
	last if ++$tries == 10;
}
cmp_ok($tries, '>=', 1, 'a cap is found by halving');
cmp_ok($tries, '<', 10, 'it holds');
# check() shows when the worker has taken the reload in
$node->safe_psql('postgres', q{ALTER SYSTEM SET evpub.max_event_bytes = '90kB'; SELECT pg_reload_conf()});
like(wait_check(qr/may have 92160 bytes/), qr/92160/, 'a reload');
cmp_ok(refusals('denied', $denied), '>=', 1, '... tries a higher one');

$node->stop;
done_testing();
