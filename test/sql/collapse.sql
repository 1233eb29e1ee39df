-- Changes of one row in one transaction are put together.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text NOT NULL, name text);
CREATE FUNCTION pg_temp.short(since pg_lsn)
RETURNS TABLE (tx bigint, n bigint, type text, tenant text, pk jsonb, data jsonb, of text)
LANGUAGE sql AS $$
SELECT tx, n, value::jsonb ->> 'type', value::jsonb ->> 'tenant', value::jsonb -> 'pk',
       value::jsonb -> 'data', value::jsonb ->> 'tx'
  FROM pg_temp.events(since)
$$;
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', data_columns => '{name}');
INSERT INTO member SELECT i, 'acme', 'old' FROM generate_series(1, 9) i;

-- several updates are one, at the place of the last
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 'a' WHERE id = 1;
UPDATE member SET name = 'a' WHERE id = 2;
UPDATE member SET name = 'b' WHERE id = 1;
UPDATE member SET name = 'c' WHERE id = 1;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- created stays at its place, since others may refer to it from then on; a later
-- update of it is kept as well
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (11, 'acme', 'a'), (12, 'acme', 'a');
UPDATE member SET name = 'b' WHERE id = 11;
UPDATE member SET name = 'b' WHERE id = 12;
UPDATE member SET name = 'c' WHERE id = 11;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- created by INSERT and deleted is nothing
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (13, 'acme', 'a');
UPDATE member SET name = 'b' WHERE id IN (1, 13);
DELETE FROM member WHERE id = 13;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- and if nothing is left, not even the transaction is in WAL
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (13, 'acme', 'a');
DELETE FROM member WHERE id = 13;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- updated and deleted is deleted
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 'x' WHERE id = 11;
DELETE FROM member WHERE id = 11;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- deleted and created again is updated, at the later place
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
DELETE FROM member WHERE id IN (1, 2);
INSERT INTO member VALUES (14, 'acme', 'a');
INSERT INTO member VALUES (1, 'acme', 'again');
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- and deleted after that is deleted
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
DELETE FROM member WHERE id = 1;
INSERT INTO member VALUES (1, 'acme', 'again');
DELETE FROM member WHERE id = 1;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- a changed key or tenant is deleted there, created here
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 'x' WHERE id = 3;
UPDATE member SET id = 30 WHERE id = 3;
UPDATE member SET tenant = 'beta' WHERE id = 30;
UPDATE member SET name = 'y' WHERE id = 30;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- and back again: what was created by a change of the key is not taken away
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET id = 40 WHERE id = 4;
UPDATE member SET id = 4 WHERE id = 40;
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- rows are distinguished by table, tenant and key
CREATE TABLE other (id text PRIMARY KEY);
SELECT evpub.capture_table('other', topic => 'cms', tenant => 'acme');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO other VALUES ('5');
UPDATE member SET name = 'x' WHERE id = 5;
DELETE FROM other;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- and by where their events go: two triggers, two streams
CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON other
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=acme', 'topic=copy');
INSERT INTO other VALUES ('1');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE other SET id = '2';
UPDATE other SET id = '1';
COMMIT;
SELECT n, topic, value FROM pg_temp.events(:'start');
DROP TABLE other;

-- events by hand keep their place, and nothing moves past them but as above
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 'y' WHERE id = 5;
SELECT evpub.publish('in between', 'acme');
UPDATE member SET name = 'z' WHERE id = 5;
SELECT evpub.publish('in between', 'acme');
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- what a savepoint rolled back has no part in it
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 's' WHERE id = 6;
SAVEPOINT s;
UPDATE member SET name = 't' WHERE id = 6;
DELETE FROM member WHERE id = 6;
ROLLBACK TO s;
INSERT INTO member VALUES (15, 'acme', 'a');
SAVEPOINT s2;
DELETE FROM member WHERE id = 15;
ROLLBACK TO s2;
UPDATE member SET name = 'u' WHERE id = 15;
RELEASE s;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- nor what a block with an exception did
SELECT pg_current_wal_insert_lsn() AS start \gset
DO $$
BEGIN
	UPDATE member SET name = 'v' WHERE id = 6;
	FOR i IN 1 .. 3 LOOP
		BEGIN
			UPDATE member SET name = 'w' || i WHERE id IN (6, 7);
			INSERT INTO member VALUES (100 + i, 'acme', 'a');
			IF i = 3 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
			DELETE FROM member WHERE id = 101;
		END;
	END LOOP;
END $$;
SELECT * FROM pg_temp.short(:'start');
-- a prepared transaction
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET name = 'p' WHERE id = 7;
UPDATE member SET name = 'q' WHERE id = 7;
PREPARE TRANSACTION 'collapse';
COMMIT PREPARED 'collapse';
SELECT * FROM pg_temp.short(:'start');

-- collapse => false keeps every change
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', data_columns => '{name}',
	collapse => false);
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (16, 'acme', 'a');
UPDATE member SET name = 'b' WHERE id = 16;
UPDATE member SET name = 'c' WHERE id = 16;
DELETE FROM member WHERE id = 16;
INSERT INTO member VALUES (16, 'acme', 'd');
COMMIT;
SELECT * FROM pg_temp.short(:'start');

-- a row that moves to another partition keeps its key: updated
CREATE TABLE account (id int, region text, name text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE account_eu PARTITION OF account FOR VALUES IN ('eu');
CREATE TABLE account_us (name text, region text NOT NULL, id int NOT NULL);
ALTER TABLE account ATTACH PARTITION account_us FOR VALUES IN ('us');
SELECT evpub.capture_table('account', topic => 'cms', tenant => 'acme', key_columns => '{id}', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO account VALUES (1, 'eu', 'a');
UPDATE account SET region = 'us', name = 'b';
BEGIN;
UPDATE account SET region = 'eu';
UPDATE account SET region = 'us', name = 'c';
COMMIT;
BEGIN;
INSERT INTO account VALUES (2, 'eu', 'a');
UPDATE account SET region = 'us' WHERE id = 2;
COMMIT;
-- with the region in the key it is another row
SELECT evpub.capture_table('account', topic => 'cms', tenant => 'acme');
UPDATE account SET region = 'eu' WHERE id = 1;
SELECT * FROM pg_temp.short(:'start');
DROP TABLE account;

-- A deferrable key: two rows may have it for a while.  A row that is left when
-- another one with its key goes is updated, and nothing cancels out.
CREATE TABLE seat (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text);
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', payload => 'row');
INSERT INTO seat VALUES (1, 'a'), (2, 'b'), (3, 'c');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = id + 1;
SELECT * FROM pg_temp.short(:'start');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = id - 1;
SELECT * FROM pg_temp.short(:'start');
-- rows that swap keys
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = 3 - id WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE seat SET id = 1 WHERE name = 'a';
UPDATE seat SET name = 'B', id = 2 WHERE name = 'b';
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- a row that passes through the key of one that nobody touches: that one is published
-- of, with its own data
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE seat SET id = 2 WHERE name = 'a';
UPDATE seat SET id = 1 WHERE name = 'a';
INSERT INTO seat VALUES (3, 'guest');
DELETE FROM seat WHERE name = 'guest';
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- one takes the place of another
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (3, 'heir');
DELETE FROM seat WHERE name = 'c';
UPDATE seat SET name = 'HEIR' WHERE id = 3;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- created and deleted: both are published
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (4, 'guest');
DELETE FROM seat WHERE id = 4;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- also where nothing is collapsed
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', payload => 'row', collapse => false);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = id + 1;
SELECT * FROM pg_temp.short(:'start');
DROP TABLE seat;

DROP TABLE member;
-- Beyond evpub.collapse_memory: more events, never fewer, in the same order.
ALTER SYSTEM SET evpub.collapse_memory = '64kB';
SELECT pg_reload_conf();
\c -
\set ECHO none
\i :file
\set ECHO all
CREATE TABLE big (id int PRIMARY KEY, x int);
SELECT evpub.capture_table('big', topic => 'cms', tenant => 'acme', data_columns => '{x}');
SHOW evpub.collapse_memory;
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO big SELECT i, 0 FROM generate_series(1, 10000) i;
UPDATE big SET x = 1;
UPDATE big SET x = 2;
DELETE FROM big WHERE id <= 5000;
COMMIT;
-- of each row: the last event says what became of it, and they are in order
WITH e AS (
	SELECT n, value::jsonb ->> 'type' AS type, (value::jsonb -> 'pk' ->> 'id')::int AS id,
	       (value::jsonb -> 'data' ->> 'x')::int AS x
	  FROM pg_temp.events(:'start')
), r AS (
	SELECT id, array_agg(type ORDER BY n) AS types, array_agg(x ORDER BY n) AS xs FROM e GROUP BY id
)
SELECT count(*) AS rows, count(*) FILTER (WHERE types[1] = 'big.created') AS created,
       count(*) FILTER (WHERE types[array_upper(types, 1)] = CASE WHEN id <= 5000 THEN 'big.deleted' ELSE 'big.updated' END
                        AND xs[array_upper(xs, 1)] = 2) AS as_it_is,
       count(*) FILTER (WHERE xs = (SELECT array_agg(x ORDER BY x) FROM unnest(xs) x)) AS in_order,
       (SELECT count(*) BETWEEN 25000 AND 35000 FROM e) AS events
  FROM r;
DROP TABLE big;

-- What a subtransaction has logged stands behind the events of its parent that
-- wait: created and deleted do not cancel out around it.
CREATE TABLE seat (id int PRIMARY KEY, x text);
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', payload => 'row');
CREATE FUNCTION pg_temp.fill() RETURNS void LANGUAGE sql AS
	$$INSERT INTO seat SELECT i, repeat('x', 10000) FROM generate_series(1, 60) i$$;
CREATE FUNCTION pg_temp.published(since pg_lsn) RETURNS TABLE (n bigint, type text, x jsonb) LANGUAGE sql AS $$
SELECT n, v ->> 'type', v -> 'data' -> 'x' FROM (SELECT n, value::jsonb AS v FROM pg_temp.events(since)) e
 WHERE v -> 'pk' = '{"id": 0}' ORDER BY n
$$;
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (0, 'first');
SAVEPOINT s;
UPDATE seat SET x = 'second' WHERE id = 0;
SELECT pg_temp.fill();
RELEASE s;
DELETE FROM seat WHERE id = 0;
COMMIT;
SELECT * FROM pg_temp.published(:'start');
TRUNCATE seat;
-- the same in an exception block, and created once more
SELECT pg_current_wal_insert_lsn() AS start \gset
DO $$ BEGIN
	INSERT INTO seat VALUES (0, 'first');
	BEGIN
		DELETE FROM seat WHERE id = 0;
		PERFORM pg_temp.fill();
	EXCEPTION WHEN unique_violation THEN
		NULL;
	END;
	INSERT INTO seat VALUES (0, 'second');
	DELETE FROM seat WHERE id = 0;
	INSERT INTO seat VALUES (0, 'third');
END $$;
SELECT * FROM pg_temp.published(:'start');
TRUNCATE seat;
-- what was rolled back was not logged for anybody
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SAVEPOINT s;
SELECT pg_temp.fill();
ROLLBACK TO s;
SELECT pg_temp.fill();
INSERT INTO seat VALUES (0, 'first');
DELETE FROM seat WHERE id = 0;
COMMIT;
SELECT * FROM pg_temp.published(:'start');
TRUNCATE seat;
-- a replaced row
ALTER TABLE seat DROP CONSTRAINT seat_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED;
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (0, 'one');
SAVEPOINT s;
INSERT INTO seat VALUES (0, 'two');
SELECT pg_temp.fill();
RELEASE s;
DELETE FROM seat WHERE x = 'two';
COMMIT;
SELECT * FROM pg_temp.published(:'start');
DROP TABLE seat;
ALTER SYSTEM RESET evpub.collapse_memory;
SELECT pg_reload_conf();
