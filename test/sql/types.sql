-- How a value of each type is rendered: as message key ({pk}), as tenant, in
-- "pk", and in "data", where it is what to_jsonb() gives.  The session's
-- settings are odd ones throughout.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set file :abs_srcdir /lib/types.sql
\i :file
\set ECHO all
CREATE TYPE colour AS ENUM ('red', 'dark "blue"');
CREATE DOMAIN number AS int8;
CREATE DOMAIN positive AS number CHECK (VALUE > 0);
CREATE DOMAIN numbers AS positive[];
CREATE TYPE place AS (name text, at timestamptz, area box, of regclass, doc json);
CREATE DOMAIN home AS place CHECK ((VALUE).name <> '');
CREATE TYPE stay AS (place place, days daterange, colours colour[]);
CREATE TYPE textrange AS RANGE (SUBTYPE = text);
CREATE TABLE "T x" (id int);

-- types with a cast to json: to_jsonb() follows it
CREATE TYPE level AS ENUM ('low', 'high');
CREATE FUNCTION level_json(level) RETURNS json LANGUAGE sql
	AS $$ SELECT CASE $1 WHEN 'low' THEN '{"n": 1, "n": 2}'::json ELSE '[9]' END $$;
CREATE CAST (level AS json) WITH FUNCTION level_json(level);

SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -10; SET bytea_output = 'escape'; SET xmlbinary = 'hex';
SET quote_all_identifiers = on;

INSERT INTO cases (type, value) VALUES
-- numbers
('int2', '-32768'), ('int4', '-2147483648'), ('int8', '9007199254740993'),
('numeric', '1.50'), ('numeric', '-0.000000000000000000001'), ('numeric', '12345678901234567890123'),
('numeric', 'NaN'), ('numeric', '-Infinity'), ('numeric(10,2)', '7'), ('numeric(2,-3)', '12345'),
('float4', '0.1'), ('float8', '0.1'), ('float8', '1e300'), ('float8', '1e-7'), ('float8', '-0'), ('float8', 'NaN'), ('float8', 'Infinity'),
('bool', 'f'), ('money', '-1234.5'), ('oid', '4294967295'), ('xid', '4294967295'), ('xid8', '18446744073709551615'), ('cid', '1'), ('tid', '(1,2)'),
-- text
('text', ''), ('text', 'ü "quoted" \ a/b,c:d%'), ('text', E'\t\n\r\b\f\x01\x7f'), ('text', U&'\0085\2028\FFFE\+01F600\+10FFFF'),
('varchar(9)', 'a '), ('char(3)', 'x'), ('name', 'n'), ('"char"', 'c'), ('"char"', ''), ('"char"', '\351'),
('colour', 'dark "blue"'), ('level', 'low'), ('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'),
('bytea', ''), ('bytea', '\x005cff'), ('xml', '<?xml version="1.0" encoding="latin1"?><a b="ü">&amp;</a>'),
('tsvector', '''a b'':1A,2 c'), ('tsquery', 'a & !b:*'), ('jsonpath', '$.a?(@ > 1)'), ('refcursor', 'c'),
-- times
('date', '2026-11-20'), ('date', '0044-03-15 BC'), ('date', 'infinity'), ('date', '99999-01-01'),
('timestamp', '2026-11-20 13:43:46.5'), ('timestamp', '-infinity'),
('timestamptz', '2026-11-20 13:43:46.123456+00'), ('timestamptz', '0001-01-01 00:00:00+00 BC'), ('timestamptz', 'infinity'),
('time', '24:00'), ('timetz', '10:00+02'), ('timetz', '10:00-03:30'), ('interval', '1 mon -2 days 03:04:05.6'), ('interval', '-1 year'),
-- networks, bits, places in WAL, shapes
('inet', '192.168.0.1'), ('inet', '::ffff:1.2.3.4/96'), ('cidr', '10.0.0.0/8'), ('macaddr', '08002b010203'), ('macaddr8', '08002b0102030405'),
('bit(4)', '1010'), ('varbit', ''), ('pg_lsn', '16/B374D848'), ('pg_snapshot', '10:20:10,14,15'),
('point', '(0.1,-2)'), ('line', '{1,2,3}'), ('lseg', '[(0,0),(1,1)]'), ('box', '(1,1),(0,0)'), ('path', '[(0,0),(1,1)]'), ('polygon', '((0,0),(1,1),(0.1,0))'), ('circle', '<(0,0),0.1>'),
-- names of objects: with their schema, if it is not pg_catalog
('regclass', '"T x"'), ('regclass', 'pg_class'), ('regtype', 'colour'), ('regtype', 'int4'), ('regproc', 'level_json'), ('regprocedure', 'level_json(level)'), ('regnamespace', 'public'), ('regoper', '||/'), ('regconfig', 'english'), ('regclass', '12'),
-- domains
('number', '9007199254740993'), ('positive', '1'), ('numbers', '{1,NULL}'), ('positive[]', '{3}'), ('home', '("a b",2026-11-20 00:00+00,,pg_class,)'),
-- arrays
('int4[]', '{}'), ('int4[]', '{{1,2},{3,NULL}}'), ('int4[]', '[0:1]={1,2}'), ('text[]', '{"",NULL,"NULL","a,\"b\\"}'), ('float8[]', '{0.1,NaN}'),
('timestamptz[]', '{2026-11-20 13:43:46+00,infinity}'), ('bytea[]', '{"\\x00ff"}'), ('colour[]', '{red}'), ('level[]', '{low,high}'), ('int2vector', '1 2'), ('oidvector', '3'), ('regclass[]', '{"\"T x\"",pg_class}'),
-- composite types
('place', '("a b",2026-11-20 00:00+00,"(1,1),(0,0.1)","""T x""","{""a"": 1, ""a"": 2}")'), ('place', '(,,,,)'),
('stay', '("(x,2026-11-20 00:00+00,,,)","[2026-11-20,)","{red,""dark \\""blue\\""""}")'), ('place[]', '{"(x,,,,)",NULL}'),
-- ranges
('int4range', '[1,4]'), ('int4range', 'empty'), ('numrange', '(,1.50)'), ('tstzrange', '[2026-11-20 00:00+00,infinity)'), ('daterange', '[2026-11-20,2026-11-21]'), ('textrange', '["a,b",c)'),
('int4multirange', '{[1,2],[5,7)}'), ('tstzmultirange', '{[2026-11-20 00:00+00,)}'), ('int4range[]', '{"[1,2)"}'),
-- json: as jsonb has it
('jsonb', '{"b": 1.50, "a": [null, true, "ü\u0001\/"], "b": 2}'), ('jsonb', '"\ud83d\ude00"'), ('jsonb', '1e30'),
('json', E'{"b" : 1.50,\n"a":[ {} ], "b": 2}'), ('json', '"\u00fc\ud83d\ude00"'), ('json', '1E30'), ('json[]', '{"{\"a\": 1, \"a\": 2}"}'), ('jsonb[]', '{"{\"a\": 1}",NULL}'),
('json', 'null');
-- each case in a table of its own, the column as key, tenant and data
SELECT pg_temp.capture_cases();
SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT pg_temp.insert_cases();
-- the settings are as they were
SELECT current_setting('datestyle'), current_setting('timezone'), current_setting('search_path'), '\x00'::bytea;
SELECT pg_temp.judge();
\a
SELECT type, key, pk, data FROM pg_temp.rendered(:'start') ORDER BY n;
\a
-- the tenant is the text of the key, which is as in data; that is what to_jsonb()
-- says of the row
SELECT * FROM pg_temp.rendered(:'start') WHERE (tenant_is_pk AND pk_is_data AND data_is_to_jsonb) IS NOT TRUE ORDER BY n;
SELECT count(*) = (SELECT count(*) FROM cases) AS "all" FROM pg_temp.rendered(:'start');

-- NULL is not the empty string; json null is both
CREATE TABLE empty (id int PRIMARY KEY, a text, b text, c text[], d jsonb, e json);
SELECT evpub.capture_table('empty', topic => 'v', tenant => 'x', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO empty VALUES (1, '', NULL, '{}', 'null', 'null'), (2, NULL, '', NULL, NULL, NULL);
SELECT substring(value FROM '"data":(.*)}$') AS data FROM pg_temp.events(:'start');

-- json takes what no strict parser must: refused where jsonb has no place for it
SELECT evpub.capture_table('empty', topic => 'v', tenant => 'x', data_columns => '{e}');
INSERT INTO empty (id, e) VALUES (3, '"\ud800"');
INSERT INTO empty (id, e) VALUES (3, '{"a": "\u0000"}');
INSERT INTO empty (id, e) VALUES (3, '1E200000');
-- in a key or tenant, too
CREATE TABLE by_json (k json NOT NULL);
SELECT evpub.capture_table('by_json', topic => 'v', tenant_column => 'k', key_columns => '{k}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO by_json VALUES ('{"a":"\ud800", "a":1E999999}');
INSERT INTO by_json VALUES ('{"a":"\u00fc", "a":1E3}'), ('"acme"');
SELECT key, value FROM pg_temp.events(:'start');
-- a tenant that is no input for its column's type
CREATE TABLE by_jsonb (id int PRIMARY KEY, k jsonb);
INSERT INTO by_jsonb VALUES (1, '"acme"'), (2, '{"a": 1}'), (3, '"acme"');
SELECT evpub.capture_table('by_jsonb', topic => 'v', tenant_column => 'k');
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{by_jsonb}', tenant => 'acme');
CALL evpub.resync('{by_jsonb}', tenant => '{"a": 1}');
SELECT type, tenant, pk FROM pg_temp.brief(:'start');
-- and what a type's own functions refuse says where
CREATE OR REPLACE FUNCTION level_json(level) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$;
CREATE TABLE levels (id int PRIMARY KEY, l level);
SELECT evpub.capture_table('levels', topic => 'v', tenant => 'x', payload => 'row');
INSERT INTO levels VALUES (1, 'low');
SET client_min_messages = warning;
DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
		EXECUTE format('DROP TABLE %s', t);
	END LOOP;
END
$$;
DROP TYPE colour, place, stay, textrange, level CASCADE;
DROP DOMAIN numbers, positive, number;
RESET client_min_messages;
