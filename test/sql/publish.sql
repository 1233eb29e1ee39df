-- evpub.publish and evpub.publish_raw
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant_id text);
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id');

SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO member VALUES (1, 'acme');
SELECT evpub.publish('order.placed', 'acme', '{"id": 7}', '{"amount": 1.50, "text": "a\"b"}', topic => 'orders', headers => '{"traceparent": "00-1", "x": ""}');
INSERT INTO member VALUES (2, 'acme');
COMMIT;
BEGIN;
SELECT evpub.publish('order.placed', 'acme');
ROLLBACK;
SELECT evpub.publish('ty"pe', 'ten ant', topic => 'orders', key => 'k');
SET evpub.default_topic = 'by-hand.{tenant}.{type}';
SELECT evpub.publish('a', 'b', key => '');
RESET evpub.default_topic;
SELECT evpub.publish_raw('raw', 'k', '{"a": [1, null]}', '{"__TypeId__": "Order"}');
SELECT evpub.publish_raw('raw', NULL, '"text"');
SELECT evpub.publish_raw('raw', 'k', NULL);
SELECT * FROM pg_temp.events(:'start');
-- the default topic names the database
SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT evpub.publish('a', 'b');
SELECT topic = current_database() || '-events' AS ok FROM pg_temp.events(:'start');

SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT evpub.publish(NULL, 'acme');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish('a', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish_raw(NULL, 'k', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish('a', 'b', topic => 'not a topic');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish_raw('', 'k', '1');
SELECT evpub.publish('a', 'b', topic => 't', headers => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"n": 1}');
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"n": {"a": "b"}}');
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"": "b"}');
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"evpub-id": "b"}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"CE_id": "b"}');
SELECT evpub.publish('a', 'b', topic => 't', headers => '{"Content-Type": "b"}');
SET evpub.default_topic = '{schema}.events';
SELECT evpub.publish('a', 'b');
\echo :LAST_ERROR_SQLSTATE
RESET evpub.default_topic;
BEGIN READ ONLY;
SELECT evpub.publish('a', 'b');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SET evpub.max_event_bytes = '1kB';
SELECT evpub.publish('a', 'b', data => to_jsonb(repeat('x', 1000)));
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.publish_raw('t', NULL, to_jsonb(repeat('x', 1000)));
RESET evpub.max_event_bytes;
SELECT evpub.publish_raw('only-this', NULL, 'true');
SELECT * FROM pg_temp.events(:'start');

-- many topics and types in one transaction
SELECT pg_current_wal_insert_lsn() AS start \gset
DO $$
BEGIN
	FOR i IN 1..20000 LOOP
		PERFORM evpub.publish('type' || i, 'tenant' || i % 7, topic => 'topic' || i);
	END LOOP;
END $$;
SELECT count(*), min(n), max(n), bool_and(topic = 'topic' || n + 1 AND key = 'tenant' || (n + 1) % 7
	AND value = '{"id":"I","type":"type' || n + 1 || '","tenant":"' || key || '","pk":null,"lsn":"L","tx":20000,"time":"T"}')
  FROM pg_temp.events(:'start');
DROP TABLE member;
