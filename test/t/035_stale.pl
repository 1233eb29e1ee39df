
# Other sessions' DDL while a session that has never written a captured table
# compiles a capture's settings, as the jobs of a parallel restore do: what it
# compiled is stale at once, and it has nothing else.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = capture_node('main');
$node->safe_psql('postgres', q{
CREATE TABLE member (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('member', tenant_column => 'tenant');
});

my $others = start_pgbench($node, { "CREATE TABLE t:client_id (a int PRIMARY KEY);\nDROP TABLE t:client_id;\n" => 1 },
	clients => 2, mode => 'simple', seconds => 600);
my $fresh = start_pgbench(
	$node,
	{
		q{
BEGIN;
CREATE TRIGGER second BEFORE TRUNCATE ON member EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=other');
ROLLBACK;
INSERT INTO member VALUES (1, 'acme') ON CONFLICT (id) DO UPDATE SET tenant = member.tenant;
} => 1
	},
	clients => 1, mode => 'simple', connect => 1, transactions => 300);
ok(finish($fresh), 'sessions that make a trigger, and end') or diag $fresh->{err};
ok(running($others), 'meanwhile others made tables') or diag $others->{err};
$others->{handle}->kill_kill;
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'nobody crashed');

$node->stop;
done_testing();
