# Messages of 300 MB in WAL, which any role may write, are passed over: the
# publisher and evpub.peek() stay small, and no event is lost beside them.
use strict;
use warnings;

use Time::HiRes qw(time);

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$kafka->create_topic($EvpubTest::TOPIC, 2);
my $node = capture_node('main', kafka => $kafka, conf => 'max_wal_size = 8GB');
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{CREATE TABLE t (tenant_id text, id int PRIMARY KEY);
	SELECT evpub.capture_table('t', tenant_column => 'tenant_id');
	CREATE ROLE anyone LOGIN});

my $events = 0;
sub insert { return sql("INSERT INTO t VALUES ('acme', @{[ ++$events ]})") }

# emit(transactional, prefix, megabytes): by a role without any right, in the
# background
sub emit
{
	my ($transactional, $prefix, $size) = @_;
	return start_psql($node, "SET SESSION AUTHORIZATION anyone;
		SELECT pg_logical_emit_message($transactional, '$prefix',
			convert_to(repeat('x', $size * 1024 * 1024), 'SQL_ASCII'))");
}

sub emit_now { return ok(finish(emit(@_)), "a message of $_[2] MB is written") }

# Until it is published past such a message; memory and CPU meanwhile.
sub watch
{
	my ($name, @message) = @_;
	insert();
	ok(wait_published($node), "$name: published before");
	my $before = process_use(worker_pid($node));
	my $writer = emit(@message);
	my $memory = watch_memory($node, sub { !running($writer) });
	ok(finish($writer), "$name: written");
	insert();
	my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
	my $more = watch_memory($node,
		sub { sql("SELECT confirmed_lsn >= '$lsn' FROM evpub.status") eq 't' });
	$memory = $more if $more > $memory;
	my $cpu = process_use(worker_pid($node))->{cpu_ms} - $before->{cpu_ms};
	cmp_ok($memory, '<', $EvpubTest::MEMORY_LIMIT_KB, "$name: worker and relay stay small");
	cmp_ok($cpu, '<', 3000, "$name: it costs little");
	note sprintf '%s: %d kB, %d ms of CPU', $name, $memory, $cpu;
	return;
}

sub forged { return sql('SELECT forged_dropped FROM evpub.status') }

watch('foreign', 'false', 'x', 300);
watch('foreign, transactional', 'true', 'x', 300);
is(forged(), 0, 'these are not forged');
watch('prefix evpub', 'false', 'evpub', 300);
watch('prefix evpub, transactional', 'true', 'evpub', 300);
is(forged(), 2, 'these are: they are larger than any of evpub');
watch('prefix evpub, as large as one of evpub may be', 'true', 'evpub', 16);
is(forged(), 3, 'forged, too');

# Around the size from which records are passed over, and around page ends.
for my $size (0 .. 40)
{
	my $bytes = 131072 - 8192 + $size * 411;
	sql("SELECT pg_logical_emit_message(@{[ $size % 2 ? 'true' : 'false' ]}, 'x', repeat('x', $bytes))");
	insert();
}
ok(wait_published($node), 'records of about the size that is passed over');

# ---- evpub.peek ----
{
	my $from = sql('SELECT pg_current_wal_insert_lsn()');
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), 'no brokers: events wait in WAL');
	emit_now('true', 'evpub', 300);
	insert();
	my $peek = $node->background_psql('postgres');
	my $pid = $peek->query_safe('SELECT pg_backend_pid()');
	# a forged message is a warning
	is(scalar $peek->query("SELECT count(*) FROM evpub.peek(100, '$from')"), 1, 'peek() finds the event behind it');
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m;
	cmp_ok($peak, '<', 128 * 1024, 'and its session stays small');
	$peek->quit;

	emit_now('false', 'x', 300) for 1 .. 3;
	my $begun = time;
	my ($code, $out2, $err) = $node->psql('postgres',
		"SET statement_timeout = '50ms'; SELECT count(*) FROM evpub.peek(100, '$from')");
	like($err, qr/statement timeout/, 'peek() takes interrupts inside a large record');
	cmp_ok(time - $begun, '<', 2, 'at once');
	set_brokers($node, $kafka->bootstrap);
	ok(wait_published($node), 'published when there are brokers again');
}

# ---- a crash in the middle of a large record ----
# What the crash cut is overwritten, and everything behind it is published.
for my $round (1 .. 3)
{
	insert();
	# asked before: a message has its whole place as soon as it is begun
	my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
	my $writer = start_psql($node,
		"SELECT pg_logical_emit_message(false, 'x', convert_to(repeat('x', 300 * 1024 * 1024), 'SQL_ASCII'))");
	# then it is copied page by page
	wait_until('the message is being written',
		sub { sql("SELECT pg_current_wal_flush_lsn() - '$lsn' > 1000000 OR pg_current_wal_insert_lsn() - '$lsn' > 100000000") eq 't' });
	$node->stop('immediate');
	eval { finish($writer) };
	$node->start;
	insert();
	ok(wait_published($node), "crash $round: published");
}

# ---- a stop does not wait for a long read ----
{
	emit_now('false', 'x', 300) for 1 .. 2;
	my $begun = time;
	$node->stop('fast');
	note sprintf 'stopped in %.1f s', time - $begun;
	$node->start;
	insert();
	ok(wait_published($node), 'published after a stop in the middle of it');
}

my %seen;
$seen{ $_->{event}{pk}{id} }++ for check_ids('all', events($kafka));
is(scalar(keys %seen), $events, 'every event is in Kafka');
is(scalar(grep { $_ > 1 } values %seen), 0, 'under one id each');
$node->stop;
done_testing();
