-- Which changes are events: operations, update_columns, ignore_columns,
-- key_columns, on_truncate, on_replica.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text NOT NULL, code text NOT NULL, name text, seen timestamptz);
INSERT INTO member VALUES (1, 'acme', 'c1', 'Ann', 'epoch');

-- operations: those that are left out are no events
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', operations => '{insert,delete}');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'member'::regclass ORDER BY 1;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET name = 'Bob', id = 2;
-- before collapsing: created, and deleted under another key
BEGIN;
INSERT INTO member VALUES (3, 'acme', 'c3');
UPDATE member SET id = 4 WHERE id = 3;
DELETE FROM member WHERE id = 4;
COMMIT;
TRUNCATE member;
SELECT tx, n, value FROM pg_temp.events(:'start');
-- a change of the key belongs to the updates
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', operations => '{update}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1, 'acme', 'c1', 'Ann', 'epoch');
UPDATE member SET id = 2;
UPDATE member SET id = 1;
SELECT tx, n, value FROM pg_temp.events(:'start');

-- update_columns: an update is an event if one of these changed
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', update_columns => '{name,code}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET seen = now();
UPDATE member SET name = 'Ann', seen = 'epoch';
UPDATE member SET name = 'Bob';
-- those of key and tenant always count
UPDATE member SET id = 2;
UPDATE member SET tenant = 'beta';
SELECT tx, n, value FROM pg_temp.events(:'start');

-- ignore_columns: if any other changed
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', ignore_columns => '{seen,tenant}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET seen = now();
UPDATE member SET name = 'Cid', seen = 'epoch';
UPDATE member SET tenant = 'acme';
SELECT tx, n, value FROM pg_temp.events(:'start');
-- names of any kind; none that an option names can be renamed
SELECT evpub.release_table('member');
ALTER TABLE member RENAME COLUMN seen TO "last, ""seen""";
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', ignore_columns => '{"last, \"seen\"",name}');
SELECT ignore_columns, definition FROM evpub.tables;
UPDATE member SET "last, ""seen""" = now(), name = 'Dan';
ALTER TABLE member RENAME COLUMN "last, ""seen""" TO seen;
\echo :LAST_ERROR_SQLSTATE

-- key_columns: instead of the primary key
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', key_columns => '{tenant,code}',
	key => '{tenant}/{table}/{pk}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET id = 3;
UPDATE member SET code = 'c/2';
SELECT tx, n, key, value FROM pg_temp.events(:'start');
-- for tables without one
CREATE TABLE log (at timestamptz NOT NULL, message text);
SELECT evpub.capture_table('log', topic => 'cms', tenant => 'acme', key_columns => '{at}');
SELECT pg_current_wal_insert_lsn() AS start \gset
SET TimeZone = 'Asia/Seoul';
INSERT INTO log VALUES ('2026-11-20 13:43:46.5+00', 'x');
RESET TimeZone;
SELECT value FROM pg_temp.events(:'start');

-- on_truncate
SELECT evpub.capture_table('log', topic => 'cms', tenant => 'acme', key_columns => '{at}', on_truncate => 'error');
TRUNCATE log;
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('log', topic => 'cms', tenant => 'acme', key_columns => '{at}', on_truncate => 'ignore');
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE log;
SELECT * FROM pg_temp.events(:'start');

-- on_replica: rows that logical replication applies fire only such triggers
SELECT evpub.capture_table('log', topic => 'cms', tenant => 'acme', key_columns => '{at}', on_replica => true);
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid IN ('log'::regclass, 'member'::regclass) ORDER BY tgrelid, 1;
SELECT "table", on_replica, enabled FROM evpub.tables ORDER BY 1;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET session_replication_role = replica;
INSERT INTO log VALUES ('epoch', 'x');
UPDATE member SET name = 'Eve';
RESET session_replication_role;
SELECT value FROM pg_temp.events(:'start');
SELECT evpub.capture_table('log', topic => 'cms', tenant => 'acme', key_columns => '{at}');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'log'::regclass ORDER BY 1;

-- what is wrong
SELECT evpub.capture_table('member', tenant => 'x', operations => '{insert,upsert}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', operations => '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', operations => '{insert,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', update_columns => '{name}', ignore_columns => '{seen}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', update_columns => '{nome}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', ignore_columns => '{xmin}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', key_columns => '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', key_columns => '{name}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', on_truncate => 'cascade');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'operations=insert,');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE member, log;

-- update_columns is the condition of a trigger, which names the key, too
-- (where equal values may have other bytes, these are compared)
CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN shop AS text;
CREATE TABLE price (id int PRIMARY KEY, version int NOT NULL, tenant text, shop shop, amount numeric, label text COLLATE caseless, note json);
SELECT evpub.capture_table('price', topic => 'cms', tenant_column => 'tenant', update_columns => '{shop,amount,label,note}');
SELECT tgname, substring(pg_get_triggerdef(oid) FROM 'WHEN .*(?= EXECUTE)') AS condition
	FROM pg_trigger WHERE tgrelid = 'price'::regclass ORDER BY 1;
INSERT INTO price VALUES (1, 1, 'acme', 's', 1.0, 'a', '{}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE price SET version = 2;
UPDATE price SET amount = 1.0;
UPDATE price SET amount = 1.00;
UPDATE price SET label = 'a', shop = 's';
UPDATE price SET label = 'A';
UPDATE price SET shop = 'S';
UPDATE price SET note = '{ }';
UPDATE price SET note = NULL;
UPDATE price SET id = 2;
UPDATE price SET tenant = 'beta';
SELECT tx, n, value FROM pg_temp.events(:'start');
ALTER TABLE price DROP CONSTRAINT price_pkey, ADD PRIMARY KEY (id, version);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE price;
DROP DOMAIN shop;
DROP COLLATION caseless;

-- The same value in another form is no change: that of a column added later, or
-- one that TOAST keeps elsewhere, or compresses in another way.
CREATE TABLE form (id int PRIMARY KEY, seen int, large text, small text);
INSERT INTO form SELECT 1, 1, string_agg(md5(i::text), ''), repeat('x', 5000) FROM generate_series(1, 5000) i;
ALTER TABLE form ADD COLUMN note text DEFAULT 'x', ADD COLUMN amount numeric DEFAULT 1.5, ADD COLUMN n int DEFAULT 5;
SELECT evpub.capture_table('form', topic => 'cms', tenant => 'acme', payload => 'changed_columns', ignore_columns => '{seen}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE form SET seen = 2;
UPDATE form SET large = large || '';
ALTER TABLE form ALTER COLUMN small SET STORAGE external;
UPDATE form SET small = small || '';
ALTER TABLE form DROP COLUMN n;
UPDATE form SET seen = 3, large = large || '', note = 'x', amount = 1.5;
SELECT count(*) FROM pg_temp.events(:'start');
UPDATE form SET large = overlay(large PLACING 'X' FROM 100000);
UPDATE form SET small = 'y' || substr(small, 2), seen = 4;
UPDATE form SET amount = 1.50;
UPDATE form SET note = NULL, large = large || '';
SELECT tx, n, type, changed FROM pg_temp.brief(:'start');
DROP TABLE form;
