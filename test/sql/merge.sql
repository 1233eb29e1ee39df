-- MERGE: each of its actions is the event of that action.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE stock (item text PRIMARY KEY, tenant text, amount int);
CREATE TABLE delivery (item text, amount int);
SELECT evpub.capture_table('stock', tenant_column => 'tenant', data_columns => '{amount}');
INSERT INTO stock VALUES ('apple', 'acme', 5), ('banana', 'acme', 5), ('cherry', 'acme', 5), ('date', 'acme', 5);
INSERT INTO delivery VALUES ('apple', 2), ('banana', -5), ('cherry', 0), ('date', NULL), ('elderberry', 7), ('fig', NULL);

-- update, delete, an update of nothing, do nothing, insert, do nothing
SELECT pg_current_wal_insert_lsn() AS start \gset
MERGE INTO stock s USING (SELECT * FROM delivery ORDER BY item) d ON s.item = d.item
	WHEN MATCHED AND s.amount + d.amount = 0 THEN DELETE
	WHEN MATCHED AND d.amount IS NULL THEN DO NOTHING
	WHEN MATCHED THEN UPDATE SET amount = s.amount + d.amount
	WHEN NOT MATCHED AND d.amount > 0 THEN INSERT VALUES (d.item, 'acme', d.amount)
	WHEN NOT MATCHED THEN DO NOTHING;
SELECT type, tenant, pk, data FROM pg_temp.brief(:'start') ORDER BY pk;
SELECT count(DISTINCT tx) AS transactions FROM pg_temp.brief(:'start');

-- another key, another tenant
SELECT pg_current_wal_insert_lsn() AS start \gset
MERGE INTO stock s USING (VALUES ('apple', 'pear')) d (old, new) ON s.item = d.old
	WHEN MATCHED THEN UPDATE SET item = d.new;
MERGE INTO stock s USING (VALUES ('pear', 'beta')) d (item, tenant) ON s.item = d.item
	WHEN MATCHED THEN UPDATE SET tenant = d.tenant;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- in one transaction with other statements
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO stock VALUES ('grape', 'acme', 1);
MERGE INTO stock s USING (VALUES ('grape', 4)) d (item, amount) ON s.item = d.item
	WHEN MATCHED THEN UPDATE SET amount = s.amount + d.amount;
MERGE INTO stock s USING (VALUES ('grape')) d (item) ON s.item = d.item
	WHEN MATCHED THEN DELETE;
MERGE INTO stock s USING (VALUES ('cherry')) d (item) ON s.item = d.item
	WHEN MATCHED THEN DELETE;
MERGE INTO stock s USING (VALUES ('cherry')) d (item) ON s.item = d.item
	WHEN NOT MATCHED THEN INSERT VALUES (d.item, 'acme', 9);
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- it fails: nothing is published
SELECT pg_current_wal_insert_lsn() AS start \gset
MERGE INTO stock s USING (VALUES ('kiwi', 'acme'), ('lemon', NULL)) d (item, tenant) ON s.item = d.item
	WHEN NOT MATCHED THEN INSERT VALUES (d.item, d.tenant, 1);
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- partitions; a row that moves to another one and keeps its key is updated
CREATE TABLE task (id int NOT NULL, tenant text, state text NOT NULL, UNIQUE (id, state)) PARTITION BY LIST (state);
CREATE TABLE task_open PARTITION OF task FOR VALUES IN ('open');
CREATE TABLE task_done PARTITION OF task FOR VALUES IN ('done');
SELECT evpub.capture_table('task', tenant_column => 'tenant', key_columns => '{id}', data_columns => '{state}');
INSERT INTO task VALUES (1, 'acme', 'open'), (2, 'acme', 'done');
SELECT pg_current_wal_insert_lsn() AS start \gset
MERGE INTO task t USING (VALUES (1, 'done'), (2, NULL), (3, 'open')) d (id, state) ON t.id = d.id
	WHEN MATCHED AND d.state IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET state = d.state
	WHEN NOT MATCHED THEN INSERT VALUES (d.id, 'acme', d.state);
SELECT type, tenant, pk, data FROM pg_temp.brief(:'start') ORDER BY pk;
DROP TABLE stock, delivery, task;
