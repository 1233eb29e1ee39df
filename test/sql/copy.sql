-- COPY: each row that it stores is an INSERT.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text, name text);
SELECT evpub.capture_table('member', tenant_column => 'tenant');

SELECT pg_current_wal_insert_lsn() AS start \gset
COPY member FROM stdin;
1	acme	Kim
2	beta	Lee
\.
COPY member (tenant, id) FROM stdin (FORMAT csv);
acme,3
\.
-- only the rows that it takes
COPY member FROM stdin WHERE id % 2 = 0;
4	acme	Choi
5	acme	Park
\.
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- all rows or none
SELECT pg_current_wal_insert_lsn() AS start \gset
COPY member FROM stdin;
6	acme	Kang
1	acme	taken
\.
COPY member FROM stdin;
7	acme	Yoon
8	\N	nobody's
\.
BEGIN;
COPY member FROM stdin;
6	acme	Kang
\.
SAVEPOINT s;
COPY member FROM stdin;
7	acme	Yoon
\.
ROLLBACK TO s;
COMMIT;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- FREEZE, into a table that the transaction has emptied
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
TRUNCATE member;
COPY member FROM stdin (FREEZE);
1	acme	Kim
\.
COMMIT;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- into partitions: PostgreSQL writes them one after the other.  By way of a view:
-- a trigger says what that means
CREATE TABLE task (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE task_1 PARTITION OF task FOR VALUES FROM (0) TO (10);
CREATE TABLE task_2 PARTITION OF task FOR VALUES FROM (10) TO (20);
SELECT evpub.capture_table('task', tenant_column => 'tenant');
CREATE VIEW names AS SELECT name FROM member;
CREATE FUNCTION add_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO member SELECT max(id) + 1, 'acme', NEW.name FROM member; RETURN NEW; END $$;
CREATE TRIGGER add_name INSTEAD OF INSERT ON names FOR EACH ROW EXECUTE FUNCTION add_name();
SELECT pg_current_wal_insert_lsn() AS start \gset
COPY task FROM stdin;
11	acme
1	beta
12	acme
\.
COPY task_1 FROM stdin;
2	beta
\.
COPY names FROM stdin;
Lee
Park
\.
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');

-- many rows: PostgreSQL writes them by the page, events keep the rows' order
CREATE TEMPORARY TABLE lines AS
 SELECT i AS id, 'acme'::text AS tenant, repeat('x', i % 50) AS name FROM generate_series(1001, 4000) i;
\getenv abs_builddir PG_ABS_BUILDDIR
\set copied :abs_builddir /results/copied.data
COPY (SELECT * FROM lines ORDER BY id) TO :'copied';
SELECT pg_current_wal_insert_lsn() AS start \gset
COPY member FROM :'copied';
SELECT count(*), count(DISTINCT tx) AS transactions, bool_and((pk ->> 'id')::int = 1001 + n) AS in_order
  FROM pg_temp.brief(:'start');
DROP TABLE member, task CASCADE;
DROP FUNCTION add_name();
