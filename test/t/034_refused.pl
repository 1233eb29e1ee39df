
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

$node->safe_psql('cms', q{SELECT evpub.capture_schemas('public', '{later}', tenant_column => 'tenant')});
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
for my $call ('wait_published()', 'pause()', 'resume()', 'take_over()')
{
	refused($node, 'postgres', "SELECT evpub.$call", '55000',
		'evpub must be loaded via shared_preload_libraries',
		'Add evpub to shared_preload_libraries and restart the server.');
}


# What is captured there would lack each TRUNCATE of a partition: nothing is.
my @preload = ('55000', 'evpub must be loaded via shared_preload_libraries',
	'Add evpub to shared_preload_libraries and restart the server.');
$node->safe_psql('cms', q{SET evpub.capture = off; CREATE TABLE other (id int PRIMARY KEY, tenant text)});
refused($node, 'cms', $_, @preload)
  for q{INSERT INTO member VALUES (1, 'a')},
  q{TRUNCATE member},
  q{SELECT evpub.publish('t', 'a', topic => 'x')},
  q{SELECT evpub.publish_raw('x', 'k', '{}')},
  q{SELECT evpub.capture_table('other', tenant => 'a')},
  q{SELECT evpub.capture_schemas('public', '{other}', tenant => 'a')},
  q{CALL evpub.resync('{member}')};
is($node->safe_psql('cms', 'SELECT count(*) FROM member'), '0', 'nothing was written');

# Who makes a table under a rule learns it then, and not when he writes it.
refused($node, 'cms', 'CREATE TABLE later (id int PRIMARY KEY, tenant text)', @preload);

# For repairs and restores there is a way; and a capture can be ended.
$node->safe_psql('cms', q{
SET evpub.capture = off;
INSERT INTO member VALUES (1, 'a');
CREATE TABLE later (id int PRIMARY KEY, tenant text);
});
is($node->safe_psql('cms', q{SELECT evpub_internal.is_captured('later'::regclass)}), 'f', 'without capture, a rule does nothing');
$node->safe_psql('cms', q{SELECT evpub.release_table('member'); INSERT INTO member VALUES (2, 'a')});

# A copy that does not publish is written as before.
$node->safe_psql('copy', q{
INSERT INTO member VALUES (1, 'a');
CREATE TABLE new (id int PRIMARY KEY);
SELECT evpub.capture_table('new', tenant => 'a');
INSERT INTO new VALUES (1);
});

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'evpub'");
$node->restart;
$node->safe_psql('cms', q{SELECT evpub.capture_table('member', tenant_column => 'tenant')});
$node->safe_psql('cms', q{INSERT INTO member VALUES (3, 'a')});
is($node->safe_psql('cms', q{SELECT count(*) FROM evpub.peek()}), '1', 'preloaded again, it is captured');

done_testing();
