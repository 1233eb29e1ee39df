
# Topics that are compacted, deleted, made again, grown or retired.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use Test::More;

my $kafka = EvpubKafka->new->start;
$kafka->create_topic('ta', 3);
$kafka->create_topic('tb', 3);
$kafka->create_topic('tc', 2, { 'cleanup.policy' => 'compact' });
my $node = capture_node('main', kafka => $kafka, conf => 'evpub.topic_partitions = 5');
$node->safe_psql(
	'postgres', q{
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY);
CREATE TABLE c (id int PRIMARY KEY);
SELECT evpub.capture_table('a', tenant => 'acme', topic => 'ta', key => '{table}/{pk}');
SELECT evpub.capture_table('b', tenant => 'acme', topic => 'tb');
SELECT evpub.capture_table('c', tenant => 'acme', topic => 'tc', key => '{table}/{pk}', on_delete => 'tombstone');
});
my $id = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub fails
{
	my ($sql) = @_;
	my $err;
	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql", stderr => \$err);
	return $err;
}

sub insert
{
	$id++;
	sql("INSERT INTO $_ VALUES ($id)") for @_;
	return;
}

sub gaps
{
	my ($topic) = @_;
	return grep { $_->{event}{type} eq 'evpub.gap' }
	  map { { %$_, event => decode_event($_->{value}) } } grep { defined $_->{value} } $kafka->consume($topic);
}

# ---- gaps in a compacted topic ----

insert('a', 'b', 'c');
sql('DELETE FROM c');
ok(wait_published($node), 'published');
sql('SELECT evpub.pause()');
insert('a', 'b', 'c');
sql('SELECT evpub.discard(pg_current_wal_flush_lsn())');
sql('SELECT evpub.resume()');
insert('a', 'b', 'c');
ok(wait_published($node), 'a gap is announced in a compacted topic, too');
for my $topic ('ta', 'tb', 'tc')
{
	my @told = gaps($topic);
	is(scalar @told, ($topic eq 'tc' ? 2 : 3), "$topic: it is announced in each partition");
	is_deeply([ grep { $_->{key} ne "evpub.gap/$_->{partition}" } @told ], [], "$topic: with its key");
}
my %number = map { ("$_->{topic}/$_->{partition}" => substr $_->{event}{id}, -8) }
  map { my $topic = $_; map { { %$_, topic => $topic } } gaps($topic) } 'ta', 'tb', 'tc';
my %distinct = map { $_ => 1 } values %number;
is(scalar keys %distinct, 8, 'each with a number of its own');

# ---- resume() accepts the topic that failed, and no other ----

sub without_brokers
{
	my ($sub) = @_;
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers');
	$sub->();
	set_brokers($node, $kafka->bootstrap);
	return;
}

without_brokers(
	sub {
		$kafka->delete_topic($_) for 'ta', 'tb';
		wait_until('topics go', sub { my $t = $kafka->topics; !$t->{ta} && !$t->{tb} });
		$kafka->create_topic('ta', 2);
		insert('a');
	});
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%\"ta\"%made again%'"),
	'"ta" was made again: blocked');
# 2 as soon as an event has gone there
like(sql(q{SELECT evpub.resume(); SELECT partitions FROM evpub.topics WHERE topic = 'ta'}),
	qr/\A\s*[32]\z/, 'accepted: the count that it had is shown until there is another');
ok(wait_published($node), 'accepted: it goes on');
is($kafka->record_count('ta'), 1, 'in the new "ta"');
insert('b');
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%\"tb\"%does not exist%'"),
	'that "tb" is gone is seen');
ok(!exists $kafka->topics->{tb}, 'evpub does not make it');
is(sql(q{SELECT partitions FROM evpub.topics WHERE topic = 'tb'}), 3, 'nor forget how many partitions it had');

# both made again with fewer partitions: one at a time
without_brokers(
	sub {
		$kafka->create_topic('tb', 2);
		$kafka->delete_topic('ta');
		wait_until('topic goes', sub { !$kafka->topics->{ta} });
		$kafka->create_topic('ta', 1);
		insert('a');
	});
my %blocked;
for (1 .. 2)
{
	ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%made again%'"), 'made again');
	my ($which) = status($node, 'state_reason') =~ /topic "(t[ab])"/;
	$blocked{$which}++;
	sql('SELECT evpub.resume()');
	wait_for_status($node, "state = 'streaming' OR state_reason NOT LIKE '%\"$which\"%'");
}
is_deeply(\%blocked, { ta => 1, tb => 1 }, 'each is accepted for itself');
ok(wait_published($node), 'and it goes on');

# deleted and made again as large as before, so that only offsets tell
insert('b') for 1 .. 5;
ok(wait_published($node), 'published');
without_brokers(
	sub {
		$kafka->delete_topic('tb');
		wait_until('topic goes', sub { !$kafka->topics->{tb} });
		$kafka->create_topic('tb', 2);
		insert('b', 'a');
	});
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%\"tb\"%deleted and made again%'"),
	'its offsets go back');
sql('SELECT evpub.resume()');
ok(wait_published($node), 'accepted');
$node->psql('postgres', 'SELECT evpub.resume()', stderr => \my $said);
like($said, qr/NOTICE:  evpub was not paused, and nothing waits for resume\(\)/, 'resume() for nothing says so');

# ---- a retired topic ----

$kafka->delete_topic('tb');
wait_until('topic goes', sub { !$kafka->topics->{tb} });
sql('SELECT evpub.pause()');
insert('a');
sql('SELECT evpub.discard(pg_current_wal_flush_lsn())');
sql('SELECT evpub.resume()');
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%\"tb\"%'"), 'a retired topic holds up a gap');
like(fails(q{SELECT evpub.forget_topic('nobody')}), qr/ERROR:  42704: topic "nobody" was never published to/,
	'forget_topic(): unknown');
like(fails('SELECT evpub.forget_topic(repeat($$x$$, 300))'), qr/ERROR:  42704:/, 'forget_topic(): no name');
like(fails(q{CREATE ROLE somebody; GRANT USAGE ON SCHEMA evpub TO somebody; SET ROLE somebody; SELECT evpub.forget_topic('tb')}),
	qr/ERROR:  42501:/, 'forget_topic(): not for everybody');
my $offset = -s $node->logfile;
sql(q{SELECT evpub.forget_topic('tb')});
ok($node->log_contains(qr/LOG:  evpub: topic "tb" was forgotten/, $offset), 'forgotten: a line in the log');
ok(wait_published($node), 'and the gap is announced in the others');
is(sql(q{SELECT string_agg(topic, ' ' ORDER BY topic) FROM evpub.topics}), 'ta tc', 'evpub.topics does not show it');
my %later = map { ("$_->{topic}/$_->{partition}" => substr $_->{event}{id}, -8) }
  map { my $topic = $_; map { { %$_, topic => $topic } } gaps($topic) } 'tc';
is_deeply([ map { $later{"tc/$_"} } 0 .. 1 ], [ map { $number{"tc/$_"} } 0 .. 1 ],
	'other topics keep their numbers');
insert('b');
ok(wait_published($node), 'an event that comes for it nevertheless');
is($kafka->topics->{tb}, 5, '... makes it as one never published to');
$node->stop('immediate');
$node->start;
ok(wait_for_state($node, 'streaming'), 'after a crash');
is(sql(q{SELECT partitions FROM evpub.topics WHERE topic = 'tb'}), 5, 'its count was durable');

# ---- growth ----

my %keys = map { ("a/$_" => 1) } 1 .. 1000;
sql('INSERT INTO a SELECT generate_series(1001, 1100)');
ok(wait_published($node), 'published');
$kafka->grow_topic('ta', 4);
# A new relay asks for the topics that are known as soon as it is there; so there is none
# before the event that goes by the old count is committed.
$node->append_conf('postgresql.conf', "evpub.bootstrap_servers = ''");
$node->stop;
$offset = -s $node->logfile;
$node->start;
sql('INSERT INTO a VALUES (2000)');
set_brokers($node, $kafka->bootstrap);
ok(wait_published($node), 'published');
# for this line the administrator waits who has stopped the writers
$node->wait_for_log(qr/topic "ta" has grown from 1 to 4 partitions/, $offset);
pass('growth is logged when the next event would go by it');
is(sql(q{SELECT partitions FROM evpub.topics WHERE topic = 'ta'}), 1, 'none has yet');
sql('INSERT INTO a VALUES (2001)');
ok(wait_published($node), 'published');
ok(wait_for_status($node, q{4 = (SELECT partitions FROM evpub.topics WHERE topic = 'ta')}), 'the next one has');
sql('INSERT INTO a SELECT generate_series(5000, 5100)');
ok(wait_published($node), 'published');
my $misplaced = 0;
my $grown = 0;
for my $record (sort { $a->{event}{id} cmp $b->{event}{id} } grep { $_->{event}{type} =~ /^a\./ } events($kafka, 'ta'))
{
	my $where = partition_of("a/$record->{event}{pk}{id}", 4);
	$grown = 1 if $record->{partition} > 0;
	$misplaced++ if $grown && $record->{partition} != $where;
}
ok($grown, 'new partitions are used');
is($misplaced, 0, 'and from one commit on by all');
$node->stop;
done_testing();
