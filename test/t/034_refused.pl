
# Functions that cannot do what they are asked where they are called say so,
# with a code and what to do: on a standby, in a copy of a database, and without
# preloading.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub refused
{
	my ($node, $database, $sql, $code, $message, $hint) = @_;
	my ($out, $err);
	$node->psql($database, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err);
	like($err, qr/ERROR:  $code: \Q$message\E/, "$sql: $code");
	like($err, qr/HINT:  \Q$hint\E/, "$sql: what to do");
	return;
}

my $node = capture_node('main');
$node->safe_psql('postgres', q{
CREATE DATABASE cms;
CREATE TABLE member (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('member', tenant_column => 'tenant');
});
create_evpub($node, 'cms');
$node->safe_psql('cms', q{
CREATE TABLE member (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('member', tenant_column => 'tenant');
});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE cms');
refused($node, 'copy', q{CALL evpub.resync('{member}')}, '55000',
	'this database is not registered to publish', 'SELECT evpub.register_database(), if it is to publish.');

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
refused($standby, 'postgres', 'SELECT evpub.wait_published()', '55000',
	'recovery is in progress', 'Wait on the server that publishes.');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM evpub.tables'), '1', 'what is captured can be seen there');
$standby->stop;

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
for my $call ('wait_published()', 'pause()', 'resume()', 'take_over()')
{
	refused($node, 'postgres', "SELECT evpub.$call", '55000',
		'evpub must be loaded via shared_preload_libraries',
		'Add evpub to shared_preload_libraries and restart the server.');
}

# A rule is no hindrance to who makes tables.
$node->safe_psql('cms', q{SELECT evpub.capture_schemas('public', '{later}', tenant_column => 'tenant')});
$node->safe_psql('cms', 'CREATE TABLE later (id int PRIMARY KEY, tenant text)');
is($node->safe_psql('cms', q{SELECT evpub._is_captured('later'::regclass)}), 't',
	'a rule captures without preloading');

done_testing();
