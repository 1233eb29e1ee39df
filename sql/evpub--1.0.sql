/* sql/evpub--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION evpub" to load this file. \quit

COMMENT ON SCHEMA evpub IS 'publishing of committed changes to Kafka';

-- ---------------------------------------------------------------------------
-- capture
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub.capture()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture';
COMMENT ON FUNCTION evpub.capture() IS
'trigger: makes an event of each changed row; arguments are option=value';
REVOKE ALL ON FUNCTION evpub.capture() FROM PUBLIC;

CREATE FUNCTION evpub.capture_table(
	rel           regclass,
	topic         text DEFAULT NULL,
	tenant_column name DEFAULT NULL,
	tenant        text DEFAULT NULL,
	key           text DEFAULT '{tenant}',
	type          text DEFAULT '{table}.{event}',
	payload       text DEFAULT 'key',
	envelope      text DEFAULT 'plain')
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture_table';
COMMENT ON FUNCTION evpub.capture_table(regclass, text, name, text, text, text, text, text) IS
'publish changes of a table from now on; replaces what was set for it before';
REVOKE ALL ON FUNCTION evpub.capture_table(regclass, text, name, text, text, text, text, text) FROM PUBLIC;

CREATE FUNCTION evpub.release_table(rel regclass)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_release_table';
COMMENT ON FUNCTION evpub.release_table(regclass) IS
'publish changes of a table no longer';
REVOKE ALL ON FUNCTION evpub.release_table(regclass) FROM PUBLIC;

CREATE FUNCTION evpub.publish(
	type    text,
	tenant  text,
	pk      jsonb DEFAULT NULL,
	data    jsonb DEFAULT NULL,
	topic   text DEFAULT NULL,
	key     text DEFAULT NULL,
	headers jsonb DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_publish';
COMMENT ON FUNCTION evpub.publish(text, text, jsonb, jsonb, text, text, jsonb) IS
'publish an event in the plain envelope, if this transaction commits';
REVOKE ALL ON FUNCTION evpub.publish(text, text, jsonb, jsonb, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION evpub.publish_raw(
	topic   text,
	key     text,
	value   jsonb,
	headers jsonb DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_publish_raw';
COMMENT ON FUNCTION evpub.publish_raw(text, text, jsonb, jsonb) IS
'publish a value as it is, if this transaction commits; NULL is a tombstone';
REVOKE ALL ON FUNCTION evpub.publish_raw(text, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION evpub._capture_options(
	rel           oid,
	arguments     bytea,
	topic         OUT text,
	tenant_column OUT text,
	tenant        OUT text,
	key           OUT text,
	type          OUT text,
	payload       OUT text,
	envelope      OUT text,
	definition    OUT text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_capture_options';
COMMENT ON FUNCTION evpub._capture_options(oid, bytea) IS
'options in the arguments of a capture trigger (for view evpub.tables)';
REVOKE ALL ON FUNCTION evpub._capture_options(oid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub._capture_options(oid, bytea) TO pg_monitor;

-- one row for each captured table; partitions of one are not told apart, and
-- the trigger that only refuses TRUNCATE (bit 5 of tgtype) is no row
CREATE VIEW evpub.tables AS
SELECT t.tgrelid::pg_catalog.regclass AS "table",
       o.topic,
       o.tenant_column,
       o.tenant,
       o.key,
       o.type,
       o.payload,
       o.envelope,
       t.tgenabled IN ('O', 'A') AS enabled,
       o.definition
  FROM pg_catalog.pg_trigger t,
       LATERAL evpub._capture_options(t.tgrelid, t.tgargs) o
 WHERE t.tgfoid = 'evpub.capture()'::pg_catalog.regprocedure
   AND t.tgparentid = 0
   AND (t.tgtype::integer & 32) = 0;
COMMENT ON VIEW evpub.tables IS
'captured tables, their settings, and the call that makes them';
COMMENT ON COLUMN evpub.tables.topic IS
'template of the topic; that of evpub.default_topic where none is given';
COMMENT ON COLUMN evpub.tables.definition IS
'the call of evpub.capture_table() that gives these settings';
GRANT SELECT ON evpub.tables TO pg_monitor;
GRANT USAGE ON SCHEMA evpub TO pg_monitor;

-- ---------------------------------------------------------------------------
-- (further sections follow here)
-- ---------------------------------------------------------------------------
