
# An event that Kafka refuses for ever is given up by evpub.skip_event(), and
# no other one: consumers get an evpub.skipped event instead, once, whatever dies
# in between, and everything else is published in order, once.
use strict;
use warnings;

use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }

$kafka->create_topic('narrow', 2, { 'max.message.bytes' => 5000 });
$kafka->create_topic('compacted', 1, { 'cleanup.policy' => 'compact' });
sql(q{
CREATE TABLE narrow (id int PRIMARY KEY, tenant text NOT NULL, text text);
SELECT evpub.capture_table('narrow', tenant_column => 'tenant', topic => 'narrow', payload => 'row')});

# The id of the event that publishing stands still at.
sub refused
{
	my ($name) = @_;
	my $id;
	wait_until("$name: an event is refused alone", sub {
		($id) = status($node, 'state_reason') =~ /at event ([0-9a-fA-F-]{51})$/;
		return defined $id && skip_event('x') =~ /It stands still at event "$id"/;
	});
	return $id;
}

# What skip_event() answers: "" or the error with its detail.
sub skip_event
{
	my ($id, $user) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		($user ? "SET SESSION AUTHORIZATION $user; " : '') . "SELECT evpub.skip_event('$id')");
	return $err;
}

# records(topic): those of evpub.skipped, and the ids of rows of all others.
sub records
{
	my ($topic) = @_;
	my @all = events($kafka, $topic);
	my @skipped = grep { $_->{event}{type} eq 'evpub.skipped' } @all;
	return (\@skipped, [ map { $_->{event}{pk}{id} } grep { $_->{event}{type} =~ /^narrow/ } @all ]);
}

# ---- nothing stands still: nothing can be given up ----

like(skip_event('x'), qr/publishing does not stand still at event "x".*No event is known/s, 'nothing is refused');
sql(q{INSERT INTO narrow SELECT i, 'acme', 'short' FROM generate_series(1, 50) i});
ok(wait_published($node), 'published');
my $record = (events($kafka, 'narrow'))[0];
like(skip_event($record->{event}{id}), qr/does not stand still/, 'an event that is published cannot be given up');

# ---- an event that is too large, among others ----

sql(q{INSERT INTO narrow SELECT i, 'acme', repeat('x', CASE i WHEN 80 THEN 6000 ELSE 100 END)
	  FROM generate_series(51, 150) i});
sql(q{INSERT INTO narrow VALUES (151, 'acme', 'behind')});
my $id = refused('too large');
like(status($node, 'hint'), qr/SELECT evpub\.skip_event\('$id'\);$/, 'the hint is what to type');
my $other = $id;
substr($other, -1) = substr($other, -1) eq '0' ? '1' : '0';
like(skip_event($other), qr/does not stand still at event "$other"/, 'another event of the transaction cannot be given up');
like(skip_event(substr($id, 0, 50)), qr/does not stand still/, 'nor part of an id');
sql('CREATE ROLE nobody');
like(skip_event($id, 'nobody'), qr/permission denied/, 'nor by an ordinary role');
my $log = -s $node->logfile;
is(skip_event($id), '', 'the refused event is given up');
like(slurp_file($node->logfile, $log), qr/WARNING: .*event $id was given up by request of role.*\n.*MSG_SIZE_TOO_LARGE/,
	'the log says which, why, and who asked for it');
ok(wait_published($node), 'too large: goes on');
my ($skipped, $ids) = records('narrow');
is_deeply($ids, [ 1 .. 79, 81 .. 151 ], 'too large: everything else, once and in order');
is(scalar(@$skipped), 1, 'too large: one evpub.skipped event');
is($skipped->[0]{event}{id}, $id, '... with the id of the event');
is($skipped->[0]{key}, $record->{key}, '... its key');
is($skipped->[0]{partition}, $record->{partition}, '... its partition');
is_deeply($skipped->[0]{event}{pk}, { id => 80 }, '... its row');
is($skipped->[0]{event}{tenant}, 'acme', '... and tenant');
is($skipped->[0]{event}{data}{type}, 'narrow.created', '... and its type');
like($skipped->[0]{event}{data}{reason}, qr/MSG_SIZE_TOO_LARGE/, '... and says why');
is(status($node, 'events_skipped'), 1, 'it is counted');
like(skip_event($id), qr/does not stand still/, 'it is given up once');

# ---- crashes between the decision and the acknowledgement ----

sql(q{INSERT INTO narrow SELECT i, 'acme', repeat('x', CASE i WHEN 160 THEN 6000 ELSE 100 END)
	  FROM generate_series(152, 170) i});
$id = refused('crash');
$kafka->pause;
is(skip_event($id), '', 'given up while brokers do not answer');
$node->stop('immediate');
$node->start;
$kafka->cont;
ok(wait_published($node), 'crash: goes on');
($skipped, $ids) = records('narrow');
is_deeply($ids, [ 1 .. 79, 81 .. 159, 161 .. 170 ], 'crash: everything else, once and in order');
is(scalar(grep { $_->{event}{id} eq $id } @$skipped), 1, 'crash: one evpub.skipped event');

# ---- the evpub.skipped event is refused, too ----

sql(q{BEGIN;
INSERT INTO narrow VALUES (171, 'acme', 'before');
SELECT evpub.publish_raw('compacted', NULL, '{"a": 1}');
SELECT evpub.publish_raw('compacted', 'key', '{"b": 1}');
INSERT INTO narrow VALUES (172, 'acme', 'behind');
COMMIT});
$id = refused('no key');
$log = -s $node->logfile;
is(skip_event($id), '', 'a record without a key is given up');
ok(wait_published($node), 'no key: goes on');
like(slurp_file($node->logfile, $log), qr/event $id is given up, and nothing is published instead of it/, 'the log says so');
is(join(' ', map { $_->{value} } $kafka->consume('compacted')), '{"b": 1}', 'nothing stands for it');
$node->restart;
sql(q{INSERT INTO narrow VALUES (173, 'acme', 'at the end')});
ok(wait_published($node), 'restarted');
($skipped, $ids) = records('narrow');
is_deeply($ids, [ 1 .. 79, 81 .. 159, 161 .. 173 ], 'no key: everything else, once and in order');
is(unpack('x N', read_state($node->data_dir)->{rest}), 0, 'what is behind needs no memory any more');

# ---- an evpub.gap event can be given up, too ----

$kafka->set_topic('narrow', { 'max.message.bytes' => 100 });
sql('SELECT evpub.pause()');
sql(q{INSERT INTO narrow VALUES (174, 'acme', 'lost'); SELECT evpub.discard(pg_current_wal_flush_lsn())});
sql(q{SELECT evpub.publish_raw('compacted', 'key', '{"c": 1}')});
sql('SELECT evpub.resume()');
for my $partition (0, 1)
{
	$id = refused("gap, partition $partition");
	like($id, qr/-F/, "gap, partition $partition: it is an evpub.gap event");
	is(skip_event($id), '', 'given up');
}
ok(wait_published($node), 'gap: goes on, though the topic takes nothing at all');

# what another partition took before the relay ended comes again, with the same id
my %behind = map { $_->{headers} => $_->{value} } grep { $_->{value} =~ /"[bc]"/ } $kafka->consume('compacted');
is(join(' ', sort values %behind), '{"b": 1} {"c": 1}', 'gap: other topics get what is behind');
my %announced = map { $_->{value} => 1 } grep { $_->{value} =~ /evpub\.gap/ } $kafka->consume("compacted");
is(scalar(keys %announced), 1, "gap: and its announcement");

# ---- what goes without a record may be the last there is ----

$kafka->set_topic('narrow', { 'max.message.bytes' => 5000 });
sql(q{BEGIN;
SELECT evpub.publish_raw('compacted', 'key', '{"d": 1}');
SELECT evpub.publish_raw('compacted', NULL, '{"e": 1}');
SELECT evpub.publish_raw('compacted', NULL, '{"f": 1}');
COMMIT});
for my $nth (1, 2)
{
	$id = refused("the last ones, $nth");
	$log = -s $node->logfile;
	is(skip_event($id), '', 'given up');
}

# the relay may have its answer from the brokers before publishing goes on
wait_until('nothing is published instead', sub { slurp_file($node->logfile, $log) =~ /nothing is published instead/ });
sql('SELECT evpub.pause()');
wait_until('a relay runs', sub { status($node, 'relay_pid') });
sql('SELECT evpub.check()');
sql('SELECT evpub.resume()');
ok(wait_published($node), 'the last ones: all is published');
ok(wait_for_state($node, 'streaming', 10), 'the last ones: state is streaming, though no acknowledgement follows');

# ---- an event that was given up otherwise in between ----

sql(q{SELECT evpub.publish_raw('compacted', NULL, '{"g": 1}')});
$id = refused('discarded');
my $given_up = status($node, 'events_skipped');
sql('SELECT evpub.pause(); SELECT evpub.discard(pg_current_wal_flush_lsn())');
like(skip_event($id), qr/does not stand still at event "$id"/, 'an event that was discarded cannot be given up again');
sql('SELECT evpub.resume()');
ok(wait_published($node), 'discarded: goes on');
is(status($node, 'events_skipped'), $given_up, '... and is not counted');

# ---- partitions that refuse batches at the same time: an event that is in one with
# the event to blame is innocent ----

$kafka->create_topic('wide', 2, { 'max.message.bytes' => 5000 });
my ($even) = grep { partition_of($_, 2) == 0 } 'a' .. 'z';
my ($odd) = grep { partition_of($_, 2) == 1 } 'a' .. 'z';
my (@innocent, @to_blame);
for my $keys ([ $even, $odd ], [ $odd, $even ])
{
	my ($one, $two) = @$keys;
	sql(qq{SELECT evpub.pause(); BEGIN;
SELECT evpub.publish_raw('wide', '$one', '"innocent"') FROM generate_series(1, 40);
SELECT evpub.publish_raw('wide', '$two', to_jsonb(repeat('x', 6000)));
SELECT evpub.publish_raw('wide', '$one', to_jsonb(repeat('y', 6000)));
COMMIT});
	my @ids = split /\n/, sql('SELECT id FROM evpub.peek()');
	my @blame = splice @ids, 40;
	push @innocent, @ids;
	push @to_blame, @blame;
	$log = -s $node->logfile;
	my $attack = start_psql($node, qq{
DO \$\$
DECLARE
	stands text;
BEGIN
	LOOP
		BEGIN
			PERFORM evpub.skip_event('x');
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			GET STACKED DIAGNOSTICS stands = PG_EXCEPTION_DETAIL;
			EXIT WHEN stands LIKE '%$blame[0]%';
			IF stands LIKE 'It stands still%' THEN
				RAISE 'an innocent event can be given up: %', stands;
			END IF;
		END;
		PERFORM pg_sleep(0.01);
	END LOOP;
END \$\$});
	sql('SELECT evpub.resume()');
	ok(finish($attack), "an innocent event cannot be given up, first key $one") or diag $attack->{err};
	my %named = map { $_ => 1 } slurp_file($node->logfile, $log) =~ /To give up exactly this event: SELECT evpub.skip_event\('([^']+)'/g;
	is(join(' ', grep { !$named{$_} } $blame[0]), '', '... the log says what to give up');
	is(join(' ', grep { $named{$_} } @ids), '', '... and names no innocent event');
	for my $nth (0, 1)
	{
		is(refused("batches, $nth"), $blame[$nth], 'the event to blame is named');
		is(skip_event($blame[$nth]), '', '... and given up');
	}
	ok(wait_published($node), 'batches: goes on');
}
my (%innocent, %stands);
for ($kafka->consume('wide'))
{
	$innocent{$1} = 1 if $_->{value} eq '"innocent"' && $_->{headers} =~ /evpub-id=([^,]+)/;
	$stands{$1} = 1 if $_->{value} =~ /"id":"([^"]+)","type":"evpub.skipped"/;
}
is_deeply([ sort keys %innocent ], [ sort @innocent ], 'batches: what is innocent is published');
is_deeply([ sort keys %stands ], [ sort @to_blame ], 'batches: evpub.skipped stands for the others alone');

# ---- each envelope, with what has to be quoted ----

my @envelopes = qw(plain cloudevents cloudevents_binary none);
$kafka->create_topic("env_$_", 1, { 'max.message.bytes' => 5000 }) for @envelopes;
sql(qq{CREATE TABLE env_$_ (id text PRIMARY KEY, tenant text NOT NULL, text text);
SELECT evpub.capture_table('env_$_', tenant_column => 'tenant', topic => 'env_$_', payload => 'row',
	type => 'ty"pe\\é.{event}', envelope => '$_')}) for @envelopes;
sql(join('', 'BEGIN;',
	(map { qq{INSERT INTO env_$_ VALUES (E'p"\\u00e9\\n', E't"\\u00e9\\\\\\t', repeat('x', 6000));\n} } @envelopes),
	q{SELECT evpub.publish_raw('env_none', 'key', NULL, jsonb_build_object('large', repeat('x', 6000)));},
	'COMMIT'));
for my $envelope (@envelopes, 'none')
{
	$id = refused("envelope $envelope");
	is(skip_event($id), '', "envelope $envelope: given up");
}
ok(wait_published($node), 'envelopes: go on');
for my $envelope (@envelopes)
{
	my @of = grep { $_->{event}{type} eq 'evpub.skipped' } events($kafka, "env_$envelope");
	is(scalar(@of), $envelope eq 'none' ? 2 : 1, "envelope $envelope: valid JSON");
	next if $envelope eq 'none';
	is($of[0]{event}{data}{type}, "ty\"pe\\\x{e9}.created", '... with the type');
	is($of[0]{event}{tenant}, "t\"\x{e9}\\\t", '... and the tenant');
	is($of[0]{event}{pk}{id}, "p\"\x{e9}\n", '... and the key');
}

# ---- ids that are none ----

is(skip_event("' || NULL || '"), '', 'NULL is no request');
like(skip_event("' || $_ || '"), qr/does not stand still/, 'no id') for q{''}, q{repeat('x', 1000000)};
{
	local $ENV{PGCLIENTENCODING} = 'LATIN1';
	like(skip_event(q{xx' || repeat(U&'\00e9', 1000) || '}), qr/publishing does not stand still at event "xx\xe9+"/,
		'a text that is too long is cut between two characters');
}

$node->stop;
done_testing();
