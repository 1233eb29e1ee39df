-- Tenants and keys that need no escapes take a short way; with others beside them,
-- of any length and with anything in any place, they are what the row has.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE one (tenant text, id bigint PRIMARY KEY);
CREATE TABLE two (tenant text, a smallint, "b ""é" int, PRIMARY KEY (a, "b ""é"));
SELECT evpub.capture_table('one', tenant_column => 'tenant');
SELECT evpub.capture_table('two', tenant_column => 'tenant', key => 'k-{tenant}');
-- the rows whose events are not right
CREATE FUNCTION pg_temp.wrong(since pg_lsn) RETURNS TABLE (value text) LANGUAGE sql AS $$
SELECT e.value FROM pg_temp.events(since) e, LATERAL (SELECT e.value::jsonb AS event) j
 WHERE NOT EXISTS (SELECT FROM one WHERE event -> 'pk' = jsonb_build_object('id', id)
                      AND event ->> 'tenant' = tenant AND e.key = tenant)
   AND NOT EXISTS (SELECT FROM two WHERE event -> 'pk' = jsonb_build_object('a', a, 'b "é', "b ""é")
                      AND event ->> 'tenant' = tenant AND e.key = 'k-' || tenant) $$;
SELECT pg_current_wal_insert_lsn() AS start \gset
-- lengths around those of words and of what is put together in place
INSERT INTO one SELECT repeat('x', i), i FROM generate_series(0, 400) i;
INSERT INTO two SELECT repeat('y', i), i - 200, -i FROM generate_series(0, 400) i;
-- each character of ASCII, and some others, in each place of a word and behind it
INSERT INTO one SELECT overlay(repeat('z', 19) PLACING character FROM place), 1000 + 100 * row_number() OVER ()
FROM generate_series(1, 19) place,
     (SELECT chr(i) FROM generate_series(1, 127) i UNION ALL VALUES ('é'), ('€'), ('𝄞')) c (character);
-- the longest keys
INSERT INTO one VALUES ('least', -9223372036854775808), ('most', 9223372036854775807);
INSERT INTO two VALUES ('least', -32768, -2147483648), ('most', 32767, 2147483647);
SELECT count(*) FROM pg_temp.events(:'start');
SELECT count(*) FROM pg_temp.wrong(:'start');
SELECT * FROM pg_temp.wrong(:'start') LIMIT 3;
-- each in a transaction of its own
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO one VALUES ('alone', 5001);
INSERT INTO one VALUES ('"quoted"', 5002);
SELECT topic, key, value::jsonb - 'id' - 'lsn' - 'tx' - 'time' AS value FROM pg_temp.events(:'start');
-- what a chunk leaves out: a key that is its tenant, quotes and endings of types; beside
-- what only looks like that
CREATE TABLE three (tenant text, id int PRIMARY KEY);
SELECT evpub.capture_table('three', tenant_column => 'tenant', envelope => 'cloudevents_binary', type => '"{tenant}".{event}"');
CREATE TEMP TABLE given AS SELECT row_number() OVER () AS n, type, tenant, key
FROM (VALUES ('.created'), ('".created"'), ('"'), (''), ('"x".deleted'), ('.resynced.truncated')) t (type),
     (VALUES (''), ('t'), ('te"nant'), (E'te\nant'), ('"')) u (tenant),
     (VALUES (''), ('t'), ('te\"nant'), ('te"nant'), (E'te\nant'), ('te\nant'), ('"'), ('\"')) k (key);
SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT count(evpub.publish(type, tenant, NULL, NULL, 'topic', key)) FROM (SELECT * FROM given ORDER BY n) g;
SELECT count(*) FROM pg_temp.events(:'start') e JOIN given g ON g.n = e.n + 1
 WHERE e.key = g.key AND e.value::jsonb ->> 'tenant' = g.tenant AND e.value::jsonb ->> 'type' = g.type;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO three VALUES ('"', 1), ('', 2), ('.created', 3), ('"q"', 4);
SELECT key, headers ->> 'ce_type' AS type, headers ->> 'ce_tenant' AS tenant FROM pg_temp.events(:'start');
DROP TABLE one, two, three;
