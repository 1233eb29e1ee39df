-- Foreign keys: what they do to other captured tables is published behind the row
-- that they follow.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE organization (id int PRIMARY KEY, tenant text NOT NULL);
CREATE TABLE team (id int PRIMARY KEY, tenant text NOT NULL,
	organization int REFERENCES organization ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE member (id int PRIMARY KEY, tenant text NOT NULL,
	team int DEFAULT 0 REFERENCES team ON DELETE SET NULL,
	backup int DEFAULT 0 REFERENCES team ON DELETE SET DEFAULT);
SELECT evpub.capture_table(t, tenant_column => 'tenant') FROM unnest('{organization,team}'::regclass[]) t;
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{team,backup}');
INSERT INTO organization VALUES (1, 'acme'), (2, 'acme'), (3, 'acme');
INSERT INTO team VALUES (0, 'acme', 3), (10, 'acme', 1), (11, 'acme', 1), (20, 'acme', 2);
INSERT INTO member VALUES (100, 'acme', 10, 20), (101, 'acme', 20, 10), (102, 'acme', 20, 11);

-- another key: gone there, new here, and the rows that point to it are updated
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE organization SET id = 4 WHERE id = 2;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- DELETE through three tables
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM organization WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- several parents in one statement: first all of them, then what follows
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
UPDATE member SET team = NULL, backup = NULL;
INSERT INTO organization VALUES (5, 'beta');
INSERT INTO team VALUES (50, 'beta', 5), (51, 'beta', 5);
COMMIT;
DELETE FROM organization WHERE id IN (4, 5);
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- made and taken away in one transaction is nothing, also by a cascade; the
-- member stays, without its team
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO organization VALUES (6, 'acme');
INSERT INTO team VALUES (60, 'acme', 6);
INSERT INTO member VALUES (600, 'acme', 60, NULL);
DELETE FROM organization WHERE id = 6;
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- the table that cascades need not be captured
SELECT evpub.release_table('organization');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO organization VALUES (7, 'acme');
INSERT INTO team VALUES (70, 'acme', 7);
DELETE FROM organization WHERE id = 7;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- what a key forbids is not published
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO team VALUES (80, 'acme', 8);
ALTER TABLE team DROP CONSTRAINT team_organization_fkey;
ALTER TABLE team ADD FOREIGN KEY (organization) REFERENCES organization;
DELETE FROM organization WHERE id = 3;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a table that refers to itself
CREATE TABLE folder (id int PRIMARY KEY, parent int REFERENCES folder ON DELETE CASCADE);
SELECT evpub.capture_table('folder', tenant => 'acme');
INSERT INTO folder VALUES (1, NULL), (2, 1), (3, 2), (4, 1);
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM folder WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- TRUNCATE ... CASCADE publishes each captured table
INSERT INTO member VALUES (900, 'gamma', NULL, NULL);
SELECT pg_current_wal_insert_lsn() AS start \gset
TRUNCATE team CASCADE;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- who deletes needs no right on the tables behind, nor on schema evpub
INSERT INTO folder VALUES (1, NULL), (2, 1);
CREATE ROLE regress_evpub_cascade;
CREATE TABLE note (id int PRIMARY KEY, folder int REFERENCES folder ON DELETE CASCADE);
SELECT evpub.capture_table('note', tenant => 'acme');
INSERT INTO note VALUES (1, 2);
GRANT SELECT, DELETE ON folder TO regress_evpub_cascade;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE regress_evpub_cascade;
DELETE FROM folder WHERE id = 1;
RESET ROLE;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE organization, team, member, folder, note;
DROP ROLE regress_evpub_cascade;
