-- evpub.check(): a row for each thing that is wrong, and what to type.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
-- no brokers are set in this server
DO $$ BEGIN
	FOR n IN 1 .. 1000 LOOP
		EXIT WHEN (SELECT state FROM evpub.status) = 'unconfigured';
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
-- how much WAL and disk there is, is not the same everywhere, nor are the names of functions
SELECT * FROM evpub.check() WHERE name NOT IN ('wal_kept', 'disk', 'logical_messages');
SELECT detail ~ '^\d+ \w+ of WAL, from [0-9A-F]+/[0-9A-F]+ on\M' AS kept
  FROM evpub.check() WHERE name = 'wal_kept';
SELECT detail ~ '^\d+ \w+ of \d+ \w+ are free in the file system of pg_wal$' AS free
  FROM evpub.check() WHERE name = 'disk';
SELECT name FROM evpub.check() WHERE ok <> (hint IS NULL) AND name <> 'logical_messages' OR detail IS NULL;

-- triggers that are disabled, also of a partition, and the one for TRUNCATE
CREATE SCHEMA "Check me";
SET search_path = "Check me";
CREATE TABLE plain (id int PRIMARY KEY);
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES IN (1);
CREATE TABLE leaf2 PARTITION OF root FOR VALUES IN (2);
SELECT evpub.capture_table('plain', tenant => 'x'), evpub.capture_table('root', tenant => 'x');
SELECT * FROM evpub.check() WHERE name IN ('disabled_triggers', 'trigger_order');
ALTER TABLE plain DISABLE TRIGGER USER;
ALTER TABLE leaf2 DISABLE TRIGGER _evpub_capture;
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
ALTER TABLE plain ENABLE REPLICA TRIGGER _evpub_capture;
ALTER TABLE plain ENABLE ALWAYS TRIGGER _evpub_capture_truncate;
ALTER TABLE root DISABLE TRIGGER _evpub_capture;
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
-- what it says to type is enough
SELECT hint FROM evpub.check() WHERE name = 'disabled_triggers' \gexec
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
-- what a dump made with --disable-triggers does at its end
SELECT evpub.capture_table('root', tenant => 'x', on_replica => true);
ALTER TABLE root ENABLE TRIGGER ALL;
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT hint FROM evpub.check() WHERE name = 'disabled_triggers' \gexec
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT on_replica, definition FROM evpub.tables WHERE "table" = 'root'::regclass;

-- one that the owner has dropped, while others are left
SELECT evpub.capture_table('plain', tenant => 'x', update_columns => '{id}');
DROP TRIGGER _evpub_capture ON plain;
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT hint FROM evpub.check() WHERE name = 'disabled_triggers' \gexec
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
-- those that nobody wanted are not missed
SELECT evpub.capture_table('plain', tenant => 'x', operations => '{insert}', on_truncate => 'ignore');
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT evpub.capture_table('plain', tenant => 'x', on_truncate => 'ignore');
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT evpub.capture_table('root', tenant => 'x', operations => '{delete}');
SELECT * FROM evpub.check() WHERE name = 'disabled_triggers';
SELECT evpub.capture_table('plain', tenant => 'x'), evpub.capture_table('root', tenant => 'x', on_replica => true);

-- triggers that fire before ours: only those that matter are named
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "Audit" AFTER INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER "0 first" AFTER DELETE ON root FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER "1 leaf" AFTER DELETE ON leaf1 FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER "A before" BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER "A statement" AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE TRIGGER "A disabled" AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE plain DISABLE TRIGGER "A disabled";
CREATE CONSTRAINT TRIGGER "A deferred" AFTER INSERT ON plain INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER audit AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE child (id int PRIMARY KEY REFERENCES plain ON DELETE CASCADE);
CREATE TABLE by_hand (id int PRIMARY KEY REFERENCES plain ON DELETE CASCADE);
CREATE TRIGGER capture AFTER INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
CREATE TRIGGER audit AFTER INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER other AFTER DELETE ON by_hand FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER "AN" AFTER DELETE ON by_hand FOR EACH ROW EXECUTE FUNCTION f();
SELECT * FROM evpub.check() WHERE name = 'trigger_order';
SELECT hint FROM evpub.check() WHERE name = 'trigger_order' \gexec
SELECT * FROM evpub.check() WHERE name = 'trigger_order';
RESET search_path;

-- rights; what it calls is not found by the caller's search_path
CREATE ROLE regress_evpub_nobody;
CREATE ROLE regress_evpub_monitor IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_nobody;
SET ROLE regress_evpub_nobody;
SELECT count(*) FROM evpub.check();
SET ROLE regress_evpub_monitor;
SELECT count(*) FROM evpub.check();
RESET ROLE;
CREATE FUNCTION "Check me".pg_size_pretty(numeric) RETURNS text LANGUAGE sql AS $$SELECT 'mine'$$;
SET search_path = "Check me", pg_catalog;
SELECT name FROM evpub.check() WHERE detail LIKE '%mine%';
RESET search_path;

-- a database without its label, as a copy by TEMPLATE has none
BEGIN;
DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR evpub ON DATABASE %I IS NULL', current_database()); END $$;
SELECT name, ok, detail, hint FROM evpub.check() WHERE name = 'registration';
ROLLBACK;
SELECT name, ok, detail, hint FROM evpub.check() WHERE name = 'registration';

-- a prepared transaction with events: not at once, but when it holds a segment
BEGIN;
SELECT evpub.publish('a', 'acme');
PREPARE TRANSACTION 'it''s forgotten';
SELECT name, ok, detail, hint FROM evpub.check() WHERE name = 'prepared_transactions';
ROLLBACK PREPARED 'it''s forgotten';

SET client_min_messages = warning;
DROP SCHEMA "Check me" CASCADE;
REVOKE ALL ON SCHEMA evpub FROM regress_evpub_nobody;
DROP ROLE regress_evpub_nobody, regress_evpub_monitor;
