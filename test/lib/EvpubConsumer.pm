
# EvpubConsumer - the consumers of examples/, as processes that a test starts and
# kills, and the story that each of them goes through: whatever happens in it, the
# copy is the source at its end.
package EvpubConsumer;

use strict;
use warnings;

use Carp;
use EvpubTest;
use Exporter 'import';
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(prepare_source start_consumer consumer_story);

my $topic = $EvpubTest::TOPIC;
my %running;    # consumers of this process, by process id

# start_consumer(name, command ...): a consumer in the background.
sub start_consumer
{
	my ($name, @command) = @_;
	my $self = bless { name => $name, log => "$PostgreSQL::Test::Utils::log_path/$name.log" }, __PACKAGE__;
	append_to_file($self->{log}, '');
	my $pid = fork // croak "fork: $!";
	if (!$pid)
	{
		open STDOUT, '>>', $self->{log} or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		# ends with the test, however that ends
		exec 'setpriv', '--pdeathsig', 'KILL', @command or POSIX::_exit(1);
	}
	$running{$pid} = 1;
	$self->{pid} = $pid;
	return $self;
}

# end(signal): false if it ended by itself before.
sub end
{
	my ($self, $signal) = @_;
	kill $signal, $self->{pid};
	waitpid $self->{pid}, 0;
	delete $running{ $self->{pid} };
	my $how = $?;
	return $signal eq 'KILL' ? $how == 9 : $how == 0;
}

sub said { return slurp_file($_[0]{log}) }

# How many partitions it was given last, as its log says.
sub assigned
{
	my ($self) = @_;
	my @lines = $self->said =~ /assigned ?(.*)/g;
	return @lines ? scalar(() = $lines[-1] =~ /\d+@/g) : 0;
}

END
{
	my $status = $?;
	for my $pid (keys %running)
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	$? = $status;
}

# prepare_source(kafka): a server with organizations and members of ten tenants, which
# were there before they were captured, and the database "copy" with the tables of a file.
sub prepare_source
{
	my ($kafka, $copy, %args) = @_;
	$kafka->create_topic($topic, 2);
	my $node = capture_node('main', kafka => $kafka,
		conf => "evpub.delivery = 'at_least_once'\nlisten_addresses = '127.0.0.1'\n" . ($args{conf} || ''));
	append_to_file($node->data_dir . '/pg_hba.conf', "host all all 127.0.0.1/32 trust\n");
	$node->reload;
	cms_tables($node, capture => 0);
	$node->safe_psql('postgres', q{
INSERT INTO organization SELECT 't' || t, i, 'o' FROM generate_series(0, 9) t, generate_series(1, 10) i;
INSERT INTO member SELECT 't' || t, i, 1 + i % 10, 'm' FROM generate_series(0, 9) t, generate_series(1, 20) i;
SELECT evpub.capture_table(t, tenant_column => 'tenant_id') FROM unnest('{organization,member}'::regclass[]) t;
CREATE DATABASE copy});
	$node->safe_psql('copy', slurp_file($copy));
	return $node;
}

sub rows
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, q{
SELECT 'organization', tenant_id, id, NULL, name FROM organization
UNION ALL SELECT 'member', tenant_id, id, organization_id, name FROM member ORDER BY 1, 2, 3});
}

# The copy is the source, row by row, once nobody writes.
sub same_rows
{
	my ($node, $name) = @_;
	my $source;
	my $ok = eval { wait_until('the copy', sub { $source = rows($node, 'postgres'); rows($node, 'copy') eq $source }, 60) };
	if (!$ok)
	{
		my %copy = map { $_ => 1 } split /\n/, rows($node, 'copy');
		my @missing = grep { !delete $copy{$_} } split /\n/, $source;
		diag "$name: missing: @missing[0 .. ($#missing < 4 ? $#missing : 4)]; too much: "
		  . join ' ', (sort keys %copy)[0 .. (keys %copy < 5 ? keys(%copy) - 1 : 4)];
	}
	ok($ok, $name);
	return;
}

sub applied
{
	my ($node) = @_;
	return $node->safe_psql('copy', q{SELECT string_agg(id, ' ' ORDER BY partition, publisher) FROM applied});
}

my $load = q{\set t random(0, 9)
\set i random(1, 12)
\set m random(1, 30)
INSERT INTO organization VALUES ('t' || :t, :i, 'o' || :m) ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name;
INSERT INTO member (SELECT tenant_id, :m, id, 'm' || :m FROM organization WHERE (tenant_id, id) = ('t' || :t, :i) FOR KEY SHARE) ON CONFLICT (tenant_id, id) DO UPDATE SET organization_id = excluded.organization_id;
};
# gone, and perhaps there again in a moment: what a consumer that is late must not take
# for the newest
my $deletes = q{\set t random(0, 9)
\set i random(1, 12)
DELETE FROM organization WHERE (tenant_id, id) = ('t' || :t, :i);
};

sub start_load
{
	my ($node) = @_;
	# ended when all is done that is done under load
	return start_pgbench($node, { $load => 9, $deletes => 1 }, clients => 2, seconds => 300, rate => 150);
}

# Holds the consumer in its COMMIT to the copy's database, and kills it there.  The
# transaction is then rolled back, or goes on without the consumer, which so has not
# come to what it does after it.
sub kill_in_commit
{
	my ($node, $consumer, $update, $then) = @_;
	$node->safe_psql('copy', q{
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7, 7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON organization DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()});
	my $lock = $node->background_psql('copy');
	$lock->query_safe('SELECT pg_advisory_lock(7, 7)');
	$node->safe_psql('postgres', $update);
	my $waits = q{FROM pg_stat_activity WHERE datname = 'copy' AND wait_event_type = 'Lock' AND query ~* '^commit'};
	wait_until('the consumer commits', sub { $node->safe_psql('copy', "SELECT count(*) $waits") });
	ok($consumer->end('KILL'), "the consumer is killed in the commit of the copy, which is then $then");
	$node->safe_psql('copy', "SELECT pg_terminate_backend(pid, 10000) $waits") if $then eq 'rolled back';
	$lock->quit;
	# waits for the transaction
	$node->safe_psql('copy', 'DROP FUNCTION hold() CASCADE');
	return;
}

# An offset that was committed before would lose the events.
sub kill_before_commit
{
	my ($node, $consumer) = @_;
	kill_in_commit($node, $consumer, q{UPDATE organization SET name = name || '?' WHERE id <= 3}, 'rolled back');
	return;
}

# What is committed comes again, since its offset is not, if that is kept elsewhere.  The
# row has a name then that no event tells of: see not_again().
sub kill_between_commits
{
	my ($node, $consumer) = @_;
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('held', 1, 'o'), ('held', 2, 'o')});
	same_rows($node, 'before the next kill');
	kill_in_commit($node, $consumer, q{UPDATE organization SET name = 'once' WHERE (tenant_id, id) = ('held', 1)}, 'done');
	is($node->safe_psql('copy', q{SELECT name FROM organization WHERE (tenant_id, id) = ('held', 1)}),
		'once', 'the copy is committed, but not the offset');
	$node->safe_psql('postgres', q{SET evpub.capture = off; UPDATE organization SET name = 'quiet' WHERE (tenant_id, id) = ('held', 1)});
	return;
}

# The next consumer may be given the same event, but does not apply it: it would read the
# row back, and show its quiet name.
sub not_again
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{UPDATE organization SET name = 'behind' WHERE (tenant_id, id) = ('held', 2)});
	wait_until('what is behind it', sub {
		$node->safe_psql('copy', q{SELECT name = 'behind' FROM organization WHERE (tenant_id, id) = ('held', 2)}) eq 't' });
	is($node->safe_psql('copy', q{SELECT name FROM organization WHERE (tenant_id, id) = ('held', 1)}),
		'once', 'what was committed without its offset is not applied again');
	$node->safe_psql('postgres', q{UPDATE organization SET name = 'loud' WHERE (tenant_id, id) = ('held', 1)});
	return;
}

# An event that comes once more, when the row has another name that no event tells of:
# a consumer that reads it back again shows this name.
sub repeat_event
{
	my ($kafka, $node) = @_;
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('twice', 1, 'once'), ('twice', 2, 'o')});
	wait_published($node);
	same_rows($node, 'the first time');
	my ($record) = grep { $_->{key} eq 'twice' } events($kafka);
	$node->safe_psql('postgres', q{SET evpub.capture = off; UPDATE organization SET name = 'quiet' WHERE (tenant_id, id) = ('twice', 1)});
	$kafka->produce($topic, 'twice', $record->{value}, '-p', $record->{partition});
	$kafka->produce($topic, 'twice', $_, '-p', $record->{partition})
	  for '{no json', '[]', '{"theme":"dark"}', '{"id":"0","type":"member.painted","tenant":"twice","pk":null}';
	$node->safe_psql('postgres', "SELECT evpub.publish_raw('$topic', 'twice', NULL); SELECT evpub.publish('payroll.closed', 'twice')");
	$node->safe_psql('postgres', q{UPDATE organization SET name = 'behind' WHERE (tenant_id, id) = ('twice', 2)});
	wait_until('what is behind it', sub {
		$node->safe_psql('copy', q{SELECT name = 'behind' FROM organization WHERE (tenant_id, id) = ('twice', 2)}) eq 't' });
	is($node->safe_psql('copy', q{SELECT name FROM organization WHERE (tenant_id, id) = ('twice', 1)}),
		'once', 'an event that comes again is dropped; what is no event, and other types, are passed over');
	$node->safe_psql('postgres', q{UPDATE organization SET name = 'loud' WHERE (tenant_id, id) = ('twice', 1)});
	return;
}

# What a topic that grows does: `deleted` of a row that was made again is read after its
# `created`, since it is in another partition.  Nothing was deduplicated there yet.
sub read_deleted_late
{
	my ($kafka, $node) = @_;
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('late', 1, 'first')});
	$node->safe_psql('postgres', q{DELETE FROM organization WHERE tenant_id = 'late'});
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('late', 1, 'again')});
	wait_published($node);
	same_rows($node, 'a row that was made again');
	my ($deleted) = grep { $_->{key} eq 'late' && $_->{event}{type} eq 'organization.deleted' } events($kafka);
	my $other = $deleted->{partition} ? 0 : 1;
	$kafka->produce($topic, 'late', $deleted->{value}, '-p', $other);
	wait_until('the late event', sub {
		$node->safe_psql('copy', "SELECT count(*) FROM applied WHERE partition = $other AND id = '$deleted->{event}{id}'") });
	is($node->safe_psql('copy', q{SELECT name FROM organization WHERE tenant_id = 'late'}),
		'again', 'a late event that it was deleted does not delete it');
	return;
}

# Records that a killed relay had sent, and its successor sends again.
sub kill_relays
{
	my ($kafka, $node) = @_;
	for (1 .. 3)
	{
		$kafka->pause;
		$node->safe_psql('postgres', q{UPDATE organization SET name = name || '.' WHERE id <= 2});
		wait_for_status($node, 'events_in_flight > 0') or last;
		my $relay = kill_relay($node);
		$kafka->cont;
		another_relay($node, $relay);
		wait_for_state($node, 'streaming');
	}
	return;
}

sub grow
{
	my ($kafka, $node, $partitions) = @_;
	$kafka->grow_topic($topic, $partitions);
	# a relay that begins asks how many there are
	kill_relay($node);
	return wait_until('the publisher knows', sub {
		$partitions == $node->safe_psql('postgres', "SELECT partitions FROM evpub.topics WHERE topic = '$topic'") });
}

# consumer_story(kafka, node, command => sub { command of a consumer }, lost => 1 if it
# notices records that retention removed)
sub consumer_story
{
	my ($kafka, $node, %args) = @_;
	my $one = start_consumer('one', $args{command}->());
	same_rows($node, 'rows from before the capture are fetched by a resync');

	kill_before_commit($node, $one);
	$one = start_consumer('one_held', $args{command}->());
	same_rows($node, 'what was not committed is done again');
	kill_between_commits($node, $one);
	$one = start_consumer('one_again', $args{command}->());
	not_again($node);
	my $run = start_load($node);
	my $two = start_consumer('two', $args{command}->());
	wait_until('each has a partition', sub { $one->assigned == 1 && $two->assigned == 1 });
	ok(1, 'another consumer takes a partition over');
	kill_relays($kafka, $node);
	ok(grow($kafka, $node, 5), 'the topic grows under load');
	wait_until('the consumers see it', sub { $one->assigned + $two->assigned == 5 });
	ok($one->end('KILL'), 'a consumer is killed');
	$one = start_consumer('one_more', $args{command}->());
	ok(running($run), 'all that under load') or diag $run->{err};
	end_pgbench($node, $run);
	ok(wait_published($node), 'all is published');
	same_rows($node, 'the copy is the source after kills, rebalances, duplicates and growth');
	my %seen;
	cmp_ok(scalar(grep { $seen{ $_->{event}{id} }++ } events($kafka)), '>', 0, 'there were duplicates');
	read_deleted_late($kafka, $node);
	repeat_event($kafka, $node);

	# a whole tenant goes unseen, too
	$node->safe_psql('postgres', 'SELECT evpub.pause()');
	$node->safe_psql('postgres', q{
DELETE FROM organization WHERE tenant_id = 't1' OR id = 2;
DELETE FROM member WHERE tenant_id = 't2';
UPDATE member SET name = 'unseen' WHERE id = 3;
INSERT INTO organization VALUES ('t3', 99, 'unseen')});
	$node->safe_psql('postgres', 'SELECT evpub.discard(pg_current_wal_lsn()), evpub.resume()');
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('t4', 98, 'after')});
	same_rows($node, 'after a gap the consumers call for a resync, and sweep');
	is($node->safe_psql('copy', q{SELECT count(*) FROM resync WHERE reason LIKE 'evpub.gap%'}), '1', 'once');

	if ($args{lost})
	{
		ok($_->end('TERM'), 'a consumer ends when it is told to') for $one, $two;
		$node->safe_psql('postgres', q{DELETE FROM organization WHERE id = 4; UPDATE member SET name = 'removed' WHERE id = 5});
		wait_published($node);
		my @ends = $kafka->end_offsets($topic);
		$kafka->delete_records($topic, $_, $ends[$_]) for 0 .. $#ends;
		$one = start_consumer('last', $args{command}->());
		same_rows($node, 'records that retention removed before they were read are noticed');

		# no offset is stored there
		ok($one->end('TERM'), 'the consumer ends when it is told to');
		$kafka->grow_topic($topic, 6);
		kill_relay($node);
		my $added = 0;
		wait_until('an event is in the partition that was added', sub {
			$added++;
			$node->safe_psql('postgres', "INSERT INTO organization VALUES ('added$added', 1, 'added')");
			return wait_published($node) && ($kafka->end_offsets($topic))[5];
		});
		$kafka->delete_records($topic, 5, ($kafka->end_offsets($topic))[5]);
		$one = start_consumer('very_last', $args{command}->());
		same_rows($node, '... also at the begin of a partition that was added');
	}
	else
	{
		ok($two->end('TERM'), 'a consumer ends when it is told to');
	}
	$node->safe_psql('postgres', 'TRUNCATE organization, member');
	$node->safe_psql('postgres', q{INSERT INTO organization VALUES ('t5', 1, 'new')});
	same_rows($node, 'a table that was emptied');
	ok($one->end('TERM'), 'the last consumer ends when it is told to');
	return;
}

1;
