-- Statements inside of statements: what a trigger or a function changes is published
-- of before what is left of the outer statement, so what that one did to the
-- same rows comes late.  The last event of a key says what is there.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE FUNCTION pg_temp.short(since pg_lsn)
RETURNS TABLE (n bigint, type text, pk jsonb, data jsonb)
LANGUAGE sql AS $$
SELECT n, value::jsonb ->> 'type', value::jsonb -> 'pk', value::jsonb -> 'data'
  FROM pg_temp.events(since)
$$;
CREATE TABLE seat (id int PRIMARY KEY, name text, next text);
-- what the trigger of a row runs is in column "next" of that row
CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 AND OLD.next IS NOT NULL THEN
		EXECUTE OLD.next;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER run AFTER UPDATE OR DELETE ON seat FOR EACH ROW EXECUTE FUNCTION run();
-- with collapsing, and without
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', data_columns => '{name}');
CREATE TRIGGER _evpub_capture_all AFTER INSERT OR UPDATE OR DELETE ON seat
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('topic=cms', 'tenant=acme', 'data_columns=name',
		'collapse=false', 'type=all.{event}');
CREATE FUNCTION pg_temp.again(next text) RETURNS void LANGUAGE sql AS $$
DELETE FROM seat;
INSERT INTO seat VALUES (1, 'a', next), (2, 'b', NULL), (3, 'c', NULL);
$$;

-- deleted, and put back by the trigger of the row before it
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new')$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM seat;
SELECT * FROM pg_temp.short(:'start');
-- and then deleted again: this must be published
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new')$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
DELETE FROM seat WHERE id < 3;
DELETE FROM seat WHERE id = 2;
COMMIT;
SELECT * FROM pg_temp.short(:'start');
-- updated, and updated again by the trigger of the row before it
SELECT pg_temp.again($$UPDATE seat SET name = 'new' WHERE id = 2$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = upper(name);
SELECT * FROM pg_temp.short(:'start');
-- updated, and deleted
SELECT pg_temp.again($$DELETE FROM seat WHERE id = 2$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = upper(name) WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- updated, and its key changed
SELECT pg_temp.again($$UPDATE seat SET id = 4 WHERE id = 2$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = upper(name) WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- its key changed, and changed back
SELECT pg_temp.again($$UPDATE seat SET id = id - 10, name = 'back' WHERE id = 12$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = id + 10 WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- what a savepoint rolled back did not happen
SELECT pg_temp.again($$DO 'BEGIN UPDATE seat SET name = $q$no$q$ WHERE id = 2; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END'$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = upper(name) WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');

-- a function that changes a row which the statement has changed already
SELECT pg_temp.again(NULL);
CREATE FUNCTION pg_temp.other(seat) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF $1.id = 2 THEN
		UPDATE seat SET name = 'new' WHERE id = 1;
	END IF;
	RETURN upper($1.name);
END $$;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = pg_temp.other(seat) WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
SELECT id, name FROM seat ORDER BY id;
DROP FUNCTION pg_temp.other;

-- rows that COPY wrote as frozen
SELECT pg_temp.again(NULL);
CREATE FUNCTION drop_2() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 1 THEN
		DELETE FROM seat WHERE id = 2;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER drop_2 AFTER INSERT ON seat FOR EACH ROW EXECUTE FUNCTION drop_2();
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
TRUNCATE seat;
COPY seat (id, name) FROM stdin WITH (FREEZE);
1	a
2	b
3	c
\.
COMMIT;
SELECT * FROM pg_temp.short(:'start') WHERE type LIKE 'seat.%';
DROP TRIGGER drop_2 ON seat;

-- no row is late only because there were other events, or a long transaction
DO $$ BEGIN FOR i IN 11..20 LOOP INSERT INTO seat VALUES (i); END LOOP; END $$;
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SELECT evpub.publish('hr.checked', 'acme', topic => 'cms');
INSERT INTO seat VALUES (30, 'gone');
DELETE FROM seat WHERE id = 30;
COMMIT;
SELECT * FROM pg_temp.short(:'start') WHERE type !~ 'all';

-- updates are no events, but what was deleted and put back is to be deleted again
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new')$$);
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', operations => '{insert,delete}');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
DELETE FROM seat WHERE id < 3;
DELETE FROM seat WHERE id = 2;
COMMIT;
SELECT * FROM pg_temp.short(:'start') WHERE type !~ 'all';
DROP TABLE seat;
DROP FUNCTION run(), drop_2();
