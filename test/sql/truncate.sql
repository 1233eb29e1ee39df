-- TRUNCATE: an event for each tenant that had rows, before the rows are gone.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant_id text);
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id', tenant => 'nobody');
INSERT INTO member VALUES (1, 'acme'), (2, 'beta'), (3, 'acme'), (4, NULL);

SELECT pg_current_wal_insert_lsn() AS start \gset
-- what is before it does not collapse with what comes after
BEGIN;
INSERT INTO member VALUES (10, 'acme');
TRUNCATE member;
INSERT INTO member VALUES (10, 'acme');
COMMIT;
TRUNCATE member;
-- nobody had rows: no event
TRUNCATE member;
BEGIN;
INSERT INTO member VALUES (11, 'acme');
SAVEPOINT a;
TRUNCATE member;
ROLLBACK TO a;
COMMIT;
SELECT * FROM pg_temp.events(:'start');

-- rows that row security hides are taken away, too
CREATE ROLE regress_evpub_truncate;
ALTER TABLE member ENABLE ROW LEVEL SECURITY;
ALTER TABLE member OWNER TO regress_evpub_truncate;
ALTER TABLE member FORCE ROW LEVEL SECURITY;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE regress_evpub_truncate;
SELECT count(*) FROM member;
TRUNCATE member;
RESET ROLE;
SELECT * FROM pg_temp.events(:'start');

-- partitions, all at once, and one alone: of that each row is deleted, since
-- its tenants may have others elsewhere
CREATE TABLE orders (id int, region text, tenant_id text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE orders_eu PARTITION OF orders FOR VALUES IN ('eu');
CREATE TABLE orders_us (tenant_id text, region text NOT NULL, id int NOT NULL, PRIMARY KEY (id, region));
ALTER TABLE orders ATTACH PARTITION orders_us FOR VALUES IN ('us');
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id');
INSERT INTO orders VALUES (1, 'eu', 'acme'), (2, 'us', 'beta'), (5, 'us', 'acme');
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE orders_us;
INSERT INTO orders VALUES (2, 'us', 'beta'), (3, 'us', 'carl');
TRUNCATE orders;
SELECT * FROM pg_temp.events(:'start');

-- a second capture, by hand; and a row that has no tenant from before
SET evpub.capture = off;
INSERT INTO orders VALUES (7, 'us', NULL), (8, 'us', 'beta');
RESET evpub.capture;
CREATE TRIGGER second AFTER INSERT OR UPDATE OR DELETE ON orders
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('topic=two', 'tenant_column=tenant_id');
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE orders_us;
SELECT * FROM pg_temp.events(:'start');
DROP TRIGGER second ON orders;

-- with {pk} in the key the event could overtake those of the rows
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id',
	key => '{tenant}/{pk}', on_truncate => 'per_tenant');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id', key => '{tenant}/{pk}');
INSERT INTO orders VALUES (2, 'us', 'beta');
TRUNCATE orders_us;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE orders;
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id', on_truncate => 'error');
TRUNCATE orders;
SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id', on_truncate => 'ignore');
TRUNCATE orders_us;
TRUNCATE orders;
SELECT evpub.capture_table('orders', topic => 'orders', tenant_column => 'tenant_id', operations => '{insert,update,delete}');
TRUNCATE orders;
SELECT * FROM pg_temp.events(:'start');
DROP TABLE member, orders;
DROP ROLE regress_evpub_truncate;

-- transactions of one query string have one start time, and the same command
-- numbers: what was published in one that was rolled back is published again
CREATE TABLE twice (id int PRIMARY KEY, tenant_id text) PARTITION BY RANGE (id);
CREATE TABLE twice_0 PARTITION OF twice FOR VALUES FROM (0) TO (10);
SELECT evpub.capture_table('twice', tenant_column => 'tenant_id');
INSERT INTO twice VALUES (1, 'acme');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN\; TRUNCATE twice_0\; ROLLBACK\; BEGIN\; TRUNCATE twice_0\; COMMIT;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
-- the same with rows that statements of triggers change: nothing of the
-- transaction that was rolled back counts as newer
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN\; INSERT INTO twice VALUES (4, 'acme')\; UPDATE twice SET tenant_id = 'beta'\; DELETE FROM twice\; ROLLBACK\; BEGIN\; INSERT INTO twice VALUES (4, 'acme')\; COMMIT;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
DROP TABLE twice;
