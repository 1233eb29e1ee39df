-- Events by table and operation: what is committed, and how it left the buffer.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS evpub;
RESET client_min_messages;
SELECT evpub.stat_reset();

CREATE TABLE one (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme', v int);
CREATE TABLE all_events (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme', v int);
CREATE TABLE parts (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme') PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE TABLE filtered (id int PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme', v int);
CREATE TABLE plain (id int PRIMARY KEY);
SELECT evpub.capture_table('one', tenant_column => 'tenant');
SELECT evpub.capture_table('all_events', tenant_column => 'tenant', collapse => false);
SELECT evpub.capture_table('parts', tenant_column => 'tenant');
SELECT evpub.capture_table('filtered', tenant_column => 'tenant', filter => '{row}.v > 0');

-- What the view says, and whether that many events would be published.
CREATE FUNCTION shown() RETURNS TABLE ("table" text, created bigint, updated bigint,
	deleted bigint, truncated bigint, resynced bigint)
LANGUAGE sql AS 'SELECT "table"::text, created, updated, deleted, truncated, resynced FROM evpub.stat_tables ORDER BY 1';
CREATE FUNCTION peeked() RETURNS bigint
LANGUAGE sql AS 'SELECT count(*) FROM evpub.peek(1000000)';
CREATE FUNCTION counted() RETURNS numeric
LANGUAGE sql AS 'SELECT sum(created + updated + deleted + truncated + resynced) FROM evpub.stat_tables';

SELECT * FROM shown();

-- each operation
INSERT INTO one SELECT generate_series(1, 10);
UPDATE one SET v = 1 WHERE id <= 3;
UPDATE one SET v = 1 WHERE id <= 3;		-- changes nothing
DELETE FROM one WHERE id = 1;
UPDATE one SET id = 20 WHERE id = 2;	-- another key: deleted and created
INSERT INTO plain VALUES (1);
SELECT * FROM shown();
TRUNCATE one;
INSERT INTO one VALUES (1), (2);
CALL evpub.resync('{one}');
SELECT * FROM shown();

-- by hand: of no table
SELECT evpub.publish_raw('by-hand', 'k', '1');
SELECT * FROM shown();
SELECT evpub.stat_reset();
SELECT * FROM shown();
INSERT INTO one VALUES (3);
SELECT * FROM shown();

-- collapsed: what is published counts
BEGIN;
INSERT INTO one VALUES (4);				-- nothing in the end
DELETE FROM one WHERE id = 4;
UPDATE one SET v = 10 WHERE id = 1;		-- one update
UPDATE one SET v = 11 WHERE id = 1;
DELETE FROM one WHERE id = 2;			-- becomes an update
INSERT INTO one VALUES (2);
COMMIT;
BEGIN;
INSERT INTO all_events VALUES (4);
DELETE FROM all_events WHERE id = 4;
UPDATE all_events SET v = 10 WHERE id = 4;
COMMIT;
BEGIN;
INSERT INTO one VALUES (5);
DELETE FROM one WHERE id = 5;
COMMIT;
SELECT * FROM shown();

-- rolled back: the transaction, savepoints, and what savepoints have logged early
BEGIN;
INSERT INTO one VALUES (6);
ROLLBACK;
SELECT evpub.stat_reset();
BEGIN;
INSERT INTO all_events VALUES (10);
SAVEPOINT a;
INSERT INTO all_events SELECT generate_series(1001, 9000);
SAVEPOINT b;
INSERT INTO all_events SELECT generate_series(10001, 19000);
UPDATE one SET v = 12;
ROLLBACK TO b;
INSERT INTO all_events VALUES (11);
RELEASE a;
SAVEPOINT c;
INSERT INTO all_events SELECT generate_series(20001, 29000);
ROLLBACK TO c;
INSERT INTO all_events VALUES (12);
COMMIT;
SELECT * FROM shown();

-- prepared: they count at once, since whoever commits them knows nothing of them
SELECT evpub.stat_reset();
BEGIN;
INSERT INTO one VALUES (7);
PREPARE TRANSACTION 'stat';
SELECT * FROM shown();
COMMIT PREPARED 'stat';
SELECT * FROM shown();

-- partitions count for the table, also rows that move
SELECT evpub.stat_reset();
INSERT INTO parts VALUES (1), (101);
INSERT INTO parts_1 VALUES (2);
BEGIN;
UPDATE parts SET tenant = 'other' WHERE id = 1;
UPDATE parts SET id = 150 WHERE id = 2;
COMMIT;
SELECT * FROM shown();

-- a filter: what comes in is created, what leaves is deleted
SELECT evpub.stat_reset();
INSERT INTO filtered VALUES (1, 'acme', 0), (2, 'acme', 1);
UPDATE filtered SET v = 1 - v;
SELECT * FROM shown();

-- many tables in one transaction
SELECT evpub.stat_reset();
DO $$
BEGIN
	FOR i IN 1 .. 40 LOOP
		EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, tenant text)', i);
		PERFORM evpub.capture_table(format('many_%s', i)::regclass, tenant_column => 'tenant', collapse => false);
	END LOOP;
END $$;
DO $$
BEGIN
	FOR n IN 1 .. 100 LOOP
		FOR i IN 1 .. 40 LOOP
			EXECUTE format('INSERT INTO many_%s VALUES (%s, ''t'')', i, n);
			EXECUTE format('UPDATE many_%s SET tenant = ''u'' WHERE id = %s', i, n);
		END LOOP;
	END LOOP;
END $$;
SELECT created, updated, deleted, count(*) FROM shown() GROUP BY 1, 2, 3 ORDER BY 1;

-- in all, as many as are in WAL
CREATE TABLE before_all AS SELECT peeked() AS events;
SELECT evpub.stat_reset();
UPDATE one SET v = 100;
DELETE FROM all_events WHERE id < 5000;
TRUNCATE filtered;
SELECT peeked() - events = counted() AS same FROM before_all;

-- a table that is dropped is no longer shown, and its place is free
DO $$ BEGIN FOR i IN 1 .. 40 LOOP EXECUTE format('DROP TABLE many_%s', i); END LOOP; END $$;
SELECT * FROM shown();

-- ... unless it is there again
BEGIN;
SAVEPOINT a;
DROP TABLE one;
SELECT * FROM shown();
ROLLBACK TO a;
SELECT * FROM shown();
DROP TABLE one;
SELECT * FROM shown();
ROLLBACK;
SELECT * FROM shown();

-- rights
CREATE ROLE regress_stat_nobody;
CREATE ROLE regress_stat_watcher IN ROLE pg_monitor;
SET ROLE regress_stat_nobody;
SELECT count(*) FROM evpub.stat_tables;
SELECT count(*) FROM evpub_internal.stat_tables();
SET ROLE regress_stat_watcher;
SELECT count(*) FROM evpub.stat_tables;
RESET ROLE;
DROP ROLE regress_stat_nobody, regress_stat_watcher;
DROP TABLE one, all_events, parts, filtered, plain, before_all;
DROP FUNCTION shown(), peeked(), counted();
