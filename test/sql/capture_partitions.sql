-- Partitions are published as the table that was captured.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int, tenant text, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE shop.orders_eu (region text NOT NULL, junk int, tenant text, id int NOT NULL);
ALTER TABLE shop.orders_eu DROP COLUMN junk;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_eu FOR VALUES IN ('eu');
CREATE TABLE shop.orders_us PARTITION OF shop.orders FOR VALUES IN ('us') PARTITION BY RANGE (id);
CREATE TABLE shop.orders_us_1 PARTITION OF shop.orders_us FOR VALUES FROM (1) TO (100);
SELECT evpub.capture_table('shop.orders', topic => '{schema}-{table}', tenant_column => 'tenant', key => '{table}/{pk}');
SELECT "table", definition FROM evpub.tables;

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO shop.orders VALUES (1, 'acme', 'eu'), (2, 'acme', 'us');
INSERT INTO shop.orders_us_1 VALUES (3, 'beta', 'us');
-- attached later
CREATE TABLE shop.orders_us_2 PARTITION OF shop.orders_us FOR VALUES FROM (100) TO (200);
INSERT INTO shop.orders VALUES (100, 'acme', 'us');
UPDATE shop.orders SET tenant = 'beta' WHERE id = 1;
-- into another partition
UPDATE shop.orders SET region = 'us' WHERE id = 1;
UPDATE shop.orders SET id = 101 WHERE id = 3;
ALTER TABLE shop.orders RENAME TO orders2;
DELETE FROM shop.orders_us;
SELECT * FROM pg_temp.events(:'start');

TRUNCATE shop.orders2;
TRUNCATE shop.orders_eu;
TRUNCATE shop.orders_us;
SELECT evpub.capture_table('shop.orders_eu', topic => 'x', tenant => 'x');
SELECT evpub.release_table('shop.orders_eu');
-- detached: no longer captured
ALTER TABLE shop.orders2 DETACH PARTITION shop.orders_eu;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO shop.orders_eu (id, tenant, region) VALUES (50, 'acme', 'eu');
TRUNCATE shop.orders_eu;
SELECT * FROM pg_temp.events(:'start');
-- captured on its own, and then together
SELECT evpub.release_table('shop.orders2');
ALTER TABLE shop.orders2 ATTACH PARTITION shop.orders_eu FOR VALUES IN ('eu');
SELECT evpub.capture_table('shop.orders_eu', topic => 'x', tenant => 'x');
SELECT evpub.capture_table('shop.orders2', topic => 'x', tenant => 'x');
INSERT INTO shop.orders2 VALUES (60, 'acme', 'eu'), (61, 'acme', 'us');
SELECT * FROM pg_temp.events(:'start');
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
