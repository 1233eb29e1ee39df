-- INSERT ... ON CONFLICT: the event is what became of the row.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text NOT NULL, email text UNIQUE, name text);
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{name}');
INSERT INTO member VALUES (1, 'acme', 'kim@acme', 'Kim'), (2, 'acme', 'lee@acme', 'Lee');

-- one statement: one row is new, one is there, and one is there as it should be
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (3, 'acme', 'choi@acme', 'Choi'), (1, 'acme', 'kim@acme', 'Kim Jr.'), (2, 'acme', 'lee@acme', 'Lee')
	ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- nothing is done, nothing is published
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1, 'acme', 'kim@acme', 'x') ON CONFLICT DO NOTHING;
INSERT INTO member VALUES (1, 'acme', 'kim@acme', 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE member.name = 'nobody';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- another unique column: the row that is there has its own key
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (9, 'acme', 'kim@acme', 'Kim') ON CONFLICT (email) DO UPDATE SET name = excluded.name;
-- the conflict moves it to another key, and to another tenant
INSERT INTO member VALUES (9, 'acme', 'kim@acme', 'Kim') ON CONFLICT (email) DO UPDATE SET id = excluded.id;
INSERT INTO member VALUES (9, 'beta', 'kim@acme', 'Kim') ON CONFLICT ON CONSTRAINT member_pkey DO UPDATE SET tenant = excluded.tenant;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- in one transaction: created stays at its place, the update follows
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (4, 'acme', NULL, 'a') ON CONFLICT (id) DO UPDATE SET name = 'b';
INSERT INTO member VALUES (5, 'acme', NULL, 'a') ON CONFLICT (id) DO UPDATE SET name = 'b';
INSERT INTO member VALUES (4, 'acme', NULL, 'a') ON CONFLICT (id) DO UPDATE SET name = 'b';
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- the same row twice in one statement is PostgreSQL's error, and nothing is published
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (6, 'acme'), (6, 'acme') ON CONFLICT (id) DO UPDATE SET name = 'b';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- partitions
CREATE TABLE task (id int PRIMARY KEY, tenant text, done boolean) PARTITION BY RANGE (id);
CREATE TABLE task_1 PARTITION OF task FOR VALUES FROM (0) TO (10);
CREATE TABLE task_2 PARTITION OF task FOR VALUES FROM (10) TO (20);
SELECT evpub.capture_table('task', tenant_column => 'tenant', data_columns => '{done}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (1, 'acme', false), (11, 'acme', false);
INSERT INTO task VALUES (1, 'acme', true), (12, 'acme', true) ON CONFLICT (id) DO UPDATE SET done = excluded.done;
INSERT INTO task_2 VALUES (11, 'acme', true), (11, 'acme', true) ON CONFLICT DO NOTHING;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE member, task;
