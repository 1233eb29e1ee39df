
# The property that evpub is there for: who follows the events has a copy of the
# tables.  Random tables, types, options, operations, savepoints, triggers and
# foreign keys, in sessions side by side.  One consumer re-reads the rows that
# events name, while the load goes on, and has at every pause what the source
# has.  One has only the data of events (payload row), and has after every
# transaction what the source had then.  And every event is what evpub.asyncapi() said of
# these tables before they had any.
#
# EVPUB_SEED=n tries other tables, EVPUB_ROUNDS=n more of them.
use strict;
use warnings;

use EvpubCopies;
use EvpubKafka;
use EvpubTables;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EVPUB_SEED} // (time ^ $$);
my $rounds = $ENV{EVPUB_ROUNDS} || 3;
diag "EVPUB_SEED=$seed EVPUB_ROUNDS=$rounds";
srand $seed;

# What a statement of the load may fail with; anything else is a defect.
my %expected = map { $_ => 1 } (
	'0A000',    # TRUNCATE of a table whose key has {pk}
	'21000',    # ON CONFLICT and MERGE: a row a second time
	'22012',    # on purpose
	'23502', '23503', '23505',    # keys
	'25P02',    # in a transaction that has failed
	'27000',    # a row that a trigger has changed already
	'3B001',    # a savepoint that is gone
	'40001', '40P01', '55P03',    # others were first
	'42704',    # a prepared transaction that has failed before
	'55006',    # TRUNCATE by a trigger of the table
	'57014');   # too much for the time of a test

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, conf => q{
deadlock_timeout = 50ms
log_min_error_statement = panic
log_min_messages = log
});
$node->safe_psql('postgres', EvpubTables::types_sql());
my ($dir, $files) = (PostgreSQL::Test::Utils::tempdir(), 0);
my @documents;

# The statements of a transaction, with savepoints.
sub body
{
	my ($group) = @_;
	my ($depth, @sql) = (0);
	for (1 .. 1 + rand(pick(3, 6, 15)))
	{
		my $what = rand;
		if ($what < 0.12)
		{
			push @sql, 'SAVEPOINT s' . ++$depth;
		}
		elsif ($what < 0.24 && $depth)
		{
			push @sql, "ROLLBACK TO s$depth";
		}
		elsif ($what < 0.30 && $depth)
		{
			push @sql, 'RELEASE s' . $depth--;
		}
		else
		{
			push @sql, statement($group, "$dir/" . $files++);
		}
	}
	return @sql;
}

# Writers of a group with payload row come one after the other, and leave a mark
# of what is there at the end.
sub transaction
{
	my ($group, @first) = @_;
	my $marks = "$group->{name}_marks()";
	return statement($group, "$dir/" . $files++) if !$group->{rows} && !@first && rand() < 0.3;
	my $begin = 'BEGIN' . pick('', '', ' ISOLATION LEVEL REPEATABLE READ');
	my @sql = ($begin, @first, body($group));
	if ($group->{rows})
	{
		# without lock or mark the transaction must fail, also where single
		# statements may
		my ($strict, $lenient) = map { "\\set ON_ERROR_ROLLBACK $_" } 'off', pick('on', 'on', 'off');
		splice @sql, 1, 0, $strict, "LOCK TABLE $group->{name}_boundary", $lenient;
		push @sql, $strict, 'SET CONSTRAINTS ALL IMMEDIATE',
		  "INSERT INTO $group->{name}_boundary (marks) SELECT $marks";
	}
	my $end = rand;
	return (@sql, 'ROLLBACK') if $end < 0.1;
	return (@sql, 'COMMIT') if $end < 0.85;
	my $name = 'p' . $files++;
	return (@sql, "PREPARE TRANSACTION '$name'",
		pick('COMMIT PREPARED', 'COMMIT PREPARED', 'ROLLBACK PREPARED') . " '$name'");
}

# A session that runs some transactions of a group.
sub start_session
{
	my ($group, $count) = @_;
	my @settings = (
		"SELECT setseed(" . rand() . ")",
		"SET lock_timeout = '" . ($group->{rows} ? 0 : '2s') . "'",
		# triggers of triggers may become many
		"SET statement_timeout = '5s'",
		"SET TimeZone = '" . pick('UTC', 'Asia/Seoul', 'America/St_Johns') . "'",
		"SET DateStyle = '" . pick('ISO', 'SQL, DMY', 'German') . "'",
		"SET synchronous_commit = " . pick('on', 'off'),
		"SET client_min_messages = error");
	my $sql = "\\unset ON_ERROR_STOP\n\\set VERBOSITY sqlstate\n\\o /dev/null\n"
	  . "\\set ON_ERROR_ROLLBACK " . pick('on', 'on', 'off') . "\n"
	  . join '', map { /^\\/ ? "$_\n" : "$_;\n" } @settings, transaction($group, tidy($group)),
	  map { transaction($group) } 2 .. $count;
	return start_psql($node, $sql);
}

# Some sessions side by side, consumers meanwhile, and then the comparison.
sub load
{
	my ($copies, @groups) = @_;
	my @sessions = map { start_session($_, 12) } map { $_->{rows} ? ($_, $_) : ($_, $_, $_) } @groups;
	my $kill = rand() < 0.3;
	while (grep { running($_) } @sessions)
	{
		$copies->step;
		# what was not confirmed is read back
		kill 'KILL', grep { defined } relay_pid($node) if $kill;
		$kill = 0;
	}
	my %states;
	for my $session (@sessions)
	{
		finish($session);
		$states{$_}++ for $session->{err} =~ /ERROR:\s+(\w{5})$/mg;
		$copies->wrong("a session ended: $session->{err}") if $session->{err} =~ /FATAL|PANIC|server closed|psql: error/;
	}
	note join ' ', map { "$_:$states{$_}" } sort keys %states;
	$copies->wrong("statements failed with $_") for grep { !$expected{$_} } sort keys %states;
	$copies->wrong('not published') unless wait_published($node);
	$copies->step;
	$copies->compare;
	return;
}

my %total;
my @wrong;
for my $round (1 .. $rounds)
{
	my $memory = pick('64kB', '512kB', '4MB');
	$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.collapse_memory = '$memory'");
	$node->reload;
	my @groups = (random_group("z$round"), random_group("r$round", rows => 1));
	my $sql = join '', map { group_sql($_) } @groups;
	append_to_file("$PostgreSQL::Test::Utils::tmp_check/tables$round.sql", $sql);
	$node->safe_psql('postgres', $sql);
	my $document = PostgreSQL::Test::Utils::tempdir();
	push @documents, $document;
	append_to_file("$document/asyncapi.json", $node->safe_psql('postgres', 'SELECT evpub.asyncapi()'));
	my $copies = EvpubCopies->new($node, $kafka, @groups);
	for (1 .. 3)
	{
		load($copies, @groups);
		last if @{ $copies->{wrong} };
	}
	$total{$_} += $copies->{count}{$_} for keys %{ $copies->{count} };
	$total{boundaries} += @{ $_ // [] } for values %{ $copies->{marks} };
	note "round $round, $memory: ", join ' ', map { "$_ $copies->{count}{$_}" } sort keys %{ $copies->{count} };
	append_to_file("$document/records", $kafka->as_json($_)) for grep { /^[zr]$round(?:\.|$)/ } sort keys %{ $kafka->topics };
	push @wrong, map { "round $round: $_" } @{ $copies->{wrong} };
	last if @wrong;
}
is(scalar @wrong, 0, 'copies are what the source has')
  or diag join "\n", splice @wrong, 0, 5;
note join ' ', map { "$_ $total{$_}" } sort keys %total;
cmp_ok($total{$_} // 0, '>', 0, "there was something to see: $_")
  for qw(created updated deleted truncated gone boundaries rows);
$node->stop;
my ($out, $err) = run_command([ '/usr/bin/python3', "$ENV{EVPUB_TEST_DIR}/contract/contract.py", 'events', @documents ]);
my ($said, @unlike) = split /\n/, $out;
like($said, qr/^\d{3,} events of \d{2,} messages, \d{3,} wrong ones$/, 'events were compared with the contract') or diag $err;
is(join("\n", splice @unlike, 0, 20), '', 'each event is what the contract says');
note $said;
done_testing();
