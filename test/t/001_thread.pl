
# A committed row change becomes an event in Kafka: its contents, key,
# partition, header and order; what is rolled back does not.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
my $topic = $EvpubTest::TOPIC;

cms_tables($node);
ok(wait_for_state($node, 'streaming'), 'publishes by itself once created');

is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM evpub.tables WHERE topic = '$topic'"),
	'3',
	'evpub.tables shows the captured tables with their topic');

# Two tenants use the same ids.
$node->safe_psql(
	'postgres', q{
INSERT INTO code VALUES ('acme', 'GRADE-1', 'Junior'), ('beta', 'GRADE-1', 'Trainee');
INSERT INTO organization VALUES ('acme', 1, 'Head office'), ('beta', 1, 'Workshop');
BEGIN;
INSERT INTO member VALUES ('acme', 42, 1, 'Kim'), ('beta', 42, 1, 'Lee');
UPDATE member SET name = 'Kim, J.' WHERE (tenant_id, id) = ('acme', 42);
COMMIT;
BEGIN;
INSERT INTO member VALUES ('acme', 666, 1, 'never');
SELECT evpub.publish('never', 'acme');
ROLLBACK;
DELETE FROM member WHERE (tenant_id, id) = ('beta', 42);
BEGIN;
INSERT INTO organization VALUES ('acme', 2, 'Branch');
SAVEPOINT s;
INSERT INTO organization VALUES ('acme', 667, 'never');
ROLLBACK TO s;
INSERT INTO member VALUES ('acme', 43, 2, 'Park');
SELECT evpub.publish('payroll.closed', 'acme', '{"month": "2026-11"}', '{"sum": 12.50}');
COMMIT;
SELECT evpub.publish_raw('cms-hr-operation', 'acme', '{"as": ["it", "is"]}');
SELECT evpub.publish_raw('cms-hr-operation', 'acme', NULL, '{"why": "tombstone"}');
});
ok(wait_published($node), 'wait_published: all that has committed is in Kafka');

my @raw = $kafka->consume($topic);
my ($tombstone) = grep { !defined $_->{value} } @raw;
my ($as_it_is) = grep { defined $_->{value} && $_->{value} =~ /as/ && $_->{value} !~ /"id":/ } @raw;
my @events =
  map { { %$_, event => decode_event($_->{value}) } }
  sort { $a->{partition} <=> $b->{partition} || $a->{offset} <=> $b->{offset} }
  grep { defined $_->{value} && $_->{value} =~ /"id":/ } @raw;

is(scalar @raw, 13, 'one record for each event, none for what was rolled back');
is_deeply(
	decode_event($as_it_is->{value}),
	{ as => [ 'it', 'is' ] },
	'publish_raw: the value as it is');
is($as_it_is->{key}, 'acme', 'publish_raw: the key as given');
ok($tombstone, 'publish_raw without a value: a tombstone');
like($tombstone->{headers}, qr/why=tombstone/, 'publish_raw: headers');

sub sequence
{
	my ($tenant) = @_;
	return [
		map { "$_->{event}{type} " . ($_->{event}{pk}{id} // $_->{event}{pk}{code} // $_->{event}{pk}{month}) }
		grep { $_->{event}{tenant} eq $tenant } @events
	];
}

is_deeply(
	sequence('acme'),
	[
		'code.created GRADE-1',
		'organization.created 1',
		'member.created 42',
		'member.updated 42',
		'organization.created 2',
		'member.created 43',
		'payroll.closed 2026-11',
	],
	'a tenant\'s events stand in the order of commits and statements');
is_deeply(
	sequence('beta'),
	[
		'code.created GRADE-1',
		'organization.created 1',
		'member.created 42',
		'member.deleted 42',
	],
	'another tenant with the same ids has events of its own');

my ($member) = grep { $_->{event}{type} eq 'member.created' && $_->{event}{tenant} eq 'acme' } @events;
my $publisher = status($node, 'publisher_id');
like(
	$member->{value},
	qr(^\{"id":"$publisher-0{7}1-[0-9A-F]{16}-[0-9A-F]{8}","type":"member\.created","tenant":"acme","pk":\{"tenant_id":"acme","id":42\},"lsn":"[0-9A-F]+/[0-9A-F]+","tx":3,"time":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"\}$),
	'zero payload: type, tenant and key, nothing of the row');

my ($closed) = grep { $_->{event}{type} eq 'payroll.closed' } @events;
like($closed->{value}, qr/"data":\{"sum": ?12\.50\}/,
	'publish: data keeps its digits');
is($closed->{key}, 'acme', 'publish: the key is the tenant');
is( scalar(grep { $_->{key} ne $_->{event}{tenant} } @events),
	0, 'the key is the tenant');
is( scalar(grep { $_->{partition} != partition_of($_->{key}, 6) } @raw),
	0, 'the partition is murmur2 of the key, as in the Java client');
is( scalar(grep { $_->{headers} ne "evpub-id=$_->{event}{id}" } @events),
	0, 'one header: evpub-id, the id of the event');

my %per_commit;
$per_commit{ $_->{event}{lsn} }++ for @events;
is( scalar(grep { $per_commit{ $_->{event}{lsn} } != $_->{event}{tx} } @events),
	0, 'tx is the number of events of the transaction');
check_ids('thread', @events);

# The first to commit comes first, not the first to write.
{
	my $slow = $node->background_psql('postgres');
	$slow->query_safe(q{BEGIN; INSERT INTO code VALUES ('acme', 'WROTE-FIRST', '')});
	$node->safe_psql('postgres',
		q{INSERT INTO code VALUES ('acme', 'COMMITTED-FIRST', '')});
	$slow->query_safe('COMMIT');
	$slow->quit;
	ok(wait_published($node), 'published');
	my @last = (grep { defined $_->{value} && $_->{value} =~ /FIRST/ } $kafka->consume($topic));
	like($last[0]{value}, qr/COMMITTED-FIRST/, 'order is the order of commits');
	like($last[1]{value}, qr/WROTE-FIRST/, 'and the later commit comes later');
}

# Status.
is(status($node, 'events_in_flight'), '0', 'status: nothing in flight');
is(status($node, 'events_published'), '15', 'status: events published');
is(status($node, 'bootstrap_servers'), $kafka->bootstrap, 'status: brokers');
like(status($node, 'librdkafka_version'), qr/^\d+\.\d+/, 'status: librdkafka');
is(status($node, 'relay_pid'), relay_pid($node), 'status: the relay\'s process');
is(status($node, 'confirmed_lsn <= flush_lsn'), 't', 'status: positions');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM evpub.topics WHERE topic = '$topic'"),
	'1', 'evpub.topics shows the topic');

# Pause, peek, resume.
$node->safe_psql('postgres', 'SELECT evpub.pause()');
ok(wait_for_state($node, 'paused'), 'pause');
$node->safe_psql('postgres',
	q{UPDATE organization SET name = 'HQ' WHERE id = 1});
is( $node->safe_psql('postgres',
		q{SELECT evpub.wait_published(NULL, '100 ms')}),
	'f',
	'wait_published: false when the time is over');
is( $node->safe_psql(
		'postgres',
		q{SELECT string_agg(concat_ws(' ', key, topic, value::jsonb ->> 'type', published), E'\n' ORDER BY id)
		  FROM evpub.peek()}),
	"acme $topic organization.updated f\nbeta $topic organization.updated f",
	'peek shows what is committed and not yet published');
$node->restart;
ok(wait_for_state($node, 'paused'), 'pause survives a restart');
is($kafka->record_count($topic), 15, 'nothing is published while paused');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_for_state($node, 'streaming'), 'resume');
ok(wait_published($node), 'what was held back is published');
is($node->safe_psql('postgres', 'SELECT count(*) FROM evpub.peek()'),
	'0', 'peek: nothing left');
my @after = events_of(qr/organization\.updated/);
is(scalar @after, 2, 'each held back event once');

# Release.
$node->safe_psql('postgres', q{SELECT evpub.release_table('code')});
$node->safe_psql('postgres',
	q{INSERT INTO code VALUES ('acme', 'RELEASED', '')});
$node->safe_psql('postgres',
	q{INSERT INTO organization VALUES ('acme', 99, 'after')});
ok(wait_published($node), 'published');
is(scalar(events_of(qr/RELEASED/)), 0, 'a released table has no events');
is(scalar(events_of(qr/"id":99/)), 1, 'the others go on');

$node->stop;
done_testing();

sub events_of
{
	my ($what) = @_;
	return grep { defined $_->{value} && $_->{value} =~ $what } $kafka->consume($topic);
}
