
# pg_upgrade from PostgreSQL 15 to 17 with evpub preloaded in both: it passes,
# and takes triggers and labels along; the new cluster publishes nothing until
# somebody takes over, and keeps WAL from its first start on.  What the old one
# had not published is still there.
#
# Runs inside the root of test/upgrade/root; called by test/upgrade/run.
use strict;
use warnings;

use EvpubKafka;
use EvpubLicence;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->attach($ENV{EVPUB_TEST_KAFKA} =~ /:(\d+)$/);
$EvpubLicence::kafka = $kafka;
my %bin = map { $_ => "/usr/lib/postgresql/$_/bin" } 15, 17;

sub slurp_state
{
	my ($node) = @_;
	return PostgreSQL::Test::Utils::slurp_file(state_file($node->data_dir));
}

sub triggers
{
	my ($node) = @_;
	return join ' ', map {
		$node->safe_psql($_,
			q{SELECT string_agg(concat_ws('/', tgrelid::regclass, tgname, tgenabled, encode(tgargs, 'hex')), ' '
				ORDER BY tgrelid::regclass::text, tgname)
			  FROM pg_trigger WHERE tgname LIKE '\_evpub%'})
	} 'postgres', 'shop';
}

sub label_count
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_shseclabel WHERE provider = 'evpub'});
}

# An old cluster with two databases, and events that are not published yet.
my $old = capture_node('old', kafka => $kafka, install_path => '/usr/lib/postgresql/15');
is($old->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int / 10000}),
	'15', 'the old cluster is of version 15');
$old->safe_psql('postgres', 'CREATE DATABASE shop');
create_evpub($old, 'shop');
code_table($old, $_) for 'postgres', 'shop';
$old->safe_psql('shop',
	q{CREATE TABLE "Order Lines" (tenant_id text, "No" int PRIMARY KEY, sum numeric);
	  SELECT evpub.capture_table('"Order Lines"', tenant_column => 'tenant_id', topic => 'order-lines')});
my $old_id = status($old, 'publisher_id');
publish_row($old, 'old-1');
$old->safe_psql('postgres', 'SELECT evpub.pause()');
write_row($old, 'old-2', $_) for 'postgres', 'shop';
my $triggers = triggers($old);
like($triggers, qr/Order Lines/, 'tables are captured');
$old->stop;
my $old_state = slurp_state($old);

my $new = capture_node('new', kafka => $kafka, start => 0);
like(PostgreSQL::Test::Utils::slurp_file($new->data_dir . '/PG_VERSION'),
	qr/^17$/, 'the new cluster is of version 17');
ok(!-e $new->data_dir . '/evpub', 'it has no state of evpub');

# pg_upgrade starts both servers with what preloads evpub, and with databases
# that have a label.
my @command = (
	'pg_upgrade', '--old-bindir' => $bin{15}, '--new-bindir' => $bin{17},
	'--old-datadir' => $old->data_dir, '--new-datadir' => $new->data_dir,
	'--old-port' => $old->port, '--new-port' => $new->port,
	'--socketdir' => $new->host, '--username' => (getpwuid($<))[0]);
chdir $PostgreSQL::Test::Utils::tmp_check or die $!;
$new->command_ok([ @command, '--check' ], 'pg_upgrade --check passes');
$new->command_ok([@command], 'pg_upgrade passes');
ok(!-e $new->data_dir . '/evpub', 'meanwhile the worker did nothing in the new cluster');
is(slurp_state($old), $old_state, 'nor in the old one');
is(scalar(codes_in_kafka('old')), 1, 'nothing was published');

start_logged($new);
is(triggers($new), $triggers, 'the triggers are there, with their settings');
is(label_count($new), '2', 'the labels are there');
is(labels($new), $old_id, 'and name the old publisher');
ok(wait_until('the slot', sub { slots($new) eq 'evpub' }), 'the slot is made at once');
stands_still($new, 'new', 'fenced', qr/upgraded/);
is(scalar(codes_in_kafka('old')), 1, 'still nothing is published');

# What was not published before pg_upgrade is in the old cluster: there it can
# be published yet, before somebody takes over.
$old->start;
ok(wait_for_state($old, 'paused'), 'the old cluster knows what it has to publish');
$old->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($old), 'published');
is_deeply([ sort map { $_->{code} } codes_in_kafka('old') ],
	[ 'old-1', 'old-2', 'old-2' ], 'each event, once');
$old->stop;

taken_over($new, 'new', not => $old_id);
write_row($new, 'new-4', 'shop');
ok(wait_published($new), 'the other database publishes, too');
is_deeply([ sort map { $_->{code} } codes_in_kafka('new') ],
	[ map { "new-$_" } 1 .. 4 ], 'all that was committed in the new cluster, once');
is(scalar(codes_in_kafka('old')), 3, 'and nothing of the old cluster again');
$new->stop;
done_testing();
