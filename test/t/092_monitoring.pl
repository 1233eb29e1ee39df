
# Debian's Prometheus scrapes a live server through Debian's sql_exporter, with the
# files of monitoring/: every series is there under its name, every query of the
# dashboard finds something, and alerts come for faults that are made here, and not
# before.  Alerts whose time is not to be had here are tested by promtool.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;

$ENV{PATH} = "$ENV{EVPUB_MONITORING}:$ENV{PATH}";
my $files = "$ENV{EVPUB_TEST_DIR}/../monitoring";
my $work = PostgreSQL::Test::Utils::tempdir();
my %children;

# Ends with this test, whatever ends that.
sub start
{
	my ($name, @command) = @_;
	my $pid = fork // die "fork: $!";
	return $children{$name} = $pid if $pid;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', ($ENV{TESTLOGDIR} || $work) . "/$name.log";
	open STDERR, '>&', \*STDOUT;
	exec 'setpriv', '--pdeathsig', 'KILL', @command or POSIX::_exit(127);
}

sub end
{
	my ($name) = @_;
	my $pid = delete $children{$name} or return;
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return;
}

END
{
	my $status = $?;
	end($_) for keys %children;
	$? = $status;
}

# A file of monitoring/ with other values, into $work.
sub adapt
{
	my ($file, @changes) = @_;
	my $text = slurp_file("$files/$file");
	while (my ($pattern, $with) = splice @changes, 0, 2)
	{
		$text =~ s/$pattern/$with/gm or die "$file: nothing like $pattern";
	}
	open my $out, '>', "$work/$file" or die $!;
	print $out $text;
	close $out or die $!;
	return;
}

for my $check ([ 'rules', "$files/alerts.yml" ], [ 'config', "$files/prometheus.yml" ])
{
	command_ok([ 'promtool', 'check', @$check ], "promtool check $check->[0]");
}
{
	chdir $files or die $!;
	command_ok([ 'promtool', 'test', 'rules', 'alerts_test.yml' ], 'alerts at their times');
	chdir $work or die $!;
}

my $kafka = EvpubKafka->new->start;
# an event that waits until its topic is made is shown as blocked
$kafka->create_topic($EvpubTest::TOPIC, 6);
my $node = capture_node('main', kafka => $kafka);
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{CREATE ROLE evpub_exporter LOGIN IN ROLE pg_monitor;
	CREATE TABLE t (id bigserial PRIMARY KEY, tenant text);
	SELECT evpub.capture_table('t', tenant_column => 'tenant')});

my ($exporter, $prometheus) = map { EvpubKafka::free_port() } 1 .. 2;
my $connection = sprintf 'postgres://evpub_exporter@/postgres?host=%s&port=%d&sslmode=disable',
  $node->host, $node->port;
adapt('sql_exporter.yml', q{'postgres://.*'} => "'$connection'", q{interval: '(?:15s|5m)'} => q{interval: '1s'});
adapt('prometheus.yml', '127\.0\.0\.1:9237' => "127.0.0.1:$exporter", 'interval: 15s' => 'interval: 1s');
adapt('alerts.yml', 'for: \w+' => 'for: 2s');
sub start_exporter
{
	return start('exporter', 'prometheus-sql-exporter', '-config.file', "$work/sql_exporter.yml",
		'-web.listen-address', "127.0.0.1:$exporter");
}
# before it, "starting" would be an alert that waits
ok(wait_for_state($node, 'streaming'), 'streaming');
start_exporter();
start('prometheus', 'prometheus', "--config.file=$work/prometheus.yml",
	"--storage.tsdb.path=$work/tsdb", "--web.listen-address=127.0.0.1:$prometheus");

# What Prometheus says of an expression: [{metric => labels, value => [time, text]}]
my $http = HTTP::Tiny->new(timeout => 10);
sub ask
{
	my ($expression) = @_;
	my $answer = $http->post_form("http://127.0.0.1:$prometheus/api/v1/query", { query => $expression });
	return [] if !$answer->{success};
	return decode_json($answer->{content})->{data}{result};
}

# The same, when there is an answer: a scrape that takes longer than its second makes all
# that was known unknown until the next one.
sub answer
{
	my ($expression) = @_;
	my $answer = [];
	eval { wait_until($expression, sub { @{ $answer = ask($expression) } }, 60) };
	return $answer;
}

sub alerts
{
	return { map { $_->{metric}{alertname} => $_->{metric} } @{ ask('ALERTS{alertstate="firing"}') } };
}

sub fires
{
	my ($alert, $why) = @_;
	my $labels = eval { wait_until($alert, sub { alerts()->{$alert} }, 60) };
	ok($labels, "$alert: $why") or diag explain(alerts());
	return $labels // {};
}

# ---- quiet ----

# EVPUB_QUIET_SECONDS=600 shows that there is no alert in ten minutes.
my $load = start_pgbench($node, { "\\set t random(1, 20)\nINSERT INTO t (tenant) VALUES (:t);\n" => 1 },
	rate => 50, seconds => $ENV{EVPUB_QUIET_SECONDS} || 20);
for my $name (qw(evpub_state evpub_lag_seconds evpub_lag_bytes evpub_retained_wal_bytes
	evpub_wal_disk_free_ratio evpub_events_published_total{topic="cms-hr-operation"}
	evpub_transactions_published_total evpub_publish_latency_seconds{quantile="0.99"}
	evpub_events_in_flight evpub_last_ack_timestamp_seconds
	evpub_relay_restarts_total{cause="worker"} evpub_dead_lettered_total evpub_gaps_total
	evpub_forged_dropped_total evpub_preloaded evpub_wal_disk_reserved_ratio evpub_events_skipped_total),
	'evpub_captured_events_total{table="public.t",operation="create"}',
	'evpub_check_problems{check="disabled_triggers",database="postgres"} == 0')
{
	ok(eval { wait_until($name, sub { @{ ask($name) } }, 60) }, $name)
	  or diag slurp_file(($ENV{TESTLOGDIR} || $work) . '/exporter.log');
}
my $states = answer('evpub_state == 1');
is(scalar @$states, 1, 'one state');
is($states->[0]{metric}{state}, 'streaming', '... which is streaming');
is_deeply([ sort keys %{ answer('evpub_lag_seconds')->[0]{metric} } ], [qw(__name__ database instance job)],
	'no labels but these');
ok(finish($load), 'events flow') or diag $load->{err};
ok(wait_published($node), 'all is published');
is(ask('evpub_produce_errors_total')->[0], undef, 'no errors');
ok(eval { wait_until('quiet', sub { !%{ alerts() } }, 30) }, 'none is left');

# (before the first scrape, nothing was known of evpub)
is_deeply(ask('sum_over_time(ALERTS{alertname!="EvpubNotSeen"}[1h])'), [], 'no alert, nor one that waits')
  or diag explain(ask('ALERTS[1h]'));

# ---- the dashboard ----

my $dashboard = decode_json(slurp_file("$files/dashboard.json"));
my %panels = map { $_->{title} => 1 } @{ $dashboard->{panels} };
cmp_ok(scalar keys %panels, '>=', 11, 'a dashboard');
for my $panel (@{ $dashboard->{panels} })
{
	for my $target (@{ $panel->{targets} })
	{
		my $expression = $target->{expr};
		$expression =~ s/\$__rate_interval/30s/g;
		$expression =~ s/\$instance/.*/g;

		# an error code is there only when there was an error
		next if $expression =~ /produce_errors/;
		isnt(scalar @{ answer($expression) }, 0, "dashboard: $panel->{title}: $target->{expr}");
	}
}

# ---- faults ----

# EVPUB_PICTURE=FILE has the dashboard drawn from these minutes: then events flow
# beside the faults.
my $beside = $ENV{EVPUB_PICTURE} &&
  start_pgbench($node, { "\\set t random(1, 20)\nINSERT INTO t (tenant) VALUES (:t);\n" => 1 }, rate => 50, seconds => 600);
my $begun = time - 20;

sql('SELECT evpub.pause()');
fires('EvpubPaused', 'paused');
sql(q{INSERT INTO t (tenant) VALUES ('given up'); SELECT evpub.discard(pg_current_wal_flush_lsn())});
fires('EvpubGapMade', 'a backlog was discarded');
sql('SELECT evpub.resume()');

$kafka->create_topic('narrow', 1, { 'max.message.bytes' => 5000 });
sql(q{SELECT evpub.publish_raw('narrow', 'key', to_jsonb(repeat('x', 6000)))});
fires('EvpubBlocked', 'an event is refused');
is(fires('EvpubRefused', 'the same')->{code}, 10, 'by its code');
sql(q{ALTER SYSTEM SET evpub.on_error = 'dead_letter'; ALTER SYSTEM SET evpub.dead_letter_topic = 'letters';
	SELECT pg_reload_conf()});
fires('EvpubDeadLetters', 'it goes to the dead-letter topic');
ok(wait_published($node), 'published');

for my $times (1 .. 7)
{
	my $before = sql('SELECT relay_pid FROM evpub.status');
	kill 'KILL', $before if $before;
	wait_until('another relay', sub {
		my $now = sql(q{SELECT relay_pid FROM evpub.status WHERE state = 'streaming'});
		return $now && $now ne $before; });
}
fires('EvpubRelayRestarts', 'the relay is killed again and again');
sql(q{SELECT pg_logical_emit_message(true, 'evpub', 'no message of evpub''s')});
fires('EvpubForged', 'a message that evpub did not write');
sql('ALTER TABLE t DISABLE TRIGGER ALL');
fires('EvpubTriggersDisabled', 'a capture trigger is disabled');
sql('ALTER TABLE t ENABLE TRIGGER ALL');
if ($beside)
{
	ok(wait_for_state($node, 'streaming'), 'streaming');
	command_ok([ "$ENV{EVPUB_TEST_DIR}/monitoring/draw", "http://127.0.0.1:$prometheus", $begun, time,
			"$files/dashboard.json", $ENV{EVPUB_PICTURE} ], 'a picture');
	$beside->{handle}->kill_kill;
}
set_brokers($node, '');
fires('EvpubUnconfigured', 'no brokers are set');
ok(!alerts()->{EvpubNotPreloaded}, 'it is preloaded');
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
fires('EvpubNotPreloaded', 'it is not any more');
end('exporter');
fires('EvpubNotSeen', 'the exporter is gone');
$node->stop;
done_testing();
