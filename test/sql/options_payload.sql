-- What an event has of a row: payload, data_columns, old_pk.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TYPE colour AS ENUM ('red', 'blue');
CREATE TABLE product (id int PRIMARY KEY, tenant text NOT NULL, name text,
	price numeric, tags text[], attributes jsonb, made date, paint colour, photo bytea);
INSERT INTO product VALUES
	(1, 'acme', 'lamp', 12.50, '{a,"b c"}', '{"k": [1, null]}', '2026-11-20', 'red', '\x00ff'),
	(2, 'acme', NULL, 'NaN', NULL, NULL, 'infinity', NULL, NULL);

-- key, the default: nothing but the primary key; old_pk where it changed
SELECT evpub.capture_table('product', topic => 'shop', tenant_column => 'tenant');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE product SET price = 13 WHERE id = 1;
UPDATE product SET id = 3 WHERE id = 2;
UPDATE product SET id = 2, tenant = 'beta' WHERE id = 3;
-- another tenant and the same key: no old_pk
UPDATE product SET tenant = 'acme' WHERE id = 2;
SELECT tx, key, value FROM pg_temp.events(:'start');

-- data_columns: values of some columns, in this order; of a deleted row the
-- last it had
SELECT evpub.capture_table('product', topic => 'shop', tenant_column => 'tenant',
	data_columns => '{price,name}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO product (id, tenant, name, price) VALUES (4, 'acme', 'desk', 99);
UPDATE product SET made = '2026-01-01' WHERE id = 4;
DELETE FROM product WHERE id = 4;
SELECT tx, value FROM pg_temp.events(:'start');

-- row: all columns
SELECT evpub.capture_table('product', topic => 'shop', tenant_column => 'tenant', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE product SET name = 'a "lamp"' WHERE id = 1;
UPDATE product SET id = 3 WHERE id = 2;
DELETE FROM product WHERE id = 3;
SELECT tx, value FROM pg_temp.events(:'start');
-- the data is what to_jsonb() makes of the row; in no session's own style
SET DateStyle = 'German';
SET TimeZone = 'Asia/Seoul';
SET bytea_output = 'escape';
SET extra_float_digits = -3;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE product SET price = 1.0 WHERE id = 1;
RESET DateStyle;
RESET TimeZone;
RESET bytea_output;
RESET extra_float_digits;
SELECT value::jsonb -> 'data' = to_jsonb(p) AS same FROM pg_temp.events(:'start'), product p;
-- values that are kept outside of the row
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE product ALTER COLUMN name SET STORAGE EXTERNAL;
UPDATE product SET name = repeat('long ', 10000);
UPDATE product SET price = 2.0;
SELECT value::jsonb -> 'data' ->> 'name' = p.name AS same FROM pg_temp.events(:'start'), product p;
-- a column that is added or dropped comes and goes with the next event
ALTER TABLE product ADD COLUMN stock int DEFAULT 7;
ALTER TABLE product DROP COLUMN name, DROP COLUMN photo, DROP COLUMN attributes, DROP COLUMN tags;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE product SET price = 3;
SELECT value FROM pg_temp.events(:'start');

-- changed_columns: their names, of updates; no values
SELECT evpub.capture_table('product', topic => 'shop', tenant_column => 'tenant', payload => 'changed_columns');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO product (id, tenant) VALUES (5, 'acme');
UPDATE product SET price = 4, stock = 0 WHERE id = 5;
UPDATE product SET price = 4, stock = 1 WHERE id = 5;
-- several updates are one: it names all columns that any of them changed
BEGIN;
UPDATE product SET price = 5 WHERE id = 5;
UPDATE product SET stock = 2 WHERE id = 5;
UPDATE product SET made = 'today', stock = 3 WHERE id = 5;
COMMIT;
UPDATE product SET id = 6 WHERE id = 5;
DELETE FROM product WHERE id = 6;
-- deleted and created again: any column may have changed, none is named
BEGIN;
DELETE FROM product WHERE id = 1;
INSERT INTO product (id, tenant) VALUES (1, 'acme');
UPDATE product SET price = 6 WHERE id = 1;
COMMIT;
SELECT tx, n, value FROM pg_temp.events(:'start');
-- with values, too
SELECT evpub.capture_table('product', topic => 'shop', tenant_column => 'tenant',
	payload => 'changed_columns', data_columns => '{price}');
ALTER TABLE product RENAME COLUMN stock TO "in ""stock""";
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE product SET "in ""stock""" = 4, price = 7 WHERE id = 1;
UPDATE product SET "in ""stock""" = 5, paint = 'blue' WHERE id = 1;
COMMIT;
SELECT value FROM pg_temp.events(:'start');

-- what is wrong
SELECT evpub.capture_table('product', tenant => 'x', payload => 'everything');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('product', tenant => 'x', payload => 'row', data_columns => '{price}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('product', tenant => 'x', data_columns => '{price,prize}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('product', tenant => 'x', data_columns => '{price,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('product', tenant => 'x', payload => 'row', data_columns => '{}');
-- an object of JSON has each name once
SELECT evpub.capture_table('product', tenant => 'x', data_columns => '{price,paint,price}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('product', tenant => 'x', key_columns => '{id,id}');
CREATE TRIGGER by_hand AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'data_columns=id,id');
DROP TABLE product;
DROP TYPE colour;
