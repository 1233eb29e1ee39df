-- Statements inside of statements, each kind with each other, with a filter and
-- without: a copy that the events are applied to has the rows that are there.
-- The trigger of row 1 runs two inner statements, before the outer statement's
-- change of row 2 is published.  (A third of all combinations, to save time.)
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
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

CREATE VIEW inside AS SELECT * FROM seat WHERE live;
CREATE TABLE outer_statement (n int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO outer_statement (statement) VALUES
	('UPDATE seat SET name = upper(name) WHERE id < 3'),
	('UPDATE seat SET live = true WHERE id < 3'),
	('UPDATE seat SET live = false WHERE id < 3'),
	('UPDATE seat SET live = NOT live, name = ''not'' WHERE id < 3'),
	('UPDATE seat SET id = id + 10 WHERE id < 3'),
	('UPDATE seat SET id = id + 10, live = true WHERE id < 3'),
	('UPDATE seat SET id = id + 10, live = false WHERE id < 3'),
	('DELETE FROM seat WHERE id < 3'),
	('INSERT INTO seat SELECT id + 10, name, live, next FROM seat WHERE id < 3'),
	('INSERT INTO seat SELECT id + 10, name, true, next FROM seat WHERE id < 3'),
	('INSERT INTO seat SELECT id, name, live, next FROM seat WHERE id < 3 ON CONFLICT (id) DO UPDATE SET live = NOT seat.live');
CREATE TABLE inner_statement (n int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO inner_statement (statement) VALUES
	('INSERT INTO seat VALUES (2, ''in'', true) ON CONFLICT DO NOTHING'),
	('INSERT INTO seat VALUES (2, ''out'', false) ON CONFLICT DO NOTHING'),
	('UPDATE seat SET live = true, name = ''on'' WHERE id IN (2, 12)'),
	('UPDATE seat SET live = false, name = ''off'' WHERE id IN (2, 12)'),
	('UPDATE seat SET id = 14 - id, name = ''swap'' WHERE id IN (2, 12)'),
	('UPDATE seat SET id = 4 WHERE id IN (2, 12)'),
	('UPDATE seat SET id = 2, live = NOT live WHERE id = 4'),
	('DELETE FROM seat WHERE id IN (2, 12)'),
	('BEGIN UPDATE seat SET live = NOT live WHERE id IN (2, 12); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END');
CREATE FUNCTION pg_temp.do(a text, b text) RETURNS text LANGUAGE sql AS $$
SELECT format('DO $do$ BEGIN %s; %s; END $do$', a, b)
$$;
CREATE FUNCTION pg_temp.inside() RETURNS jsonb LANGUAGE sql AS $$
SELECT coalesce(jsonb_object_agg(id, name), '{}') FROM inside
$$;
CREATE TABLE result (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, options text, outer_statement text, inner_statement text,
	before jsonb, since pg_lsn, rows jsonb, until pg_lsn, copy jsonb);
CREATE FUNCTION pg_temp.cases(options text) RETURNS SETOF text LANGUAGE sql AS $$
SELECT unnest(ARRAY[
	format('SELECT pg_temp.again(%L, %L)', pg_temp.do(a.statement, b.statement), live),
	format('INSERT INTO result (options, outer_statement, inner_statement, before, since) SELECT %L, %L, %L, pg_temp.inside(), pg_current_wal_insert_lsn()',
		options, o.statement, a.statement || '; ' || b.statement),
	format('DO $do$ BEGIN %s; SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN unique_violation OR triggered_data_change_violation OR cardinality_violation THEN NULL; END $do$', o.statement),
	'UPDATE result SET rows = pg_temp.inside(), until = pg_current_wal_insert_lsn() WHERE n = (SELECT max(n) FROM result)'])
  FROM outer_statement o, inner_statement a, inner_statement b, (VALUES (true), (false)) v (live)
 WHERE a.n <> b.n AND (o.n + a.n + b.n) % 3 = 0
 ORDER BY o.n, a.n, b.n, live
$$;
SELECT pg_current_wal_insert_lsn() AS start \gset
\set ECHO none
\o /dev/null
SELECT pg_temp.cases('filter') \gexec
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', filter => '{row}.live', data_columns => '{name}', collapse => false);
SELECT pg_temp.cases('filter, all changes') \gexec
CREATE OR REPLACE VIEW inside AS SELECT * FROM seat;
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', data_columns => '{name}');
SELECT pg_temp.cases('no filter') \gexec
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', data_columns => '{name}', collapse => false);
SELECT pg_temp.cases('no filter, all changes') \gexec
-- the key is not unique at every moment
ALTER TABLE seat DROP CONSTRAINT seat_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED;
UPDATE inner_statement SET statement = regexp_replace(statement, '(.*) ON CONFLICT DO NOTHING', '\1');
DELETE FROM outer_statement WHERE statement LIKE '%ON CONFLICT%';
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', data_columns => '{name}');
SELECT pg_temp.cases('no filter, deferred key') \gexec
CREATE OR REPLACE VIEW inside AS SELECT * FROM seat WHERE live;
SELECT evpub.capture_table('seat', topic => 'cms', tenant => 'acme', filter => '{row}.live', data_columns => '{name}');
SELECT pg_temp.cases('filter, deferred key') \gexec
\o
\set ECHO all
CREATE TABLE event AS SELECT commit_lsn, id, value::jsonb AS v FROM evpub.peek(1000000, :'start');
CREATE INDEX ON event (commit_lsn);
-- what a consumer has that had "before"
CREATE FUNCTION pg_temp.copy(result) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	copy jsonb := $1.before;
	v jsonb;
BEGIN
	FOR v IN SELECT event.v FROM event WHERE commit_lsn > $1.since AND commit_lsn <= $1.until ORDER BY id LOOP
		copy := copy - (v #>> '{pk,id}');
		IF v ->> 'type' <> 'seat.deleted' THEN
			copy := copy || jsonb_build_object(v #>> '{pk,id}', v #> '{data,name}');
		END IF;
	END LOOP;
	RETURN copy;
END $$;
UPDATE result SET copy = pg_temp.copy(result);
SELECT options, count(*), count(*) FILTER (WHERE rows <> before) AS changed FROM result GROUP BY options ORDER BY min(n);
SELECT * FROM result WHERE copy IS DISTINCT FROM rows ORDER BY n LIMIT 5;
DROP FUNCTION pg_temp.copy;
DROP VIEW inside;
DROP TABLE seat, outer_statement, inner_statement, result, event;
DROP FUNCTION run();
