-- capture_table, trigger arguments and view tables are one and the same;
-- what is wrong is refused at once, and leaves nothing behind.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant_id text, "odd ""name" text);
CREATE TABLE no_key (id int, tenant_id text);

SELECT evpub.capture_table('member', tenant_column => 'tenant_id');
SELECT * FROM evpub.tables \gx
-- again: replaces
SELECT evpub.capture_table('member', tenant => 'it''s');
SELECT definition FROM evpub.tables;
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'odd "name', tenant => '{schema}',
	key => 'it''s {tenant} \', type => '{{{table}}}');
SELECT * FROM evpub.tables \gx
SELECT definition AS again FROM evpub.tables \gset
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'member'::regclass ORDER BY 1;
SELECT evpub.release_table('member');
SELECT * FROM evpub.tables;
:again ;
SELECT definition = :'again' AS same FROM evpub.tables;

-- a change of the default topic is seen at once
SELECT evpub.capture_table('member', tenant => 'x');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1);
SET evpub.default_topic = 'other-{table}';
INSERT INTO member VALUES (2);
SELECT "table", topic FROM evpub.tables;
RESET evpub.default_topic;
DELETE FROM member;
SELECT * FROM pg_temp.events(:'start');
SELECT evpub.release_table('member');

-- a trigger made by hand is the same
CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant_column=tenant_id', 'topic=by-hand', 'key={tenant}=');
SELECT * FROM evpub.tables \gx
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (3, 'acme');
SELECT * FROM pg_temp.events(:'start');
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'member'::regclass ORDER BY 1;
SELECT evpub.release_table('member');

-- wrong options
SELECT evpub.capture_table(NULL, tenant => 'x');
SELECT evpub.capture_table('member');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('no_key', tenant_column => 'tenant_id');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', key => '{tennant}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => '{pk}');
SELECT evpub.capture_table('member', tenant => 'x', type => '{type}');
SELECT evpub.capture_table('member', tenant => 'x', topic => '{match}');
SELECT evpub.capture_table('member', tenant => 'x', key => '{tenant');
SELECT evpub.capture_table('member', tenant => 'x', key => 'tenant}');
SELECT evpub.capture_table('member', tenant => 'x', key => '{{tenant}}}');
SELECT evpub.capture_table('member', tenant => 'x', topic => 'a topic');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', topic => '');
SELECT evpub.capture_table('member', tenant => 'x', topic => '..');
SELECT evpub.capture_table('member', tenant => 'x', topic => repeat('t', 250));
SELECT evpub.capture_table('member', tenant => 'x', topic => repeat('t', 240) || '{table}{event}');
SELECT evpub.capture_table('member', tenant => 'x', topic => '{type}', type => 'not a topic');
SELECT evpub.capture_table('member', tenant => 'x', payload => 'rows');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', tenant => 'x', envelope => 'xml');
SELECT evpub.release_table('member');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.release_table(NULL);
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\_evpub%';

-- a failed change of settings keeps those that there were
SELECT evpub.capture_table('member', tenant => 'x', topic => 'kept');
SELECT evpub.capture_table('member', tenant => 'x', topic => 'not kept');
SELECT definition FROM evpub.tables;
SELECT evpub.release_table('member');

-- what is no table, or keeps its rows not as long as its events
CREATE TEMPORARY TABLE temporary (id int PRIMARY KEY);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE INDEX an_index ON no_key (id);
SELECT evpub.capture_table('temporary', tenant => 'x');
SELECT evpub.capture_table('unlogged', tenant => 'x');
SELECT evpub.capture_table('a_view', tenant => 'x');
SELECT evpub.capture_table('an_index', tenant => 'x');
SELECT evpub.capture_table('pg_catalog.pg_class', tenant => 'x');
SELECT evpub.capture_table(1, tenant => 'x');
CREATE TRIGGER by_hand AFTER INSERT ON temporary
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');

-- wrong triggers
CREATE TRIGGER wrong AFTER INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'colour=red');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER wrong AFTER INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant');
CREATE TRIGGER wrong AFTER INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'tenant=y');
CREATE TRIGGER wrong BEFORE INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER wrong AFTER INSERT ON member
	FOR EACH STATEMENT EXECUTE FUNCTION evpub.capture('tenant=x');
CREATE CONSTRAINT TRIGGER wrong AFTER INSERT ON member DEFERRABLE
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
SELECT "table" FROM evpub.tables;
-- made where DDL is not checked, they fail when they fire
SET evpub.capture = off;
CREATE TRIGGER wrong BEFORE INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
RESET evpub.capture;
INSERT INTO member VALUES (10);
DROP TRIGGER wrong ON member;
SET evpub.capture = off;
CREATE TRIGGER wrong AFTER INSERT ON member
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'colour=red');
RESET evpub.capture;
INSERT INTO member VALUES (10);
SELECT tenant FROM evpub.tables WHERE "table" = 'member'::regclass;
DROP TRIGGER wrong ON member;
SELECT evpub.capture();

-- rows that can have no event
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id');
INSERT INTO member VALUES (11, NULL);
\echo :LAST_ERROR_SQLSTATE
TRUNCATE member;
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', topic => 'cms.{tenant}', tenant_column => 'tenant_id');
INSERT INTO member VALUES (11, 'a b');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'odd "name');
SET evpub.max_event_bytes = '2kB';
INSERT INTO member VALUES (11, NULL, repeat('x', 1000));
\echo :LAST_ERROR_SQLSTATE
RESET evpub.max_event_bytes;
SELECT count(*) FROM member WHERE id >= 10;

-- settings
SET evpub.default_topic = 'a topic';
SET evpub.default_topic = '{colour}';
SET evpub.delivery = 'at_least_once';
SHOW evpub.delivery;
SHOW evpub.max_event_bytes;
SHOW evpub.default_topic;
SET evpub.no_such_setting = 1;

-- names, types and defaults of the two functions' arguments, and columns of the
-- view, are those of the options
WITH o AS (SELECT string_agg(format('%s %s DEFAULT %s', quote_ident(name), type,
			CASE WHEN value IS NULL THEN 'NULL::' || type WHEN type = 'boolean' THEN value
			     WHEN type = 'text[]' THEN format('%L::text[]', '{' || value || '}')
			     ELSE format('%L::%s', value, type) END), ', ' ORDER BY place) AS arguments
		FROM evpub_internal.options() WITH ORDINALITY AS p (name, type, value, comment, place))
SELECT proname, right(pg_get_function_arguments(f.oid), length(arguments)) = arguments AS same
  FROM pg_proc f, o
 WHERE pronamespace = 'evpub'::regnamespace AND proname IN ('capture_table', 'capture_schemas') ORDER BY 1;
SELECT array_agg(attname::text ORDER BY attnum) =
       (SELECT array_agg(name) FROM evpub_internal.options()) AS same,
       bool_and(col_description(attrelid, attnum) <> '') AS explained
  FROM pg_attribute
 WHERE attrelid = 'evpub.tables'::regclass AND attnum > 0
   AND attname NOT IN ('table', 'enabled', 'definition');

DROP VIEW a_view;
DROP TABLE member, no_key, temporary, unlogged;
