-- WITH: statements that change data within another one.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE job (id int PRIMARY KEY, tenant text, name text);
CREATE TABLE archived_job (id int PRIMARY KEY, tenant text, name text);
SELECT evpub.capture_table('job', tenant_column => 'tenant');
SELECT evpub.capture_table('archived_job', tenant_column => 'tenant');
INSERT INTO job VALUES (1, 'acme', 'a'), (2, 'acme', 'b'), (3, 'beta', 'c');

-- rows move from one table to the other: all is published, of both
SELECT pg_current_wal_insert_lsn() AS start \gset
WITH gone AS (DELETE FROM job WHERE tenant = 'acme' RETURNING *)
INSERT INTO archived_job SELECT * FROM gone;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- also where nobody reads what it returns
SELECT pg_current_wal_insert_lsn() AS start \gset
WITH added AS (INSERT INTO job VALUES (4, 'acme', 'd') RETURNING id)
SELECT 'not ' || 'looked at' AS added;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- parent and child in one statement, as their key wants it
CREATE TABLE job_step (id int PRIMARY KEY, job int REFERENCES job, tenant text);
SELECT evpub.capture_table('job_step', tenant_column => 'tenant');
SELECT pg_current_wal_insert_lsn() AS start \gset
WITH added AS (INSERT INTO job VALUES (5, 'acme', 'e') RETURNING id)
INSERT INTO job_step SELECT 50, id, 'acme' FROM added;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
DROP TABLE job, archived_job, job_step;
