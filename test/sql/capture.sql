-- Changes of captured rows become events, in order; nothing else does.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant_id text NOT NULL, name text);
CREATE TABLE organization (tenant_id text, id bigint, name text,
	PRIMARY KEY (tenant_id, id));
SELECT evpub.capture_table('member', topic => 'cms', tenant_column => 'tenant_id');
SELECT evpub.capture_table('organization', topic => 'cms.{table}.{op}',
	tenant_column => 'tenant_id', key => '{tenant}/{table}/{pk}', type => '{schema}.{table}.{op}');

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1, 'acme', 'a'), (2, 'acme', 'b'), (3, 'beta', 'c');
UPDATE member SET name = 'd' WHERE id = 1;
-- no column changes: no event
UPDATE member SET name = 'd' WHERE id = 1;
UPDATE member SET id = id;
-- another key, another tenant: gone there, new here
UPDATE member SET id = 20 WHERE id = 2;
UPDATE member SET tenant_id = 'acme', name = 'e' WHERE id = 3;
DELETE FROM member WHERE id = 3;
BEGIN;
INSERT INTO organization VALUES ('acme', 1, 'x');
INSERT INTO member VALUES (4, 'acme', 'f');
UPDATE member SET name = 'g' WHERE id = 4;
DELETE FROM member WHERE id = 4;
COMMIT;
BEGIN;
INSERT INTO member VALUES (5, 'acme', 'h');
ROLLBACK;
INSERT INTO member VALUES (1, 'acme', 'z') ON CONFLICT (id) DO UPDATE SET name = 'i';
INSERT INTO member VALUES (1, 'acme', 'z') ON CONFLICT DO NOTHING;
MERGE INTO member USING (VALUES (1), (6)) AS s (id) ON member.id = s.id
	WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'acme', 'j');
COPY member FROM stdin;
7	beta	k
\.
UPDATE organization SET id = 2;
-- {pk}: %, comma, / and : within a value are percent-encoded
INSERT INTO organization VALUES ('a/b,c:d%', 3, 'y');
SELECT * FROM pg_temp.events(:'start');

-- a row that was written when the table had other columns
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE member ADD COLUMN age int DEFAULT 7;
UPDATE member SET age = 7 WHERE id = 20;
UPDATE member SET age = 8 WHERE id = 20;
ALTER TABLE member DROP COLUMN name;
UPDATE member SET age = 8 WHERE id = 20;
UPDATE member SET age = 9 WHERE id = 20;
SELECT * FROM pg_temp.events(:'start');

-- what templates take from names follows a renaming
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE member RENAME TO person;
INSERT INTO person VALUES (30, 'acme', 1);
ALTER TABLE person RENAME COLUMN id TO number;
INSERT INTO person VALUES (31, 'acme', 1);
CREATE SCHEMA hr;
ALTER TABLE organization SET SCHEMA hr;
INSERT INTO hr.organization VALUES ('acme', 5);
ALTER SCHEMA hr RENAME TO hr2;
INSERT INTO hr2.organization VALUES ('acme', 6);
SELECT * FROM pg_temp.events(:'start');

-- a user's trigger comes after the event of the row that fired it; so does a
-- cascade, whose triggers PostgreSQL queues behind those of the parent's row
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
SELECT evpub.capture_table('parent', topic => 'cms', tenant => 'one');
SELECT evpub.capture_table('child', topic => 'cms', tenant => 'one');
CREATE FUNCTION add_child() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO child VALUES (NEW.id * 10, NEW.id); RETURN NULL; END $$;
CREATE TRIGGER add_child AFTER INSERT ON parent FOR EACH ROW EXECUTE FUNCTION add_child();
INSERT INTO parent VALUES (1);
DELETE FROM parent;
SELECT * FROM pg_temp.events(:'start');

DROP TABLE child, parent, person;
DROP FUNCTION add_child;
DROP SCHEMA hr2 CASCADE;
