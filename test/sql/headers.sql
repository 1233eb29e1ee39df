-- Kafka headers: with the table, by setting, by hand.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE "order" (id int PRIMARY KEY, shop text, state text);

-- with the table: the same for all events, or from a template
SELECT evpub.capture_table('order', topic => 'shop', tenant_column => 'shop',
	headers => '{"__TypeId__": "com.example.Order", "what": "{database}/{schema}/{table}/{tenant}/{pk}/{op}/{event}/{type}", "brace": "{{}}", "empty": ""}');
SELECT headers FROM evpub.tables;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO "order" VALUES (1, 'mill', 'new');
DELETE FROM "order";
SELECT jsonb_pretty(headers) AS headers FROM pg_temp.events(:'start');
-- a header that names the operation keeps deleted and created apart
INSERT INTO "order" VALUES (1, 'mill', 'new');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
DELETE FROM "order";
INSERT INTO "order" VALUES (1, 'mill', 'old');
UPDATE "order" SET state = 'older';
COMMIT;
SELECT n, value, headers ->> 'what' AS what FROM pg_temp.events(:'start');

-- by setting, such as for tracing: events of this transaction, by hand as well;
-- what is there already is not overridden
SELECT evpub.capture_table('order', topic => 'shop', tenant_column => 'shop', headers => '{"a": "table"}');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SET LOCAL evpub.extra_headers = '{"a": "setting", "traceparent": "00-1-2-01"}';
UPDATE "order" SET state = 'paid';
SELECT evpub.publish('order.counted', 'mill', headers => '{"a": "by hand"}');
SELECT evpub.publish_raw('shop', 'mill', NULL);
COMMIT;
UPDATE "order" SET state = 'sent';
SET evpub.extra_headers = '{"b": "caf\u00e9"}';
UPDATE "order" SET state = 'back';
SET evpub.extra_headers = '';
UPDATE "order" SET state = 'lost';
SELECT tx, n, key, value, headers FROM pg_temp.events(:'start');
-- a ROLLBACK takes the setting back
BEGIN;
SAVEPOINT s;
SET LOCAL evpub.extra_headers = '{"c": "rolled back"}';
UPDATE "order" SET state = 'never';
ROLLBACK TO s;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE "order" SET state = 'found';
COMMIT;
SELECT headers FROM pg_temp.events(:'start');

-- what is wrong
SELECT evpub.capture_table('order', tenant => 'x', headers => '["a"]');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"a": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"a": {"b": "c"}}');
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"": "a"}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"a": "{colour}"}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"evpub-id": "a"}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"CE_type": "a"}');
SELECT evpub.capture_table('order', tenant => 'x', headers => '{"Content-Type": "a"}');
SET evpub.extra_headers = 'traceparent';
\echo :LAST_ERROR_SQLSTATE
SET evpub.extra_headers = '"traceparent"';
SET evpub.extra_headers = '{"a": null}';
SET evpub.extra_headers = '{"ce_id": "a"}';
SET evpub.extra_headers = '{"a": "b"';
SHOW evpub.extra_headers;
-- what the postmaster could not read at its next start
ALTER SYSTEM SET evpub.extra_headers = '{"a": "caf\u00e9"}';
\echo :LAST_ERROR_SQLSTATE
ALTER SYSTEM SET evpub.extra_headers = '{"a": "café"}';
-- by a writer who has no other right
CREATE ROLE evpub_headers_writer;
GRANT UPDATE, SELECT ON "order" TO evpub_headers_writer;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE evpub_headers_writer;
SET evpub.extra_headers = '{"d": "e"}';
UPDATE "order" SET state = 'kept';
RESET ROLE;
RESET evpub.extra_headers;
SELECT headers FROM pg_temp.events(:'start');
DROP TABLE "order";
DROP ROLE evpub_headers_writer;
