
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
CREATE FUNCTION evpub.is_captured(regclass) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN ALTER ROLE dbo SUPERUSER; RETURN false; END $$;
GRANT EXECUTE ON FUNCTION evpub.is_captured(regclass) TO PUBLIC;
};

$node->safe_psql('postgres', 'CREATE DATABASE victim OWNER dbo');
run_as('dbo', 'victim', "CREATE SCHEMA evpub; $trap");
is_refused('victim', 'schema "evpub" belongs to role dbo', 'Drop the schema',
	'a schema of the owner of the database');
$node->safe_psql('victim', 'ALTER SCHEMA evpub OWNER TO postgres');
is_refused('victim', 'schema "evpub" is not empty: function is_captured(regclass)',
	'Drop the schema', 'what others have made there');
$node->safe_psql('victim', 'DROP FUNCTION evpub.is_captured; GRANT CREATE ON SCHEMA evpub TO dbo');
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

$node->safe_psql('victim', q{
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM app;
CREATE SCHEMA evpub_internal AUTHORIZATION dbo;
});
is_refused('victim', 'schema "evpub_internal" is there already', 'Drop the schema, or rename it.',
	'a schema of the name of the one that is not for people');
$node->safe_psql('victim', q{
DROP SCHEMA evpub_internal;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app, PUBLIC, pg_monitor;
});

# A schema that is empty and the installer's is what a restored dump begins with.
# Other default privileges give nothing here.
$node->safe_psql('victim', q{
CREATE SCHEMA evpub;
REVOKE CREATE ON SCHEMA evpub FROM app, PUBLIC, pg_monitor;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app, pg_monitor;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app, PUBLIC;
CREATE EXTENSION evpub;
});
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_class WHERE relnamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND relkind IN ('r', 'v')
   AND has_table_privilege('app', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')}),
	'0', 'default privileges give no right on tables of evpub');
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_class WHERE relnamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND relkind IN ('r', 'v')
   AND has_table_privilege('pg_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')}),
	'0', 'nor does pg_monitor get more than to read');
is($node->safe_psql('victim', q{
SELECT count(*) FROM pg_proc WHERE pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace)
   AND has_function_privilege('app', oid, 'EXECUTE') AND oid <> 'evpub.help()'::regprocedure}),
	'0', 'nor on its functions, but for help()');
is($node->safe_psql('victim', q{
SELECT string_agg(proname, ', ') FROM pg_proc p JOIN pg_language l ON l.oid = prolang
 WHERE pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND lanname <> 'c'
   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)}),
	'', 'all functions that are not in C pin their search_path');
is($node->safe_psql('victim', q{
SELECT string_agg(proname, ', ') FROM pg_proc
 WHERE pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND prosecdef
   AND has_function_privilege('public', oid, 'EXECUTE')}),
	'', 'nobody may call those that have the rights of their owner');
is($node->safe_psql('victim', q{
SELECT string_agg(concat_ws(' ', a.grantee::regrole, a.privilege_type), ', ')
  FROM pg_namespace n, aclexplode(n.nspacl) a
 WHERE n.nspname = 'evpub_internal' AND a.grantee <> n.nspowner}),
	'pg_monitor USAGE', 'schema evpub_internal is open to pg_monitor alone, and it cannot create there');
is($node->safe_psql('victim', q{
SELECT string_agg(proname, ', ' ORDER BY proname) FROM pg_proc p
 WHERE pronamespace = 'evpub'::regnamespace AND prosrc ~ 'evpub_internal\.'
   AND NOT prosecdef AND has_function_privilege('pg_monitor', p.oid, 'EXECUTE')}),
	'check', 'what pg_monitor needs that for');
$node->safe_psql('victim', 'ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM app, PUBLIC, pg_monitor');

# ---- what a grant gives, and what it does not ----

$node->safe_psql('victim', q{
CREATE ROLE ops LOGIN;
GRANT USAGE ON SCHEMA evpub TO ops;
GRANT EXECUTE ON FUNCTION evpub.pause, evpub.resume, evpub.capture_schemas, evpub.release_schemas TO ops;
});
is(run_as('ops', 'victim', 'SELECT evpub.pause(), evpub.resume()'), 0,
	'EXECUTE is enough to steer the publisher') or diag $err;
for my $call (q{evpub.capture_schemas('^x', '{t}', tenant => 'x')}, q{evpub.release_schemas('^x', '{t}')})
{
	isnt(run_as('ops', 'victim', "SELECT $call"), 0, "EXECUTE does not open $call");
	like($err, qr/permission denied/, 'the error');
}
isnt(run_as('ops', 'victim', 'SECURITY LABEL FOR evpub ON DATABASE victim IS NULL'), 0,
	'nor are labels for others');

# ---- who may create there later ----

# For each function of evpub and each of its arguments, functions of the same name
# that take something else there.  They would be called where a call is not exact.
$node->safe_psql('victim', 'GRANT CREATE, USAGE ON SCHEMA evpub, evpub_internal TO dbo; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evpub, evpub_internal TO dbo');
is(run_as('dbo', 'victim', q{
SET client_min_messages = warning;
DO $$
DECLARE
	f      record;
	other  text;
	types  text[];
	number integer := 0;
BEGIN
	FOR f IN SELECT p.oid, p.pronamespace::regnamespace AS schema, p.proname, p.pronargs, p.proargnames,
	                ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS types
	           FROM pg_proc p
	          WHERE p.pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND p.pronargs > 0
	            AND p.prokind = 'f'
	LOOP
		FOR i IN 1 .. f.pronargs LOOP
			FOREACH other IN ARRAY '{oid,regclass,text,name,character varying,jsonb,json,anyelement,anyarray,bigint,character,cstring}'::text[] LOOP
				types := f.types;
				types[i] := other;
				BEGIN
					EXECUTE format($f$
						CREATE FUNCTION %s.%I(%s) RETURNS boolean LANGUAGE plpgsql AS
						'BEGIN RAISE EXCEPTION ''trapped as %%: %s'', current_user; END'$f$,
						f.schema, f.proname,
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
for my $schema ('evpub', 'evpub_internal')
{
	$node->psql('victim', "ALTER SCHEMA $schema RENAME TO other", stderr => \$err);
	like($err, qr/ERROR:  schema "$schema" cannot have another name/, "schema $schema keeps its name");
}
$node->safe_psql('postgres', 'DROP DATABASE victim');

# ---- a table of somebody else's, in the hands of a superuser ----

# Functions of the owner tell where they run, and as whom.  All that PostgreSQL
# evaluates without reading a row is among them.
$node->safe_psql('postgres', q{
CREATE SCHEMA d AUTHORIZATION dbo;
CREATE SCHEMA tool;
CREATE TABLE tool.secret (id integer);
INSERT INTO tool.secret VALUES (7);
CREATE FUNCTION public.bait() RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION tool.helper() RETURNS integer STABLE LANGUAGE plpgsql AS
$$ BEGIN RAISE WARNING 'tool as %', current_user; RETURN (SELECT max(id) FROM tool.secret); END $$;
CREATE FUNCTION tool.limit_of(text) RETURNS integer STABLE LANGUAGE plpgsql AS
$$ BEGIN RETURN tool.helper(); END $$;
CREATE FUNCTION tool.limit_sql(text) RETURNS integer STABLE LANGUAGE sql AS 'SELECT max(id) FROM tool.secret';
CREATE FUNCTION tool.half(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN RAISE WARNING 'tool as %', current_user; RETURN $1 / 2; END $$;
REVOKE ALL ON FUNCTION tool.half, tool.limit_of, tool.limit_sql, tool.helper FROM PUBLIC;
});
is(run_as('dbo', 'postgres', q{
CREATE FUNCTION d.evil(n integer, place text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RAISE WARNING '% as %', place, current_user;
	PERFORM set_config('search_path', 'd', false), set_config('role', 'none', false);
	RETURN n;
EXCEPTION WHEN insufficient_privilege OR invalid_transaction_state THEN RETURN n;
END $$;
CREATE FUNCTION d.definer(n integer, place text) RETURNS integer LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS
$$ BEGIN RAISE WARNING '% as %', place, current_user; RETURN n; END $$;
CREATE FUNCTION d.pinned(n integer, place text) RETURNS integer LANGUAGE plpgsql IMMUTABLE SET search_path = d AS $$
BEGIN
	RAISE WARNING '% as %', place, current_user;
	PERFORM set_config('search_path', 'd', false);
	RETURN n;
END $$;
CREATE FUNCTION d.inlined(n integer, place text) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT d.evil(n, place)';
CREATE FUNCTION d.equal(integer, bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN RAISE WARNING 'operator as %', current_user; RETURN $1 = $2::integer; END $$;
CREATE OPERATOR d.= (LEFTARG = integer, RIGHTARG = bigint, FUNCTION = d.equal, RESTRICT = eqsel);
CREATE TABLE d.t (id int PRIMARY KEY, x int, y int);
CREATE INDEX ON d.t (x) WHERE y > d.evil(5, 'predicate');
CREATE INDEX ON d.t (x) WHERE 5 OPERATOR(d.=) 5::bigint AND y > 3;
CREATE INDEX ON d.t ((x + d.evil(5, 'expression')));
CREATE INDEX ON d.t ((x + d.inlined(6, 'inlined')));
CREATE INDEX ON d.t ((x + d.definer(6, 'definer')));
CREATE INDEX ON d.t ((x + d.pinned(6, 'pinned')));
CREATE STATISTICS d.s ON (x + d.evil(5, 'statistics')), y FROM d.t;
INSERT INTO d.t SELECT i, i, i FROM generate_series(1, 100) i;
CREATE TABLE d.p (id int NOT NULL, x int) PARTITION BY RANGE ((id + d.evil(0, 'partition key')));
CREATE TABLE d.p1 PARTITION OF d.p FOR VALUES FROM (0) TO (1000);
ALTER TABLE d.p1 ADD CHECK (x > d.evil(0, 'check constraint'));
INSERT INTO d.p SELECT i, i FROM generate_series(1, 100) i;
CREATE DOMAIN d.dom AS int CHECK (d.evil(VALUE, 'domain') > 0 AND d.pinned(VALUE, 'domain') > 0);
CREATE FUNCTION d.bait() RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE WARNING 'bait as %', current_user; RETURN true; END $$;
CREATE TABLE d.a (id int PRIMARY KEY, tags d.dom[]);
INSERT INTO d.a VALUES (1, '{1,2}');
ANALYZE d.t, d.p, d.a;
}), 0, 'tables of the owner') or diag $err;

# Runs SQL as a superuser; the owner's functions must run as the owner, and must
# run at all at the places that are given: else nothing is tested.
sub owners_code_is_the_owners
{
	my ($sql, @places) = @_;
	is(run_as('postgres', 'postgres', $sql), 0, $sql) or diag $err;
	my @foreign = $err =~ /WARNING:  ((?!tool ).*? as (?!dbo$).*)/gm;
	is("@foreign", '', 'nothing of the owner\'s runs as another');
	like($err, qr/WARNING:  $_ as dbo$/m, "$_: runs as the owner") for @places;
	is(run_as('postgres', 'postgres', "$sql; SHOW search_path"), 0, 'and again') or diag $err;
	like($out, qr/public$/, 'settings stay as they are');
	return;
}

# the places need not be evaluated anew where another has cached them
owners_code_is_the_owners(q{SELECT evpub.capture_table('d.t', tenant => 'x', topic => 't')});
owners_code_is_the_owners(q{SELECT evpub.capture_table('d.p', tenant => 'x', topic => 't', key_columns => '{id}')},
	'partition key');
owners_code_is_the_owners(q{SELECT evpub.capture_table('d.a', tenant => 'x', topic => 't', filter => '{row}.tags = ''{1,2}''')},
	'domain');
owners_code_is_the_owners(q{CALL evpub.resync('{d.t}')},
	'predicate', 'operator', 'expression', 'inlined', 'definer', 'pinned', 'statistics');
like($err, qr/"t" resynced \(rows: 100,/, 'all rows');
owners_code_is_the_owners(q{CALL evpub.resync('{d.p}')}, 'partition key', 'check constraint');
owners_code_is_the_owners(q{CALL evpub.resync('{d.a}', filter => '{row}.tags = ''{1,2}''')}, 'domain');
# the check of the domain, which runs first, looks for another meaning of the rest
owners_code_is_the_owners(q{CALL evpub.resync('{d.a}', filter => '{row}.tags = ''{1,2}'' AND bait()')}, 'domain');
owners_code_is_the_owners(q{SELECT evpub.release_table('d.p'), evpub.capture_table('d.p', tenant => 'x', topic => 't', key_columns => '{id}')});

# The check of a domain may call functions in C as well, and those that only the
# caller may call.
my $stolen = $node->data_dir . '/stolen';
is(run_as('postgres', 'postgres', q{
CREATE FUNCTION tool.admin() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN RAISE WARNING 'admin as %', current_user; RETURN true; END $$;
REVOKE EXECUTE ON FUNCTION tool.admin() FROM PUBLIC;
GRANT USAGE ON SCHEMA tool TO PUBLIC;
SELECT lo_from_bytea(4711, 'stolen')}), 0, 'what only a superuser may do') or diag $err;
is(run_as('dbo', 'postgres', qq{
CREATE DOMAIN d.writes AS int CHECK (lo_export(4711, '$stolen') > 0);
CREATE DOMAIN d.reads AS int CHECK (query_to_xml('SELECT * FROM pg_authid', true, true, '') IS NOT NULL);
CREATE DOMAIN d.calls AS int CHECK (tool.admin());
CREATE FUNCTION d.hears(secret text) RETURNS boolean LANGUAGE plpgsql AS
\$\$ BEGIN RAISE WARNING 'heard %', secret; RETURN true; END \$\$;
CREATE DOMAIN d.spies AS int CHECK (d.hears(current_setting('primary_conninfo')));
CREATE DOMAIN d.spies_too AS int CHECK (d.hears(current_setting('primary_conninfo', true)));
CREATE DOMAIN d.computes AS int CHECK (VALUE < extract(epoch FROM now()) AND to_char(now(), 'YYYY') > '2000');
CREATE TABLE d.c (id int PRIMARY KEY, writes d.writes[], reads d.reads[], calls d.calls[], spies d.spies[], spies_too d.spies_too[], computes d.computes[], of regclass);
INSERT INTO d.c (id, computes, of) VALUES (1, '{1}', 'd.c')}), 0, 'domains that call it') or diag $err;
is(run_as('postgres', 'postgres', q{SELECT evpub.capture_table('d.c', tenant => 'x', topic => 't')}), 0, 'captured') or diag $err;
for ([ 'writes', qr/function lo_export is not called with your rights/ ],
	[ 'reads', qr/function query_to_xml is not called with your rights/ ],
	[ 'calls', qr/permission denied for function admin/ ],
	[ 'spies', qr/function current_setting is not called with your rights/ ],
	[ 'spies_too', qr/function current_setting is not called with your rights/ ])
{
	my ($column, $error) = @$_;

	for my $sql (qq{CALL evpub.resync('{d.c}', filter => '{row}.$column = ''{1}''')},
		qq{SELECT evpub.capture_table('d.c', tenant => 'x', topic => 't', filter => '{row}.$column = ''{1}''')})
	{
		isnt(run_as('postgres', 'postgres', $sql), 0, "$sql is refused");
		like($err, $error, 'and says why');
		unlike($err, qr/admin as|heard/, 'nothing was called');
	}
}
ok(!-e $stolen, 'nor written');
is(run_as('postgres', 'postgres', q{CALL evpub.resync('{d.c}',
	filter => '{row}.computes = ''{1}'' AND {row}.of = ''d.c''::regclass AND random() < 2 AND clock_timestamp() >= now() AND current_setting(''port'') > ''0''')}),
	0, 'what only computes is called, and what the caller names') or diag $err;
like($err, qr/"c" resynced \(rows: 1,/, 'the row');

# The filter of resync is the caller's, with all that it calls: tools that nobody
# else may use.
for my $filter (q{{row}.id <= tool.limit_of('x')}, q{{row}.id <= tool.limit_sql('x')},
	q{{row}.id <= tool.half(14)}, q{{row}.id IN (SELECT generate_series(1, tool.half(14)))})
{
	(my $quoted = $filter) =~ s/'/''/g;
	owners_code_is_the_owners("CALL evpub.resync('{d.t}', filter => '$quoted')");
	like(run_as('postgres', 'postgres', "CALL evpub.resync('{d.t}', filter => '$quoted')") . $err,
		qr/"t" resynced \(rows: 7,/, "$filter: the caller's own functions");
	unlike($err, qr/tool as (?!postgres)/, 'run with his rights');
}

# A rule is applied as the extension's owner, in the statement of whoever makes the
# table.
$node->safe_psql('postgres', q{SELECT evpub.capture_schemas('^d$', '{q,r}', tenant => 'x', topic => 't', key_columns => '{id}')});
for my $sql (
	q{CREATE TABLE d.q (id int NOT NULL, x int) PARTITION BY RANGE ((id + d.evil(0, 'partition key')))},
	q{CREATE TABLE d.r (id int NOT NULL, x int CHECK (x > d.evil(0, 'check constraint')))},
	q{ALTER TABLE d.r ADD PRIMARY KEY (id); CREATE INDEX ON d.r (x) WHERE x > d.evil(0, 'predicate')})
{
	is(run_as('dbo', 'postgres', $sql), 0, $sql) or diag $err;
	unlike($err, qr/ as (?!dbo$)/m, 'nothing of the table\'s owner runs as the extension\'s');
}
is($node->safe_psql('postgres', q{SELECT evpub_internal.is_captured('d.q'::regclass), evpub_internal.is_captured('d.r'::regclass)}),
	't|t', 'the rule was applied');

done_testing();
