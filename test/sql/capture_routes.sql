-- A topic or type that no event needs any more takes no memory, however many
-- there are in one transaction, and those that are needed stay what they are.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE t (tenant text, id int, v text, PRIMARY KEY (tenant, id));
SELECT evpub.capture_table('t', topic => 'cms-{tenant}', tenant_column => 'tenant');
CREATE FUNCTION pg_temp.routes_fit() RETURNS boolean LANGUAGE sql AS $$
SELECT sum(total_bytes) < 1000000 FROM pg_backend_memory_contexts WHERE name = 'evpub routes' $$;
-- a topic for each savepoint: one half is rolled back, the other half stays
CREATE FUNCTION pg_temp.savepoints(word text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		BEGIN
			INSERT INTO t VALUES (word || i, i);
			IF i % 50 <> 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
-- how many events there are, and whether each stands in the topic of its row
CREATE FUNCTION pg_temp.published(since pg_lsn)
RETURNS TABLE (word text, type text, count bigint, right_topic boolean) LANGUAGE sql AS $$
SELECT regexp_replace(value::jsonb ->> 'tenant', '[0-9]+$', ''), value::jsonb ->> 'type', count(*),
       bool_and(topic = 'cms-' || (value::jsonb ->> 'tenant'))
FROM pg_temp.events(since) GROUP BY 1, 2 ORDER BY 1, 2 $$;

SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO t SELECT 'outer' || i, i FROM generate_series(1, 300) i;
SELECT pg_temp.savepoints('a', 10000);
SELECT pg_temp.routes_fit();
SAVEPOINT s;
INSERT INTO t SELECT 'inner' || i, i FROM generate_series(1, 300) i;
SELECT pg_temp.savepoints('b', 10000);
UPDATE t SET v = 'x' WHERE tenant LIKE 'outer%';
DELETE FROM t WHERE tenant LIKE 'inner%' AND id > 100;
RELEASE s;
SELECT pg_temp.routes_fit();
COMMIT;
SELECT * FROM pg_temp.published(:'start');

-- logged early, beside an event of the level above that has to wait
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE u (tenant text PRIMARY KEY);
SELECT evpub.capture_table('u', topic => 'cms-{tenant}', tenant_column => 'tenant', collapse => false);
BEGIN;
INSERT INTO u VALUES ('one');
SAVEPOINT s;
INSERT INTO u SELECT 'many' || i FROM generate_series(1, 30000) i;
SELECT pg_temp.routes_fit();
RELEASE s;
DELETE FROM u WHERE tenant = 'one';
COMMIT;
SELECT * FROM pg_temp.published(:'start');
DROP TABLE t, u;
