-- Partitions come and go: a captured table publishes the rows that are in it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE task (id int, tenant text, state text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE task_0 PARTITION OF task FOR VALUES FROM (0) TO (10);
SELECT evpub.capture_table('task', tenant_column => 'tenant', data_columns => '{state}');

-- a table with rows is attached: they are not published, since nothing has
-- changed them; evpub.resync() does, where consumers shall have them
CREATE TABLE task_1 (state text, id int PRIMARY KEY, gone int, tenant text);
ALTER TABLE task_1 DROP COLUMN gone;
INSERT INTO task_1 VALUES ('old', 10, 'acme'), ('old', 11, 'acme');
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (10) TO (20);
UPDATE task SET state = 'seen' WHERE id = 10;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- detached with its rows: not published either, and changed unseen
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (12, 'acme', 'new');
ALTER TABLE task DETACH PARTITION task_1;
UPDATE task_1 SET state = 'unseen';
INSERT INTO task VALUES (12, 'acme', 'nowhere');
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (10) TO (20);
UPDATE task_1 SET state = 'back' WHERE id = 12;
-- the same without holding up writers
ALTER TABLE task DETACH PARTITION task_1 CONCURRENTLY;
DELETE FROM task_1 WHERE id = 12;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc AND tgname = '_evpub_capture' ORDER BY 1;

-- detached, it can have a capture of its own; with that it cannot come back
SELECT evpub.capture_table('task_1', topic => 'other', tenant_column => 'tenant');
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (10) TO (20);
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT evpub.release_table('task_1');
ALTER TABLE task ATTACH PARTITION task_1 FOR VALUES FROM (10) TO (20);
COMMIT;

-- a partition for all others, and a row that an UPDATE moves out of it
CREATE TABLE task_rest PARTITION OF task DEFAULT;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (99, 'acme', 'rest');
UPDATE task SET id = 9 WHERE id = 99;
-- written where they are
INSERT INTO task_rest VALUES (98, 'acme', 'direct');
UPDATE task_rest SET state = 'directly' WHERE id = 98;
DELETE FROM task_0 WHERE id = 9;
-- the wrong one: no event
INSERT INTO task_0 VALUES (50, 'acme', 'wrong');
UPDATE task_rest SET id = 1 WHERE id = 98;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- nor as a part of what is attached
CREATE TABLE task_3 (id int PRIMARY KEY, tenant text, state text) PARTITION BY RANGE (id);
CREATE TABLE task_30 PARTITION OF task_3 FOR VALUES FROM (30) TO (35);
SELECT evpub.capture_table('task_30', topic => 'other', tenant_column => 'tenant');
ALTER TABLE task ATTACH PARTITION task_3 FOR VALUES FROM (30) TO (40);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE task_3;

-- partitions of partitions, attached as a whole
CREATE TABLE task_2 (id int PRIMARY KEY, tenant text, state text) PARTITION BY RANGE (id);
CREATE TABLE task_20 PARTITION OF task_2 FOR VALUES FROM (20) TO (25);
CREATE TABLE task_25 PARTITION OF task_2 FOR VALUES FROM (25) TO (30);
ALTER TABLE task ATTACH PARTITION task_2 FOR VALUES FROM (20) TO (30);
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (21, 'acme', 'a'), (26, 'beta', 'b');
UPDATE task_2 SET id = 27 WHERE id = 21;
TRUNCATE task_2;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
-- several at once: each of them publishes its rows; named twice, once
INSERT INTO task VALUES (22, 'acme', 'a'), (1, 'beta', 'b'), (2, 'acme', 'c');
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE task_20, task_20, task_0;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- with its own inserts, nothing is left to publish
BEGIN;
INSERT INTO task VALUES (24, 'acme', 'a');
TRUNCATE task_20;
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start') WHERE tx > 1;

-- dropped with its rows: not published; TRUNCATE it before
INSERT INTO task VALUES (23, 'acme', 'a');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
TRUNCATE task_20;
DROP TABLE task_20;
COMMIT;
DROP TABLE task_25;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a filter: a row enters or leaves while it moves
SELECT evpub.capture_table('task', tenant_column => 'tenant', filter => '{row}.state <> ''draft''');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (3, 'acme', 'draft'), (13, 'acme', 'final');
UPDATE task SET state = 'final', id = 14 WHERE id = 3;
UPDATE task SET state = 'draft', id = 4 WHERE id = 13;
CREATE TABLE task_3 PARTITION OF task FOR VALUES FROM (30) TO (40);
INSERT INTO task_3 VALUES (30, 'acme', 'draft');
UPDATE task_3 SET state = 'final';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- with on_replica all partitions fire always, and without it none as a replica
SELECT evpub.capture_table('task', tenant_column => 'tenant', on_replica => true);
CREATE TABLE task_4 PARTITION OF task FOR VALUES FROM (40) TO (50);
SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc;
SET session_replication_role = replica;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO task VALUES (31, 'acme', 'a'), (41, 'beta', 'b');
UPDATE task_4 SET tenant = 'gamma';
TRUNCATE task_4;
TRUNCATE task_3;
RESET session_replication_role;
SELECT evpub.capture_table('task', tenant_column => 'tenant');
SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc;
SET session_replication_role = replica;
INSERT INTO task VALUES (31, 'acme', 'a'), (41, 'beta', 'b');
TRUNCATE task_3;
RESET session_replication_role;
TRUNCATE task_4;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a TRUNCATE that failed has published nothing, and the next one does
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not all of it'; END $$;
CREATE TRIGGER refuse BEFORE TRUNCATE ON task EXECUTE FUNCTION refuse();
INSERT INTO task VALUES (31, 'acme', 'a'), (41, 'beta', 'b');
SELECT pg_current_wal_insert_lsn() AS start \gset
DO $$
BEGIN
	BEGIN
		TRUNCATE task;
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	TRUNCATE task_3;
END $$;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE task;
DROP FUNCTION refuse;

-- a unique index of a partition alone does not make the key unique, another
-- partition may have it: so nothing cancels out (but whose events these are,
-- nobody knows; name columns that are unique)
CREATE TABLE part (id int, region text, tenant text NOT NULL DEFAULT 'acme', PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us');
CREATE UNIQUE INDEX ON part_eu (id);
CREATE UNIQUE INDEX ON part_us (id);
SELECT evpub.capture_table('part', tenant_column => 'tenant', key_columns => '{id}');
INSERT INTO part VALUES (5, 'eu');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO part VALUES (5, 'us');
DELETE FROM part WHERE region = 'eu';
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE part;
