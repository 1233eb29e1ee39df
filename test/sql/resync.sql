-- An event of each row that there is: for consumers that begin, or that are to
-- be brought up to date.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
-- the id of the run is that of no other
CREATE FUNCTION pg_temp.published(since pg_lsn)
RETURNS TABLE (tx bigint, n bigint, topic text, key text, value text, headers jsonb)
LANGUAGE sql AS $$
SELECT tx, n, topic, key, regexp_replace(value, '"run":"[0-9a-f]{16}"', '"run":"R"'), headers
  FROM pg_temp.events(since)
$$;
\set ECHO all
CREATE SCHEMA cms;
CREATE TABLE cms.organization (tenant text, id int, name text, PRIMARY KEY (tenant, id));
CREATE TABLE cms.member (id int PRIMARY KEY, tenant text, name text);
SELECT evpub.capture_table('cms.organization', topic => 'cms', tenant_column => 'tenant');
SELECT evpub.capture_table('cms.member', topic => 'cms', tenant_column => 'tenant', payload => 'row');
INSERT INTO cms.organization SELECT t, id, 'org ' || id FROM unnest('{beta,acme}'::text[]) t, generate_series(1, 2) id;
INSERT INTO cms.member VALUES (1, 'acme', 'Kim'), (2, 'beta', 'Lee'), (3, 'acme', 'Park');

-- tables in the order given, batches by key, each committed by itself
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.organization,cms.member}', batch => 3);
SELECT * FROM pg_temp.published(:'start');
-- one run
SELECT count(DISTINCT value::jsonb -> 'data' ->> 'run') FROM evpub.peek(1000, :'start') WHERE value ~ 'resync_';

-- one tenant; to another topic; a tenant without rows has marks, too
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.organization,cms.member}', tenant => 'beta', topic => 'again-{table}');
CALL evpub.resync('{cms.member}', tenant => 'gone');
SELECT * FROM pg_temp.published(:'start');

-- some rows: consumers must not forget the others
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.member}', filter => '{row}.name < ''L'' OR id = 3 -- or so');
CALL evpub.resync('{cms.member}', tenant => 'acme', filter => 'name ~ ''^P''', batch => 1);
CALL evpub.resync('{cms.member}', filter => 'false');
SELECT * FROM pg_temp.published(:'start');

-- as the table's own trigger does it: its filter, envelope, headers, key
CREATE TABLE cms.job (id int PRIMARY KEY, tenant uuid, state text, "to" text);
SELECT evpub.capture_table('cms.job', topic => '{table}-{event}-topic', tenant_column => 'tenant', tenant => 'nobody', key => '{tenant}/{table}/{pk}', type => '{schema}-{event}',
	filter => '{row}.state = ''open''', data_columns => '{to}', headers => '{"__TypeId__": "com.acme.Job", "what": "{event} {type}"}', on_delete => 'tombstone');
INSERT INTO cms.job VALUES
	(1, 'aaaaaaaa-0000-0000-0000-000000000001', 'open', 'x'),
	(2, 'aaaaaaaa-0000-0000-0000-000000000001', 'done', 'y'),
	(3, NULL, 'open', NULL);
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.job}');
SELECT * FROM pg_temp.published(:'start');
SELECT pg_current_wal_insert_lsn() AS start \gset
-- a tenant as its column prints it; and the one that stands in for null
CALL evpub.resync('{cms.job}', tenant => 'AAAAAAAA-0000-0000-0000-000000000001');
CALL evpub.resync('{cms.job}', tenant => 'nobody');
SELECT tx, n, key, value FROM pg_temp.published(:'start');

-- envelopes
CREATE TABLE cms.envelope (id int PRIMARY KEY);
INSERT INTO cms.envelope VALUES (1);
SELECT pg_current_wal_insert_lsn() AS start \gset
SELECT evpub.capture_table('cms.envelope', tenant => 'acme', envelope => 'cloudevents');
CALL evpub.resync('{cms.envelope}');
SELECT evpub.capture_table('cms.envelope', tenant => 'acme', envelope => 'cloudevents_binary');
CALL evpub.resync('{cms.envelope}');
-- nothing says what is a mark: there are none
SELECT evpub.capture_table('cms.envelope', tenant => 'acme', envelope => 'none', payload => 'row');
CALL evpub.resync('{cms.envelope}');
SELECT evpub.capture_table('cms.envelope', tenant => 'acme', envelope => 'none', payload => 'row', headers => '{"type": "{type}"}', type => 'x', topic => '{type}', key => '{event}');
CALL evpub.resync('{cms.envelope}');
SELECT tx, n, topic, key, regexp_replace(regexp_replace(value, '[0-9a-f]{16}/', 'P/'), '"sequence":"[^"]*"', '"sequence":"S"') AS value,
       headers - 'ce_id' - 'ce_source' - 'ce_time' - 'ce_lsn' - 'ce_sequence' AS headers
  FROM pg_temp.published(:'start') ORDER BY tx, n;

-- keys of any type; the order is that of the column, whatever search_path is
CREATE SCHEMA other;
CREATE EXTENSION citext SCHEMA other;
CREATE TYPE cms.level AS ENUM ('low', 'high', 'b', 'a');
CREATE TABLE cms.keys (word other.citext, level cms.level, spans int4range[], at timestamptz, note text COLLATE "C" DEFAULT 'ä',
	PRIMARY KEY (word, level, spans, at));
SELECT evpub.capture_table('cms.keys', tenant => 'acme');
INSERT INTO cms.keys SELECT w::other.citext, l, ARRAY[int4range(1, s)], '2026-11-20 00:00:00Z'
  FROM unnest('{b,A,a1,B1,C}'::text[]) w, unnest('{low,high,b,a}'::cms.level[]) l, unnest('{3,NULL}'::int[]) s;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET DateStyle = 'SQL, DMY';
CALL evpub.resync('{cms.keys}', batch => 7);
RESET DateStyle;
SELECT count(*), count(DISTINCT value::jsonb ->> 'pk'), count(DISTINCT tx) FROM pg_temp.published(:'start') WHERE value ~ '\.resynced';
-- not unique: rows with the same key are published together
CREATE TABLE cms.loose (a int NOT NULL, b other.citext NOT NULL, c int);
SELECT evpub.capture_table('cms.loose', tenant => 'acme', key_columns => '{a,b}', data_columns => '{c}');
INSERT INTO cms.loose SELECT i / 10, CASE WHEN i % 2 = 0 THEN 'x' ELSE 'X' END, i FROM generate_series(0, 29) i;
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.loose}', batch => 3);
SELECT count(DISTINCT value::jsonb -> 'data' ->> 'c'), count(*), count(DISTINCT tx) FROM pg_temp.published(:'start') WHERE value ~ '\.resynced';

-- partitions are published as the table; those who inherit are not
CREATE TABLE cms.parts (junk int, id int, region text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
ALTER TABLE cms.parts DROP COLUMN junk;
CREATE TABLE cms.parts_eu (id int NOT NULL, region text NOT NULL);
ALTER TABLE cms.parts ATTACH PARTITION cms.parts_eu FOR VALUES IN ('eu');
CREATE TABLE cms.parts_us PARTITION OF cms.parts FOR VALUES IN ('us');
SELECT evpub.capture_table('cms.parts', tenant => '{schema}', payload => 'row');
INSERT INTO cms.parts VALUES (1, 'us'), (2, 'eu'), (3, 'us');
CREATE TABLE cms.envelope_child () INHERITS (cms.envelope);
INSERT INTO cms.envelope_child VALUES (2);
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.parts,cms.envelope}', batch => 2);
SELECT tx, n, key, value FROM pg_temp.published(:'start');
CALL evpub.resync('{cms.parts_eu}');

-- what others wrote before is published, and a trigger made by hand counts
CREATE TABLE cms.by_hand (id int PRIMARY KEY, a int);
CREATE TRIGGER t AFTER INSERT ON cms.by_hand FOR EACH ROW WHEN (NEW.a > 0) EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=by-hand');
INSERT INTO cms.by_hand VALUES (1, 0), (2, 1);
SELECT pg_current_wal_insert_lsn() AS start \gset
SET default_transaction_isolation = serializable;
CALL evpub.resync('{cms.by_hand}');
RESET default_transaction_isolation;
SELECT tx, n, topic, value FROM pg_temp.published(:'start');

-- and that for INSERT comes first: what others look at is a change, not a row
CREATE TRIGGER a AFTER UPDATE ON cms.by_hand FOR EACH ROW WHEN (OLD.a IS DISTINCT FROM NEW.a)
	EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=a');
CREATE TRIGGER b AFTER DELETE ON cms.by_hand FOR EACH ROW WHEN (OLD.a > 100) EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=b');
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{cms.by_hand}');
DROP TRIGGER t ON cms.by_hand;
CALL evpub.resync('{cms.by_hand}');
SELECT evpub.capture_table('cms.by_hand', topic => 'changes', tenant => 'x', operations => '{update}', update_columns => '{a}');
CALL evpub.resync('{cms.by_hand}');
SELECT tx, n, topic, value::json ->> 'type' AS type, value::json -> 'pk' AS pk FROM pg_temp.published(:'start');

-- a condition on what rows that are read later do not have
CREATE TABLE cms.system (id int PRIMARY KEY);
CREATE TRIGGER t AFTER INSERT ON cms.system FOR EACH ROW WHEN (new.tableoid IS NOT NULL)
	EXECUTE FUNCTION evpub.capture('topic=changes', 'tenant=x');
CALL evpub.resync('{cms.system}');

-- what belongs to the table's owner runs with his rights, whoever calls
CREATE ROLE regress_evpub_customer;
CREATE SCHEMA customer AUTHORIZATION regress_evpub_customer;
SET ROLE regress_evpub_customer;
CREATE TABLE customer.ran (what text, by name);
CREATE FUNCTION customer.run(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO customer.ran SELECT what, current_user;
	SET work_mem = '99MB';
	RETURN true;
END $$;
CREATE TYPE customer.level AS ENUM ('low');
CREATE FUNCTION customer.level_json(customer.level) RETURNS json LANGUAGE plpgsql AS $$
BEGIN PERFORM customer.run('cast'); RETURN '"cast"'; END $$;
CREATE CAST (customer.level AS json) WITH FUNCTION customer.level_json(customer.level);
CREATE DOMAIN customer.name AS text CHECK (customer.run('domain'));
CREATE TABLE customer.t (tenant customer.name PRIMARY KEY, level customer.level);
INSERT INTO customer.t VALUES ('acme', 'low');
TRUNCATE customer.ran;
RESET ROLE;
SELECT evpub.capture_table('customer.t', topic => 'cms', tenant_column => 'tenant', payload => 'row',
	filter => 'customer.run(''filter '' || {row}.level)');
TRUNCATE customer.ran;
RESET work_mem;
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{customer.t}', tenant => 'acme');
SELECT DISTINCT * FROM customer.ran ORDER BY what;
SHOW work_mem;
SELECT value::json -> 'data' AS data FROM pg_temp.published(:'start') WHERE value ~ 'resynced';
-- and an operator of his is never taken for that of the type
GRANT CREATE, USAGE ON SCHEMA other TO regress_evpub_customer;
SET ROLE regress_evpub_customer;
CREATE DOMAIN customer.word AS other.citext;
CREATE FUNCTION customer.greater(customer.word, customer.word) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RETURN customer.run('operator') AND $1::other.citext OPERATOR(other.>) $2::other.citext; END $$;
CREATE OPERATOR other.> (LEFTARG = customer.word, RIGHTARG = customer.word, FUNCTION = customer.greater);
CREATE OPERATOR other.<= (LEFTARG = customer.word, RIGHTARG = customer.word, FUNCTION = customer.greater);
CREATE OPERATOR other.= (LEFTARG = customer.word, RIGHTARG = customer.word, FUNCTION = customer.greater);
CREATE TABLE customer.u (word customer.word, other customer.word, n int, PRIMARY KEY (word, other, n));
INSERT INTO customer.u VALUES ('a', 'x', 1), ('B', 'x', 1), ('B', 'x', 2), ('c', 'y', 1);
TRUNCATE customer.ran;
RESET ROLE;
SELECT evpub.capture_table('customer.u', topic => 'cms', tenant_column => 'other');
SELECT pg_current_wal_insert_lsn() AS start \gset
CALL evpub.resync('{customer.u}', tenant => 'x', batch => 1);
SELECT * FROM customer.ran;
SELECT value::json -> 'pk' AS pk FROM pg_temp.published(:'start') WHERE value ~ 'resynced';
SET client_min_messages = warning;
DROP SCHEMA customer CASCADE;
RESET client_min_messages;
DROP OWNED BY regress_evpub_customer;
DROP ROLE regress_evpub_customer;

-- errors: nothing is published
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE cms.plain (id int PRIMARY KEY);
CREATE TABLE cms.truncated (id int PRIMARY KEY);
SELECT evpub.capture_table('cms.truncated', tenant => 'x', operations => '{truncate}');
CREATE FUNCTION pg_temp.fails(command text) RETURNS TABLE (state text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT; END $$;
BEGIN;
CALL evpub.resync('{cms.member}');
ROLLBACK;
SELECT * FROM pg_temp.fails($$CALL evpub.resync('{cms.member}')$$);
DO $$ BEGIN CALL evpub.resync('{cms.member}', tenant => 'nobody'); END $$;
\set VERBOSITY sqlstate
CALL evpub.resync(NULL);
CALL evpub.resync('{NULL}');
CALL evpub.resync('{cms.member}', batch => NULL);
CALL evpub.resync('{cms.member}', batch => 0);
CALL evpub.resync('{cms.member,cms.plain}');
CALL evpub.resync('{cms.truncated}');
CALL evpub.resync('{cms.parts_us}');
CALL evpub.resync(ARRAY[1::regclass]);
CALL evpub.resync('{cms.member}', filter => 'true) OR (true');
CALL evpub.resync('{cms.member}', filter => 'id = 1, 2');
CALL evpub.resync('{cms.member}', filter => 'true; DELETE FROM cms.member');
CALL evpub.resync('{cms.member}', filter => 'true FROM cms.plain');
CALL evpub.resync('{cms.member}', filter => 'count(*) > 0');
CALL evpub.resync('{cms.member}', filter => 'nothing = 1');
CALL evpub.resync('{cms.member}', filter => '');
CALL evpub.resync('{cms.member}', topic => 'no topic');
CALL evpub.resync('{cms.job}', tenant => 'acme');
\set VERBOSITY default
CALL evpub.resync(NULL);
CALL evpub.resync('{cms.member}', batch => 0);
CALL evpub.resync('{cms.member,cms.plain}');
CALL evpub.resync('{cms.truncated}');
CALL evpub.resync('{cms.member}', filter => 'id = 1, 2');
SET evpub.capture = off;
CALL evpub.resync('{cms.member}');
RESET evpub.capture;
SET default_transaction_read_only = on;
CALL evpub.resync('{cms.member}');
RESET default_transaction_read_only;
-- a row that cannot be published
INSERT INTO cms.member VALUES (4, 'acme', 'Choi');
ALTER TABLE cms.member DISABLE TRIGGER USER;
INSERT INTO cms.member VALUES (5, NULL, 'nobody''s');
ALTER TABLE cms.member ENABLE TRIGGER USER;
CALL evpub.resync('{cms.member}', batch => 2);
DELETE FROM cms.member WHERE id = 5;
ALTER TABLE cms.member DISABLE TRIGGER USER;
SELECT tx, n, value FROM pg_temp.published(:'start');

-- rights: owners who may capture
CREATE ROLE regress_evpub_resync;
ALTER TABLE cms.organization OWNER TO regress_evpub_resync;
GRANT USAGE ON SCHEMA cms, evpub TO regress_evpub_resync;
SET ROLE regress_evpub_resync;
CALL evpub.resync('{cms.organization}');
RESET ROLE;
GRANT EXECUTE ON PROCEDURE evpub.resync TO regress_evpub_resync;
SET ROLE regress_evpub_resync;
CALL evpub.resync('{cms.organization}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION evpub.capture TO regress_evpub_resync;
SET ROLE regress_evpub_resync;
CALL evpub.resync('{cms.organization}');
CALL evpub.resync('{cms.member}');
-- a filter has the caller's rights; rows that a policy hides would be forgotten
CALL evpub.resync('{cms.organization}', filter => 'id IN (SELECT id FROM cms.member)');
ALTER TABLE cms.organization ENABLE ROW LEVEL SECURITY;
CALL evpub.resync('{cms.organization}');
ALTER TABLE cms.organization FORCE ROW LEVEL SECURITY;
CALL evpub.resync('{cms.organization}');
RESET ROLE;

-- replicas wait, a primary has what it has flushed
CHECKPOINT;
SELECT evpub.wait_replayed(pg_current_wal_flush_lsn());
SELECT evpub.wait_replayed('0/0', '0 s');
SELECT evpub.wait_replayed('FFFFFFFF/0', '10 ms');
SELECT evpub.wait_replayed(NULL);
SELECT evpub.wait_replayed('0/0', NULL);
SELECT evpub.wait_replayed('0/0', '-1 s');

SET client_min_messages = warning;
DROP SCHEMA cms CASCADE;
DROP SCHEMA other CASCADE;
REVOKE ALL ON SCHEMA evpub FROM regress_evpub_resync;
REVOKE ALL ON ALL ROUTINES IN SCHEMA evpub FROM regress_evpub_resync;
DROP ROLE regress_evpub_resync;
