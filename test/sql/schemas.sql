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
-- partitions are told of with their table
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

-- an end of the rule is an end of the capture
DELETE FROM evpub.schema_rules WHERE pattern = '^bad_';
SELECT evpub.release_schemas('^cust_(.*)$', '{member,organization}');
SELECT "table" FROM evpub.tables ORDER BY 1;
CREATE TABLE cust_acme.later (id int PRIMARY KEY);
SELECT count(*) FROM evpub.schema_rules;
DROP SCHEMA cust_acme, cust_beta, cust_carl, cust_dora CASCADE;
DROP ROLE regress_evpub_customer;
