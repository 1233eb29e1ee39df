
# evpub.on_error = dead_letter: an event that Kafka refuses alone goes to the
# dead-letter topic, once, and before any later event goes out, whatever dies in
# between; unless the topic is to blame, or the dead-letter topic refuses, too.
use strict;
use warnings;

use Encode qw(decode);
use EvpubFaults;
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
my $node = crash_node('main', kafka => $kafka);
my $serial = 0;    # of the last row
my $partition = partition_of('acme', 2);    # of all rows

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Settings, when the postmaster has read them and signals its children.
sub set
{
	my ($what) = @_;
	my $from = -s $node->logfile;
	my ($name) = $what =~ /^(\S+)/;
	sql("ALTER SYSTEM SET $what; SELECT pg_reload_conf()");
	wait_until("$what is read", sub { slurp_file($node->logfile, $from) =~ /parameter "$name"/ });
	return;
}

sub skip_event
{
	my ($id) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT evpub.skip_event('$id')");
	return $err;
}

# The event that publishing stands still at, when the reason matches.
sub stands_still
{
	my ($name, $reason) = @_;
	my $id;
	ok(eval { wait_until($name, sub {
		my $now = status($node, 'state_reason');
		$now =~ $reason or return 0;
		($id) = skip_event('x') =~ /It stands still at event "([^"]+)"/;
		return status($node, 'state') eq 'blocked' && defined $id; }, 30) }, "$name: blocked")
	  or diag status($node, "concat_ws(' ', state, state_reason, hint)");
	return $id // '';
}

# add(text, ...): a row for each, in one transaction; returns their ids.
sub add
{
	my @ids = map { ++$serial } @_;
	sql(join '', 'BEGIN;', (map { "INSERT INTO narrow VALUES ($ids[$_], 'acme', $_[$_]);" } 0 .. $#_), 'COMMIT');
	return @ids;
}

# Records of a dead-letter topic, each with its headers.
sub letters
{
	my ($topic) = @_;
	my @letters = $kafka->consume($topic // 'letters');
	for (@letters)
	{
		my $error = $_->{headers} =~ s/evpub-error=(.*?[0-9A-F]{8})(?=,|$)// ? $1 : undef;
		$_->{header} = { (map { split /=/, $_, 2 } grep { $_ } split /,/, $_->{headers}), 'evpub-error' => $error };
	}
	return sort { $a->{header}{'evpub-id'} cmp $b->{header}{'evpub-id'} } @letters;
}

# How many events of a topic have a dead letter.
sub letters_of
{
	my ($topic) = @_;
	my %ids = map { ($_->{header}{'evpub-id'} => 1) } grep { ($_->{header}{'evpub-topic'} // '') eq $topic } letters();
	return scalar keys %ids;
}
sub letter_rows { return [ map { $_->{value} =~ /"pk":\{"id":(\d+)/ ? $1 + 0 : '?' } letters(@_) ] }

# Rows of which the topic has an event, in the order of their first one.
sub rows
{
	my %seen;
	return [ grep { !$seen{$_}++ } map { $_->{value} =~ /"type":"narrow.created".*"pk":\{"id":(\d+)/ ? $1 : () }
		  $kafka->consume('narrow', partition => $partition) ];
}
sub check { return sql(q{SELECT ok, detail FROM evpub.check() WHERE name = 'dead_letters'}) }

my ($small, $large) = (q{'small'}, q{repeat('x', 6000)});

$kafka->create_topic('narrow', 2, { 'max.message.bytes' => 5000 });
$kafka->create_topic('compacted', 1, { 'cleanup.policy' => 'compact' });
sql(q{
CREATE TABLE narrow (id int PRIMARY KEY, tenant text NOT NULL, text text);
SELECT evpub.capture_table('narrow', tenant_column => 'tenant', topic => 'narrow', payload => 'row',
	headers => '{"own": "header"}')});
like(check(), qr/^t\|/, 'check: nothing is wrong with "block"');

# ---- without a topic for it, an event blocks, and it is said what is missing ----

set(q{evpub.on_error = 'dead_letter'});
like(check(), qr/^f\|.*evpub.dead_letter_topic is not set/, 'check: no topic');
my ($row) = add($large);
my $id = stands_still('no topic', qr/^topic "narrow" partition \d: MSG_SIZE_TOO_LARGE .* at event \S{51}$/);
like(status($node, 'hint'), qr/evpub.dead_letter_topic is not set/, 'no topic: the hint says so');
set(q{evpub.dead_letter_topic = 'narrow'});
like(check(), qr/^f\|.*"narrow".*is also a topic of events/, 'check: a topic of events');
ok(wait_for_status($node, q{hint LIKE '%evpub.dead_letter_topic itself%'}), 'the same topic: the hint says so');
is($node->psql('postgres', "ALTER SYSTEM SET evpub.dead_letter_topic = '$_'"), 3, "\"$_\" is no topic")
  for 'a b', '..', 'x' x 250;
set(q{evpub.dead_letter_topic = 'letters'});
like(check(), qr/^t\|/, 'check: nothing is wrong');
ok(wait_published($node), 'set while an event blocks: it goes to the dead-letter topic');
is_deeply(letter_rows(), [$row], '... as the only one');

# ---- one of 10,000 ----

my %took;
for my $name (qw(none one))
{
	my $from = $serial + 1;
	$serial += 10000;
	my $refused = $name eq 'one' ? $serial - 5000 : 0;
	my $start = time;
	sql(qq{INSERT INTO narrow SELECT i, 'acme', CASE i WHEN $refused THEN $large ELSE $small END
		FROM generate_series($from, $serial) i});
	ok(wait_published($node), "10,000 events, $name refused");
	$took{$name} = time - $start;
}
diag sprintf '10,000 events: %.2f s, with one that is refused: %.2f s', @took{qw(none one)};
cmp_ok($took{one} - $took{none}, '<', 5, 'a refused event costs less than 5 s');
my @refused = ($row, $serial - 5000);
sub others { my %refused = map { $_ => 1 } @refused; return [ grep { !$refused{$_} } 1 .. $serial ] }
is_deeply(rows(), others(), 'all others are there, in order');
is($kafka->record_count('narrow'), $serial - @refused, '... and once');
is(status($node, 'dead_lettered'), 2, 'dead letters are counted');
is(status($node, 'events_published'), $serial, '... as published, too');
my ($before, $letter) = letters();
my %header = %{ $letter->{header} };
is($letter->{key}, 'acme', 'dead letter: the key');
is($letter->{partition}, partition_of('acme', 6), '... decides the partition');
is($header{'evpub-topic'}, 'narrow', '... the topic');
is($header{'evpub-partition'}, $partition, '... its partition');
is($header{'evpub-error-code'}, 10, '... the code');
like($header{'evpub-error'}, qr/MSG_SIZE_TOO_LARGE \(Broker: Message size too large\) at event $header{'evpub-id'}/, '... the error');
is($header{own}, 'header', '... headers of the event');
is(decode_event($letter->{value})->{id}, $header{'evpub-id'}, '... its id');
is(decode_event($letter->{value})->{data}{text}, 'x' x 6000, '... and its value');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /WARNING: .*event $header{'evpub-id'} goes to dead-letter topic "letters"\n.*MSG_SIZE/g), 1, 'the log says it once');

# ---- the next ones, beside events that are taken ----

push @refused, (add($large, $small, $large, $large, $small))[ 0, 2, 3 ];
ok(wait_published($node), 'several');
is_deeply(letter_rows(), \@refused, 'several: in order');
is_deeply(rows(), others(), 'several: all others');

# ---- what a consumer has put there does not count, though it has the id of a later event ----

set(q{evpub.on_error = 'block'});
($row) = add($large);
$id = stands_still('a copy', qr/^topic "narrow" partition \d: MSG_SIZE_TOO_LARGE .* at event \S{51}$/);
my $copy = $id;
substr($copy, -8) = '000000FF';
$kafka->produce('letters', 'acme', '{"pk":{"id":0}}', '-p', partition_of('acme', 6), '-H', "evpub-id=$copy");
set(q{evpub.on_error = 'dead_letter'});
ok(wait_published($node), 'a copy: goes on');
is(status($node, 'state'), 'streaming', '... and nobody is fenced');
is(letter_rows()->[-2], $row, '... and the dead letter is there');
push @refused, $row;

# ---- what does not fit is cut ----

$kafka->create_topic('tight', 1, { 'max.message.bytes' => 3000 });
set(q{evpub.dead_letter_topic = 'tight'});
push @refused, add(q{repeat('é', 3000)});
ok(wait_published($node), 'too large for the dead-letter topic, too');
($letter) = letters('tight');
my $length = length($letter->{value});
cmp_ok($length, '>', 800, "cut: as much as may fit ($length)");
ok(eval { decode('UTF-8', $letter->{value}, Encode::FB_CROAK); 1 }, 'cut: between characters');
cmp_ok($letter->{header}{'evpub-truncated'}, '>', 6000, 'cut: a header has the whole length');
push @refused, ++$serial;
sql(qq{SELECT set_config('evpub.extra_headers', json_build_object('wide', repeat('y', 5000))::text, false);
INSERT INTO narrow VALUES ($serial, 'acme', 'x')});
ok(wait_published($node), 'headers that are too large');
(undef, $letter) = letters('tight');
cmp_ok($letter->{header}{'evpub-headers-dropped'}, '>', 5000, 'headers: they are left out, and how long they were is said');
is($letter->{header}{wide}, undef, '... they are');
is(decode_event($letter->{value})->{pk}{id}, $serial, '... and the value is whole');

# ... so what it takes is of interest only while it is another's topic
sub sizes { return sql(q{SELECT detail FROM evpub.check() WHERE name = 'topic_sizes'}) }
set(q{evpub.dead_letter_topic = 'absent'});
wait_until('check names it', sub { sizes() =~ /"tight" 3000/ });
set(q{evpub.dead_letter_topic = 'tight'});
wait_until('... and not the dead-letter topic', sub { sizes() !~ /"tight"/ });

# ---- the dead-letter topic does not take it: blocked, and nothing overtakes ----

set(q{evpub.create_topics = off});
set(q{evpub.dead_letter_topic = 'absent'});
like(check(), qr/^t\|.*"absent" was not used yet.*is not created/, 'check: one that nobody makes');
my ($waits, $behind) = add($large, $small);
my $absent = qr/^an event that topic "narrow" refused waits to go to dead-letter topic "absent": topic "absent" does not exist/;
$id = stands_still('absent', $absent);
like(status($node, 'hint'), qr/Create the topic.*SELECT evpub\.skip_event\('$id'\);$/, 'absent: the hint says what to do');
my $count = $kafka->record_count('narrow');
kill_relay($node);
is(stands_still('relay killed', $absent), $id, 'relay killed: the same event');
$node->stop('immediate');
start_with_faults($node);
is(stands_still('immediate stop', $absent), $id, 'immediate stop: the same event');
is(status($node, 'events_in_flight'), 1, 'the dead letter is on its way, and nothing else');
is($kafka->record_count('narrow'), $count, 'what is behind waits');
is(scalar(() = slurp_file($node->logfile) =~ /event $id goes to dead-letter/g), 1, 'that it is a dead letter was durable');
$kafka->create_topic('absent', 3);
ok(wait_published($node), 'absent: goes on when the topic is there');
is_deeply(letter_rows('absent'), [$waits], 'absent: there it is');
is(rows()->[-1], $behind, '... and the one behind it, in its topic');
push @refused, $waits;

# a letter that is refused, and given up
$kafka->create_topic('keyed', 1, { 'cleanup.policy' => 'compact' });
set(q{evpub.dead_letter_topic = 'keyed'});
sql(q{SELECT evpub.publish_raw('compacted', NULL, '{"a": 1}')});
($row) = add($small);
my $both = qr/^an event that topic "compacted" refused waits to go to dead-letter topic "keyed": topic "keyed" partition 0: INVALID_RECORD .* at event \S{51}$/;
$id = stands_still('refused twice', $both);
is(scalar(() = slurp_file($node->logfile) =~ /event $id goes to dead-letter/g), 1, 'refused twice: said once');
is(skip_event($id), '', 'refused twice: it can be given up');
ok(wait_published($node), 'refused twice: goes on');
is(rows()->[-1], $row, '... and what is behind is there');
sql(q{SELECT evpub.publish_raw('compacted', NULL, '{"b": 1}')});
$id = stands_still('refused twice, again', $both);
$kafka->set_topic('keyed', { 'cleanup.policy' => 'delete' });
ok(wait_published($node), 'or mended');
is(join(' ', map { $_->{value} } letters('keyed')), '{"b": 1}', '... and is there');

# ---- "block" again while a letter waits: the event is tried in its topic again ----

set(q{evpub.dead_letter_topic = 'absent2'});
($waits) = add($large);
$id = stands_still('waits', qr/"narrow" refused waits to go to dead-letter topic "absent2": /);
set(q{evpub.on_error = 'block'});
is(stands_still('block', qr/^topic "narrow" partition \d: MSG_SIZE_TOO_LARGE .* at event $id$/), $id, 'block: the event itself blocks');
$kafka->set_topic('narrow', { 'max.message.bytes' => 50000 });
$node->reload;
ok(wait_published($node), 'block: it goes on when its topic takes it');
is(rows()->[-1], $waits, '... and the event is there');
$kafka->set_topic('narrow', { 'max.message.bytes' => 5000 });
set(q{evpub.dead_letter_topic = 'letters'});
set(q{evpub.on_error = 'dead_letter'});
set(q{evpub.create_topics = on});

# ---- no room for the entry: nothing goes anywhere before there is ----

my $temporary = $node->data_dir . '/evpub/state.tmp';
mkdir $temporary or die "$temporary: $!";
($waits) = add($large);
ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE 'could not create file%'}), 'not durable: blocked');
is($kafka->record_count('letters'), 7, 'not durable: no dead letter');
rmdir $temporary or die "$temporary: $!";
ok(wait_published($node), 'durable: goes on');
is($kafka->record_count('letters'), 8, 'durable: there it is');
push @refused, $waits;

# ---- crashes between all steps: one dead letter, and its event nowhere else ----

for my $order ([ 1, 'after', 'rename evpub/state.tmp' ], [ 1, 'power', 'fsync*' ], [ 2, 'before', 'rename evpub/state.tmp' ],
	[ 1, 'before', 'wait' ], [ 2, 'before', 'wait' ])
{
	my $name = join ' ', @$order;
	order_crashes($node, $order);
	# the writer may be hit as well
	++$serial;
	until_done($node, "INSERT INTO narrow VALUES ($serial, 'acme', $large) ON CONFLICT DO NOTHING");
	push @refused, $serial;
	++$serial;
	until_done($node, "INSERT INTO narrow VALUES ($serial, 'acme', 'x') ON CONFLICT DO NOTHING");
	wait_until("$name: a crash", sub { !orders_left($node) }, 20);
	wait_until("$name: publishes", sub { attempt($node, q{SELECT 1 / evpub.wait_published(NULL, '60 s')::int}) });
	my @of = grep { $_->{value} =~ /"pk":\{"id":@{[ $serial - 1 ]}\}/ } letters();
	is(scalar(@of), 1, "$name: one dead letter");
}
($row) = grep { my $refused = $_; grep { $_ == $refused } @refused } @{ rows() };
is($row, undef, 'no refused event is in its own topic');

# ---- the broker dies while the letter is in flight ----

$kafka->pause;
($waits) = add($large);
$kafka->kill9;
$kafka->start;
ok(wait_published($node), 'broker killed: goes on');
push @refused, $waits;
is(scalar(grep { $_ == $waits } @{ letter_rows() }), 1, 'broker killed: one dead letter');
my %times;
$times{$_}++ for map { $_->{header}{'evpub-id'} } letters();
is(join(' ', grep { $times{$_} > 1 } keys %times), '', 'no dead letter came twice');
%times = ();
$times{$_->{event}{id}}++ for events($kafka, 'narrow');
is(join(' ', grep { $times{$_} > 1 } keys %times), '', 'nor an event');

# ---- a topic that is to blame, and not its events ----

sql('CREATE TABLE other (id int PRIMARY KEY)');
sql(q{SELECT evpub.capture_table('other', tenant => 'acme', topic => 'other')});
$kafka->create_topic('other', 1);
$kafka->create_topic('wrong', 1, { 'cleanup.policy' => 'compact' });
my $had = status($node, 'dead_lettered');
my $start = time;
sql(q{DO $$ BEGIN FOR i IN 1 .. 103 LOOP
	PERFORM evpub.publish_raw('wrong', NULL, to_jsonb(i));
	INSERT INTO other VALUES (i);
END LOOP; END $$});
my $wrong = qr/^topic "wrong" partition 0: INVALID_RECORD .* at event \S{51}$/;
$id = stands_still('100 in a row', $wrong);
diag sprintf '100 dead letters in a row: %.1f s', time - $start;
is(status($node, 'dead_lettered') - $had, 100, '100 in a row: no more');
like(status($node, 'hint'), qr/100 events of this topic in a row.*SELECT evpub\.resume\(\)/, '100 in a row: the hint says what to do');
$node->stop('immediate');
start_with_faults($node);
is(stands_still('a crash', $wrong), $id, 'a crash: the same event');
is(letters_of('wrong'), 100, 'a crash: no more');
is(skip_event($id), '', 'one can be given up');
wait_until('evpub.failures has it', sub { sql(q{SELECT done FROM evpub.failures LIMIT 1}) ne 'dead-lettered' });
# (in one look: the worker may write another list between two)
is(sql(q{WITH f AS MATERIALIZED (SELECT row_number() OVER () AS n, last_at FROM evpub.failures)
	SELECT count(*), max(last_at) = (SELECT last_at FROM f WHERE n = 1) FROM f}), '100|t',
	'evpub.failures has no more than 100, the newest first');
my $next = $id;
wait_until('another one', sub { ($next = stands_still('the next', $wrong)) ne $id });
sql('SELECT evpub.resume()');
ok(wait_published($node), 'resume(): goes on');
is(letters_of('wrong'), 102, 'resume(): the others are dead letters');
is_deeply([ do { my %s; grep { !$s{$_}++ } map { $_->{event}{pk}{id} } events($kafka, 'other') } ], [ 1 .. 103 ],
	'events of the other topic, in order');

# ---- never for the clock ----

$kafka->create_topic('late', 1);
sql(q{SELECT evpub.publish_raw('late', 'key', '{"c": 0}')});
ok(wait_published($node), 'clock: a topic in use');
$kafka->set_topic('late', { 'message.timestamp.before.max.ms' => 1 });
# the broker has the setting when it has a topic of after it
$kafka->create_topic('later', 1);
$kafka->pause;
sql(q{SELECT evpub.publish_raw('late', 'key', '{"c": 1}')});
wait_until('it is in flight', sub { status($node, 'events_in_flight') > 0 });
$kafka->cont;
ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE 'topic "late"%INVALID_TIMESTAMP%'}), 'clock: blocked');
$kafka->set_topic('late', { 'message.timestamp.before.max.ms' => 1_000_000_000 });
ok(wait_published($node), 'clock: goes on');
is(letters_of('late'), 0, 'clock: no dead letter');

# ---- an evpub.gap event that is refused ----

$kafka->set_topic('narrow', { 'max.message.bytes' => 100 });
sql('SELECT evpub.pause()');
push @refused, add($small);
sql('SELECT evpub.discard(pg_current_wal_flush_lsn()); SELECT evpub.resume()');
ok(wait_published($node), 'gap: goes on');
my %gaps = map { ($_->{header}{'evpub-partition'} => 1) } grep { $_->{value} =~ /evpub\.gap/ && ($_->{header}{'evpub-topic'} // '') eq 'narrow' } letters();
is(join(' ', sort keys %gaps), '0 1', 'gap: its events are dead letters');
$kafka->set_topic('narrow', { 'max.message.bytes' => 5000 });

# ---- no right to write to the dead-letter topic ----

my $file = PostgreSQL::Test::Utils::tempdir() . '/kafka.properties';
append_to_file($file, "security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\nsasl.username=evpub\nsasl.password=secret\n");
chmod 0600, $file;
$kafka->create_topic('forbidden', 1);
$kafka->allow('narrow', 'evpub', $_) for qw(READ WRITE);
set(q{evpub.dead_letter_topic = 'forbidden'});
set("evpub.kafka_config_file = '$file'");
set_brokers($node, $kafka->bootstrap('SASL'));
($waits) = add($large);
$id = stands_still('no right', qr/^an event that topic "narrow" refused waits to go to dead-letter topic "forbidden": .*"forbidden".*uthorization/);
like(status($node, 'hint'), qr/SELECT evpub\.skip_event\('$id'\);$/, 'no right: it could be given up');
$kafka->allow('forbidden', 'evpub', $_) for qw(READ WRITE);
ok(wait_published($node), 'no right: goes on when there is one');
is_deeply(letter_rows('forbidden'), [$waits], '... and it is there');

$node->stop;
done_testing();
