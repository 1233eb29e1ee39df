-- Who may do what.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE ROLE regress_evpub_owner;
CREATE ROLE regress_evpub_writer;
CREATE ROLE regress_evpub_monitor IN ROLE pg_monitor;
CREATE SCHEMA own AUTHORIZATION regress_evpub_owner;
SET ROLE regress_evpub_owner;
CREATE TABLE own.t (id int PRIMARY KEY);
SELECT evpub.capture_table('own.t', tenant => 'x');
CREATE TRIGGER by_hand AFTER INSERT ON own.t FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
RESET ROLE;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_owner, regress_evpub_writer;
SET ROLE regress_evpub_owner;
SELECT evpub.capture_table('own.t', tenant => 'x');
SELECT evpub.publish('a', 'b');
SELECT evpub.publish_raw('a', 'b', NULL);
CREATE TRIGGER by_hand AFTER INSERT ON own.t FOR EACH ROW EXECUTE FUNCTION evpub.capture('tenant=x');
RESET ROLE;
GRANT EXECUTE ON FUNCTION evpub.capture, evpub.capture_table, evpub.release_table TO regress_evpub_owner, regress_evpub_writer;
-- not the owner
SET ROLE regress_evpub_writer;
SELECT evpub.capture_table('own.t', tenant => 'x');
SELECT evpub.release_table('own.t');
SET evpub.default_topic = 'x';
SET evpub.max_event_bytes = '1kB';
SET ROLE regress_evpub_owner;
SELECT evpub.capture_table('own.t', tenant => 'x', topic => 'own');
GRANT USAGE ON SCHEMA own TO regress_evpub_writer;
GRANT INSERT ON own.t TO regress_evpub_writer;
RESET ROLE;
-- a writer needs no right on evpub
REVOKE USAGE ON SCHEMA evpub FROM regress_evpub_writer;
REVOKE EXECUTE ON FUNCTION evpub.capture, evpub.capture_table, evpub.release_table FROM regress_evpub_writer;
SELECT pg_current_wal_insert_lsn() AS start \gset
SET ROLE regress_evpub_writer;
INSERT INTO own.t VALUES (1);
SELECT * FROM evpub.tables;
SET ROLE regress_evpub_monitor;
SELECT "table", topic, tenant, enabled FROM evpub.tables;
RESET ROLE;
SELECT * FROM pg_temp.events(:'start');
-- nothing of ours is open to everybody but help
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND has_function_privilege('public', p.oid, 'EXECUTE');
-- every object says what it is
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'evpub')
   AND classid <> 'pg_type'::regclass
   AND obj_description(objid, classid::regclass::name) IS NULL;
SET client_min_messages = warning;
DROP SCHEMA own CASCADE;
REVOKE ALL ON SCHEMA evpub FROM regress_evpub_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evpub FROM regress_evpub_owner;
DROP ROLE regress_evpub_owner, regress_evpub_writer, regress_evpub_monitor;
