-- A function that rendering calls publishes by hand while a row moves to another
-- partition: its event is not taken back with the delete of the move's first half.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TYPE spoken AS ENUM ('x');
CREATE FUNCTION speak(spoken) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evpub.publish('spoken', 'acme', topic => 'cms');
	RETURN to_json($1::text);
END $$;
CREATE CAST (spoken AS json) WITH FUNCTION speak(spoken);
CREATE TABLE place (id int, region text, said spoken, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE place_a PARTITION OF place FOR VALUES IN ('a');
CREATE TABLE place_b PARTITION OF place FOR VALUES IN ('b');
SELECT evpub.capture_table('place', topic => 'cms', tenant => 'acme', key_columns => '{id}',
	payload => 'row', collapse => false);
INSERT INTO place VALUES (1, 'a', 'x');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE place SET region = 'b';
SELECT value::json ->> 'type' AS type, count(*) FROM pg_temp.events(:'start') GROUP BY 1 ORDER BY 1;
DROP TABLE place;
SET client_min_messages = warning;
DROP TYPE spoken CASCADE;
