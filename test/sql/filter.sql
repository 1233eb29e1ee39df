-- A filter: rows that enter are created, rows that leave are deleted, what is
-- outside is nothing.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant_id text, deleted_at date, score int);
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id',
	filter => '{row}.deleted_at IS NULL AND {row}.score > 0 -- the comment ends here');
SELECT definition FROM evpub.tables;

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1, 'acme', NULL, 1), (2, 'acme', '2026-01-01', 1), (3, 'acme', NULL, 0), (4, 'acme', NULL, NULL);
UPDATE member SET score = 2 WHERE id IN (1, 2);
UPDATE member SET score = 1 WHERE id = 3;
UPDATE member SET deleted_at = '2026-01-01' WHERE id = 1;
UPDATE member SET id = 30 WHERE id = 3;
UPDATE member SET id = 31, score = 0 WHERE id = 30;
UPDATE member SET id = 32, score = 1 WHERE id = 31;
DELETE FROM member;
-- in one transaction: enters and leaves again
INSERT INTO member VALUES (5, 'acme', NULL, 0);
BEGIN;
UPDATE member SET score = 1;
UPDATE member SET score = 2;
UPDATE member SET score = 0;
COMMIT;
BEGIN;
UPDATE member SET score = 1;
UPDATE member SET score = 0;
UPDATE member SET score = 1;
COMMIT;
BEGIN;
UPDATE member SET score = 0;
UPDATE member SET score = 1;
COMMIT;
SELECT * FROM pg_temp.events(:'start');

-- only one expression, and one that a trigger's condition may be
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => 'true) EXECUTE FUNCTION x(); --');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score > 0) FROM pg_class WHERE (true');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score > 0); DROP TABLE member; SELECT (true');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => 'true');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.nope');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score IN (SELECT 1)');
-- system columns are other ones when a row is looked up later
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score > 0 AND {row}.tableoid IS NOT NULL');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON member FOR EACH ROW WHEN (new.xmin IS NOT NULL)
	EXECUTE FUNCTION evpub.capture('tenant_column=tenant_id', 'filter={row}.xmin IS NOT NULL');
\echo :LAST_ERROR_SQLSTATE
-- nothing of a refused call stays, and what was there does
SELECT definition FROM evpub.tables;

-- fewer operations; partitions
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', filter => '{row}.score > 0', operations => '{delete}');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'member'::regclass ORDER BY 1;
CREATE TABLE orders (id int, region text, open boolean, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE orders_us (open boolean, region text NOT NULL, id int NOT NULL, PRIMARY KEY (id, region));
ALTER TABLE orders ATTACH PARTITION orders_us FOR VALUES IN ('us');
CREATE TABLE orders_eu PARTITION OF orders FOR VALUES IN ('eu');
SELECT evpub.capture_table('orders', topic => 'orders', tenant => 'acme', filter => '{row}.open');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO orders VALUES (1, 'us', true), (2, 'us', false), (3, 'eu', true);
UPDATE orders SET open = NOT open;
UPDATE orders SET region = 'eu' WHERE id = 2;
SELECT * FROM pg_temp.events(:'start');
SELECT evpub.release_table('orders');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
DROP TABLE member, orders;

-- A parallel restore may make the trigger before the index of the key, or before
-- it has those of the partitions.  Until then nobody can leave the filter.
CREATE TABLE seat (id int NOT NULL, open boolean) PARTITION BY RANGE (id);
CREATE TABLE seat_1 PARTITION OF seat FOR VALUES FROM (0) TO (10);
ALTER TABLE ONLY seat ADD PRIMARY KEY (id);
ALTER TABLE ONLY seat_1 ADD PRIMARY KEY (id);
CREATE TRIGGER _evpub_capture_leave AFTER UPDATE ON seat FOR EACH ROW WHEN (old.open IS TRUE AND new.open IS NOT TRUE)
	EXECUTE FUNCTION evpub.capture('topic=cms', 'tenant=acme', 'filter={row}.open', 'as=deleted');
CREATE TABLE chair (id int NOT NULL, open boolean);
CREATE TRIGGER _evpub_capture_delete AFTER DELETE ON chair FOR EACH ROW WHEN (old.open IS TRUE)
	EXECUTE FUNCTION evpub.capture('topic=cms', 'tenant=acme', 'filter={row}.open', 'key_columns=id');
INSERT INTO seat VALUES (1, true);
INSERT INTO chair VALUES (1, true);
UPDATE seat SET open = false;
\echo :LAST_ERROR_SQLSTATE
DELETE FROM chair;
\echo :LAST_ERROR_SQLSTATE
ALTER INDEX seat_pkey ATTACH PARTITION seat_1_pkey;
CREATE UNIQUE INDEX chair_id ON chair (id);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET open = false;
DELETE FROM chair;
SELECT value FROM pg_temp.events(:'start');
-- and nobody takes it away again
DROP INDEX chair_id;
ALTER TABLE seat DROP CONSTRAINT seat_pkey;
DROP TABLE seat, chair;
