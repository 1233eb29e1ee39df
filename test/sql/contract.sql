-- evpub.json_schema() and evpub.asyncapi(): what stands where, who may call them, that
-- they give the same however often and under whatever settings, and that nothing of
-- a table's owner runs.  086_contract.pl compares them with the events themselves.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS evpub;
RESET client_min_messages;
-- nothing is captured
SELECT evpub.json_schema('member.created');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.asyncapi() -> 'channels', jsonb_object_keys(evpub.asyncapi() #> '{components,messages}');

CREATE SCHEMA contract;
SET search_path = contract;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN amount AS numeric(10,2);
CREATE TYPE address AS (street text, rent amount);
CREATE TABLE code (tenant_id text, code text, label text, PRIMARY KEY (tenant_id, code));
CREATE TABLE member (tenant_id text NOT NULL, id bigint PRIMARY KEY, name varchar(20) NOT NULL, mood mood, paid amount, at timestamptz,
	home address, tags text[], extra jsonb);
SELECT evpub.capture_table('code', topic => 'hr', tenant_column => 'tenant_id');
SELECT evpub.capture_table('member', topic => '{tenant}-hr', tenant_column => 'tenant_id', key => '{tenant}/{table}/{pk}', payload => 'row',
	envelope => 'cloudevents', on_delete => 'tombstone', headers => '{"__TypeId__": "{table}", "key": "{pk}"}');

SELECT jsonb_pretty(evpub.json_schema('code.created'));
SELECT jsonb_pretty(evpub.json_schema('code.truncated') #> '{properties,pk}') AS pk, evpub.json_schema('member.deleted') AS tombstone;
SELECT name, jsonb_pretty(schema) AS schema FROM jsonb_each(evpub.json_schema('member.updated') #> '{properties,data,properties,data,properties}') AS c (name, schema);
SELECT jsonb_pretty(evpub.json_schema('evpub.gap') #> '{properties,data}');
SELECT evpub.json_schema('evpub.skipped') #> '{properties,pk,type}' AS pk;
-- the document but for its words and the schemas
SELECT jsonb_pretty(evpub.asyncapi() - '{info,components}'::text[]);
SELECT name, message ->> 'contentType' AS content, message #>> '{bindings,kafka,key,description}' AS key, message #>> '{payload,$ref}' AS payload,
       (message #> '{headers,properties}') - 'evpub-id' AS headers
  FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') AS m (name, message) ORDER BY name COLLATE "C";

-- which types there are, by operations and options
CREATE FUNCTION pg_temp.types() RETURNS text LANGUAGE sql AS $$
SELECT string_agg(message ->> 'name', ' ' ORDER BY message ->> 'name' COLLATE "C")
  FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') AS m (name, message) WHERE message ->> 'name' !~ '^(evpub|code)\.'
$$;
SELECT pg_temp.types();
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', operations => '{insert}');
SELECT pg_temp.types();
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', operations => '{update}');
SELECT pg_temp.types();
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', operations => '{insert,delete,truncate}', on_truncate => 'ignore');
SELECT pg_temp.types();
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', operations => '{truncate}');
SELECT pg_temp.types();
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', envelope => 'none', type => '{op}/{tenant}/{{x}}', key => '{type}');
SELECT pg_temp.types(), evpub.asyncapi() #> '{components,messages,create_tenant_x_,bindings,kafka,key}' AS key;
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', envelope => 'none', type => 'changed.{op}', headers => '{"t": "{type}"}');
SELECT pg_temp.types();
-- two tables, and two triggers of one, that make events of one type
SELECT evpub.capture_table('member', tenant_column => 'tenant_id', topic => 'hr', type => 'code.{event}');
SELECT jsonb_array_length(evpub.json_schema('code.created') -> 'anyOf'), jsonb_object_agg(name, message -> 'name')
  FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') AS m (name, message) WHERE name ~ '^code.created';
SELECT evpub.release_table('member');
CREATE TRIGGER one AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=acme', 'topic={tenant}', 'key_columns=id, "name"');
CREATE TRIGGER two AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=acme', 'topic=two', 'type=two.{event}');
SELECT pg_temp.types(), evpub.json_schema('member.created') #> '{properties,pk,required}' AS pk;
DROP TRIGGER one ON member;
DROP TRIGGER two ON member;

-- errors
SELECT evpub.json_schema('member.created');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.json_schema(NULL);
\echo :LAST_ERROR_SQLSTATE

-- the same, whatever the session has and in whatever order tables were captured
CREATE TABLE kept (document jsonb);
SELECT evpub.capture_table('member', topic => 'hr', tenant_column => 'tenant_id', payload => 'row');
INSERT INTO kept SELECT evpub.asyncapi();
SELECT evpub.release_table('code');
SELECT evpub.release_table('member');
SELECT evpub.capture_table('member', topic => 'hr', tenant_column => 'tenant_id', payload => 'row');
SELECT evpub.capture_table('code', topic => 'hr', tenant_column => 'tenant_id');
SET quote_all_identifiers = on;
SET search_path = pg_temp;
SET TimeZone = 'Asia/Seoul';
SELECT document = evpub.asyncapi() AS same FROM contract.kept;
RESET quote_all_identifiers;
RESET TimeZone;
-- not the same: it would be seen
ALTER TABLE contract.member ALTER COLUMN at SET NOT NULL;
SELECT document = evpub.asyncapi() AS same FROM contract.kept;
SET search_path = contract;

-- who may call them: pg_monitor, and whoever is granted just that
CREATE ROLE regress_evpub_reader;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_reader;
SET ROLE regress_evpub_reader;
SELECT evpub.asyncapi();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION evpub.asyncapi, evpub.json_schema TO regress_evpub_reader;
SET ROLE regress_evpub_reader;
SELECT evpub.asyncapi() ->> 'asyncapi', evpub.json_schema('code.created') ->> 'title';
RESET ROLE;
REVOKE ALL ON FUNCTION evpub.asyncapi, evpub.json_schema FROM regress_evpub_reader;
GRANT pg_monitor TO regress_evpub_reader;
SET ROLE regress_evpub_reader;
SELECT evpub.asyncapi() ->> 'asyncapi', evpub.json_schema('code.created') ->> 'title';
RESET ROLE;
REVOKE ALL ON SCHEMA evpub FROM regress_evpub_reader;
DROP ROLE regress_evpub_reader;

-- they run with the rights of evpub's owner, so nothing of others may run there
CREATE FUNCTION trap(anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trap'; END $$;
CREATE FUNCTION trap(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trap'; END $$;
CREATE FUNCTION trap(mood) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trap'; END $$;
CREATE CAST (mood AS json) WITH FUNCTION trap(mood);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = trap);
CREATE OPERATOR ~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap);
CREATE FUNCTION concat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE DOMAIN guarded AS int CHECK (trap(VALUE) > 0);
CREATE TABLE trapped (id int PRIMARY KEY, g guarded, d text DEFAULT trap('x'::text), s int GENERATED ALWAYS AS (trap(id)) STORED, mood mood);
CREATE INDEX ON trapped (trap(id));
SELECT evpub.capture_table('trapped', topic => 'hr', tenant => 'x', payload => 'row', filter => 'contract.trap({row}.id) > 0');
-- of a filter the text is shown, at the message and at its schema, and there alone
SELECT m.name, m.message -> 'description' AS message, evpub.json_schema(m.name) -> 'description' AS schema
  FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') AS m (name, message)
 WHERE m.message ? 'description' OR evpub.json_schema(m.name) ? 'description' ORDER BY m.name COLLATE "C";
SET search_path = contract, pg_catalog, pg_temp;
SELECT evpub.json_schema('trapped.created') #> '{properties,data,properties,mood}' AS mood, evpub.asyncapi() ->> 'asyncapi';
RESET search_path;

-- names that differ in letters that an id may not have: no message takes another's place,
-- whatever the types are called
CREATE TABLE "c!" (id int PRIMARY KEY, tenant text NOT NULL);
CREATE TABLE "c?" (id int PRIMARY KEY, tenant text NOT NULL, more text);
CREATE TABLE c_ (id int PRIMARY KEY, tenant text NOT NULL, other int);
SELECT evpub.capture_table('"c!"', topic => 'hr', tenant_column => 'tenant', payload => 'row');
SELECT evpub.capture_table('"c?"', topic => 'hr', tenant_column => 'tenant', payload => 'row');
SELECT evpub.capture_table('c_', topic => 'hr', tenant_column => 'tenant', payload => 'row', type => '{table}.{event}_2');
SELECT key FROM json_object_keys((evpub.asyncapi() #> '{components,messages}')::json) AS key
 WHERE key ~ '^c_.*created' ORDER BY key COLLATE "C";

-- types nested in each other, each twice or very deep, or in many columns, are not described,
-- nor do they take long; the other tables of the document are as they were
SET search_path = contract;
CREATE TYPE t0 AS (a int, b int);
CREATE TYPE c0 AS (a int);
DO $$
BEGIN
	FOR i IN 1 .. 20 LOOP
		EXECUTE format('CREATE TYPE t%s AS (a t%s, b t%s)', i, i - 1, i - 1);
	END LOOP;
	FOR i IN 1 .. 400 LOOP
		EXECUTE format('CREATE TYPE c%s AS (a c%s)', i, i - 1);
	END LOOP;
	FOR i IN 1 .. 20 LOOP
		EXECUTE format('CREATE DOMAIN d%s AS t7', i);
	END LOOP;
	EXECUTE format('CREATE TYPE names AS ENUM (%s)', (SELECT string_agg(quote_literal('name ' || i), ', ') FROM generate_series(1, 300) i));
	EXECUTE format('CREATE TABLE enums (id int PRIMARY KEY, %s)', (SELECT string_agg(format('v%s names', i), ', ') FROM generate_series(1, 20) i));
	EXECUTE format('CREATE TABLE domains (id int PRIMARY KEY, %s)', (SELECT string_agg(format('v%s d%s', i, i), ', ') FROM generate_series(1, 20) i));
END
$$;
CREATE TABLE doubled (id int PRIMARY KEY, v t20, w t20[], x int[]);
CREATE TABLE chain (id int PRIMARY KEY, v c400);
CREATE TABLE limits (id int PRIMARY KEY, v t10, w c31, names names);
CREATE TABLE nested (id int PRIMARY KEY, v t1, w t1[]);
SELECT evpub.capture_table(t, topic => 'hr', tenant => 'acme', payload => 'row') FROM unnest('{doubled,chain,enums,domains,limits,nested}'::regclass[]) t;
SET statement_timeout = '20s';
CREATE FUNCTION pg_temp.columns(name text) RETURNS jsonb LANGUAGE sql AS $$ SELECT (evpub.json_schema(name || '.created') #> '{properties,data,properties}') - 'id'::text $$;
SELECT pg_temp.columns('doubled') AS doubled;
SELECT pg_temp.columns('chain') AS chain;
SELECT pg_temp.columns('enums') - '{v3,v4,v5,v6,v7,v8,v9,v10,v11,v12,v13,v14,v15,v16,v17,v18,v19,v20}'::text[] AS enums;
SELECT pg_temp.columns('domains') - '{v3,v4,v5,v6,v7,v8,v9,v10,v11,v12,v13,v14,v15,v16,v17,v18,v19,v20}'::text[] AS domains;
SELECT pg_temp.columns('nested') #> '{v,anyOf,0,properties,a,anyOf,0,properties,b}' AS nested, pg_temp.columns('nested') #> '{w,anyOf,0,items,anyOf,0,anyOf,0,properties,a,anyOf,0,properties,b}' AS in_array;
-- 2^12 - 2 and 32 and 300 values and the columns, and 32 levels
SELECT c.key, c.value = '{}' AS any FROM jsonb_each(pg_temp.columns('limits')) c ORDER BY key;
ALTER TABLE limits ADD COLUMN more t8;
SELECT c.key, c.value = '{}' AS any FROM jsonb_each(pg_temp.columns('limits')) c ORDER BY key;
ALTER TABLE limits DROP COLUMN more, DROP COLUMN w, ADD COLUMN w c32;
SELECT c.key, c.value = '{}' AS any FROM jsonb_each(pg_temp.columns('limits')) c ORDER BY key;
SELECT evpub.asyncapi() ->> 'asyncapi';
-- a long type, many times in a header
DO $$
BEGIN
	EXECUTE format('CREATE TRIGGER long AFTER INSERT ON chain FOR EACH ROW EXECUTE FUNCTION evpub.capture(''tenant=acme'', ''topic=x'', %L, %L)',
		'type=' || repeat('x', 4000), 'headers={"h": "' || repeat('{type}', 80000) || '"}');
END
$$;
SELECT evpub.asyncapi() ->> 'asyncapi';
SELECT length(h ->> 'description') AS length, left(h ->> 'description', 4) AS starts, right(h ->> 'description', 12) AS ends
  FROM jsonb_each(evpub.asyncapi() #> '{components,messages}') AS m (name, message), LATERAL (SELECT message #> '{headers,properties,h}') AS l (h)
 WHERE name ~ '^xx' LIMIT 1;
RESET statement_timeout;
RESET search_path;
DROP TABLE contract.doubled, contract.chain, contract.enums, contract.domains, contract.limits, contract.nested;
DO $$
BEGIN
	-- not all at once: the locks would be more than a server has
	FOR i IN REVERSE 400 .. 0 LOOP
		EXECUTE format('DROP TYPE contract.c%s', i);
	END LOOP;
END
$$;

-- four times as many tables are four times the work, not sixteen times: functions
-- called; functions in SQL, which a query plans anew, are few; and each catalog is read
-- a few times as a whole at most, which plan ever is chosen, not once for each table
CREATE FUNCTION pg_temp.more_tables(first int, last int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first .. last LOOP
		EXECUTE format('CREATE TABLE contract.many_%s (tenant_id text NOT NULL, id int PRIMARY KEY, name text)', i);
		PERFORM evpub.capture_table(format('contract.many_%s', i)::regclass, topic => '{table}', tenant_column => 'tenant_id', payload => 'row');
	END LOOP;
END
$$;
CREATE FUNCTION pg_temp.work(OUT calls bigint, OUT calls_sql bigint, OUT rows_read bigint) LANGUAGE plpgsql AS $$
DECLARE
	before record;
BEGIN
	FOR pass IN 1 .. 2 LOOP
		SELECT f.calls, f.calls_sql, r.rows_read INTO calls, calls_sql, rows_read
		  FROM (SELECT coalesce(sum(s.calls), 0) AS calls, coalesce(sum(s.calls) FILTER (WHERE l.lanname = 'sql'), 0) AS calls_sql
				  FROM pg_stat_xact_user_functions s JOIN pg_proc p ON p.oid = s.funcid JOIN pg_language l ON l.oid = p.prolang
				 WHERE s.schemaname LIKE 'evpub%') f,
			   (SELECT sum(s.seq_tup_read + coalesce(s.idx_tup_fetch, 0)) AS rows_read FROM pg_stat_xact_sys_tables s
				 WHERE s.relname IN ('pg_attribute', 'pg_class', 'pg_index', 'pg_trigger', 'pg_type')) r;
		IF pass = 1 THEN
			before := (calls, calls_sql, rows_read);
			PERFORM evpub.asyncapi();
		END IF;
	END LOOP;
	calls := calls - before.f1;
	calls_sql := calls_sql - before.f2;
	rows_read := rows_read - before.f3;
END
$$;
SELECT pg_temp.more_tables(1, 40);
SET track_functions = 'all';
SELECT evpub.asyncapi() ->> 'asyncapi';
SELECT * FROM pg_temp.work() \gset few_
SELECT pg_temp.more_tables(41, 160);
SELECT * FROM pg_temp.work() \gset many_
RESET track_functions;
SELECT :many_calls < 4.5 * :few_calls AS calls, :many_calls_sql < 5 * 160 AS calls_sql;
SELECT :many_rows_read < 4 * ((SELECT count(*) FROM pg_attribute) + (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_index)
	   + (SELECT count(*) FROM pg_trigger) + (SELECT count(*) FROM pg_type)) AS rows_read;
DROP TABLE "c!", "c?", c_;
SET client_min_messages = warning;
DROP SCHEMA contract CASCADE;
RESET client_min_messages;
