-- Keys, constraints and triggers that wait for the end of the transaction.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE seat (id int PRIMARY KEY DEFERRABLE, tenant text, name text);
SELECT evpub.capture_table('seat', tenant_column => 'tenant', data_columns => '{name}');
INSERT INTO seat VALUES (1, 'acme', 'Kim'), (2, 'acme', 'Lee');

-- two rows change places: each key has another row now
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE seat SET id = 2 WHERE name = 'Kim';
UPDATE seat SET id = 1 WHERE name = 'Lee';
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
SELECT id, name FROM seat ORDER BY id;

-- in one statement
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE seat SET id = 3 - id;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
SELECT id, name FROM seat ORDER BY id;

-- a key that is there twice at the end: nothing is published
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO seat VALUES (1, 'acme', 'Choi');
COMMIT;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO seat VALUES (1, 'acme', 'Choi');
PREPARE TRANSACTION 'evpub_deferred';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a row that takes the key of one that goes afterwards is what is left of both
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO seat VALUES (1, 'acme', 'Choi');
DELETE FROM seat WHERE name = 'Kim';
COMMIT;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a foreign key that waits: events come as the statements did, the child first
CREATE TABLE booking (id int PRIMARY KEY, seat int, tenant text);
ALTER TABLE seat DROP CONSTRAINT seat_pkey, ADD PRIMARY KEY (id);
ALTER TABLE booking ADD FOREIGN KEY (seat) REFERENCES seat ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
SELECT evpub.capture_table('booking', tenant_column => 'tenant', data_columns => '{seat}');
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO booking VALUES (10, 3, 'acme');
INSERT INTO seat VALUES (3, 'acme', 'Park');
COMMIT;
-- a cascade does not wait
BEGIN;
DELETE FROM seat WHERE id = 3;
INSERT INTO seat VALUES (4, 'acme', 'Kang');
COMMIT;
-- the parent never comes
INSERT INTO booking VALUES (11, 5, 'acme');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a constraint trigger that writes when all else is done: published at the end, in
-- the same transaction
CREATE TABLE total (tenant text PRIMARY KEY, seats bigint);
SELECT evpub.capture_table('total', tenant_column => 'tenant', data_columns => '{seats}');
CREATE FUNCTION count_seats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO total SELECT NEW.tenant, count(*) FROM seat WHERE tenant = NEW.tenant
		ON CONFLICT (tenant) DO UPDATE SET seats = excluded.seats;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_seats AFTER INSERT ON seat DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION count_seats();
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (6, 'beta', 'a'), (7, 'beta', 'b');
INSERT INTO booking VALUES (12, 6, 'beta');
COMMIT;
-- called for earlier
BEGIN;
INSERT INTO seat VALUES (8, 'beta', 'c');
SET CONSTRAINTS count_seats IMMEDIATE;
INSERT INTO booking VALUES (13, 8, 'beta');
COMMIT;
-- at PREPARE TRANSACTION
BEGIN;
INSERT INTO seat VALUES (9, 'gamma', 'd');
INSERT INTO booking VALUES (14, 9, 'gamma');
PREPARE TRANSACTION 'evpub_deferred';
COMMIT PREPARED 'evpub_deferred';
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
-- and when it fails, at COMMIT, nothing is published
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON booking DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT pg_current_wal_insert_lsn() AS start \gset
BEGIN;
INSERT INTO seat VALUES (20, 'acme', 'a');
INSERT INTO booking VALUES (20, 20, 'acme');
\set VERBOSITY terse
COMMIT;
\set VERBOSITY default
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- capture itself does not wait
CREATE TABLE room (id int PRIMARY KEY);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON room DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=acme');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE seat, booking, total, room;
DROP FUNCTION count_seats, refuse;
