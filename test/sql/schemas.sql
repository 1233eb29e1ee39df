-- A schema for each customer: tables are captured by a rule, also those made
-- later, in the transaction that gives them their key.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE SCHEMA cust_acme;
CREATE TABLE cust_acme.member (id int PRIMARY KEY, name text);
CREATE TABLE cust_acme.note (id int PRIMARY KEY);
CREATE TABLE cust_acme.organization (id int);
CREATE SCHEMA other;
CREATE TABLE other.member (id int PRIMARY KEY);

SELECT evpub.capture_schemas('^cust_(.*)$', '{member,organization}', topic => 'cms',
	tenant => '{match}', key => '{tenant}/{table}/{pk}', headers => '{"customer": "{match}"}',
	data_columns => NULL, operations => '{insert,delete}');
SELECT * FROM evpub.schema_rules;
SELECT "table", tenant, definition FROM evpub.tables ORDER BY 1;

-- a table that gets its key later; a new schema with its tables; a renamed one
ALTER TABLE cust_acme.organization ADD PRIMARY KEY (id);
CREATE SCHEMA cust_beta CREATE TABLE member (id int PRIMARY KEY) CREATE TABLE note (id int PRIMARY KEY);
BEGIN;
CREATE TABLE cust_beta.organization (id int PRIMARY KEY);
INSERT INTO cust_beta.organization VALUES (7);
COMMIT;
ALTER SCHEMA other RENAME TO cust_carl;
-- partitions are published with their table
CREATE TABLE cust_carl.organization (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE cust_carl.organization_1 PARTITION OF cust_carl.organization FOR VALUES IN (1);
CREATE TEMP TABLE member (id int PRIMARY KEY);
SELECT "table", tenant FROM evpub.tables ORDER BY 1;

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO cust_acme.member VALUES (1);
INSERT INTO cust_beta.member VALUES (1);
INSERT INTO cust_carl.organization VALUES (1, 1);
INSERT INTO cust_beta.note VALUES (1);
SELECT * FROM pg_temp.events(:'start');

-- the rule is replaced for all its tables
SELECT evpub.capture_schemas('^cust_(.*)$', '{organization,member}', topic => 'cms', tenant => '{match}');
SELECT DISTINCT key, headers FROM evpub.tables;
SELECT count(*) FROM evpub.schema_rules;

-- whoever makes the table needs no right on the schema evpub
CREATE ROLE regress_evpub_customer;
CREATE SCHEMA cust_dora AUTHORIZATION regress_evpub_customer;
SET ROLE regress_evpub_customer;
CREATE TABLE cust_dora.member (id int PRIMARY KEY);
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO cust_dora.member VALUES (4);
RESET ROLE;
SELECT * FROM pg_temp.events(:'start');

-- what the rule cannot do is an error of the statement that made the table
CREATE TABLE cust_dora.organization (id int PRIMARY KEY DEFERRABLE);
SELECT evpub.capture_schemas('^bad_', '{t}', topic => 'no topic', tenant => 'x');
SELECT evpub.capture_schemas('^live_', '{t}', tenant => 'x', filter => '{row}.deleted_at IS NULL');
CREATE SCHEMA live_a;
CREATE TABLE live_a.t (id int PRIMARY KEY);
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE live_a.t (id int PRIMARY KEY, deleted_at date);
SELECT evpub.release_schemas('^live_', '{t}');
DROP SCHEMA live_a CASCADE;
CREATE SCHEMA "cust_a{b";
CREATE TABLE "cust_a{b".member (id int PRIMARY KEY);
SELECT tenant FROM evpub.tables WHERE "table" = '"cust_a{b".member'::regclass;
DROP SCHEMA "cust_a{b" CASCADE;

-- errors
SELECT evpub.capture_schemas(NULL, '{member}', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_schemas('(', '{member}', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_schemas('^cust_', '{member}', tenant => '{nope}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.release_schemas('^nobody$', '{member}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('cust_acme.member', tenant => '{match}');
SET ROLE regress_evpub_customer;
SELECT evpub.capture_schemas('.*', '{member}', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- a table that was released stays so, until it gets another name, schema or key
SELECT evpub.release_table('cust_acme.member');
ALTER TABLE cust_acme.member RENAME COLUMN name TO full_name;
ALTER TABLE cust_acme.member ADD COLUMN age int;
SELECT count(*) FROM evpub.tables WHERE "table" = 'cust_acme.member'::regclass;
ALTER TABLE cust_acme.member DROP CONSTRAINT member_pkey, ADD PRIMARY KEY (id);
SELECT count(*) FROM evpub.tables WHERE "table" = 'cust_acme.member'::regclass;

-- other ways to become what a rule means
CREATE TABLE cust_carl.nn (id int PRIMARY KEY);
DROP TABLE cust_carl.member;
ALTER INDEX cust_carl.nn RENAME TO member;
CREATE SCHEMA cust_emil;
CREATE TABLE other_organization (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE cust_emil.member PARTITION OF other_organization DEFAULT;
SELECT count(*) FROM evpub.tables WHERE "table" = 'cust_emil.member'::regclass;
ALTER TABLE other_organization DETACH PARTITION cust_emil.member;
CREATE UNLOGGED TABLE cust_emil.organization (id int PRIMARY KEY);
ALTER TABLE cust_emil.organization SET LOGGED;
SELECT "table" FROM evpub.tables WHERE "table"::text ~ 'emil|carl' ORDER BY 1;
-- not while evpub.capture is off
SET evpub.capture = off;
CREATE SCHEMA cust_fred CREATE TABLE member (id int PRIMARY KEY);
RESET evpub.capture;
SELECT count(*) FROM evpub.tables WHERE "table" = 'cust_fred.member'::regclass;

-- columns that stand in for a key are waited for, and the index that a filter needs
SELECT evpub.capture_schemas('^cust_', '{task}', topic => 'cms', tenant => '{schema}', key_columns => '{id}');
SELECT evpub.capture_schemas('^cust_', '{job}', topic => 'cms', tenant => '{schema}', key_columns => '{id}', filter => '{row}.id > 0');
CREATE TABLE cust_fred.task AS SELECT 1 AS id;
CREATE TABLE cust_fred.job (id int NOT NULL);
SELECT "table" FROM evpub.tables WHERE "table"::text ~ 'fred' ORDER BY 1;
ALTER TABLE cust_fred.task ALTER id SET NOT NULL;
CREATE UNIQUE INDEX ON cust_fred.job (id);
SELECT "table" FROM evpub.tables WHERE "table"::text ~ 'fred' ORDER BY 1;
SELECT evpub.release_schemas('^cust_', '{task}'), evpub.release_schemas('^cust_', '{job}');

-- of two rules that mean a table, the first by pattern; then the other
SELECT evpub.capture_schemas('^cust_fr', '{note}', topic => 'two', tenant => 'two');
SELECT evpub.capture_schemas('^cust_f', '{note}', topic => 'one', tenant => 'one');
CREATE TABLE cust_fred.note (id int PRIMARY KEY);
SELECT topic FROM evpub.tables WHERE "table" = 'cust_fred.note'::regclass;
SELECT evpub.release_schemas('^cust_f', '{note}');
SELECT topic FROM evpub.tables WHERE "table" = 'cust_fred.note'::regclass;
SELECT evpub.release_schemas('^cust_fr', '{note}');

-- a rule has the rights of the extension's owner: nothing of the table's runs
SET ROLE regress_evpub_customer;
CREATE FUNCTION cust_dora.run(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'as %', current_user; RETURN true; END $$;
CREATE DOMAIN cust_dora.word AS text CHECK (cust_dora.run(VALUE));
CREATE TYPE cust_dora.pair AS (a int, b cust_dora.word);
RESET ROLE;
SELECT evpub.capture_schemas('^cust_dora', '{words}', topic => 'cms', tenant => 'x', filter => '{row}.roles @> ''{staff}''');
SELECT evpub.capture_schemas('^cust_dora', '{pairs}', topic => 'cms', tenant => 'x', filter => '{row}.p <> ''(1,x)''');
SELECT evpub.capture_schemas('^cust_dora', '{rows}', topic => 'cms', tenant => 'x', filter => '{row} IS NOT NULL');
SET ROLE regress_evpub_customer;
CREATE TABLE cust_dora.words (id int PRIMARY KEY, roles cust_dora.word[]);
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE cust_dora.pairs (id int PRIMARY KEY, p cust_dora.pair);
CREATE TABLE cust_dora.rows (id int PRIMARY KEY, p cust_dora.pair[]);
CREATE TABLE cust_dora.words (id int PRIMARY KEY, roles text[], other cust_dora.word[]);
RESET ROLE;
SELECT "table", filter FROM evpub.tables WHERE "table"::text ~ 'dora' ORDER BY 1;
SELECT evpub.release_schemas('^cust_dora', '{words}'), evpub.release_schemas('^cust_dora', '{pairs}'), evpub.release_schemas('^cust_dora', '{rows}');

-- {match} is a placeholder like others: braces that are doubled are braces; no
-- match is no empty name
SELECT evpub.capture_schemas('^opt(_.*)?$', '{o}', topic => 'cms', tenant => '{match}', key => '{{match}}/{match}',
	headers => '{}', operations => NULL);
CREATE SCHEMA opt_x CREATE TABLE o (id int PRIMARY KEY);
SELECT tenant, key, headers, operations FROM evpub.tables WHERE "table" = 'opt_x.o'::regclass;
CREATE SCHEMA opt;
CREATE TABLE opt.o (id int PRIMARY KEY);
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.release_schemas('^opt(_.*)?$', '{o}');
DROP SCHEMA opt, opt_x CASCADE;

-- what is wrong whatever the table, is said when the rule is made
SELECT evpub.capture_schemas('^later_', '{t}', envelope => 'xml', tenant => 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_schemas('^later_', '{t}');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x', headers => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x', headers => '{"a": "b", "c": null}');
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x', headers => '{"a": "{nope}"}');
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x', filter => 'true, false');
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x', update_columns => '{a}', ignore_columns => '{b}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT evpub.capture_schemas('^later_', '{t}', tenant => 'x');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE

-- the event trigger that applies rules can be disabled, and that is seen
ALTER EVENT TRIGGER evpub_rules DISABLE;
SELECT ok, detail, hint FROM evpub.check() WHERE name = 'schema_rules';
ALTER EVENT TRIGGER evpub_rules ENABLE;
DROP EVENT TRIGGER evpub_rules;
SELECT ok, detail, hint FROM evpub.check() WHERE name = 'schema_rules';
SELECT evpub_internal.watch_rules();
SELECT ok, detail FROM evpub.check() WHERE name = 'schema_rules';

-- A dump with other settings, restored over a rule: its trigger takes the place of
-- the rule's one of the same name.  Another one stays, so that nothing is lost,
-- and what the hint says leaves one capture.
CREATE SCHEMA twice;
SELECT evpub.capture_schemas('^twice$', '{chair}', tenant => 'rule', update_columns => '{name}');
CREATE TABLE twice.chair (id int PRIMARY KEY, name text);
CREATE TRIGGER _evpub_capture AFTER INSERT OR UPDATE OR DELETE ON twice.chair FOR EACH ROW
	EXECUTE FUNCTION evpub.capture('tenant=dump');
CREATE TRIGGER _evpub_capture_truncate BEFORE TRUNCATE ON twice.chair
	EXECUTE FUNCTION evpub.capture('tenant=dump');
SELECT tgname, position('dump'::bytea IN tgargs) > 0 AS of_dump FROM pg_trigger
WHERE tgrelid = 'twice.chair'::regclass ORDER BY 1;
SELECT ok, detail, hint FROM evpub.check() WHERE name = 'schema_rules';
DO $$ BEGIN EXECUTE (SELECT split_part(hint, '; -- or: ', 1) FROM evpub.check() WHERE name = 'schema_rules'); END $$;
SELECT ok, detail FROM evpub.check() WHERE name = 'schema_rules';
SELECT tgname, position('dump'::bytea IN tgargs) > 0 AS of_dump FROM pg_trigger
WHERE tgrelid = 'twice.chair'::regclass ORDER BY 1;
SELECT evpub.release_schemas('^twice$', '{chair}');
DROP SCHEMA twice CASCADE;

-- an end of the rule is an end of the capture
SELECT evpub.release_schemas('^cust_(.*)$', '{member,organization}');
SELECT "table" FROM evpub.tables ORDER BY 1;
CREATE TABLE cust_acme.later (id int PRIMARY KEY);
-- rules that were written by hand, and what they say wrong
CREATE FUNCTION pg_temp.try_rule(options jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text;
BEGIN
	INSERT INTO evpub.schema_rules VALUES ('^hand_(.*)$', '{member}', options);
	PERFORM evpub_internal.watch_rules();
	CREATE SCHEMA hand_x CREATE TABLE member (id int PRIMARY KEY, tenant text);
	RAISE EXCEPTION 'captured: %', (SELECT definition FROM evpub.tables WHERE "table" = 'hand_x.member'::regclass);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN message || coalesce(E'\n' || nullif(detail, ''), '');
END $$;
SELECT pg_temp.try_rule('{"tenant": "{match}-{{match}}", "headers": {"{match}": "a \"{match}\""}, "operations": ["insert"], "collapse": false}');
SELECT pg_temp.try_rule('{"tenant": "x", "nickname": "y"}');
SELECT pg_temp.try_rule('{"tenant": "x", "as": "moved"}');
SELECT pg_temp.try_rule('{"tenant": null, "collapse": null}');
SELECT pg_temp.try_rule('{"tenant": 1}');
SELECT pg_temp.try_rule('{"tenant": "x", "collapse": "false"}');
SELECT pg_temp.try_rule('{"tenant": "x", "data_columns": "tenant"}');
SELECT pg_temp.try_rule('{"tenant": "x", "data_columns": [1]}');
SELECT pg_temp.try_rule('{"tenant": "x", "data_columns": [["tenant"]]}');
SELECT pg_temp.try_rule('{"tenant": "x", "data_columns": {"a": "tenant"}}');
SELECT pg_temp.try_rule('{"tenant": "x", "headers": ["a"]}');
SELECT pg_temp.try_rule('{"tenant": "x", "headers": {"a": {"b": "{match}"}}}');
SELECT pg_temp.try_rule('["tenant"]');
SELECT pg_temp.try_rule('"tenant"');
SELECT pg_temp.try_rule('null');
SELECT count(*) FROM evpub.schema_rules;
SELECT count(*) FROM pg_event_trigger WHERE evtname = 'evpub_rules';
DROP SCHEMA cust_acme, cust_beta, cust_carl, cust_dora, cust_emil, cust_fred CASCADE;
DROP TABLE other_organization;
DROP ROLE regress_evpub_customer;
