
# Capture travels with its table through pg_dump, and restored rows are not
# published.  No broker is needed: peek() shows what would be.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = capture_node('source');
$source->safe_psql(
	'postgres', q{
CREATE ROLE owner LOGIN;
GRANT USAGE ON SCHEMA evpub TO owner;
GRANT EXECUTE ON FUNCTION evpub.capture, evpub.capture_table TO owner;
CREATE DATABASE cms;
});
$source->safe_psql(
	'cms', q{
CREATE EXTENSION evpub;
GRANT USAGE ON SCHEMA evpub TO owner;
GRANT EXECUTE ON FUNCTION evpub.capture, evpub.capture_table TO owner;
CREATE SCHEMA hr AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE hr.organization (id int PRIMARY KEY, tenant text);
CREATE TABLE hr.member (id int PRIMARY KEY, organization_id int REFERENCES hr.organization ON DELETE CASCADE,
	tenant text, "odd ""name" text, deleted_at date);
CREATE TABLE hr.task (id int, tenant text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE hr.task_1 PARTITION OF hr.task FOR VALUES FROM (0) TO (10);
CREATE TABLE hr.keyless (a int NOT NULL, b text NOT NULL);
SELECT evpub.capture_table('hr.organization', topic => '{schema}-{table}', tenant_column => 'tenant', on_replica => true);
SELECT evpub.capture_table('hr.member', topic => 't', tenant_column => 'tenant', tenant => 'it''s',
	key => '{tenant}/{table}/{pk} \\', filter => '{row}.deleted_at IS NULL', data_columns => ARRAY['odd "name'],
	headers => '{"a": "b \" {tenant}"}', ignore_columns => '{deleted_at}');
SELECT evpub.capture_table('hr.task', topic => 't', tenant_column => 'tenant', payload => 'row', filter => '{row}.id > 0');
SELECT evpub.capture_table('hr.keyless', topic => 't', tenant => '{schema}', key_columns => '{a,b}', on_truncate => 'ignore');
INSERT INTO hr.organization VALUES (1, 'acme');
INSERT INTO hr.member VALUES (1, 1, 'acme');
INSERT INTO hr.task VALUES (1, 'acme');
INSERT INTO hr.keyless VALUES (1, 'x');
});

my $dir = $source->basedir;
my $captured = q{SELECT string_agg(definition, E'\n' ORDER BY "table"::text) FROM evpub.tables};
my $triggers = q{
SELECT string_agg(concat_ws(' ', tgrelid::regclass, pg_get_triggerdef(oid), tgenabled), E'\n'
                  ORDER BY tgrelid::regclass::text, tgname)
  FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc};
my $definitions = $source->safe_psql('cms', $captured);
my $made = $source->safe_psql('cms', $triggers);
is(() = $definitions =~ /\n/g, 3, 'four tables are captured');

sub dump_source
{
	my ($file, @options) = @_;
	command_ok([ 'pg_dump', '-d', $source->connstr('cms'), '-f', "$dir/$file", @options ],
		"pg_dump @options");
	return "$dir/$file";
}

sub events_since
{
	my ($node, $database, $lsn) = @_;
	return $node->safe_psql($database,
		"SELECT string_agg(value::jsonb ->> 'type', ' ') FROM evpub.peek(1000, '$lsn')");
}

sub lsn
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

# What a table needs to be captured is there, nothing was published by the
# restore, and the next row is.
sub check_restored
{
	my ($node, $database, $since, $what) = @_;
	is($node->safe_psql($database, $captured), $definitions, "$what: settings");
	is($node->safe_psql($database, $triggers), $made, "$what: triggers");
	is(events_since($node, $database, $since), '', "$what: restored rows are not published");
	$node->safe_psql($database, q{INSERT INTO hr.organization VALUES (2, 'acme');
		INSERT INTO hr.task VALUES (2, 'acme')});
	is(events_since($node, $database, $since), 'organization.created task.created',
		"$what: new rows are");
	return;
}

my $plain = dump_source('plain.sql');
my $custom = dump_source('custom', '-Fc');
my $whole = dump_source('whole', '-Fc', '-C');

# another cluster
my $target = capture_node('target', extension => 0);
$target->safe_psql('postgres', 'CREATE ROLE owner LOGIN');

my $since = lsn($target);
$target->safe_psql('postgres', 'CREATE DATABASE plain');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('plain'), '-f', $plain ],
	'plain dump is restored');
check_restored($target, 'plain', $since, 'plain');
is( $target->safe_psql('plain',
		q{SELECT has_function_privilege('owner', 'evpub.capture()', 'execute')}),
	't', 'grants on functions are restored');

# several jobs may make the triggers of a partitioned table before the rows of
# its partitions are there
for my $jobs (1, 4)
{
	local $ENV{PGOPTIONS} = $jobs > 1 ? '-c evpub.capture=off' : '';
	$since = lsn($target);
	$target->safe_psql('postgres', "CREATE DATABASE custom$jobs");
	command_ok([ 'pg_restore', '-e', '-j', $jobs, '-d', $target->connstr("custom$jobs"), $custom ],
		"custom dump is restored by $jobs jobs");
	$ENV{PGOPTIONS} = '';
	check_restored($target, "custom$jobs", $since, "custom, $jobs jobs");
}

# by sections, and the schema alone
$since = lsn($target);
$target->safe_psql('postgres', 'CREATE DATABASE sections');
for my $section ('pre-data', 'data', 'post-data')
{
	command_ok([ 'pg_restore', '-e', "--section=$section", '-d', $target->connstr('sections'), $custom ],
		"section $section is restored");
}
check_restored($target, 'sections', $since, 'sections');

$since = lsn($target);
$target->safe_psql('postgres', 'CREATE DATABASE schema_only');
command_ok([ 'pg_restore', '-e', '-s', '-d', $target->connstr('schema_only'), $custom ],
	'schema alone is restored');
is($target->safe_psql('schema_only', $captured), $definitions, 'schema alone: settings');

# rows that come into captured tables are published, unless told not to
my $data = dump_source('data.sql', '-a', '-t', 'hr.organization');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('schema_only'), '-f', $data ],
	'data alone is restored');
is(events_since($target, 'schema_only', $since), 'organization.created',
	'data alone: published');
$since = lsn($target);
$data = dump_source('members.sql', '-a', '-t', 'hr.member', '--disable-triggers');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('schema_only'), '-f', $data ],
	'data alone is restored with --disable-triggers');
$data = dump_source('task.sql', '-a', '-t', 'hr.task*');
{
	local $ENV{PGOPTIONS} = '-c evpub.capture=off';
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('schema_only'), '-f', $data ],
		'data alone is restored with evpub.capture off');
}
is(events_since($target, 'schema_only', $since), '', 'neither is published');

# a single table, into a database that has the extension, by its owner
$target->safe_psql('postgres', 'CREATE DATABASE single');
$target->safe_psql('single', 'CREATE EXTENSION evpub; CREATE SCHEMA hr AUTHORIZATION owner');
my $single = dump_source('single.sql', '-t', 'hr.organization');
my @by_owner = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'owner',
	'-d', $target->connstr('single'), '-1', '-f', $single);
command_fails_like(\@by_owner, qr/permission denied for (schema evpub|function capture)/,
	'an owner without the right to capture cannot restore the trigger');
$target->safe_psql('single',
	'GRANT USAGE ON SCHEMA evpub TO owner; GRANT EXECUTE ON FUNCTION evpub.capture TO owner');
$since = lsn($target);
command_ok(\@by_owner, 'with it he can');
is(events_since($target, 'single', $since), '', 'single table: restored rows are not published');
$target->safe_psql('single', q{INSERT INTO hr.organization VALUES (3, 'x')});
is(events_since($target, 'single', $since), 'organization.created', 'single table: new rows are');

# into a database without the extension: the table comes, its capture does not
$target->safe_psql('postgres', 'CREATE DATABASE without');
$target->safe_psql('without', 'CREATE SCHEMA hr');
command_fails_like(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('without'), '-f', $single ],
	qr/schema "evpub" does not exist/, 'without the extension the trigger cannot be made');
is($target->safe_psql('without', 'SELECT count(*) FROM hr.organization'), '1',
	'the rows are there');

# with CREATE DATABASE and its label, into a cluster that has not published:
# nobody knows whether the original still does
my $third = capture_node('third', extension => 0);
$third->safe_psql('postgres', 'CREATE ROLE owner LOGIN');
command_ok([ 'pg_restore', '-e', '-C', '-d', $third->connstr('postgres'), $whole ],
	'dump with CREATE DATABASE is restored');
is($third->safe_psql('cms', $captured), $definitions, 'with CREATE DATABASE: settings');
my $state = sub { $third->safe_psql('cms', 'SELECT state FROM evpub.status') };
ok(eval { wait_until('fenced', sub { $state->() eq 'fenced' }) },
	'with its label: fenced until take_over()') or diag $state->();

my $taken = lsn($third);
$third->safe_psql('cms', 'SELECT evpub.take_over()');
$third->safe_psql('cms', q{INSERT INTO hr.organization VALUES (2, 'acme')});
is(events_since($third, 'cms', $taken), 'organization.created',
	'with its label: new rows are published after take_over()');

# Rules for schemas: tables that deviate from their rule, or were released, come
# back as they were, partitioned ones get their key, and the rule goes on.
$source->safe_psql('postgres', 'CREATE DATABASE ruled');
$source->safe_psql(
	'ruled', q{
CREATE EXTENSION evpub;
CREATE SCHEMA cust_a;
CREATE SCHEMA cust_b;
CREATE TABLE cust_a.member (id int PRIMARY KEY, live boolean);
CREATE TABLE cust_b.member (id int PRIMARY KEY, live boolean);
CREATE TABLE cust_a.task (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE cust_a.task_1 PARTITION OF cust_a.task DEFAULT;
CREATE TABLE cust_b.task (id int PRIMARY KEY);
CREATE TABLE cust_a.free (id int NOT NULL);
SELECT evpub.capture_schemas('^cust_(.*)$', '{member,task}', topic => 'cms', tenant => '{match}');
SELECT evpub.capture_schemas('^cust_', '{free}', topic => 'free', tenant => 'x', key_columns => '{id}');
SELECT evpub.capture_table('cust_b.member', topic => 'other', tenant => 'zz', filter => '{row}.live');
SELECT evpub.release_table('cust_b.task');
INSERT INTO cust_a.task SELECT generate_series(1, 10);
INSERT INTO cust_a.free VALUES (1);
INSERT INTO cust_b.member VALUES (1, false);
});
my $ruled = $source->safe_psql('ruled', $captured);
my $ruled_made = $source->safe_psql('ruled', $triggers);
for my $format ('-Fp', '-Fc', '-Fd')
{
	my $file = "$dir/ruled$format";
	command_ok([ 'pg_dump', '-d', $source->connstr('ruled'), '-f', $file, $format ], "pg_dump $format of rules");
	my $database = 'ruled' . substr($format, -1);
	$since = lsn($target);
	$target->safe_psql('postgres', "CREATE DATABASE $database");
	my @restore = $format eq '-Fp'
	  ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file)
	  : ('pg_restore', '-e', $format eq '-Fd' ? ('-j', 3) : (), $file);
	# several jobs may make triggers of partitions before their rows are there
	local $ENV{PGOPTIONS} = $format eq '-Fd' ? '-c evpub.capture=off' : '';
	command_ok([ @restore, '-d', $target->connstr($database) ], "$format is restored");
	$ENV{PGOPTIONS} = '';
	is($target->safe_psql($database, $captured), $ruled, "$format: captures are as they were");
	is($target->safe_psql($database, $triggers), $ruled_made, "$format: triggers, too");
	is(events_since($target, $database, $since), '', "$format: restored rows are not published");
	is($target->safe_psql($database, 'SELECT count(*) FROM cust_a.task'), 10, "$format: rows are there");
	$target->safe_psql($database, 'CREATE SCHEMA cust_c CREATE TABLE member (id int PRIMARY KEY)');
	is($target->safe_psql($database, q{SELECT tenant FROM evpub.tables WHERE "table" = 'cust_c.member'::regclass}),
		'c', "$format: the rule captures tables that are made then");
}

# what the extension made is not dumped a second time
unlike(slurp_file($plain), qr/CREATE (FUNCTION|VIEW|TABLE|EVENT TRIGGER) "?evpub/,
	'objects of the extension are not in the dump');

$_->stop('fast') for $source, $target, $third;
done_testing();
