-- What an event says does not depend on the session that made it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE SCHEMA app;
CREATE TABLE app.pg_class (id int);		-- a name that pg_catalog has as well
CREATE TYPE app.part AS (of regclass, at timestamptz, amount float8, bytes bytea, took interval);
CREATE TYPE app.step AS ENUM ('one');
-- a cast that reads what the session has, and the function's own path
CREATE FUNCTION app.name_of(app.step) RETURNS text LANGUAGE sql AS $$ SELECT upper($1::text) $$;
CREATE FUNCTION app.step_json(app.step) RETURNS json LANGUAGE sql SET search_path = app, pg_temp
	AS $$ SELECT to_json(name_of($1) || (timestamptz '2026-11-20 00:00+00')::text) $$;
CREATE CAST (app.step AS json) WITH FUNCTION app.step_json(app.step);
CREATE TABLE app.everything (
	id int, a timestamptz, b timestamp, c date, d interval, e timetz, f float4, g float8, h bytea,
	i regclass, j regtype, k tstzrange, l app.part, m timestamptz[], n point, o app.part[], p xml,
	q money, r regclass[], s app.step, t daterange, u tstzmultirange, v box, w text,
	tenant regclass);
DO $$ BEGIN
	EXECUTE (SELECT 'ALTER TABLE app.everything ' || string_agg(format('ALTER %I SET NOT NULL', attname), ', ')
	           FROM pg_attribute WHERE attrelid = 'app.everything'::regclass AND attnum > 0);
END $$;
SELECT evpub.capture_table('app.everything', topic => 'v', tenant_column => 'tenant', key => '{pk}', payload => 'row',
	key_columns => (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute
	                 WHERE attrelid = 'app.everything'::regclass AND attnum > 0));
CREATE TABLE source AS SELECT 1 AS id, timestamptz '2026-11-20 13:43:46.5+00' AS a, timestamp '2026-11-20 13:43:46' AS b,
	date '2026-11-20' AS c, interval '1 mon -2 days 03:04:05.6' AS d, timetz '10:00-03:30' AS e,
	float4 '0.1' AS f, float8 '0.30000000000000004' AS g, bytea '\x5c00ff' AS h,
	regclass 'app.pg_class' AS i, regtype 'app.part' AS j, tstzrange('2026-11-20 00:00+00', 'infinity') AS k,
	row('app.pg_class'::regclass, '2026-11-20 13:43:46.5+00', 0.1, '\x5c00ff', '-1 day')::app.part AS l,
	'{2026-11-20 13:43:46.5+00}'::timestamptz[] AS m, point '(0.1,0.30000000000000004)' AS n,
	array[row('pg_class'::regclass, '2026-11-20 13:43:46.5+00', 0.1, '\x5c00ff', '-1 day')::app.part] AS o,
	xml '<a/>' AS p, 1234.5::numeric::money AS q, '{app.pg_class,pg_class}'::regclass[] AS r, app.step 'one' AS s,
	daterange('2026-11-20', NULL) AS t, '{[2026-11-20 00:00+00,)}'::tstzmultirange AS u, box '((0,0),(0.1,1))' AS v,
	'x'::text AS w, 'app.everything'::regclass AS tenant;

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO app.everything SELECT * FROM source;
SET DateStyle = 'SQL, DMY';       INSERT INTO app.everything SELECT * FROM source;
SET DateStyle = 'Postgres, MDY';  INSERT INTO app.everything SELECT * FROM source;
SET TimeZone = 'Asia/Kolkata';    INSERT INTO app.everything SELECT * FROM source;
SET TimeZone = '<+0130>-1:30';   INSERT INTO app.everything SELECT * FROM source;
SET IntervalStyle = 'sql_standard';     INSERT INTO app.everything SELECT * FROM source;
SET IntervalStyle = 'postgres_verbose'; INSERT INTO app.everything SELECT * FROM source;
SET bytea_output = 'escape';      INSERT INTO app.everything SELECT * FROM source;
SET extra_float_digits = -15;     INSERT INTO app.everything SELECT * FROM source;
SET extra_float_digits = 3;       INSERT INTO app.everything SELECT * FROM source;
SET quote_all_identifiers = on;   INSERT INTO app.everything SELECT * FROM source;
SET lc_monetary = 'POSIX';        INSERT INTO app.everything SELECT * FROM source;
SET xmlbinary = 'hex';            INSERT INTO app.everything SELECT * FROM source;
SET search_path = app, pg_catalog;	INSERT INTO app.everything SELECT * FROM public.source;
SET search_path = '';             INSERT INTO app.everything SELECT * FROM public.source;
SET standard_conforming_strings = off;  INSERT INTO app.everything SELECT * FROM public.source;
SET client_encoding = 'LATIN1';   INSERT INTO app.everything SELECT * FROM public.source;
RESET client_encoding;
BEGIN; SET LOCAL DateStyle = 'ISO'; SET LOCAL TimeZone = 'UTC'; INSERT INTO app.everything SELECT * FROM public.source; COMMIT;
-- a temporary table of the same name
CREATE TEMP TABLE pg_class (id int);
INSERT INTO app.everything SELECT * FROM public.source;
DROP TABLE pg_temp.pg_class;
-- an error in between leaves nothing changed
BEGIN; SAVEPOINT a;
INSERT INTO app.everything SELECT * FROM public.source;
INSERT INTO app.everything (id) VALUES (1);
ROLLBACK TO a;
SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('quote_all_identifiers') AS quote;
COMMIT;

-- a role that row security lets see nothing
CREATE ROLE writer;
GRANT USAGE ON SCHEMA app TO writer;
GRANT INSERT ON app.everything TO writer;
GRANT SELECT ON public.source TO writer;
ALTER TABLE app.everything ENABLE ROW LEVEL SECURITY;
CREATE POLICY insert_only ON app.everything FOR INSERT WITH CHECK (true);
SET ROLE writer;
INSERT INTO app.everything SELECT * FROM public.source;
SET row_security = off;
INSERT INTO app.everything SELECT * FROM public.source;
RESET ROLE;

-- the settings are as they were
SELECT pg_catalog.current_setting(s) AS setting FROM pg_catalog.unnest('{datestyle,timezone,intervalstyle,bytea_output,extra_float_digits,quote_all_identifiers,search_path,lc_monetary}'::text[]) s;
RESET ALL;
-- one and the same event, each time
SELECT count(*), count(DISTINCT (key, value)) AS different FROM pg_temp.events(:'start');
\a
SELECT DISTINCT key FROM pg_temp.events(:'start');
SELECT d.key, d.value FROM (SELECT DISTINCT value::jsonb -> 'data' AS data FROM pg_temp.events(:'start')) e, jsonb_each_text(data) d;
\a
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP TABLE source;
DROP ROLE writer;

-- a function that renders has these settings, unless it says that they are
-- nothing to it; also when it says otherwise later
CREATE SCHEMA path;
SET search_path = public, path, pg_catalog;
CREATE TYPE path.state AS ENUM ('s');
CREATE FUNCTION path.state_json(path.state) RETURNS json LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN pg_catalog.to_json(pg_catalog.current_setting('search_path') ~ 'path'); END $$;
CREATE CAST (path.state AS json) WITH FUNCTION path.state_json(path.state);
CREATE TABLE path.s (id int PRIMARY KEY, v path.state);
SELECT evpub.capture_table('path.s', topic => 'cms', tenant => 'x', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO path.s VALUES (1, 's');
ALTER FUNCTION path.state_json(path.state) STABLE;
INSERT INTO path.s VALUES (2, 's');
SELECT data FROM pg_temp.brief(:'start');
DROP SCHEMA path CASCADE;
