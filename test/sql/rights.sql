-- Who owns a table and may execute capture_table() captures it; nobody else does,
-- and who writes to it needs no right on schema evpub.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE ROLE regress_evpub_owner;
CREATE ROLE regress_evpub_other;
CREATE ROLE regress_evpub_team IN ROLE regress_evpub_owner;
CREATE ROLE regress_evpub_writer;
CREATE SCHEMA hr AUTHORIZATION regress_evpub_owner;
GRANT USAGE ON SCHEMA hr TO PUBLIC;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_owner, regress_evpub_other;
GRANT EXECUTE ON FUNCTION evpub.capture_table, evpub.release_table TO regress_evpub_owner, regress_evpub_other;

-- the owner; the triggers are the owner's, so evpub.capture is needed as well
SET ROLE regress_evpub_owner;
CREATE TABLE hr.member (id int PRIMARY KEY, tenant text, name text);
SELECT evpub.capture_table('hr.member', topic => 'hr', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION evpub.capture TO regress_evpub_owner, regress_evpub_other;
SET ROLE regress_evpub_owner;
SELECT evpub.capture_table('hr.member', topic => 'hr', tenant_column => 'tenant', payload => 'row');
RESET ROLE;

-- another one with the same rights on evpub, and all rights on the table
GRANT ALL ON hr.member TO regress_evpub_other;
SET ROLE regress_evpub_other;
SELECT evpub.capture_table('hr.member', topic => 'mine', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.release_table('hr.member');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('pg_catalog.pg_authid', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER _evpub_capture ON hr.member;
ALTER TABLE hr.member DISABLE TRIGGER ALL;
RESET ROLE;
-- a member of the owner's role owns the table, too
GRANT EXECUTE ON FUNCTION evpub.capture, evpub.capture_table TO regress_evpub_team;
SET ROLE regress_evpub_team;
SELECT evpub.capture_table('hr.member', topic => 'hr', tenant_column => 'tenant', payload => 'row');
RESET ROLE;
-- of partitions that others own, PostgreSQL wants the TRIGGER privilege
CREATE TABLE hr.task (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE hr.task_1 PARTITION OF hr.task FOR VALUES FROM (0) TO (10);
ALTER TABLE hr.task OWNER TO regress_evpub_owner;
SET ROLE regress_evpub_owner;
SELECT evpub.capture_table('hr.task', topic => 'hr', tenant_column => 'tenant', on_replica => true);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT TRIGGER ON hr.task_1 TO regress_evpub_owner;
SET ROLE regress_evpub_owner;
SELECT evpub.capture_table('hr.task', topic => 'hr', tenant_column => 'tenant', on_replica => true);
RESET ROLE;

-- a writer: nothing on evpub, and on the table no more than each statement needs
REVOKE EXECUTE ON FUNCTION evpub.capture, evpub.capture_table, evpub.release_table
	FROM regress_evpub_owner, regress_evpub_other, regress_evpub_team;
GRANT INSERT (id, tenant), SELECT (id), UPDATE (tenant, name), DELETE, TRUNCATE ON hr.member TO regress_evpub_writer;
GRANT INSERT, TRUNCATE ON hr.task, hr.task_1 TO regress_evpub_writer;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE regress_evpub_writer;
SELECT has_schema_privilege('evpub', 'USAGE') AS may_use_evpub;
INSERT INTO hr.member (id, tenant) VALUES (1, 'acme');
COPY hr.member (id, tenant) FROM stdin;
2	acme
3	beta
\.
INSERT INTO hr.member (id, tenant) VALUES (1, 'beta') ON CONFLICT (id) DO UPDATE SET name = 'Kim';
UPDATE hr.member SET tenant = 'beta' WHERE id = 2;
MERGE INTO hr.member USING (VALUES (2)) s (key) ON id = key WHEN MATCHED THEN UPDATE SET name = 'Lee';
DELETE FROM hr.member WHERE id = 1;
TRUNCATE hr.member;
INSERT INTO hr.task VALUES (1, 'acme');
TRUNCATE hr.task_1;
RESET ROLE;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- what the writer may not do is not published
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE regress_evpub_writer;
INSERT INTO hr.member (id, tenant, name) VALUES (4, 'acme', 'x');
SELECT evpub.peek();
SELECT evpub.publish('member.created', 'acme');
SELECT * FROM evpub.status;
RESET ROLE;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
SET client_min_messages = warning;
DROP SCHEMA hr CASCADE;
REVOKE ALL ON SCHEMA evpub FROM regress_evpub_owner, regress_evpub_other;
DROP ROLE regress_evpub_owner, regress_evpub_other, regress_evpub_team, regress_evpub_writer;
