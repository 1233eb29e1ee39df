-- Inheritance: a captured table publishes its own rows, not those of tables
-- that inherit from it.  Each of these has its own capture, or none.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE person (id int PRIMARY KEY, tenant text, name text);
CREATE TABLE member (PRIMARY KEY (id), since int) INHERITS (person);
CREATE TABLE guest (PRIMARY KEY (id)) INHERITS (person);
SELECT evpub.capture_table('person', tenant_column => 'tenant');
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{since}');

-- what is written through the parent is published as a row of the table that has it
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO person VALUES (1, 'acme', 'Kim');
INSERT INTO member VALUES (2, 'acme', 'Lee', 2020);
INSERT INTO guest VALUES (3, 'acme', 'Choi');
UPDATE person SET name = name || '!';
UPDATE ONLY person SET name = 'Park';
DELETE FROM person WHERE tenant = 'acme';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- keys are unique in each table only; the type distinguishes the rows
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO person VALUES (1, 'acme', 'Kim');
INSERT INTO member VALUES (1, 'acme', 'Lee', 2021);
BEGIN;
UPDATE person SET name = 'x' WHERE id = 1;
DELETE FROM ONLY person WHERE id = 1;
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- TRUNCATE takes the children's rows, too: those that are captured publish theirs
INSERT INTO person VALUES (1, 'acme', 'Kim');
INSERT INTO member VALUES (2, 'beta', 'Lee', 2020);
INSERT INTO guest VALUES (3, 'carl', 'Choi');
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE person;
INSERT INTO person VALUES (1, 'acme', 'Kim');
INSERT INTO member VALUES (2, 'beta', 'Lee', 2020);
TRUNCATE ONLY person;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- columns come from above, and are kept from there as well
ALTER TABLE person RENAME COLUMN tenant TO customer;
ALTER TABLE person DROP COLUMN tenant;
-- a table that leaves, and one that joins, stay what they are
ALTER TABLE member NO INHERIT person;
ALTER TABLE guest NO INHERIT person;
ALTER TABLE guest INHERIT person;
SELECT "table" FROM evpub.tables ORDER BY 1;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE person SET name = 'z';
UPDATE member SET name = 'z';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE person, member, guest;
