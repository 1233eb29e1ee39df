-- DDL on captured tables: what their settings refer to is followed, or kept
-- from changing at the DDL statement.  No writer ever finds out.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE SCHEMA cms;
CREATE TABLE cms.member (id int PRIMARY KEY, tenant_id text NOT NULL, name text, level int, note text, spare text);
SELECT evpub.capture_table('cms.member', topic => '{schema}-{table}', tenant_column => 'tenant_id',
	update_columns => '{name}', data_columns => '{level}');

-- columns that options name: neither dropped nor renamed
ALTER TABLE cms.member DROP COLUMN tenant_id;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE cms.member RENAME COLUMN tenant_id TO customer_id;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE cms.member DROP COLUMN name CASCADE;
ALTER TABLE cms.member RENAME COLUMN level TO rank;
DO $$ BEGIN EXECUTE 'ALTER TABLE cms.member DROP COLUMN level'; END $$;
-- also where event triggers do not fire
SET session_replication_role = replica;
ALTER TABLE cms.member DROP COLUMN level;
RESET session_replication_role;
-- or when it is the column's type that is dropped
CREATE DOMAIN cms.grade AS int;
ALTER TABLE cms.member ALTER COLUMN level TYPE cms.grade;
DROP DOMAIN cms.grade CASCADE;
-- the way that the hint names
BEGIN;
SELECT evpub.release_table('cms.member');
ALTER TABLE cms.member RENAME COLUMN tenant_id TO customer_id;
SELECT evpub.capture_table('cms.member', topic => '{schema}-{table}', tenant_column => 'customer_id', data_columns => '{level}');
COMMIT;

-- followed: other columns, new types
SELECT pg_current_wal_insert_lsn() AS start \gset
PREPARE add AS INSERT INTO cms.member (id, customer_id, level) VALUES ($1, 'acme', 1);
EXECUTE add(1);
ALTER TABLE cms.member DROP COLUMN spare, ADD COLUMN more text;
EXECUTE add(2);
ALTER TABLE cms.member RENAME COLUMN id TO member_id;
DEALLOCATE add;
INSERT INTO cms.member (member_id, customer_id, level) VALUES (3, 'acme', 1);
ALTER TABLE cms.member ALTER COLUMN member_id TYPE text, ALTER COLUMN level TYPE numeric(5,2), ALTER COLUMN customer_id TYPE varchar(10);
UPDATE cms.member SET name = 'x' WHERE member_id = '3';
SELECT * FROM pg_temp.events(:'start');

-- the primary key is kept; another may take its place in one statement
ALTER TABLE cms.member DROP CONSTRAINT member_pkey;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE cms.member DROP COLUMN member_id;
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE cms.member DROP CONSTRAINT member_pkey, ADD PRIMARY KEY (customer_id, member_id) DEFERRABLE;
INSERT INTO cms.member (member_id, customer_id, level) VALUES (4, 'acme', 1);
SELECT * FROM pg_temp.events(:'start');
-- key_columns stay NOT NULL
SELECT evpub.capture_table('cms.member', tenant => 'acme', key_columns => '{member_id}');
ALTER TABLE cms.member DROP CONSTRAINT member_pkey;
ALTER TABLE cms.member ALTER COLUMN member_id DROP NOT NULL;
ALTER TABLE cms.member DROP COLUMN member_id;
ALTER TABLE cms.member SET UNLOGGED;

-- names of tables and schemas are followed, unless the topic would be illegal
SELECT evpub.capture_table('cms.member', topic => '{schema}-{table}', tenant => 'acme', key_columns => '{member_id}');
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE cms.member RENAME TO person;
ALTER SCHEMA cms RENAME TO hr;
INSERT INTO hr.person (member_id, customer_id) VALUES (5, 'x');
ALTER TABLE hr.person SET SCHEMA public;
INSERT INTO person (member_id, customer_id) VALUES (6, 'x');
ALTER TABLE person SET SCHEMA hr;
ALTER TABLE hr.person RENAME TO "Größe";
\echo :LAST_ERROR_SQLSTATE
ALTER SCHEMA hr RENAME TO "human resources";
INSERT INTO hr.person (member_id, customer_id) VALUES (7, 'x');
SELECT * FROM pg_temp.events(:'start');

-- a filter's columns and functions
CREATE FUNCTION hr.is_staff(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 <> ''guest''';
ALTER TABLE hr.person ADD CONSTRAINT one_each UNIQUE (member_id);
SELECT evpub.capture_table('hr.person', tenant => 'acme', key_columns => '{member_id}',
	filter => '{row}.name IS NOT NULL AND hr.is_staff({row}.note)');
ALTER TABLE hr.person RENAME COLUMN note TO kind;
ALTER TABLE hr.person DROP COLUMN note;
ALTER TABLE hr.person DROP COLUMN note CASCADE;
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION hr.is_staff CASCADE;
ALTER TABLE hr.person ALTER COLUMN note TYPE varchar(10);
ALTER TABLE hr.person RENAME COLUMN more TO still_more;
ALTER FUNCTION hr.is_staff RENAME TO is_employee;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO hr.person (member_id, customer_id, name, note) VALUES (8, 'x', 'y', 'staff'), (9, 'x', 'y', 'guest');
SELECT * FROM pg_temp.events(:'start');

-- whatever a filter's text calls by its name keeps that
CREATE TYPE hr.rung AS ENUM ('junior', 'senior');
CREATE TYPE hr.place AS (city text, floor int);
CREATE TABLE hr.post (id int NOT NULL, grade hr.rung, place hr.place);
CREATE UNIQUE INDEX by_id ON hr.post (id);
CREATE UNIQUE INDEX by_id_and_grade ON hr.post (id, grade);
SELECT evpub.capture_table('hr.post', tenant => 'acme', key_columns => '{id}',
	filter => '{row}.grade = ANY (''{senior}'') AND ({row}.place).city <> ''Bonn''');
ALTER TYPE hr.rung RENAME VALUE 'senior' TO 'leading';
ALTER TYPE hr.place RENAME ATTRIBUTE city TO town;
ALTER TYPE hr.rung SET SCHEMA public;
\echo :LAST_ERROR_SQLSTATE
ALTER TYPE hr.rung ADD VALUE 'chief';
ALTER TYPE hr.rung RENAME VALUE 'chief' TO 'leading';
\echo :LAST_ERROR_SQLSTATE
ALTER TYPE hr.place RENAME ATTRIBUTE floor TO storey;
ALTER TABLE hr.post SET SCHEMA public;
ALTER TABLE public.post SET SCHEMA hr;
-- a schema that the text does not name may have another name
CREATE SCHEMA customer;
CREATE TYPE customer.kind AS ENUM ('staff', 'guest');
CREATE TABLE customer.seat (id int PRIMARY KEY, kind customer.kind);
SELECT evpub.capture_table('customer.seat', tenant => '{schema}', filter => '{row}.kind = ''staff''');
ALTER SCHEMA customer RENAME TO client;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO client.seat VALUES (1, 'staff'), (2, 'guest');
SELECT * FROM pg_temp.events(:'start');
DROP SCHEMA client CASCADE;
CREATE SCHEMA rules;
CREATE FUNCTION rules.is_high(hr.rung) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > ''junior''';
SELECT evpub.capture_table('hr.post', tenant => 'acme', key_columns => '{id}',
	filter => '{row}.grade = ANY (''{senior}'') AND ({row}.place).city <> ''Bonn'' AND rules.is_high({row}.grade)');
ALTER SCHEMA rules RENAME TO laws;
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('hr.post', tenant => 'acme', key_columns => '{id}',
	filter => '{row}.grade = ANY (''{senior}'') AND ({row}.place).city <> ''Bonn''');
ALTER SCHEMA rules RENAME TO laws;
DROP SCHEMA laws CASCADE;
-- nor does the trigger by whose name its condition is known
CREATE TABLE hr.chair (id int PRIMARY KEY, name text);
SELECT evpub.capture_table('hr.chair', tenant => 'acme', update_columns => '{name}');
ALTER TRIGGER _evpub_capture_update ON hr.chair RENAME TO other;
\echo :LAST_ERROR_SQLSTATE
ALTER TRIGGER _evpub_capture ON hr.chair RENAME TO _evpub_all;
DROP TABLE hr.chair;

-- nor does the index go by which its rows are looked up
DROP INDEX CONCURRENTLY hr.by_id;
\echo :LAST_ERROR_SQLSTATE
DROP INDEX CONCURRENTLY hr.by_id_and_grade;
DROP INDEX hr.by_id;
INSERT INTO hr.post VALUES (1, 'senior', ('Ulm', 1));
CREATE UNIQUE INDEX by_id_anew ON hr.post (id);
DROP INDEX hr.by_id;
DROP TABLE hr.post;

-- payload "row" takes new columns, but for those that triggers do not see
SELECT evpub.capture_table('hr.person', topic => 'p', tenant => 'acme', key_columns => '{member_id}', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE hr.person DROP COLUMN name, DROP COLUMN level, DROP COLUMN still_more, ADD COLUMN age int DEFAULT 30;
INSERT INTO hr.person VALUES (10, 'x', 'n');
SELECT * FROM pg_temp.events(:'start');

-- a dropped table leaves nothing behind; one of its name is another
DROP TABLE hr.person;
SELECT * FROM evpub.tables;
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc;
SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND refobjid = 'evpub.capture'::regproc AND classid = 'pg_trigger'::regclass;
CREATE TABLE hr.person (id int PRIMARY KEY);
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO hr.person VALUES (1);
SELECT * FROM pg_temp.events(:'start');
-- and what was committed before it was dropped is still published
SELECT evpub.capture_table('hr.person', topic => 'p', tenant => 'x');
INSERT INTO hr.person VALUES (2);
DROP TABLE hr.person;
SELECT * FROM pg_temp.events(:'start');
-- in the same transaction, too
BEGIN;
CREATE TABLE hr.person (id int PRIMARY KEY);
SELECT evpub.capture_table('hr.person', topic => 'p', tenant => 'x');
INSERT INTO hr.person VALUES (3);
DROP TABLE hr.person;
COMMIT;
SELECT * FROM pg_temp.events(:'start');

-- tables made like a captured one, or below it, are not captured
CREATE TABLE hr.unit (id int PRIMARY KEY, tenant text);
SELECT evpub.capture_table('hr.unit', topic => 'u', tenant_column => 'tenant');
CREATE TABLE hr.unit_like (LIKE hr.unit INCLUDING ALL);
CREATE TABLE hr.unit_below () INHERITS (hr.unit);
SELECT "table" FROM evpub.tables;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO hr.unit VALUES (1, 'acme');
INSERT INTO hr.unit_like VALUES (2, 'acme');
INSERT INTO hr.unit_below VALUES (3, 'acme');
UPDATE hr.unit SET tenant = 'beta';
SELECT * FROM pg_temp.events(:'start');
-- captured as well, each publishes its own rows; what is changed above reaches it
ALTER TABLE hr.unit_below ADD PRIMARY KEY (id);
SELECT evpub.capture_table('hr.unit_below', topic => 'u', tenant_column => 'tenant');
SELECT evpub.capture_table('hr.unit', topic => 'u', tenant => 'x');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE hr.unit SET tenant = 'gamma';
SELECT * FROM pg_temp.events(:'start');
ALTER TABLE hr.unit DROP COLUMN tenant;
ALTER TABLE hr.unit RENAME COLUMN tenant TO customer;
DROP TABLE hr.unit CASCADE;

-- partitions
CREATE TABLE hr.task (id int, tenant text NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE hr.task_1 PARTITION OF hr.task FOR VALUES FROM (0) TO (10);
CREATE TABLE hr.task_2 (id int PRIMARY KEY, tenant text NOT NULL);
SELECT evpub.capture_table('hr.task', topic => 't', tenant_column => 'tenant');
SELECT evpub.capture_table('hr.task_2', topic => 't2', tenant_column => 'tenant');
-- published by one of the two
ALTER TABLE hr.task ATTACH PARTITION hr.task_2 FOR VALUES FROM (10) TO (20);
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.capture_table('hr.task_2', topic => 't2', tenant_column => 'tenant', operations => '{truncate}');
ALTER TABLE hr.task ATTACH PARTITION hr.task_2 FOR VALUES FROM (10) TO (20);
SELECT evpub.release_table('hr.task_2');
ALTER TABLE hr.task ATTACH PARTITION hr.task_2 FOR VALUES FROM (10) TO (20);
CREATE TRIGGER by_hand AFTER INSERT ON hr.task_2 FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=x');
\echo :LAST_ERROR_SQLSTATE
CREATE UNLOGGED TABLE hr.task_3 PARTITION OF hr.task FOR VALUES FROM (20) TO (30);
ALTER TABLE hr.task_1 SET UNLOGGED;
ALTER TABLE hr.task DROP COLUMN tenant;
ALTER TABLE hr.task RENAME COLUMN tenant TO customer;
ALTER TABLE hr.task DROP CONSTRAINT task_pkey;
-- detached, it is not captured any more, and can be changed
ALTER TABLE hr.task DETACH PARTITION hr.task_2;
ALTER TABLE hr.task_2 DROP COLUMN tenant;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO hr.task VALUES (1, 'acme');
INSERT INTO hr.task_2 VALUES (11);
SELECT * FROM pg_temp.events(:'start');

-- what would not work any more because of something else can be released,
-- captured again and disabled, and a trigger can wait for its key
CREATE TABLE hr.late (id int, tenant text);
CREATE TRIGGER by_hand AFTER INSERT ON hr.late FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant_column=tenant', 'topic=late');
ALTER TABLE hr.late ADD CHECK (id > 0);
ALTER TABLE hr.late ADD PRIMARY KEY (id);
ALTER TABLE hr.late DROP CONSTRAINT late_pkey;
SET evpub.capture = off;
ALTER TABLE hr.late DROP COLUMN tenant;
RESET evpub.capture;
ALTER TABLE hr.late ADD COLUMN other text;
ALTER TABLE hr.late DISABLE TRIGGER by_hand;
ALTER TABLE hr.late ADD COLUMN other text;
ALTER TABLE hr.late ENABLE TRIGGER by_hand;
DROP TRIGGER by_hand ON hr.late;
CREATE TRIGGER by_hand AFTER INSERT ON hr.late FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant_column=tenant', 'topic=late');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER TRUNCATE ON hr.late EXECUTE FUNCTION evpub.capture('tenant=x', 'topic=late');
\echo :LAST_ERROR_SQLSTATE

-- more tables in one statement than are remembered
SELECT evpub.capture_table('hr.late', topic => 'late', tenant => 'x', data_columns => '{other}');
CREATE DOMAIN hr.kind AS text;
ALTER TABLE hr.late ALTER COLUMN other TYPE hr.kind;
DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE hr.many%s (id int, kind hr.kind)', i); END LOOP; END $$;
SET client_min_messages = warning;
DROP DOMAIN hr.kind CASCADE;
SELECT count(*) FROM pg_attribute WHERE atttypid = 'hr.kind'::regtype AND NOT attisdropped;
DROP SCHEMA hr CASCADE;
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'evpub.capture'::regproc;
