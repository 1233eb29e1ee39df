
# ALTER EXTENSION evpub UPDATE from 1.0 to a made-up 1.1, beside writers and with a
# backlog: nothing is lost, twice or out of order, and captures, rules, rights, settings
# and state are what they were.  The library serves the script of before until then.
use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);

use EvpubKafka;
use EvpubLoad;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The server's directories in a place of their own, as in 087: the versions of evpub
# that are made up here are nobody else's.  Programs are copied, since the server looks
# for the rest beside the file that it is; the rest are links.
my $root = realpath(PostgreSQL::Test::Utils::tempdir());
my %dir;
for (qw(bindir pkglibdir sharedir))
{
	chomp(my $original = `$ENV{PG_CONFIG} --$_`);
	$dir{$_} = $root . $original;
	mirror($original, $dir{$_}, $_ eq 'bindir');
}
my $extension = "$dir{sharedir}/extension";
{
	my $original = readlink $extension or die "$extension: $!";
	unlink $extension or die "$extension: $!";
	mirror($original, $extension);
}

sub mirror
{
	my ($original, $place, $as_copies) = @_;
	make_path($place);
	for my $file (glob "$original/*")
	{
		my $new = "$place/" . basename($file);
		if ($as_copies && -f $file)
		{
			copy($file, $new) or die "$new: $!";
			chmod 0755, $new;
		}
		else
		{
			symlink $file, $new or die "$new: $!";
		}
	}
	return;
}

sub install
{
	my ($name, $text) = @_;
	unlink "$extension/$name";
	open my $file, '>', "$extension/$name" or die "$extension/$name: $!";
	print $file $text;
	close $file or die "$extension/$name: $!";
	return;
}

my $control = slurp_file("$extension/evpub.control");

# What a version may bring: a function, a column at the end of a view, a parameter with
# a default at the end of a function, another body.  A function that gets a parameter is
# another function, so who might execute it is read before, and may again afterwards.
my $script = q{
\echo Use "ALTER EXTENSION evpub UPDATE TO '1.1'" to load this file. \quit

CREATE FUNCTION evpub.version() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '1.1' $$;
COMMENT ON FUNCTION evpub.version() IS 'The version of the SQL objects.';
REVOKE ALL ON FUNCTION evpub.version() FROM PUBLIC;

CREATE OR REPLACE VIEW evpub.status AS
	SELECT s.*, s.lag_bytes OPERATOR(pg_catalog./) 1024 AS lag_kb FROM evpub_internal.status() s;

DO $do$
DECLARE
	grants pg_catalog.text[];
	command pg_catalog.text;
BEGIN
	SELECT pg_catalog.array_agg(pg_catalog.format('GRANT EXECUTE ON FUNCTION evpub.publish_raw TO %s%s',
	                                              CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC'
	                                                   ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END,
	                                              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END))
	  INTO grants
	  FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
	 WHERE p.oid OPERATOR(pg_catalog.=) 'evpub.publish_raw(text, text, jsonb, jsonb)'::pg_catalog.regprocedure::pg_catalog.oid
	   AND a.grantee OPERATOR(pg_catalog.<>) p.proowner;
	DROP FUNCTION evpub.publish_raw(text, text, jsonb, jsonb);
	CREATE FUNCTION evpub.publish_raw(topic text, key text, value jsonb, headers jsonb DEFAULT NULL, note text DEFAULT NULL)
	RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'evpub_publish_raw';
	REVOKE ALL ON FUNCTION evpub.publish_raw(text, text, jsonb, jsonb, text) FROM PUBLIC;
	FOREACH command IN ARRAY coalesce(grants, '{}') LOOP
		EXECUTE command;
	END LOOP;
END
$do$;
COMMENT ON FUNCTION evpub.publish_raw IS 'Publishes a value as it is.';

CREATE OR REPLACE FUNCTION evpub_internal.is_captured(rel oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT count(*) > 0 FROM pg_trigger
 WHERE tgrelid = rel AND tgfoid = 'evpub.capture()'::regprocedure
$$;
};

# ---- what the scripts name is in the library ----

my %symbols;
for my $file (glob "$ENV{EVPUB_TEST_DIR}/../sql/evpub--*.sql")
{
	$symbols{$_} = basename($file)
	  for slurp_file($file) =~ /'MODULE_PATHNAME'\s*,\s*'(\w+)'/g;
}
cmp_ok(scalar(keys %symbols), '>', 30, 'the scripts name symbols');
my %exported = map { /^\S+ T (\w+)$/ ? ($1 => 1) : () } `nm -D --defined-only $dir{pkglibdir}/evpub.so`;
is(join(' ', map { "$_ ($symbols{$_})" } grep { !$exported{$_} || !$exported{"pg_finfo_$_"} } sort keys %symbols),
	'', '... all of which the library has');

# ---- a server with 1.0, and everything that has to outlive the update ----

my $kafka = EvpubKafka->new->start;
my $node = capture_node('main', kafka => $kafka, install_path => dirname($dir{bindir}),
	extension => 0);
sub sql { my ($sql, $database) = @_; return $node->safe_psql($database || 'postgres', $sql) }
sub version { return sql("SELECT extversion FROM pg_extension WHERE extname = 'evpub'") }

sql(q{CREATE EXTENSION evpub VERSION '1.0'});
load_tables($node, 4);
sql(q{
CREATE ROLE writer;
GRANT USAGE ON SCHEMA evpub TO writer;
GRANT EXECUTE ON FUNCTION evpub.publish_raw TO writer WITH GRANT OPTION;
CREATE TABLE member (id int PRIMARY KEY, tenant text, name text);
SELECT evpub.capture_table('member', tenant_column => 'tenant', topic => 'members', filter => '{row}.id > 0',
	data_columns => '{name}', headers => '{"a": "b"}', operations => '{insert,update}');
CREATE SCHEMA cust_a;
CREATE TABLE cust_a.task (id int PRIMARY KEY);
SELECT evpub.capture_schemas('^cust_(.*)$', '{task}', tenant => '{match}', topic => 'tasks');
ALTER DATABASE postgres SET evpub.default_topic = 'of-database';
ALTER SYSTEM SET evpub.linger = '3 ms';
SELECT pg_reload_conf();
INSERT INTO item SELECT 't' || i, 1 FROM generate_series(1, 4) i;
UPDATE counter SET n = 1;
INSERT INTO member VALUES (1, 'acme', 'first');
});
ok(wait_published($node), '1.0 publishes');

# What an update has to leave as it is.
my %kept = (
	captures => q{SELECT string_agg(pg_get_triggerdef(oid), E'\n' ORDER BY tgrelid, tgname) FROM pg_trigger
		WHERE tgfoid = 'evpub.capture'::regproc},
	definitions => q{SELECT string_agg(definition, E'\n' ORDER BY definition) FROM evpub.tables},
	rules => q{SELECT string_agg(r::text, E'\n') FROM evpub.schema_rules r},
	rights => q{SELECT string_agg(concat_ws(' ', p.proname, a.grantee::regrole, a.privilege_type, a.is_grantable), ', ' ORDER BY p.proname, a.grantee)
		FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
		WHERE p.pronamespace = 'evpub'::regnamespace AND p.proname NOT IN ('version')},
	settings => q{SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name LIKE 'evpub.%'},
	publisher => q{SELECT publisher_id || ' ' || state FROM evpub.status},
	labels => q{SELECT string_agg(label || ' ' || objoid::regclass, ' ') FROM pg_shseclabel WHERE provider = 'evpub'},
	topics => q{SELECT string_agg(topic || ' ' || partitions, ' ' ORDER BY topic) FROM evpub.topics},
	columns => q{SELECT string_agg(concat_ws(' ', attrelid::regclass, attname, attnum), ', ' ORDER BY attrelid::regclass::text, attnum) FROM pg_attribute
		WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'evpub'::regnamespace AND relkind = 'v')
		  AND attnum > 0 AND attname <> 'lag_kb'});
ok(wait_for_state($node, 'streaming'), 'streaming');
my %before = map { $_ => sql($kept{$_}) } keys %kept;
like($before{rights}, qr/publish_raw writer EXECUTE t/, 'rights that were granted');
like($before{captures}, qr/cust_a\.task/, 'captures, also by a rule');

# ---- an update that cannot be: nothing has changed ----

install('evpub--1.0--1.1.sql', $script . q{
CREATE FUNCTION evpub.of_a_newer_library() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'evpub_of_a_newer_library';
});
my ($rc, $out, $err) = $node->psql('postgres', q{ALTER EXTENSION evpub UPDATE TO '1.1'});
like($err, qr/could not find function "evpub_of_a_newer_library" in file/, 'before the restart with the newer library: an error');
is(version(), '1.0', '... and still 1.0');
is(sql($kept{$_}), $before{$_}, "... with the same $_") for qw(rights columns);
sql(q{CREATE FUNCTION uses() RETURNS void BEGIN ATOMIC SELECT evpub.publish_raw('t', 'k', '1'); END});
install('evpub--1.0--1.1.sql', $script);
($rc, $out, $err) = $node->psql('postgres', q{ALTER EXTENSION evpub UPDATE TO '1.1'});
like($err, qr/cannot drop function publish_raw.*function public\.uses\(\) depends/s, 'an own function uses what is made anew: an error that names it');
is(version(), '1.0', '... and still 1.0');
sql('DROP FUNCTION uses()');

# ---- the update, beside writers, with a transaction of each kind under way ----

my $load = start_load($node, 4, 3, 25, rate => 200);
my $open = $node->background_psql('postgres', on_error_stop => 1);
$open->query_safe(q{BEGIN});
$open->query_safe(q{INSERT INTO member VALUES (5, 'acme', 'open')});
sql(q{BEGIN; INSERT INTO member VALUES (2, 'acme', 'prepared'); PREPARE TRANSACTION 'p'});
wait_until('events flow', sub { status($node, 'events_published') > 100 });
$kafka->pause;
wait_until('a backlog', sub { status($node, 'lag_seconds') > 1 });
my $backlog = sql('SELECT count(*) FROM evpub.peek(1000)');
cmp_ok($backlog, '>', 0, 'a backlog');
sql(q{ALTER EXTENSION evpub UPDATE TO '1.1'});
is(version(), '1.1', 'updated, while no broker answers');
ok(running($load), '... and writers write');
$open->query_safe(q{INSERT INTO member VALUES (3, 'acme', 'open')});
$open->query_safe('COMMIT');
$open->quit;
sql(q{COMMIT PREPARED 'p'});
$kafka->cont;
ok(finish($load), 'no writer got an error');
ok(wait_published($node), 'published');
cmp_ok(check_complete('before, during and after', $node, $kafka), '>', 500, '... all of it');
is(join(' ', sort map { $_->{event}{data}{name} . $_->{event}{pk}{id} } events($kafka, 'members')), 'first1 open3 open5 prepared2',
	'what was under way, too');
is(sql($kept{$_}), $before{$_}, "the same $_") for sort keys %kept;

# ---- what is new ----

is(sql('SELECT evpub.version()'), '1.1', 'the new function');
is(sql('SELECT lag_kb = lag_bytes / 1024 FROM evpub.status'), 't', 'the new column');
is(sql(q{SELECT attname FROM pg_attribute WHERE attrelid = 'evpub.status'::regclass ORDER BY attnum DESC LIMIT 1}), 'lag_kb', '... is the last one');
is(sql(q{SELECT has_table_privilege('pg_monitor', 'evpub.status', 'SELECT')}), 't', '... for those who could read the view');
sql(q{SET ROLE writer; SELECT evpub.publish_raw('raw', 'k', '1', note => 'x'); SELECT evpub.publish_raw('raw', 'k', '2', NULL); SELECT evpub.publish_raw(topic => 'raw', key => 'k', value => '3')});
sql(q{CREATE SCHEMA cust_b; CREATE TABLE cust_b.task (id int PRIMARY KEY); INSERT INTO cust_b.task VALUES (1); INSERT INTO cust_a.task VALUES (1)});
ok(wait_published($node), 'publishes');
is(join(' ', map { $_->{value} } $kafka->consume('raw')), '1 2 3', 'a parameter more, and calls that do not give it');
is(join(' ', sort map { $_->{event}{tenant} } events($kafka, 'tasks')), 'a b', 'a rule, for a schema that comes later, too');
ok(wait_for_state($node, 'streaming'), 'streaming');
# the control file is that of 1.0 still
is(sql('SELECT string_agg(name, \' \') FROM evpub.check() WHERE NOT ok'), 'version', 'check() finds nothing else');
my %updated = map { $_ => sql($kept{$_}) } qw(publisher captures);
$node->restart;
sql(q{INSERT INTO member VALUES (4, 'acme', 'restarted')});
ok(wait_published($node), 'and after a restart');
ok(wait_for_state($node, 'streaming'), 'restarted: streaming');
is(sql($kept{$_}), $updated{$_}, "restarted: the same $_") for sort keys %updated;

# ---- not back ----

($rc, $out, $err) = $node->psql('postgres', q{ALTER EXTENSION evpub UPDATE TO '1.0'});
like($err, qr/extension "evpub" has no update path from version "1\.1" to version "1\.0"/, 'not back to 1.0');
is(version(), '1.1', '... it is 1.1');

# ---- a database that has 1.0 still is served beside one of 1.1 ----

sql(q{CREATE DATABASE old});
sql(q{CREATE EXTENSION evpub VERSION '1.0'; CREATE TABLE t (id int PRIMARY KEY); SELECT evpub.capture_table('t', tenant => 'acme', topic => 'old'); INSERT INTO t VALUES (1)}, 'old');
ok(wait_published($node), 'a database with 1.0');
is($kafka->record_count('old'), 1, '... is published');
is(sql('SELECT count(*) FROM evpub.status', 'old'), 1, '... and has its views');

# ---- dump and restore ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump of 1.1');
install('evpub.control', $control =~ s/default_version = '1\.0'/default_version = '1.1'/r);
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('restored'), '-f', $dump ], 'restored');
is(sql(q{SELECT extversion || ' ' || evpub.version() FROM pg_extension WHERE extname = 'evpub'}, 'restored'), '1.1 1.1', '... it is 1.1, made by both scripts');
is(sql($kept{$_}, 'restored'), $before{$_}, "... with the same $_") for qw(columns rules);
is(sql(q{SELECT string_agg(definition, E'\n' ORDER BY definition) FROM evpub.tables}, 'restored'), sql($kept{definitions}), '... and captures');
sql(q{INSERT INTO cust_b.task VALUES (2)}, 'restored');
ok(wait_published($node), 'published');
is(join(' ', sort map { $_->{event}{tenant} } events($kafka, 'tasks')), 'a b b', '... from there, too');

# ---- a state file of a newer version is none that an older library reads ----

$node->stop;
my $state = $node->data_dir . '/evpub/state';
my $bytes = slurp_file($state);
is($bytes =~ s/evpubst9/evpubst8/g, 2, 'a state file of another version');
open my $file, '+<:raw', $state or die "$state: $!";
print $file $bytes;
close $file;
$node->start;
ok(wait_for_status($node, q{state = 'gap' AND state_reason LIKE '%not one of this version%'}), '... is a gap, and no guess');
sql('SELECT evpub.accept_gap(pg_current_wal_flush_lsn())');
ok(wait_published($node), 'accepted');

# ALTER EXTENSION without a version goes to the default
my $version = q{SELECT ok, hint FROM evpub.check() WHERE name = 'version'};
like(sql($version, 'old'), qr/\Af\|.*ALTER EXTENSION evpub UPDATE;/, 'check() says that the SQL objects are older');
sql('ALTER EXTENSION evpub UPDATE', 'old');
is(sql($version, 'old'), 't|', '... and not any more');
is(sql(q{SELECT evpub.version()}, 'old'), '1.1', 'without a version: the newest');

done_testing();
