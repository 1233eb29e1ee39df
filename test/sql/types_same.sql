-- What is the same key?  An event names a row by text.  Where PostgreSQL takes
-- two texts for equal, a row that goes from one to the other is deleted and
-- created: right for consumers who compare as PostgreSQL does, and for those
-- who compare texts.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE EXTENSION IF NOT EXISTS cube;
RESET client_min_messages;
\set ECHO all
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE n (k numeric PRIMARY KEY, x int);
CREATE TABLE f (k float8 PRIMARY KEY, x int);
CREATE TABLE c (k char(4) PRIMARY KEY, x int);
CREATE TABLE ci (k citext PRIMARY KEY, x int);
CREATE TABLE co (k text COLLATE nocase PRIMARY KEY, x int);
CREATE TABLE p (k numeric(10,2) PRIMARY KEY, x int);
SELECT evpub.capture_table(t, topic => 'v', tenant => 'x') FROM unnest('{n,f,c,ci,co,p}'::regclass[]) t;
INSERT INTO n VALUES (1.0);
INSERT INTO f VALUES ('-0');
INSERT INTO c VALUES ('a');
INSERT INTO ci VALUES ('a');
INSERT INTO co VALUES ('a');
INSERT INTO p VALUES (1.0);

SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE n SET k = 1.00;
UPDATE f SET k = 0;
UPDATE ci SET k = 'A';
UPDATE co SET k = 'A';
-- these have one text for what is equal, and so does a numeric with a scale
UPDATE c SET k = 'a  ';
UPDATE p SET k = 1.000;
-- another value by the same text is no event either
UPDATE n SET k = 1.00, x = x;
SELECT tx, n, substring(value FROM '"type":.*"pk":[^}]*}') AS event, substring(value FROM '"old_pk":.*') AS old FROM pg_temp.events(:'start');

-- the same in one transaction: what is deleted is published before what is created
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE n SET k = 1.0; UPDATE n SET k = 1.000; UPDATE n SET x = 1;
DELETE FROM ci; INSERT INTO ci VALUES ('a'); UPDATE ci SET k = 'A'; DELETE FROM ci; INSERT INTO ci VALUES ('a');
INSERT INTO n VALUES (2.0); UPDATE n SET k = 2.00 WHERE k = 2; DELETE FROM n WHERE k = 2;
COMMIT;
SELECT tx, n, substring(value FROM '"type":.*"pk":[^}]*}') AS event FROM pg_temp.events(:'start');
DROP TABLE n, f, c, ci, co, p;
DROP COLLATION nocase;

-- a cast that comes later
CREATE TYPE rung AS ENUM ('low');
CREATE TABLE l (id int PRIMARY KEY, one rung, more rung[]);
SELECT evpub.capture_table('l', topic => 'v', tenant => 'acme', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO l VALUES (1, 'low', '{low}');
CREATE FUNCTION to_json(rung) RETURNS json LANGUAGE sql AS $$SELECT '{"n": 1, "n": 2}'::json$$;
CREATE CAST (rung AS json) WITH FUNCTION to_json(rung);
INSERT INTO l VALUES (2, 'low', '{low}');
SELECT to_jsonb(l) FROM l;
SELECT value::json -> 'data' AS data FROM pg_temp.events(:'start');
-- and attributes of a composite type
CREATE TYPE pair AS (a int, b text);
CREATE TABLE c (id int PRIMARY KEY, p pair);
SELECT evpub.capture_table('c', topic => 'v', tenant => 'acme', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO c VALUES (1, '(1,x)');
ALTER TYPE pair ADD ATTRIBUTE c date, DROP ATTRIBUTE a;
INSERT INTO c VALUES (2, '(y,2026-11-20)');
UPDATE c SET id = 3 WHERE id = 1;
SELECT value::json -> 'data' AS data FROM pg_temp.events(:'start');
DROP TABLE l, c;
DROP TYPE pair;
DROP TYPE rung CASCADE;

-- types of extensions; hstore has a cast to json
CREATE TABLE ext (a citext, b ltree, c hstore NOT NULL, d cube, e citext[], PRIMARY KEY (a, b));
SELECT evpub.capture_table('ext', topic => 'v', tenant_column => 'a', key_columns => '{a,b,c}', key => '{pk}', payload => 'row');
SET extra_float_digits = -10;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO ext VALUES ('Ü "a"', 'top.sub', 'a=>1, "b c"=>NULL, "d"=>"\"x"', '(0.1,0.30000000000000004)', '{B,NULL}');
SELECT key, value FROM pg_temp.events(:'start');
SET extra_float_digits = 1;
SELECT value::jsonb -> 'data' = to_jsonb(ext) AS data_is_to_jsonb FROM pg_temp.events(:'start'), ext;
DROP TABLE ext;
DROP EXTENSION citext, hstore, ltree, cube;
