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
-- look ahead, watch and steer
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub.peek(
	max_events integer DEFAULT 100,
	from_lsn   pg_lsn DEFAULT NULL)
RETURNS TABLE (id text, topic text, key text, value text, headers jsonb,
			   commit_lsn pg_lsn, xid xid, published boolean)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_peek';
COMMENT ON FUNCTION evpub.peek(integer, pg_lsn) IS
'committed events of this database in publish order, read from WAL: of transactions that committed after from_lsn, or that are not published yet';
REVOKE ALL ON FUNCTION evpub.peek(integer, pg_lsn) FROM PUBLIC;

CREATE FUNCTION evpub.wait_published(
	lsn     pg_lsn DEFAULT NULL,
	timeout interval DEFAULT '30 s')
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_wait_published';
COMMENT ON FUNCTION evpub.wait_published(pg_lsn, interval) IS
'wait until all commits up to lsn (NULL: up to now) are in Kafka; false after the timeout';
REVOKE ALL ON FUNCTION evpub.wait_published(pg_lsn, interval) FROM PUBLIC;

CREATE FUNCTION evpub.pause()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_pause';
COMMENT ON FUNCTION evpub.pause() IS
'publish nothing until evpub.resume(), also after a restart; WAL is kept';
REVOKE ALL ON FUNCTION evpub.pause() FROM PUBLIC;

CREATE FUNCTION evpub.resume()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_resume';
COMMENT ON FUNCTION evpub.resume() IS
'publish again after evpub.pause(), or after a topic was found to be made anew';
REVOKE ALL ON FUNCTION evpub.resume() FROM PUBLIC;

CREATE FUNCTION evpub.register_database()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_register_database';
COMMENT ON FUNCTION evpub.register_database() IS
'let this database publish: for a copy made by CREATE DATABASE ... TEMPLATE; CREATE EXTENSION does it by itself';
REVOKE ALL ON FUNCTION evpub.register_database() FROM PUBLIC;

CREATE FUNCTION evpub._status(
	OUT state                  text,
	OUT state_reason           text,
	OUT since                  timestamptz,
	OUT publisher_id           text,
	OUT confirmed_lsn          pg_lsn,
	OUT read_lsn               pg_lsn,
	OUT flush_lsn              pg_lsn,
	OUT lag_bytes              bigint,
	OUT lag_seconds            double precision,
	OUT retained_bytes         bigint,
	OUT events_published       bigint,
	OUT transactions_published bigint,
	OUT events_in_flight       bigint,
	OUT forged_dropped         bigint,
	OUT dead_lettered          bigint,
	OUT duplicates_dropped     bigint,
	OUT relay_pid              integer,
	OUT relay_restarts         bigint,
	OUT last_error             text,
	OUT last_error_at          timestamptz,
	OUT bootstrap_servers      text,
	OUT librdkafka_version     text)
RETURNS record
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_status';
COMMENT ON FUNCTION evpub._status() IS 'the publisher''s status (for view evpub.status)';
REVOKE ALL ON FUNCTION evpub._status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub._status() TO pg_monitor;

CREATE VIEW evpub.status AS SELECT * FROM evpub._status();
COMMENT ON VIEW evpub.status IS 'one row: what the publisher of this server does';
COMMENT ON COLUMN evpub.status.state IS
'unconfigured, starting, streaming, paused, blocked, gap, fenced or standby';
COMMENT ON COLUMN evpub.status.state_reason IS 'why, where the state does not say it';
COMMENT ON COLUMN evpub.status.since IS 'when this state was entered';
COMMENT ON COLUMN evpub.status.publisher_id IS 'first part of the ids of its events';
COMMENT ON COLUMN evpub.status.confirmed_lsn IS 'all commits up to here are in Kafka';
COMMENT ON COLUMN evpub.status.read_lsn IS 'WAL is read up to here';
COMMENT ON COLUMN evpub.status.flush_lsn IS 'WAL is flushed up to here';
COMMENT ON COLUMN evpub.status.lag_bytes IS 'WAL between confirmed_lsn and flush_lsn';
COMMENT ON COLUMN evpub.status.lag_seconds IS
'age of the oldest commit with events that is not in Kafka, 0 if there is none';
COMMENT ON COLUMN evpub.status.retained_bytes IS 'WAL that the replication slot keeps';
COMMENT ON COLUMN evpub.status.events_published IS 'acknowledged since the server started';
COMMENT ON COLUMN evpub.status.transactions_published IS 'acknowledged since the server started';
COMMENT ON COLUMN evpub.status.events_in_flight IS 'sent to the relay, not acknowledged';
COMMENT ON COLUMN evpub.status.forged_dropped IS
'messages in WAL that bear our prefix, but that evpub did not write';
COMMENT ON COLUMN evpub.status.dead_lettered IS 'events put into the dead-letter topic';
COMMENT ON COLUMN evpub.status.duplicates_dropped IS 'events found in Kafka after a restart';
COMMENT ON COLUMN evpub.status.relay_pid IS 'process id of evpub-relay, NULL: none runs';
COMMENT ON COLUMN evpub.status.relay_restarts IS 'relays started after the first';
COMMENT ON COLUMN evpub.status.last_error IS 'newest error of relay or worker, also when it is over';
COMMENT ON COLUMN evpub.status.last_error_at IS 'when that was';
COMMENT ON COLUMN evpub.status.bootstrap_servers IS 'setting evpub.bootstrap_servers';
COMMENT ON COLUMN evpub.status.librdkafka_version IS 'of the library in the relay';
GRANT SELECT ON evpub.status TO pg_monitor;

CREATE FUNCTION evpub._topics()
RETURNS TABLE (topic text, partitions integer, last_offsets bigint[])
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_topics';
COMMENT ON FUNCTION evpub._topics() IS 'topics published to (for view evpub.topics)';
REVOKE ALL ON FUNCTION evpub._topics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub._topics() TO pg_monitor;

CREATE VIEW evpub.topics AS SELECT * FROM evpub._topics();
COMMENT ON VIEW evpub.topics IS
'topics that this server has published to; follows the publisher by about a second';
COMMENT ON COLUMN evpub.topics.partitions IS
'partition count that keys are spread over; grows with the topic when all is confirmed';
COMMENT ON COLUMN evpub.topics.last_offsets IS
'last acknowledged offset of each partition, from partition 0 on; NULL: none yet';
GRANT SELECT ON evpub.topics TO pg_monitor;

-- ---------------------------------------------------------------------------
-- registration of this database: last, so that nothing is left of it when
-- something above fails
-- ---------------------------------------------------------------------------

DO $$ BEGIN PERFORM evpub.register_database(); END $$;
