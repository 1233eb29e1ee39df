-- Events are part of their transaction: exact under savepoints, exception
-- blocks and prepared transactions, also when some are logged early.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT evpub.capture_table('t', topic => 'cms', tenant => 'x');
CREATE FUNCTION pg_temp.add(first int, last int) RETURNS void LANGUAGE sql AS $$
INSERT INTO t SELECT i FROM generate_series(first, last) i $$;
-- events as ranges of ids: numbers must rise by one from 0
CREATE FUNCTION pg_temp.ranges(since pg_lsn)
RETURNS TABLE (tx bigint, first int, last int, gapless boolean) LANGUAGE sql AS $$
WITH e AS (SELECT tx, n, (value::jsonb -> 'pk' ->> 'id')::int AS id, (value::jsonb ->> 'tx')::int AS count FROM pg_temp.events(since)),
r AS (SELECT *, id - row_number() OVER (PARTITION BY tx ORDER BY n) AS run,
        n = row_number() OVER (PARTITION BY tx ORDER BY n) - 1 AND count(*) OVER (PARTITION BY tx) = count AS ok FROM e)
SELECT tx, min(id), max(id), bool_and(ok) FROM r GROUP BY tx, run ORDER BY tx, min(n) $$;

SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SELECT pg_temp.add(1, 2);
SAVEPOINT a;
SELECT pg_temp.add(3, 4);
SAVEPOINT b;
SELECT pg_temp.add(5, 6);
ROLLBACK TO b;
SELECT pg_temp.add(7, 8);
RELEASE a;
SELECT pg_temp.add(9, 10);
SAVEPOINT c;
SELECT pg_temp.add(11, 12);
ROLLBACK TO c;
COMMIT;
-- all of it rolled back but for an empty rest: nothing
BEGIN;
SAVEPOINT a;
SELECT pg_temp.add(20, 21);
ROLLBACK TO a;
INSERT INTO t VALUES (22) ON CONFLICT DO NOTHING;
DELETE FROM t WHERE id = 22;
ROLLBACK;
-- the first events deep inside
BEGIN;
SAVEPOINT a; SAVEPOINT b; SAVEPOINT c;
SELECT pg_temp.add(30, 31);
RELEASE c;
SAVEPOINT d;
SELECT pg_temp.add(32, 33);
ROLLBACK TO b;
SELECT pg_temp.add(34, 35);
COMMIT;
DO $$
BEGIN
	FOR i IN 1..1000 LOOP
		BEGIN
			INSERT INTO t VALUES (100 + i);
			IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
SELECT tx, count(*), min(first), max(last), bool_and(gapless) FROM pg_temp.ranges(:'start') WHERE first > 100 GROUP BY 1;
SELECT * FROM pg_temp.ranges(:'start') WHERE first <= 100;

-- enough to be logged early, in parents and children, kept and rolled back
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SELECT pg_temp.add(10001, 20000);
SAVEPOINT a;
SELECT pg_temp.add(20001, 30000);
SAVEPOINT b;
SELECT pg_temp.add(30001, 40000);
ROLLBACK TO b;
SELECT pg_temp.add(40001, 50000);
RELEASE a;
SAVEPOINT c;
SELECT pg_temp.add(50001, 60000);
ROLLBACK TO c;
SELECT pg_temp.add(60001, 60010);
SAVEPOINT d;
SELECT pg_temp.add(60011, 70000);
RELEASE d;
COMMIT;
-- everything logged early
BEGIN;
SAVEPOINT a;
SELECT pg_temp.add(100001, 110000);
ROLLBACK;
BEGIN;
SELECT pg_temp.add(100001, 100001);
SAVEPOINT a;
SELECT pg_temp.add(100002, 110000);
RELEASE a;
SAVEPOINT b;
SELECT pg_temp.add(110001, 120000);
ROLLBACK TO b;
COMMIT;
SELECT * FROM pg_temp.ranges(:'start');

-- two-phase
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SELECT pg_temp.add(200001, 200002);
SAVEPOINT a;
SELECT pg_temp.add(200003, 210000);
PREPARE TRANSACTION 'one';
BEGIN;
SELECT pg_temp.add(220001, 220002);
PREPARE TRANSACTION 'two';
SELECT pg_temp.add(230001, 230002);
COMMIT PREPARED 'one';
ROLLBACK PREPARED 'two';
SELECT * FROM pg_temp.ranges(:'start');

-- deferred triggers run before the events are logged; a cursor's rollback too
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE later (id int);
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO t VALUES (NEW.id + 1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION later();
BEGIN;
INSERT INTO later VALUES (300001);
SELECT pg_temp.add(300001, 300001);
COMMIT;
-- a procedure that commits
CREATE PROCEDURE pg_temp.several() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..4 LOOP
		PERFORM pg_temp.add(300010 + 2 * i, 300011 + 2 * i);
		IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
END $$;
CALL pg_temp.several();
SELECT * FROM pg_temp.ranges(:'start');
DROP TABLE t, later; DROP FUNCTION later;
