-- Settings that bear on what a writer does: evpub.capture, evpub.allowed_topics,
-- evpub.max_event_bytes.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text, name text);
CREATE TABLE part (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant');
SELECT evpub.capture_table('part', topic => 'cms', tenant => 'acme');
CREATE ROLE evpub_settings_writer;
GRANT ALL ON member TO evpub_settings_writer;

-- evpub.capture off: this session's changes are no events, for repairs
SELECT pg_current_wal_insert_lsn() AS start \gset
SET evpub.capture = off;
INSERT INTO member VALUES (1, 'acme', 'Ann');
TRUNCATE member;
TRUNCATE part;
TRUNCATE part_1;
SELECT evpub.publish('x', 'acme');
RESET evpub.capture;
TRUNCATE part_1;
BEGIN;
INSERT INTO member VALUES (1, 'acme', 'Ann');
SET LOCAL evpub.capture = off;
INSERT INTO member VALUES (2, 'acme', 'Bob');
SET LOCAL evpub.capture = on;
INSERT INTO member VALUES (3, 'acme', 'Cid');
COMMIT;
SELECT tx, n, value FROM pg_temp.events(:'start');
SET ROLE evpub_settings_writer;
SET evpub.capture = off;
\echo :LAST_ERROR_SQLSTATE
SET evpub.allowed_topics = '.*';
\echo :LAST_ERROR_SQLSTATE
SET evpub.max_event_bytes = '1MB';
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- evpub.allowed_topics: every topic matches it as a whole, when it is known
SET evpub.allowed_topics = 'cms|shop[.].*';
UPDATE member SET name = 'Dan' WHERE id = 1;
SELECT evpub.capture_table('member', topic => 'cms2', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', topic => 'shop', tenant_column => 'tenant');
SELECT evpub.capture_table('member', tenant_column => 'tenant');
SELECT evpub.capture_table('member', topic => '{tenant}', tenant_column => 'tenant');
UPDATE member SET name = 'Dan' WHERE id = 2;
\echo :LAST_ERROR_SQLSTATE
UPDATE member SET tenant = 'shop.acme' WHERE id = 2;
INSERT INTO member VALUES (4, 'shop.acme');
SELECT evpub.publish('x', 'acme', topic => 'cmsx');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish_raw('cmsx', 'acme', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish_raw('shop.', 'acme', NULL);
-- only of operations that are captured
SET evpub.allowed_topics = 'part-(create|delete|truncate)';
SELECT evpub.capture_table('part', topic => '{table}-{op}', tenant => 'acme');
SELECT evpub.capture_table('part', topic => '{table}-{op}', tenant => 'acme', operations => '{insert,truncate}');
BEGIN;
INSERT INTO part VALUES (1);
DELETE FROM part;
INSERT INTO part VALUES (1);
COMMIT;
TRUNCATE part_1;
SELECT evpub.capture_table('part', topic => 'shop.part', tenant => 'acme');
-- what is set is what writers use: an option in front is not for a part of it
SET evpub.allowed_topics = '(?i)cms.*';
\echo :LAST_ERROR_SQLSTATE
SET evpub.allowed_topics = 'cms|shop[.].*';
-- a table that was captured before
SELECT evpub.capture_table('member', topic => 'shop.{table}', tenant_column => 'tenant');
SET evpub.allowed_topics = 'cms';
UPDATE member SET name = 'Eve';
\echo :LAST_ERROR_SQLSTATE
SET evpub.allowed_topics = 'cms(';
\echo :LAST_ERROR_SQLSTATE
RESET evpub.allowed_topics;

-- evpub.max_event_bytes: key, value and headers as they go to Kafka, at most;
-- in each envelope the estimate is not below, and hardly above
CREATE FUNCTION pg_temp.sizes(since pg_lsn)
RETURNS TABLE (envelope text, bytes int) LANGUAGE sql AS $$
SELECT CASE WHEN headers ? 'ce_id' THEN 'cloudevents_binary' WHEN headers ? 'content-type' THEN 'cloudevents'
            WHEN value LIKE '{"id":"%' THEN 'plain' ELSE 'none' END,
       octet_length(key) + octet_length(value) +
       (SELECT sum(octet_length(h.key) + octet_length(h.value))::int FROM jsonb_each_text(headers) h)
  FROM evpub.peek(1000000, since)
$$;
CREATE TABLE estimate (envelope text, bytes int);
SELECT pg_current_wal_insert_lsn() AS start \gset
DO $$
DECLARE envelope text; detail text;
BEGIN
	FOREACH envelope IN ARRAY '{plain,cloudevents,cloudevents_binary,none}'::text[] LOOP
		PERFORM evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', payload => 'row',
			envelope => envelope, headers => '{"a": "{pk}"}');
		UPDATE member SET name = envelope || repeat('x', 3000) WHERE id = 1;
		SET LOCAL evpub.max_event_bytes = '2kB';
		BEGIN
			UPDATE member SET name = envelope || repeat('y', 3000) WHERE id = 1;
		EXCEPTION WHEN program_limit_exceeded THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			INSERT INTO estimate VALUES (envelope, substring(detail FROM 'may take (\d+) bytes')::int);
		END;
		SET LOCAL evpub.max_event_bytes = '900kB';
		-- not to be collapsed with the next one
		UPDATE member SET id = id + 10 WHERE id = 1;
		UPDATE member SET id = id - 10 WHERE id = 11;
		PERFORM evpub.publish('x', 'acme');
	END LOOP;
END $$;
SELECT envelope, count(*), bool_and(e.bytes >= s.bytes) AS not_below, bool_and(e.bytes - s.bytes < 400) AS hardly_above
  FROM pg_temp.sizes(:'start') s JOIN estimate e USING (envelope)
 WHERE s.bytes > 3000 GROUP BY 1 ORDER BY 1;
SET evpub.max_event_bytes = '2kB';
UPDATE member SET name = repeat('z', 3000) WHERE id = 1;
\echo :LAST_ERROR_SQLSTATE
RESET evpub.max_event_bytes;
-- also of what there would be no memory for, once it is escaped
UPDATE member SET name = repeat(E'\x01', 200000000) WHERE id = 1;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE member, part, estimate;
DROP ROLE evpub_settings_writer;
