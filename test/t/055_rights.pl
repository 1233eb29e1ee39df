
# What runs with more rights than its caller's runs nobody else's code.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = capture_node('main');
$node->safe_psql('postgres', q{
CREATE ROLE dbo LOGIN;
CREATE ROLE app LOGIN;
});

my ($out, $err);

sub run_as
{
	my ($user, $database, $sql) = @_;
	($out, $err) = ('', '');
	return $node->psql($database, $sql, stdout => \$out, stderr => \$err,
		extra_params => [ '-U', $user ]);
}

sub is_refused
{
	my ($database, $message, $hint, $what) = @_;
	$node->psql($database, 'CREATE EXTENSION evpub', stdout => \$out, stderr => \$err);
	like($err, qr/ERROR:  \Q$message\E/, $what);
	like($err, qr/HINT:  .*\Q$hint\E/, "$what: what to do");
	return;
}

# ---- a schema made beforehand ----

# What an owner of a database puts into a schema evpub that is found there.
my $trap = q{
CREATE FUNCTION evpub._is_captured(regclass) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN ALTER ROLE dbo SUPERUSER; RETURN false; END $$;
GRANT EXECUTE ON FUNCTION evpub._is_captured(regclass) TO PUBLIC;
};

$node->safe_psql('postgres', 'CREATE DATABASE victim OWNER dbo');
run_as('dbo', 'victim', "CREATE SCHEMA evpub; $trap");
is_refused('victim', 'schema "evpub" belongs to role dbo', 'Drop the schema',
	'a schema of the owner of the database');
$node->safe_psql('victim', 'ALTER SCHEMA evpub OWNER TO postgres');
is_refused('victim', 'schema "evpub" is not empty: function _is_captured(regclass)',
	'Drop the schema', 'what others have made there');
$node->safe_psql('victim', 'DROP FUNCTION evpub._is_captured; GRANT CREATE ON SCHEMA evpub TO dbo');
is_refused('victim', 'others may create objects in schema "evpub": dbo',
	'REVOKE CREATE ON SCHEMA evpub FROM dbo;', 'a role that may create there');
$node->safe_psql('victim', 'REVOKE CREATE ON SCHEMA evpub FROM dbo; GRANT CREATE ON SCHEMA evpub TO PUBLIC');
is_refused('victim', 'others may create objects in schema "evpub": PUBLIC',
	'REVOKE CREATE ON SCHEMA evpub FROM PUBLIC;', 'anybody may create there');
$node->safe_psql('victim', q{
DROP SCHEMA evpub;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app;
});
is_refused('victim', 'others may create objects in schema "evpub": app',
	'If CREATE SCHEMA gives this privilege by default: CREATE SCHEMA evpub; first. Then: REVOKE CREATE ON SCHEMA evpub FROM app;',
	'default privileges on schemas');

# A schema that is empty and the installer's is what a restored dump begins with.
# Other default privileges give nothing here.
$node->safe_psql('victim', q{
CREATE SCHEMA evpub;
REVOKE CREATE ON SCHEMA evpub FROM app;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app, pg_monitor;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app, PUBLIC;
CREATE EXTENSION evpub;
});
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_class WHERE relnamespace = 'evpub'::regnamespace AND relkind IN ('r', 'v')
   AND has_table_privilege('app', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')}),
	'0', 'default privileges give no right on tables of evpub');
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_class WHERE relnamespace = 'evpub'::regnamespace AND relkind IN ('r', 'v')
   AND has_table_privilege('pg_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')}),
	'0', 'nor does pg_monitor get more than to read');
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_proc WHERE pronamespace = 'evpub'::regnamespace
   AND has_function_privilege('app', oid, 'EXECUTE')}),
	'0', 'nor on its functions');
is($node->safe_psql('victim', q{
SELECT string_agg(proname, ', ') FROM pg_proc p JOIN pg_language l ON l.oid = prolang
 WHERE pronamespace = 'evpub'::regnamespace AND lanname <> 'c'
   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)}),
	'', 'all functions that are not in C pin their search_path');
is($node->safe_psql('victim', q{
SELECT string_agg(proname, ', ') FROM pg_proc
 WHERE pronamespace = 'evpub'::regnamespace AND prosecdef
   AND has_function_privilege('public', oid, 'EXECUTE')}),
	'', 'nobody may call those that have the rights of their owner');

# ---- who may create there later ----

# For each function of evpub and each of its arguments, functions of the same name
# that take something else there.  They would be called where a call is not exact.
$node->safe_psql('victim', 'GRANT CREATE, USAGE ON SCHEMA evpub TO dbo; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evpub TO dbo');
is(run_as('dbo', 'victim', q{
SET client_min_messages = warning;
DO $$
DECLARE
	f      record;
	other  text;
	types  text[];
	number integer := 0;
BEGIN
	FOR f IN SELECT p.oid, p.proname, p.pronargs, p.proargnames,
	                ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS types
	           FROM pg_proc p
	          WHERE p.pronamespace = 'evpub'::regnamespace AND p.pronargs > 0
	            AND p.prokind = 'f'
	LOOP
		FOR i IN 1 .. f.pronargs LOOP
			FOREACH other IN ARRAY '{oid,regclass,text,name,character varying,jsonb,json,anyelement,anyarray,bigint,character,cstring}'::text[] LOOP
				types := f.types;
				types[i] := other;
				BEGIN
					EXECUTE format($f$
						CREATE FUNCTION evpub.%I(%s) RETURNS boolean LANGUAGE plpgsql AS
						'BEGIN RAISE EXCEPTION ''trapped as %%: %s'', current_user; END'$f$,
						f.proname,
						(SELECT string_agg(format('%I %s', n, t), ', ' ORDER BY o)
						   FROM unnest(f.proargnames[1:f.pronargs], types) WITH ORDINALITY u (n, t, o)),
						concat(f.proname, ', ', f.proargnames[i], ' as ', other));
					number := number + 1;
				EXCEPTION WHEN duplicate_function OR invalid_function_definition OR feature_not_supported THEN
					NULL;
				END;
			END LOOP;
		END LOOP;
	END LOOP;
	IF number < 200 THEN RAISE EXCEPTION 'only % traps', number; END IF;
END
$$;
CREATE SCHEMA cust_a;
CREATE TABLE cust_a.t (id int PRIMARY KEY);
}), 0, 'traps are laid') or diag $err;
for my $call (
	[ 'postgres', q{SELECT evpub.capture_schemas('^cust_(.*)$'::text, '{t}'::name[], tenant => '{match}'::text, topic => '{match}'::text,
		headers => '{"h":"{match}"}'::jsonb, filter => '{row}.id > 0'::text)} ],
	[ 'dbo', q{CREATE SCHEMA cust_b CREATE TABLE t (id int PRIMARY KEY)} ],
	[ 'dbo', q{ALTER SCHEMA cust_b RENAME TO cust_c; CREATE TABLE cust_c.u (id int PRIMARY KEY)} ],
	[ 'dbo', q{INSERT INTO cust_a.t VALUES (1)} ],
	[ 'postgres', q{SELECT * FROM evpub.tables} ],
	[ 'postgres', q{SELECT * FROM evpub.check()} ],
	[ 'postgres', q{SELECT * FROM evpub.status, evpub.topics} ],
	[ 'postgres', q{SELECT evpub.capture_schemas('^cust_[ab]$'::text, '{t}'::name[], tenant => '{schema}'::text)} ],
	[ 'postgres', q{SELECT evpub.release_schemas('^cust_(.*)$'::text, '{t}'::name[])} ])
{
	my ($user, $sql) = @$call;
	is(run_as($user, 'victim', $sql), 0, "no trap in: $sql") or diag $err;
}
is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'dbo'}), 'f',
	'the owner of the database is what he was');
$node->psql('victim', 'ALTER SCHEMA evpub RENAME TO other', stderr => \$err);
like($err, qr/ERROR:  schema "evpub" cannot have another name/, 'the schema keeps its name');
$node->safe_psql('postgres', 'DROP DATABASE victim');

done_testing();
