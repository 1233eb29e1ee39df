-- Zero or full payload, a topic for each type of event or one for all: four
-- combinations, each of them a matter of options.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE "order" (id int PRIMARY KEY, shop text NOT NULL, amount numeric NOT NULL);
CREATE TABLE organization (id int PRIMARY KEY, tenant_id text NOT NULL, name text);
CREATE TABLE member (id int PRIMARY KEY, tenant_id text NOT NULL, organization_id int NOT NULL REFERENCES organization ON DELETE CASCADE);
CREATE TABLE profile (id int PRIMARY KEY, tenant_id text NOT NULL, email text);

-- full payload, a topic for each type of event: order-create-topic
SELECT evpub.capture_table('order', topic => '{table}-{op}-topic', tenant_column => 'shop', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO "order" VALUES (1, 'mill', 12.50);
UPDATE "order" SET amount = 13;
DELETE FROM "order";
SELECT topic, key, value FROM pg_temp.events(:'start');

-- full payload, one topic: order-topic
SELECT evpub.capture_table('order', topic => '{table}-topic', tenant_column => 'shop', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO "order" VALUES (2, 'mill', 99);
UPDATE "order" SET amount = 100;
SELECT topic, key, value FROM pg_temp.events(:'start');

-- zero payload, one topic for several tables: cms-hr-operation.  In order for a
-- tenant, so that an organization comes before its members
SELECT evpub.capture_table(t, topic => 'cms-hr-operation', tenant_column => 'tenant_id')
  FROM unnest('{organization,member}'::regclass[]) t;
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO organization SELECT i, 'acme', 'o' FROM generate_series(1, 2) i;
INSERT INTO member SELECT i, 'acme', i FROM generate_series(1, 2) i;
COMMIT;
UPDATE organization SET name = 'p' WHERE id = 1;
SELECT topic, key, value FROM pg_temp.events(:'start');

-- zero payload, a topic for each type of event: profile-insert
SELECT evpub.capture_table('profile', topic => 'profile-insert', tenant_column => 'tenant_id', operations => '{insert}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO profile VALUES (1, 'acme', 'ann@example.com');
UPDATE profile SET email = 'bob@example.com';
SELECT topic, key, value FROM pg_temp.events(:'start');
DROP TABLE "order", organization, member, profile;
