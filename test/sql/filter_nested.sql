-- A filter, and statements inside of statements: what a trigger changes is published
-- of before what is left of the outer statement.  Whatever both do to one row,
-- the last event of a key says whether a row inside the filter has it.
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
CREATE TABLE seat (id int PRIMARY KEY, name text, live boolean, next text);
-- what the trigger of a row runs is in column "next" of that row
CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	next text := CASE TG_OP WHEN 'INSERT' THEN NEW.next ELSE OLD.next END;
BEGIN
	IF pg_trigger_depth() = 1 AND next IS NOT NULL AND current_setting('seat.run', true) IS DISTINCT FROM 'off' THEN
		EXECUTE next;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER run AFTER INSERT OR UPDATE OR DELETE ON seat FOR EACH ROW EXECUTE FUNCTION run();
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', filter => '{row}.live', data_columns => '{name}');
-- the rows 1 and 2 are inside, 3 is outside
CREATE FUNCTION pg_temp.again(next text, live boolean DEFAULT true) RETURNS void LANGUAGE sql AS $$
SELECT set_config('seat.run', 'off', true);
DELETE FROM seat;
INSERT INTO seat VALUES (1, 'a', true, next), (2, 'b', live, NULL), (3, 'c', false, NULL);
$$;

-- deleted, and put back inside the filter
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new', true)$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM seat WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- or outside of it
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new', false)$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM seat WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- updated, and taken out of the filter
SELECT pg_temp.again($$UPDATE seat SET live = false WHERE id = 2$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET name = upper(name) WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- taken out, and brought back
SELECT pg_temp.again($$UPDATE seat SET live = true, name = 'back' WHERE id = 2$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET live = false WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
-- brought in, and taken out
SELECT pg_temp.again($$UPDATE seat SET live = false WHERE id = 3$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET live = true WHERE id IN (1, 3);
SELECT * FROM pg_temp.short(:'start');
-- its key changed, and another row put under the old one
SELECT pg_temp.again($$INSERT INTO seat VALUES (2, 'new', true)$$);
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = id + 10 WHERE id < 3;
SELECT * FROM pg_temp.short(:'start');
SELECT id, name, live FROM seat ORDER BY id;

DROP TABLE seat;
DROP FUNCTION run();
