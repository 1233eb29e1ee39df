-- Unlogged and temporary tables are refused: their rows do not last as long as
-- events that name them.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE UNLOGGED TABLE cache (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('cache', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
CREATE TEMPORARY TABLE scratch (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('scratch', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON cache FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON scratch FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand BEFORE TRUNCATE ON cache EXECUTE FUNCTION evpub.capture('tenant=x');
\echo :LAST_ERROR_SQLSTATE

-- as the hint says: logged it can be captured, and must stay so
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO cache VALUES (1, 'acme');
ALTER TABLE cache SET LOGGED;
SELECT evpub.capture_table('cache', tenant_column => 'tenant');
INSERT INTO cache VALUES (2, 'acme');
ALTER TABLE cache SET UNLOGGED;
\echo :LAST_ERROR_SQLSTATE
-- released in the same transaction, it may
BEGIN;
SELECT evpub.release_table('cache');
ALTER TABLE cache SET UNLOGGED;
INSERT INTO cache VALUES (3, 'acme');
COMMIT;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- partitions: one that is not logged can neither be made nor attached
CREATE TABLE task (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
SELECT evpub.capture_table('task', tenant_column => 'tenant');
CREATE UNLOGGED TABLE task_1 PARTITION OF task FOR VALUES FROM (0) TO (10);
\echo :LAST_ERROR_SQLSTATE
CREATE UNLOGGED TABLE task_1 (id int PRIMARY KEY, tenant text);
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (0) TO (10);
\echo :LAST_ERROR_SQLSTATE
-- nor captured with the table that has it already
SELECT evpub.release_table('task');
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (0) TO (10);
SELECT evpub.capture_table('task', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE

-- tables that inherit are not captured with their parent, so they may be either
CREATE TABLE person (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('person', tenant_column => 'tenant');
CREATE UNLOGGED TABLE visitor () INHERITS (person);
CREATE TEMPORARY TABLE guest () INHERITS (person);
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO person VALUES (1, 'acme');
INSERT INTO visitor VALUES (2, 'acme');
INSERT INTO guest VALUES (3, 'acme');
UPDATE person SET tenant = 'beta';
TRUNCATE person;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- a temporary table of the same name hides the captured one: no event
CREATE TEMPORARY TABLE person (id int PRIMARY KEY, tenant text) ON COMMIT DELETE ROWS;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO person VALUES (4, 'acme');
INSERT INTO public.person VALUES (5, 'acme');
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- a foreign table has its rows elsewhere
CREATE FOREIGN DATA WRAPPER regress_evpub_nowhere;
CREATE SERVER regress_evpub_nowhere FOREIGN DATA WRAPPER regress_evpub_nowhere;
CREATE FOREIGN TABLE far (id int NOT NULL, tenant text) SERVER regress_evpub_nowhere;
SELECT evpub.capture_table('far', tenant_column => 'tenant', key_columns => '{id}');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON far FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'key_columns=id');
\echo :LAST_ERROR_SQLSTATE
-- as a partition, too
CREATE TABLE wide (id int NOT NULL, tenant text) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE wide_1 PARTITION OF wide FOR VALUES FROM (0) TO (10) SERVER regress_evpub_nowhere;
SELECT evpub.capture_table('wide', tenant_column => 'tenant', key_columns => '{id}');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE wide DETACH PARTITION wide_1;
SELECT evpub.capture_table('wide', tenant_column => 'tenant', key_columns => '{id}');
ALTER TABLE wide ATTACH PARTITION wide_1 FOR VALUES FROM (0) TO (10);
\echo :LAST_ERROR_SQLSTATE
SET client_min_messages = warning;
DROP TABLE cache, scratch, task, wide;
DROP TABLE pg_temp.person;
DROP TABLE person CASCADE;
DROP FOREIGN DATA WRAPPER regress_evpub_nowhere CASCADE;
