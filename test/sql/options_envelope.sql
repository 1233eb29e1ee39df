-- The form of an event: plain, CloudEvents in one piece or with headers, none.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (tenant text, id text, name text, PRIMARY KEY (tenant, id));
-- publisher id, LSN and the part of the id that rises, where they should be
CREATE FUNCTION pg_temp.cloudevents(since pg_lsn)
RETURNS TABLE (key text, value text, headers jsonb, sequence_is_in_id boolean)
LANGUAGE sql AS $$
SELECT key,
       regexp_replace(regexp_replace(value, '"/evpub/[0-9a-f]{16}/', '"/evpub/P/'),
         '"sequence":"[0-9A-F]{16}-[0-9A-F]{8}"', '"sequence":"S"'),
       (SELECT jsonb_object_agg(h.key, CASE h.key
                WHEN 'ce_id' THEN regexp_replace(h.value, '^[0-9a-f]{16}-[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8}$', 'I')
                WHEN 'ce_source' THEN regexp_replace(h.value, '^/evpub/[0-9a-f]{16}/', '/evpub/P/')
                WHEN 'ce_lsn' THEN regexp_replace(h.value, '^[0-9A-F]{1,8}/[0-9A-F]{1,8}$', 'L')
                WHEN 'ce_sequence' THEN regexp_replace(h.value, '^[0-9A-F]{16}-[0-9A-F]{8}$', 'S')
                WHEN 'ce_time' THEN regexp_replace(h.value, '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$', 'T')
                ELSE h.value END)
          FROM jsonb_each_text(headers) h),
       CASE WHEN headers ? 'ce_id' THEN right(headers ->> 'ce_id', 25) = headers ->> 'ce_sequence'
            ELSE NULL END
  FROM pg_temp.events(since)
$$;

-- cloudevents: CloudEvents 1.0, JSON format.  source is /evpub/<publisher id>/<database>,
-- subject the primary key as in {pk}; tenant, lsn and sequence are extensions
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'cloudevents',
	payload => 'row', headers => '{"x": "{op}"}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES ('acme', 'a,"b"', 'Ann');
UPDATE member SET id = 'c', name = 'Bob';
DELETE FROM member;
SELECT key, value, headers FROM pg_temp.cloudevents(:'start');
SELECT id = value::jsonb ->> 'id' AS same_id, right(id, 25) = value::jsonb ->> 'sequence' AS sequence_is_in_id,
	commit_lsn = (value::jsonb ->> 'lsn')::pg_lsn AS same_lsn,
	value::jsonb ->> 'source' ~ '^/evpub/[0-9a-f]{16}/regression$' AS source
  FROM evpub.peek(100, :'start');

-- cloudevents_binary: the attributes are headers, the value is the data
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'cloudevents_binary',
	payload => 'changed_columns', headers => '{"x": "{op}"}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES ('acme', 'a,"b"', 'Ann');
UPDATE member SET name = 'Bob';
UPDATE member SET id = 'c';
SELECT value, jsonb_pretty(headers) AS headers, sequence_is_in_id FROM pg_temp.cloudevents(:'start');

-- subject must not be empty, and is left out then
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE setting (id text PRIMARY KEY);
SELECT evpub.capture_table('setting', topic => 'cms', tenant => 'acme', envelope => 'cloudevents_binary');
INSERT INTO setting VALUES ('');
SELECT evpub.capture_table('setting', topic => 'cms', tenant => 'acme', envelope => 'cloudevents');
DELETE FROM setting;
SELECT headers ? 'ce_subject' AS subject, value FROM pg_temp.cloudevents(:'start');
DROP TABLE setting;

-- none: the data alone, or else the primary key; the type is not published
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'none');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET name = 'Cid';
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'none',
	payload => 'row', headers => '{"__TypeId__": "{event}"}');
UPDATE member SET name = 'Dan';
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'none',
	data_columns => '{name}');
UPDATE member SET name = 'Eve';
SELECT key, value, headers FROM pg_temp.events(:'start');

-- a tombstone instead of deleted: no value, for topics that are compacted
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'none',
	payload => 'row', key => '{tenant}/{table}/{pk}', on_delete => 'tombstone');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE member SET id = 'd';
DELETE FROM member;
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'cloudevents_binary',
	key => '{tenant}/{table}/{pk}', on_delete => 'tombstone', headers => '{"x": "y"}');
INSERT INTO member VALUES ('acme', 'e', 'Fay');
DELETE FROM member;
-- created and deleted, deleted and created: as with events
BEGIN;
INSERT INTO member VALUES ('acme', 'f', 'Guy');
DELETE FROM member;
COMMIT;
INSERT INTO member VALUES ('acme', 'f', 'Guy');
BEGIN;
DELETE FROM member;
INSERT INTO member VALUES ('acme', 'f', 'Guy');
COMMIT;
SELECT tx, n, key, value, headers - '{ce_id,ce_lsn,ce_time,ce_source,ce_sequence,ce_subject,ce_tenant,ce_specversion,content-type}'::text[] AS headers
  FROM pg_temp.events(:'start');

-- what is wrong
SELECT evpub.capture_table('member', tenant => 'x', envelope => 'xml');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', envelope => 'cloudevents', type => '');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', on_delete => 'silence');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', on_delete => 'tombstone');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', on_delete => 'tombstone', key => '{tenant}/{pk}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', on_delete => 'tombstone', key => '{{table}}/{{pk}}');
\echo :LAST_ERROR_SQLSTATE
-- a type may turn out to be empty; the plain envelope has no such rule
SELECT evpub.capture_table('member', topic => 'cms', tenant => '', envelope => 'cloudevents_binary', type => '{tenant}');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant', envelope => 'cloudevents', type => '{tenant}');
INSERT INTO member VALUES ('', 'g', 'Hal');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE member;
