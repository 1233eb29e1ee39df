
# However databases are registered and deregistered, by whom, rolled back or
# not, while the worker is restarted and the server crashes: what was captured
# is published, nothing else is, and the slot is there if and only if a database
# is registered.
use strict;
use warnings;

use EvpubChaos;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{EVPUB_SEED} || int(rand(1_000_000_000));
note "EVPUB_SEED=$seed";
srand $seed;

my $kafka = EvpubKafka->new->start;
my $node = capture_node(
	'main',
	kafka => $kafka,
	extension => 0,
	conf => "max_connections = 90\nevpub.default_topic = 'words'");
my $state_file = $node->data_dir . '/evpub/state';

sub labels
{
	return $node->safe_psql('postgres',
		q{SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_shseclabel
		  JOIN pg_database d ON d.oid = objoid
		  WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass});
}

sub slots
{
	return $node->safe_psql('postgres',
		q{SELECT coalesce(string_agg(slot_name || ' ' || active, ', '), '') FROM pg_replication_slots});
}

# Labels, slot and state file agree; the slot follows after the commit, and is
# held again a moment after the worker was restarted.
sub agrees
{
	my ($name) = @_;
	my $labels = labels();
	my $agree = eval {
		wait_until(
			'labels and slot',
			sub {
				return slots() eq 'evpub true' && -e $state_file if $labels;
				return slots() eq '' && !-e $state_file;
			});
	};
	ok($agree, "$name: labels and slot agree")
	  or diag "labels: \"$labels\", slots: \"" . slots() . '", state file: '
	  . (-e $state_file ? 'there' : 'none');
	return;
}

sub gone
{
	my ($name) = @_;
	is(labels(), '', "$name: nobody is registered");
	agrees($name);
	return;
}

# What stands in Kafka, each word once, sorted.
sub words
{
	my %words = map { ($_->{event}{pk}{w} => 1) }
	  grep { $_->{event}{type} ne 'evpub.gap' } events($kafka, 'words');
	return join ' ', sort keys %words;
}

# Until the worker has read on behind the present end of WAL, and so looked at
# the registry once more.
sub worker_went_on
{
	my ($name) = @_;
	is($node->safe_psql('a', q{SELECT evpub.wait_published(NULL, '120 s')}),
		't', "$name: the worker went on");
	return;
}

sub deregister
{
	my ($database) = @_;
	$node->safe_psql('postgres',
		"SECURITY LABEL FOR evpub ON DATABASE $database IS NULL");
	return;
}

sub register
{
	my ($database) = @_;
	$node->safe_psql($database, 'SELECT evpub.register_database()');
	return;
}

sub terminate_worker
{
	my $pid = worker_pid($node) or return;
	kill 'TERM', $pid;
	wait_until('another worker',
		sub { my $now = worker_pid($node); $now && $now != $pid });
	return;
}

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

my $put = {
	'a row' => sub { "INSERT INTO item VALUES ('$_[0]')" },
	'publish()' =>
	  sub { qq{SELECT evpub.publish('said', 'acme', pk => '{"w": "$_[0]"}', topic => 'words')} },
};

sub create_databases
{
	for my $database (@_)
	{
		$node->safe_psql('postgres', "CREATE DATABASE $database");
		create_evpub($node, $database);
		$node->safe_psql(
			$database, q{
CREATE TABLE item (w text PRIMARY KEY);
SELECT evpub.capture_table('item', topic => 'words', tenant => 'acme');
});
	}
	return;
}

$kafka->create_topic('words', 3);
create_databases('a');
ok(wait_for_state_in_a('streaming'), 'streaming');

sub wait_for_state_in_a
{
	my ($state) = @_;
	return eval {
		wait_until(
			$state,
			sub { $node->safe_psql('a', 'SELECT state FROM evpub.status') eq $state });
	};
}

# ---- a bare SECURITY LABEL waits for no writer, the slot does ----

my @expected;
for my $case (
	[ 'a row', 0 ],
	[ 'publish()', 0 ],
	[ 'publish()', 0, 'the worker restarts', \&terminate_worker ],
	[ 'a row', 1 ],
	[ 'publish()', 1, 'the server crashes', \&crash ])
{
	my ($what, $prepared, $event, $strike) = @$case;
	my $word = 'open' . @expected;
	my $name = join ', ', $prepared ? "$what, prepared" : $what, $event // ();
	my $session;

	push @expected, $word;
	if ($prepared)
	{
		$node->safe_psql('a',
			'BEGIN; ' . $put->{$what}->($word) . "; PREPARE TRANSACTION 'open'");
	}
	else
	{
		$session = $node->background_psql('a');
		$session->query_safe('BEGIN; ' . $put->{$what}->($word));
	}
	deregister('a');
	worker_went_on($name);
	if ($strike)
	{
		$strike->();
		worker_went_on($name);
	}
	like(slots(), qr/^evpub/, "$name: the slot waits for the open transaction");
	if ($prepared) { $node->safe_psql('a', "COMMIT PREPARED 'open'") }
	else { $session->query_safe('COMMIT'); $session->quit }
	gone($name);
	is(words(), join(' ', sort @expected), "$name: its event arrived");
	register('a');
	agrees("$name, registered again");
}

# What a session knew does not outlive the label.
{
	my $session = $node->background_psql('a');
	$session->query_safe($put->{'publish()'}->('known'));
	deregister('a');
	$session->query($put->{'publish()'}->('unheard'));
	like($session->{stderr}, qr/WARNING.*not published/,
		'a session gets a warning that its database is no longer registered');
	$session->quit;
	push @expected, 'known';
	gone('deregistered');
	is(words(), join(' ', sort @expected), 'and nothing is captured any more');
	register('a');
}

# What is discarded does not arrive, but is announced to consumers.
{
	my $discard = 'SELECT evpub.discard(pg_current_wal_flush_lsn())';
	$node->safe_psql('a', $put->{'publish()'}->('heard'));
	push @expected, 'heard';
	worker_went_on('registered');
	$node->safe_psql('a', 'SELECT evpub.pause()');
	$node->safe_psql('a', $put->{'publish()'}->('discarded'));
	deregister('a');
	# twice: between two answers the worker considers to go
	$node->psql('a', $discard) for 1 .. 2;
	like(slots(), qr/^evpub/, 'discarded: the slot waits until the gap is announced');
	$node->psql('a', 'SELECT evpub.resume()');
	gone('discarded');
	is(words(), join(' ', sort @expected), 'nothing of it arrived');
	ok(scalar(grep { $_->{event}{type} eq 'evpub.gap' } events($kafka, 'words')),
		'but the gap');
	register('a');
}

# Somebody comes back before the last one has left; and goes again.
{
	my $id = $node->safe_psql('a', 'SELECT publisher_id FROM evpub.status');
	my $session = $node->background_psql('a');
	$session->query_safe('BEGIN; ' . $put->{'a row'}->('first'));
	deregister('a');
	worker_went_on('left');
	$node->safe_psql('postgres', "SECURITY LABEL FOR evpub ON DATABASE a IS '$id'");
	$node->safe_psql('a', $put->{'publish()'}->('second'));
	$session->query_safe('COMMIT');
	worker_went_on('back by a bare SECURITY LABEL');
	agrees('back by a bare SECURITY LABEL');
	is($node->safe_psql('a', 'SELECT publisher_id FROM evpub.status'),
		$id, 'it is the publisher of before');

	$session->query_safe('BEGIN; ' . $put->{'a row'}->('third'));
	deregister('a');
	worker_went_on('left');

	# the worker does not see that they are back, only that they were
	my $back = $node->background_psql('a');
	$back->query_safe('BEGIN; SELECT evpub.register_database()');
	my $worker = freeze_worker($node);
	$back->query_safe('COMMIT');
	my $late = $node->background_psql('a');
	$late->query_safe('BEGIN; ' . $put->{'publish()'}->('fourth'));
	deregister('a');
	$session->query_safe('COMMIT');
	kill 'CONT', $worker;
	worker_went_on('back and left again');
	like(slots(), qr/^evpub/, 'the slot waits for those who came meanwhile');
	$late->query_safe('COMMIT');
	$_->quit for $session, $back, $late;
	gone('left at last');
	push @expected, qw(first second third fourth);
	is(words(), join(' ', sort @expected), 'nothing was lost on the way');
}

# ---- in a prepared transaction ----

for my $what (
	'SELECT evpub.register_database()',
	"SECURITY LABEL FOR evpub ON DATABASE a IS '0123456789abcdef'",
	'SECURITY LABEL FOR evpub ON DATABASE a IS NULL',
	'DROP EXTENSION evpub CASCADE',
	'DROP EXTENSION evpub CASCADE; CREATE EXTENSION evpub',
	'SAVEPOINT s; DROP EXTENSION evpub CASCADE; ROLLBACK TO s')
{
	my $err;
	isnt($node->psql('a', "BEGIN; $what; PREPARE TRANSACTION 'refused'", stderr => \$err),
		0, "refused to be prepared: $what");
	like($err, qr/cannot PREPARE a transaction that registers or drops/, 'with the reason');
}
gone('nothing was prepared');

# ---- what was committed before DROP EXTENSION and DROP DATABASE ----

register('a');
create_databases('b');
agrees('two databases');
$kafka->pause;
for my $database ('a', 'b')
{
	$node->safe_psql($database, $put->{'a row'}->("$database-row"));
	$node->safe_psql($database, $put->{'publish()'}->("$database-said"));
	push @expected, "$database-row", "$database-said";
}
$node->safe_psql('a', 'DROP EXTENSION evpub CASCADE');
$node->safe_psql('postgres', 'DROP DATABASE b');
is(labels(), '', 'both are gone');
terminate_worker();
crash();
like(slots(), qr/^evpub/, 'the slot waits for the broker');
$kafka->cont;
gone('after DROP EXTENSION and DROP DATABASE');
is(words(), join(' ', sort @expected), 'what was committed before arrived');

# ---- requests for the slot ----

sub requesting
{
	# named by its wait event since 17
	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension'
		  AND backend_type = 'client backend'});
}

# Somebody asks, is cancelled, and leaves the request of a label that would
# have fenced the publisher; then somebody else asks.
{
	my $err;
	my $worker = freeze_worker($node);
	isnt( $node->psql(
			'postgres', q{SET statement_timeout = '300ms';
SECURITY LABEL FOR evpub ON DATABASE a IS '0123456789abcdef'},
			stderr => \$err),
		0, 'a request is cancelled');
	like($err, qr/statement timeout/, 'by its time');
	my $run = start_psql($node, 'CREATE EXTENSION evpub', 'a');
	wait_until('a request', \&requesting);
	kill 'CONT', $worker;
	ok(finish($run), 'the next one is not answered with what the first one wanted')
	  or diag $run->{err};
	is(labels(), 'a', 'the database is registered');
	agrees('after a cancelled request');
	ok(wait_for_state_in_a('streaming'), 'and publishes');
}

# Somebody asks while the slot is about to go.
{
	$node->safe_psql('postgres', 'CREATE DATABASE b');
	my $worker = freeze_worker($node);
	deregister('a');
	my $run = start_psql($node, 'CREATE EXTENSION evpub', 'b');
	wait_until('a request', \&requesting);
	kill 'CONT', $worker;
	ok(finish($run), 'a request that comes when the last database has gone');
	is(labels(), 'b', 'is granted');
	agrees('a request while the slot was about to go');
	$node->safe_psql('b', 'DROP EXTENSION evpub');
	gone('b');
}

# The worker is not there when the transaction that it gave the slot to ends.
for my $end ('COMMIT', 'ROLLBACK')
{
	my $session = $node->background_psql('b');
	$session->query_safe('BEGIN; CREATE EXTENSION evpub');
	is(labels(), '', 'not yet registered');
	my $worker = worker_pid($node);
	kill 'TERM', $worker;
	$session->query_safe($end);
	$session->quit;
	wait_until('another worker',
		sub { my $now = worker_pid($node); $now && $now != $worker });
	is(labels(), $end eq 'COMMIT' ? 'b' : '', "$end while the worker restarts");
	agrees("$end while the worker restarts");
	$node->safe_psql('b', 'DROP EXTENSION IF EXISTS evpub');
	gone('b');
}

# Crash between the grant and the end: the request is lost, and nobody misses
# the slot.
{
	my $session = $node->background_psql('b', on_error_stop => 0);
	$session->query_safe('BEGIN; CREATE EXTENSION evpub');
	like(slots(), qr/^evpub/, 'the slot is there before the commit');
	crash();
	eval { $session->quit };
	gone('crash before the commit');
}

# All places for requests are taken: by transactions that wait for the first.
{
	my @runs =
	  map { start_psql($node, 'SELECT evpub.register_database(), pg_sleep(600)', 'a') }
	  1 .. 64;
	my $waiting = q{FROM pg_stat_activity WHERE query LIKE '%register_database(), %'
		AND pid <> pg_backend_pid()};
	wait_until(
		'64 open requests',
		sub {
			$node->safe_psql('postgres', "SELECT count(*) $waiting
				AND (wait_event_type = 'Lock' OR wait_event = 'PgSleep')") eq '64';
		});
	my $err;
	isnt($node->psql('b', 'CREATE EXTENSION evpub', stderr => \$err),
		0, 'the 65th transaction at once cannot register');
	like($err, qr/too many transactions register databases/, 'and is told why');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $waiting");
	eval { finish($_) } for @runs;
	wait_until('their end',
		sub { $node->safe_psql('postgres', "SELECT count(*) $waiting") eq '0' });
	ok( eval {
			wait_until('a free place',
				sub { $node->psql('b', 'CREATE EXTENSION evpub') == 0 });
		},
		'when they have ended, the next one can');
	is(labels(), 'b', 'and only it is registered');
	agrees('after too many requests');
}

# ---- everything at once ----
#
# Sessions register, deregister and write, at random, in two databases; one
# more makes and drops a third.

sub start_sessions
{
	my ($transactions) = @_;
	my $set = "SET lock_timeout = '300ms';\n\\set ON_ERROR_STOP 0\n";
	my @runs;
	for my $database ('a', 'a', 'b', 'b')
	{
		my $sql = $set . join '', map { random_transaction($database) } 1 .. $transactions;
		push @runs, start_psql($node, $sql, $database);
	}
	my $lives = $transactions / 25;
	push @runs,
	  start_psql($node, $set . join('', map { third_database() } 1 .. $lives), 'postgres');
	return @runs;
}

# A session that ended early, by a crash for instance, left it.
sub end_third_database
{
	my ($out, $err);
	return
	  if $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_database WHERE datname = 'c'}) eq '0';
	if ($node->psql('c', q{SELECT format('(%L, %L)', w, sure) FROM ledger},
			stdout => \$out, stderr => \$err) == 0 && $out)
	{
		my $rows = join ',', split /\n/, $out;
		$node->safe_psql('postgres',
			"INSERT INTO ledger VALUES $rows ON CONFLICT DO NOTHING");
	}
	$node->safe_psql('postgres', 'DROP DATABASE c WITH (FORCE)');
	return;
}

# Compare Kafka with the ledgers.
sub check_words
{
	my ($name) = @_;
	my %sure = map { $_ => 1 } @expected;
	my %may;
	for my $database ('a', 'b', 'postgres')
	{
		for (split /\n/, $node->safe_psql($database, 'SELECT w, sure FROM ledger'))
		{
			my ($word, $sure) = split /\|/;
			next if $word eq '-';
			$may{$word} = 1;
			$sure{$word} = 1 if $sure eq 't';
		}
	}
	my %found = map { $_ => 1 } split / /, words();
	my @lost = grep { !$found{$_} } sort keys %sure;
	my @invented = grep { !$sure{$_} && !$may{$_} } sort keys %found;
	is("@lost", '', "$name: nothing is lost");
	is("@invented", '', "$name: nothing is invented");
	note "$name: " . keys(%sure) . ' sure, ' . keys(%may) . ' written, '
	  . keys(%found) . ' found';
	return scalar keys %sure;
}

$node->safe_psql('b', 'DROP EXTENSION evpub');
gone('before everything at once');
$node->safe_psql($_, chaos_functions()) for 'a', 'b', 'postgres';
# functions for us to look with, in a database that is not registered
create_evpub($node);
deregister('postgres');
gone('functions alone');

for my $round (
	[ 'undisturbed', 150 ],
	[ 'the worker restarts', 150, worker => 1 ],
	[ 'the broker is frozen', 100, worker => 1, broker => 1 ],
	[ 'the server crashes', 150, worker => 1, crash => 1 ],
	[ 'the server crashes, the broker is frozen', 150, broker => 1, crash => 1 ])
{
	my ($name, $transactions, %faults) = @$round;
	my $crash_at = $faults{crash} ? time + 1 + rand 2 : undef;
	my $terminations = 0;

	$kafka->pause if $faults{broker};
	my @runs = start_sessions($transactions);
	wait_until(
		"the sessions of: $name",
		sub {
			if ($faults{worker} && rand() < 0.1)
			{
				my $pid = worker_pid($node);
				$terminations++ if $pid && kill 'TERM', $pid;
			}
			if ($crash_at && time > $crash_at)
			{
				crash();
				undef $crash_at;
			}
			return !grep { running($_) } @runs;
		},
		600);
	eval { finish($_) } for @runs;
	crash() if $crash_at;
	$kafka->cont if $faults{broker};
	note "$name: $terminations terminations";
	my %errors;
	$errors{ s/^psql:\S+ //r =~ s/\d+/N/gr }++
	  for grep { /ERROR|FATAL/ } map { split /\n/, $_->{err} } @runs;
	note "  $errors{$_} x $_" for sort keys %errors;

	end_third_database();
	agrees($name);
	if (labels())
	{
		ok(wait_published($node), "$name: all is published");
	}
	check_words($name);
}

deregister($_) for 'a', 'b';
gone('at the end');
cmp_ok(check_words('at the end'), '>', 100, 'and much was published');
crash();
gone('at the end, after a crash');
$node->stop;
done_testing();
