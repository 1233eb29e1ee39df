/* sql/evpub--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION evpub" to load this file. \quit

-- ---------------------------------------------------------------------------
-- the schema is nobody else's
-- ---------------------------------------------------------------------------

-- Functions of this schema run with the rights of a superuser, in the statements
-- of whoever makes a table.  Who could make objects in it, before or later, could
-- have his own run there.  So a schema that is there already must be empty, belong
-- to who installs evpub or to another superuser, and be open to nobody else.
--
-- What stands in the schema is searched here as well, so all operators are named
-- with theirs, and types are exact.
DO $$
DECLARE
	installer pg_catalog.oid;
	owner     pg_catalog.oid;
	creator   pg_catalog.text;
	stranger  pg_catalog.text;
BEGIN
	SELECT r.oid INTO STRICT installer FROM pg_catalog.pg_roles r
	 WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER::pg_catalog.name;
	SELECT n.nspowner INTO STRICT owner FROM pg_catalog.pg_namespace n
	 WHERE n.nspname OPERATOR(pg_catalog.=) 'evpub'::pg_catalog.name;
	IF owner OPERATOR(pg_catalog.<>) installer AND
	   NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
	               WHERE r.oid OPERATOR(pg_catalog.=) owner AND r.rolsuper) THEN
		RAISE EXCEPTION 'schema "evpub" belongs to role %', owner::pg_catalog.regrole
			USING ERRCODE = 'insufficient_privilege',
			      DETAIL = 'Its owner could make functions there that run with the rights of a superuser.',
			      HINT = 'Drop the schema, or rename it, and let CREATE EXTENSION make one.';
	END IF;
	SELECT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC'::pg_catalog.text
	            ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END
	  INTO creator
	  FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
	 WHERE n.nspname OPERATOR(pg_catalog.=) 'evpub'::pg_catalog.name
	   AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'::pg_catalog.text
	   AND a.grantee OPERATOR(pg_catalog.<>) owner
	   AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
	                   WHERE r.oid OPERATOR(pg_catalog.=) a.grantee AND r.rolsuper)
	 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'others may create objects in schema "evpub": %', creator
			USING ERRCODE = 'insufficient_privilege',
			      DETAIL = 'They could make functions there that run with the rights of a superuser.',
			      HINT = pg_catalog.concat('If CREATE SCHEMA gives this privilege by default: CREATE SCHEMA evpub; first. Then: REVOKE CREATE ON SCHEMA evpub FROM '::pg_catalog.text,
			                               creator, ';'::pg_catalog.text);
	END IF;
	SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) INTO stranger
	  FROM pg_catalog.pg_depend d, pg_catalog.pg_namespace n
	 WHERE n.nspname OPERATOR(pg_catalog.=) 'evpub'::pg_catalog.name
	   AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid
	   AND d.refobjid OPERATOR(pg_catalog.=) n.oid
	   AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e
	                   WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
	                     AND e.oid OPERATOR(pg_catalog.=) d.objid
	                     AND e.extname OPERATOR(pg_catalog.=) 'evpub'::pg_catalog.name)
	 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'schema "evpub" is not empty: %', stranger
			USING ERRCODE = 'object_not_in_prerequisite_state',
			      DETAIL = 'What others have made there could run with the rights of a superuser.',
			      HINT = 'Drop the schema, or rename it, and let CREATE EXTENSION make one.';
	END IF;
END
$$;

COMMENT ON SCHEMA evpub IS 'publishing of committed changes to Kafka';

-- ---------------------------------------------------------------------------
-- what evpub calls itself
-- ---------------------------------------------------------------------------

-- What people call is in schema evpub; what that calls is here.  This schema is a
-- part of the extension, so nobody has made anything in it beforehand, and default
-- privileges of who installs evpub open it to nobody.
--
-- USAGE is needed by whoever runs a function that names others of this schema in
-- its body, with its caller's rights.  Of these only evpub.check() is for others
-- than superusers, and it is pg_monitor's.  Views name functions by their OIDs, and
-- event triggers run as the owner.  EXECUTE is granted function by function.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
	           WHERE n.nspname OPERATOR(pg_catalog.=) 'evpub_internal'::pg_catalog.name) THEN
		RAISE EXCEPTION 'schema "evpub_internal" is there already'
			USING ERRCODE = 'duplicate_schema',
			      DETAIL = 'CREATE EXTENSION makes it, so that it is nobody else''s.',
			      HINT = 'Drop the schema, or rename it.';
	END IF;
END
$$;
CREATE SCHEMA evpub_internal;
COMMENT ON SCHEMA evpub_internal IS
'functions that those of schema evpub call; nothing here is for people to call, and anything may change with any version';
DO $$
DECLARE
	stranger pg_catalog.text;
BEGIN
	FOR stranger IN
		SELECT DISTINCT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC'::pg_catalog.text
		                     ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END
		  FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
		 WHERE n.nspname OPERATOR(pg_catalog.=) 'evpub_internal'::pg_catalog.name
		   AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner
	LOOP
		EXECUTE pg_catalog.concat('REVOKE ALL ON SCHEMA evpub_internal FROM '::pg_catalog.text, stranger);
	END LOOP;
END
$$;
GRANT USAGE ON SCHEMA evpub_internal TO pg_monitor;

-- ---------------------------------------------------------------------------
-- capture
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub.capture()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture';
COMMENT ON FUNCTION evpub.capture() IS
'Trigger function that makes an event of each changed row; evpub.capture_table() makes its triggers. A trigger by hand is AFTER, FOR EACH ROW, not deferrable (TRUNCATE: BEFORE, FOR EACH STATEMENT), with arguments of the form option=value.';
REVOKE ALL ON FUNCTION evpub.capture() FROM PUBLIC;

CREATE FUNCTION evpub.capture_table(
	rel            regclass,
	topic          text    DEFAULT NULL,
	tenant_column  name    DEFAULT NULL,
	tenant         text    DEFAULT NULL,
	key            text    DEFAULT '{tenant}',
	type           text    DEFAULT '{table}.{event}',
	operations     text[]  DEFAULT '{insert,update,delete,truncate}',
	update_columns name[]  DEFAULT NULL,
	ignore_columns name[]  DEFAULT NULL,
	filter         text    DEFAULT NULL,
	payload        text    DEFAULT 'key',
	data_columns   name[]  DEFAULT NULL,
	headers        jsonb   DEFAULT NULL,
	envelope       text    DEFAULT 'plain',
	key_columns    name[]  DEFAULT NULL,
	on_truncate    text    DEFAULT NULL,
	on_delete      text    DEFAULT 'event',
	collapse       boolean DEFAULT true,
	on_replica     boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture_table';
COMMENT ON FUNCTION evpub.capture_table IS
'Publishes changes of a table from now on, and replaces what was set for it before; columns of view evpub.tables say what each argument means. The caller owns the table; it is an error to give neither tenant_column nor tenant, or what the table does not have.';
REVOKE ALL ON FUNCTION evpub.capture_table FROM PUBLIC;

CREATE FUNCTION evpub.release_table(rel regclass)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_release_table';
COMMENT ON FUNCTION evpub.release_table(regclass) IS
'Publishes later changes of a table no longer; what was committed before still is. It is an error if the table is not captured, or not the caller''s.';
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
'Publishes an event of this type and tenant in the plain envelope if this transaction commits, in one order with captured changes. A NULL topic is evpub.default_topic, a NULL key the tenant; a NULL type or tenant is an error.';
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
'Publishes a value as it is if this transaction commits, in one order with captured changes. A NULL value is a tombstone; a NULL key leaves the partition to the id of the event.';
REVOKE ALL ON FUNCTION evpub.publish_raw(text, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION evpub_internal.options(
	OUT name    text,
	OUT type    text,
	OUT value   text,
	OUT comment text)
RETURNS SETOF record
LANGUAGE c IMMUTABLE
AS 'MODULE_PATHNAME', 'evpub_options';
COMMENT ON FUNCTION evpub_internal.options() IS
'the options of evpub.capture_table(): name, type of the argument, default, and what they are for';
REVOKE ALL ON FUNCTION evpub_internal.options() FROM PUBLIC;

CREATE FUNCTION evpub_internal.capture_options(
	rel        oid,
	arguments  bytea,
	on_replica boolean,
	options    OUT jsonb,
	definition OUT text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_capture_options';
COMMENT ON FUNCTION evpub_internal.capture_options(oid, bytea, boolean) IS
'options in the arguments of a capture trigger (for view evpub.tables)';
REVOKE ALL ON FUNCTION evpub_internal.capture_options(oid, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.capture_options(oid, bytea, boolean) TO pg_monitor;

-- View evpub.tables has a column for each option that is an argument above: a library
-- that is newer than this script knows more.  One row for each captured table:
-- its partitions have no rows of their own, and a table may have several triggers with
-- the same options.
DO $$
DECLARE
	arguments pg_catalog.text[];
	options   pg_catalog.text;
	option    pg_catalog.record;
BEGIN
	SELECT p.proargnames INTO STRICT arguments FROM pg_catalog.pg_proc p
	 WHERE p.oid OPERATOR(pg_catalog.=) 'evpub.capture_table'::pg_catalog.regproc::pg_catalog.oid;
	-- which rows of replication make events, is pg_trigger's to say
	SELECT pg_catalog.string_agg(CASE WHEN o.name OPERATOR(pg_catalog.=) 'on_replica'::pg_catalog.text
	                                  THEN 't.tgenabled OPERATOR(pg_catalog.=) ''A'' AS on_replica'::pg_catalog.text
	                                  ELSE pg_catalog.format('o.options OPERATOR(pg_catalog.->>) %L AS %I', o.name, o.name) END,
	                             ', '::pg_catalog.text)
	  INTO STRICT options
	  FROM evpub_internal.options() o
	 WHERE o.name OPERATOR(pg_catalog.=) ANY (arguments);
	EXECUTE pg_catalog.concat('CREATE VIEW evpub.tables AS
		SELECT DISTINCT ON (t.tgrelid) t.tgrelid::pg_catalog.regclass AS "table", '::pg_catalog.text, options, ',
		       t.tgenabled IN (''O'', ''A'') AS enabled,
		       o.definition
		  FROM pg_catalog.pg_trigger t,
		       LATERAL evpub_internal.capture_options(t.tgrelid, t.tgargs, t.tgenabled = ''A'') o
		 WHERE t.tgfoid = ''evpub.capture()''::pg_catalog.regprocedure
		   AND t.tgparentid = 0
		 ORDER BY t.tgrelid, t.tgname'::pg_catalog.text);
	FOR option IN SELECT o.name, o.comment FROM evpub_internal.options() o
	              WHERE o.name OPERATOR(pg_catalog.=) ANY (arguments) LOOP
		EXECUTE pg_catalog.format('COMMENT ON COLUMN evpub.tables.%I IS %L', option.name, option.comment);
	END LOOP;
END
$$;
COMMENT ON VIEW evpub.tables IS
'captured tables, their settings, and the call that makes them';
COMMENT ON COLUMN evpub.tables."table" IS 'captured table';
COMMENT ON COLUMN evpub.tables.enabled IS 'false: its triggers are disabled';
COMMENT ON COLUMN evpub.tables.definition IS
'the call of evpub.capture_table() that gives these settings';
GRANT SELECT ON evpub.tables TO pg_monitor;
GRANT USAGE ON SCHEMA evpub TO pg_monitor;

-- ---------------------------------------------------------------------------
-- a schema for each customer
-- ---------------------------------------------------------------------------

CREATE TABLE evpub.schema_rules (
	pattern text NOT NULL,
	tables  name[] NOT NULL,
	options jsonb NOT NULL,
	PRIMARY KEY (pattern, tables));
COMMENT ON TABLE evpub.schema_rules IS
'which tables of which schemas are captured, now and when they are made; kept by evpub.capture_schemas(). Applied with the rights of the extension''s owner: who may write it can do what he can';
COMMENT ON COLUMN evpub.schema_rules.pattern IS
'regular expression on the name of a schema; its first group is {match}';
COMMENT ON COLUMN evpub.schema_rules.tables IS 'names of tables';
COMMENT ON COLUMN evpub.schema_rules.options IS 'options of evpub.capture_table()';
SELECT pg_catalog.pg_extension_config_dump('evpub.schema_rules', '');
GRANT SELECT ON evpub.schema_rules TO pg_monitor;

CREATE FUNCTION evpub_internal.is_captured(rel oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT EXISTS (SELECT FROM pg_trigger
               WHERE tgrelid = rel AND tgfoid = 'evpub.capture()'::regprocedure)
$$;
COMMENT ON FUNCTION evpub_internal.is_captured(oid) IS 'has the table a capture trigger?';
REVOKE ALL ON FUNCTION evpub_internal.is_captured(oid) FROM PUBLIC;

CREATE FUNCTION evpub_internal.rules()
RETURNS TABLE (pattern text, tables name[], options jsonb)
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_rules';
COMMENT ON FUNCTION evpub_internal.rules() IS
'the rules of evpub.capture_schemas() that are committed by now, whatever the snapshot';
REVOKE ALL ON FUNCTION evpub_internal.rules() FROM PUBLIC;

CREATE FUNCTION evpub_internal.made_tables(command pg_ddl_command)
RETURNS oid[]
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'evpub_made_tables';
COMMENT ON FUNCTION evpub_internal.made_tables(pg_ddl_command) IS
'tables that a command of an event trigger made, or gave what a rule looks at: name, schema, key';
REVOKE ALL ON FUNCTION evpub_internal.made_tables(pg_ddl_command) FROM PUBLIC;

CREATE FUNCTION evpub_internal.needs_match(options jsonb)
RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_needs_match';
COMMENT ON FUNCTION evpub_internal.needs_match(jsonb) IS
'does {match} stand in a template of these options?';
REVOKE ALL ON FUNCTION evpub_internal.needs_match(jsonb) FROM PUBLIC;

CREATE FUNCTION evpub_internal.capture_table(rel regclass, options jsonb, match text)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture_table_by_rule';
COMMENT ON FUNCTION evpub_internal.capture_table(regclass, jsonb, text) IS
'what evpub.capture_table() does, with the options of a rule; an error if reading the filter could run functions of the table''s owner';
REVOKE ALL ON FUNCTION evpub_internal.capture_table(regclass, jsonb, text) FROM PUBLIC;

-- All tables that a rule names.
CREATE FUNCTION evpub_internal.named_by_rule(rule evpub.schema_rules)
RETURNS oid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT ARRAY(SELECT c.oid
			   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			  WHERE n.nspname ~ rule.pattern AND c.relname = ANY (rule.tables))
$$;
COMMENT ON FUNCTION evpub_internal.named_by_rule(evpub.schema_rules) IS 'the tables that a rule names';
REVOKE ALL ON FUNCTION evpub_internal.named_by_rule(evpub.schema_rules) FROM PUBLIC;

-- Those of some tables that a rule means: ordinary and partitioned ones, not partitions, that
-- have what names their rows.  What the rule says of a column that is not there
-- is an error later; one that may be null still, or is not unique yet where a
-- filter needs that, is waited for.  Which tables, is given, because DDL has made
-- one, and the rule may mean thousands.
CREATE FUNCTION evpub_internal.tables_of_rule(rule evpub.schema_rules, among oid[])
RETURNS TABLE (rel regclass, schema name)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT c.oid::regclass, n.nspname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY (among)
   AND n.nspname ~ rule.pattern AND c.relname = ANY (rule.tables)
   AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
   AND CASE WHEN NOT rule.options ? 'key_columns' THEN
		EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid)
	ELSE
		NOT EXISTS (SELECT FROM pg_attribute a
		            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull
		              AND rule.options -> 'key_columns' ? a.attname::text)
		AND (NOT rule.options ? 'filter' OR
		     EXISTS (SELECT FROM pg_index i
		             WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
		               AND NOT EXISTS (SELECT FROM unnest(i.indkey[0:i.indnkeyatts - 1]) k (attnum)
		                               LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
		                               WHERE NOT coalesce(rule.options -> 'key_columns' ? a.attname::text, false))))
	END
 ORDER BY 2, 1
$$;
COMMENT ON FUNCTION evpub_internal.tables_of_rule(evpub.schema_rules, oid[]) IS 'those of some tables that a rule means';
REVOKE ALL ON FUNCTION evpub_internal.tables_of_rule(evpub.schema_rules, oid[]) FROM PUBLIC;

CREATE FUNCTION evpub_internal.capture_by_rule(rel regclass, schema name, rule evpub.schema_rules)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- one notice for each table would be too many
SET client_min_messages = warning
AS $$
DECLARE
	match   text := (regexp_match(schema, rule.pattern))[1];
	state   text;
	message text;
	detail  text;
	hint    text;
BEGIN
	IF match IS NULL AND evpub_internal.needs_match(rule.options) THEN
		RAISE EXCEPTION 'pattern "%" gives schema "%" no {match}', rule.pattern, schema
			USING ERRCODE = 'invalid_parameter_value',
			      DETAIL = 'The first group of the pattern takes no part in the match.',
			      HINT = 'Write the pattern so that its first group always matches, as in "^cust_(.*)$".';
	END IF;
	PERFORM evpub_internal.capture_table(rel, rule.options, match);
-- whoever makes a table may not know that there is a rule
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS
		state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE EXCEPTION USING
		ERRCODE = state,
		MESSAGE = message,
		DETAIL = concat_ws(' ', nullif(detail, ''),
			format('Table %s is captured by the rule for schemas "%s".', rel, rule.pattern)),
		HINT = coalesce(nullif(hint, ''),
			'Make the table as the rule in evpub.schema_rules asks for, or have the rule changed.');
END
$$;
COMMENT ON FUNCTION evpub_internal.capture_by_rule(regclass, name, evpub.schema_rules) IS
'capture a table with the options of a rule, {match} replaced';
REVOKE ALL ON FUNCTION evpub_internal.capture_by_rule(regclass, name, evpub.schema_rules) FROM PUBLIC;

-- DDL and the making of rules wait for each other, or a table could be made by
-- somebody who does not see the rule, and not be seen by who makes the rule.
-- Whoever makes a table holds this lock until his transaction ends; those who
-- make tables do not wait for each other.
CREATE FUNCTION evpub_internal.lock_rules()
RETURNS event_trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d
	           WHERE d.schema_name IS DISTINCT FROM 'pg_temp') THEN
		LOCK TABLE evpub.schema_rules IN ROW EXCLUSIVE MODE;
	END IF;
END
$$;
COMMENT ON FUNCTION evpub_internal.lock_rules() IS
'event trigger: keeps rules from being made while tables are';
REVOKE ALL ON FUNCTION evpub_internal.lock_rules() FROM PUBLIC;

CREATE EVENT TRIGGER evpub_lock_rules ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'ALTER INDEX', 'ALTER VIEW',
	             'CREATE INDEX', 'CREATE SCHEMA', 'ALTER SCHEMA')
	EXECUTE FUNCTION evpub_internal.lock_rules();
COMMENT ON EVENT TRIGGER evpub_lock_rules IS
'keeps rules of evpub.capture_schemas() from being made while tables are';

-- Captures what a rule means as soon as it has its key, in the transaction of
-- the DDL.  Runs as the extension's owner, since the rule is an administrator's
-- decision, not that of whoever makes a table; all it does is decided by rules,
-- and nothing of the table's owner runs here (rules.c).
CREATE FUNCTION evpub_internal.apply_rules()
RETURNS event_trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rule    evpub.schema_rules;
	found   record;
	made    oid[];
	schemas oid[];
BEGIN
	-- without the library in this server there is no such setting
	IF NOT coalesce(current_setting('evpub.capture', true), 'on')::boolean THEN
		RETURN;
	END IF;
	SELECT array_agg(m.oid), array_agg(d.objid) FILTER (WHERE d.classid = 'pg_namespace'::regclass)
	  INTO made, schemas
	  FROM pg_event_trigger_ddl_commands() d
	       LEFT JOIN LATERAL unnest(evpub_internal.made_tables(d.command)) m (oid) ON true
	 WHERE d.schema_name IS DISTINCT FROM 'pg_temp';
	IF array_remove(made, NULL) = '{}' AND schemas IS NULL THEN
		RETURN;
	END IF;
	-- a schema has been made, or has another name
	IF schemas IS NOT NULL THEN
		made := made || ARRAY(SELECT c.oid FROM pg_class c WHERE c.relnamespace = ANY (schemas) AND c.relkind IN ('r', 'p'));
	END IF;
	LOCK TABLE evpub.schema_rules IN ROW EXCLUSIVE MODE;
	FOR rule IN SELECT * FROM evpub_internal.rules() r ORDER BY r.pattern, r.tables LOOP
		FOR found IN
			SELECT t.* FROM evpub_internal.tables_of_rule(rule, made) t
			WHERE NOT evpub_internal.is_captured(t.rel::pg_catalog.oid)
		LOOP
			PERFORM evpub_internal.capture_by_rule(found.rel::pg_catalog.regclass, found.schema::pg_catalog.name, rule);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION evpub_internal.apply_rules() IS
'event trigger: captures tables that rules of evpub.capture_schemas() mean';
REVOKE ALL ON FUNCTION evpub_internal.apply_rules() FROM PUBLIC;

-- The event trigger that applies rules is made with the first one and goes with
-- the last.  It is not a part of the extension, so that pg_dump dumps it: a
-- restore makes event triggers when all else is there, so that no rule is applied
-- to tables that the dump captures itself, or not.
CREATE FUNCTION evpub_internal.watch_rules()
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	watched boolean := EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'evpub_rules');
	needed  boolean := EXISTS (SELECT FROM evpub_internal.rules());
BEGIN
	IF needed AND NOT watched THEN
		CREATE EVENT TRIGGER evpub_rules ON ddl_command_end
			WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'ALTER INDEX', 'ALTER VIEW',
			             'CREATE INDEX', 'CREATE SCHEMA', 'ALTER SCHEMA')
			EXECUTE FUNCTION evpub_internal.apply_rules();
		COMMENT ON EVENT TRIGGER evpub_rules IS
			'captures tables that rules of evpub.capture_schemas() mean';
	ELSIF watched AND NOT needed THEN
		DROP EVENT TRIGGER evpub_rules;
	END IF;
END
$$;
COMMENT ON FUNCTION evpub_internal.watch_rules() IS
'makes the event trigger that applies rules, if there are any, or drops it';
REVOKE ALL ON FUNCTION evpub_internal.watch_rules() FROM PUBLIC;

-- For who makes or ends rules: nobody makes tables meanwhile.
CREATE FUNCTION evpub_internal.begin_rules()
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE EXCEPTION 'rules cannot be changed in a transaction of isolation level %', current_setting('transaction_isolation')
			USING ERRCODE = 'object_not_in_prerequisite_state',
			      DETAIL = 'Its snapshot may not show tables that others have made since.',
			      HINT = 'Use a transaction of isolation level READ COMMITTED.';
	END IF;
	LOCK TABLE evpub.schema_rules IN SHARE ROW EXCLUSIVE MODE;
END
$$;
COMMENT ON FUNCTION evpub_internal.begin_rules() IS 'waits for transactions that make tables, and holds up others';
REVOKE ALL ON FUNCTION evpub_internal.begin_rules() FROM PUBLIC;

-- "options" are checked, and of the form that evpub.schema_rules keeps.
CREATE FUNCTION evpub_internal.capture_schemas(pattern text, tables name[], options jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	rule   evpub.schema_rules;
	found  record;
	count  integer := 0;
	filled text[] := '{}';
BEGIN
	IF array_position(capture_schemas.tables, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'pattern and tables must not be null'
			USING ERRCODE = 'null_value_not_allowed',
			      HINT = 'Give a regular expression on the name of the schema, and the names of tables.';
	END IF;
	PERFORM regexp_match('', capture_schemas.pattern);
	PERFORM evpub_internal.begin_rules();
	rule := ROW(capture_schemas.pattern,
		ARRAY(SELECT DISTINCT t FROM unnest(capture_schemas.tables) t ORDER BY 1),
		capture_schemas.options);
	INSERT INTO evpub.schema_rules VALUES (rule.pattern, rule.tables, rule.options)
		ON CONFLICT (pattern, tables) DO UPDATE SET options = excluded.options;
	PERFORM evpub_internal.watch_rules();
	FOR found IN SELECT * FROM evpub_internal.tables_of_rule(rule, evpub_internal.named_by_rule(rule)) LOOP
		IF NOT evpub_internal.is_captured(found.rel::pg_catalog.oid) AND
		   (SELECT sum(pg_relation_size(p.oid)) FROM (
				SELECT found.rel::pg_catalog.oid AS oid UNION SELECT t.relid::pg_catalog.oid FROM pg_partition_tree(found.rel::pg_catalog.regclass) t) p) > 0 THEN
			filled := filled || found.rel::pg_catalog.text;
		END IF;
		PERFORM evpub_internal.capture_by_rule(found.rel::pg_catalog.regclass, found.schema::pg_catalog.name, rule);
		count := count + 1;
	END LOOP;
	IF filled <> '{}' THEN
		RAISE NOTICE 'rows that % tables have already are not published', cardinality(filled)
			USING HINT = format('To publish them, for one: CALL evpub.resync(ARRAY[%L]::regclass[]);', filled[1]);
	END IF;
	RETURN count;
END
$$;
COMMENT ON FUNCTION evpub_internal.capture_schemas(text, name[], jsonb) IS
'what evpub.capture_schemas() does when its options are checked';
REVOKE ALL ON FUNCTION evpub_internal.capture_schemas(text, name[], jsonb) FROM PUBLIC;

CREATE FUNCTION evpub.capture_schemas(
	pattern        text,
	tables         name[],
	topic          text    DEFAULT NULL,
	tenant_column  name    DEFAULT NULL,
	tenant         text    DEFAULT NULL,
	key            text    DEFAULT '{tenant}',
	type           text    DEFAULT '{table}.{event}',
	operations     text[]  DEFAULT '{insert,update,delete,truncate}',
	update_columns name[]  DEFAULT NULL,
	ignore_columns name[]  DEFAULT NULL,
	filter         text    DEFAULT NULL,
	payload        text    DEFAULT 'key',
	data_columns   name[]  DEFAULT NULL,
	headers        jsonb   DEFAULT NULL,
	envelope       text    DEFAULT 'plain',
	key_columns    name[]  DEFAULT NULL,
	on_truncate    text    DEFAULT NULL,
	on_delete      text    DEFAULT 'event',
	collapse       boolean DEFAULT true,
	on_replica     boolean DEFAULT false)
RETURNS integer
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'evpub_capture_schemas';
COMMENT ON FUNCTION evpub.capture_schemas IS
'Captures these tables in all schemas whose name matches a regular expression, now and when they are made later, with the arguments of evpub.capture_table(); returns how many there are now. For superusers; an error in REPEATABLE READ and SERIALIZABLE.';
REVOKE ALL ON FUNCTION evpub.capture_schemas FROM PUBLIC;

CREATE FUNCTION evpub.release_schemas(pattern text, tables name[])
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rule  evpub.schema_rules;
	other evpub.schema_rules;
	found record;
	count integer := 0;
BEGIN
	PERFORM evpub_internal.begin_rules();
	DELETE FROM evpub.schema_rules r
		WHERE r.pattern = release_schemas.pattern
		  AND r.tables = ARRAY(SELECT DISTINCT t FROM unnest(release_schemas.tables) t ORDER BY 1)
		RETURNING * INTO rule;
	IF rule.pattern IS NULL THEN
		RAISE EXCEPTION 'there is no rule for these schemas and tables'
			USING ERRCODE = 'undefined_object',
			      HINT = 'Table evpub.schema_rules shows the rules.';
	END IF;
	FOR found IN SELECT * FROM evpub_internal.tables_of_rule(rule, evpub_internal.named_by_rule(rule)) LOOP
		IF evpub_internal.is_captured(found.rel::pg_catalog.oid) THEN
			PERFORM evpub.release_table(found.rel::pg_catalog.regclass);
			count := count + 1;
			-- another rule may mean it as well
			FOR other IN SELECT * FROM evpub_internal.rules() r ORDER BY r.pattern, r.tables LOOP
				IF NOT evpub_internal.is_captured(found.rel::pg_catalog.oid) AND
				   EXISTS (SELECT FROM evpub_internal.tables_of_rule(other, ARRAY[found.rel::pg_catalog.oid])) THEN
					PERFORM evpub_internal.capture_by_rule(found.rel::pg_catalog.regclass, found.schema::pg_catalog.name, other);
				END IF;
			END LOOP;
		END IF;
	END LOOP;
	PERFORM evpub_internal.watch_rules();
	RETURN count;
END
$$;
COMMENT ON FUNCTION evpub.release_schemas(text, name[]) IS
'Ends a rule of evpub.capture_schemas() and releases its tables, but for those that another rule names; returns how many. It is an error if there is no such rule.';
REVOKE ALL ON FUNCTION evpub.release_schemas(text, name[]) FROM PUBLIC;

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
'Shows committed events of this database in the order in which they are published, at most max_events: those that are not published yet, or those of transactions that committed after from_lsn. Reads WAL and needs no broker; it is an error if WAL from from_lsn on is not there any more.';
REVOKE ALL ON FUNCTION evpub.peek(integer, pg_lsn) FROM PUBLIC;

CREATE FUNCTION evpub.wait_published(
	lsn     pg_lsn DEFAULT NULL,
	timeout interval DEFAULT '30 s')
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_wait_published';
COMMENT ON FUNCTION evpub.wait_published(pg_lsn, interval) IS
'Waits until all commits up to lsn (NULL: up to now) are in Kafka, and returns true, or false with a NOTICE that says why after the timeout. It is an error on a standby.';
REVOKE ALL ON FUNCTION evpub.wait_published(pg_lsn, interval) FROM PUBLIC;

CREATE PROCEDURE evpub.resync(
	rels   regclass[],
	tenant text DEFAULT NULL,
	filter text DEFAULT NULL,
	batch  integer DEFAULT 10000,
	topic  text DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'evpub_resync';
COMMENT ON PROCEDURE evpub.resync(regclass[], text, text, integer, text) IS
'Publishes an event of each row that captured tables have now, of one tenant or all, inside a filter on {row} or not, and commits after each batch of so many rows. For owners of the tables; it is an error in a transaction block.';
REVOKE ALL ON PROCEDURE evpub.resync(regclass[], text, text, integer, text) FROM PUBLIC;

CREATE FUNCTION evpub.wait_replayed(
	lsn     pg_lsn,
	timeout interval DEFAULT '30 s')
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_wait_replayed';
COMMENT ON FUNCTION evpub.wait_replayed(pg_lsn, interval) IS
'Waits until this standby has replayed up to lsn, and returns true, or false after the timeout: then the next statement reads the row of an event with this lsn. A NULL lsn is an error.';
REVOKE ALL ON FUNCTION evpub.wait_replayed(pg_lsn, interval) FROM PUBLIC;

CREATE FUNCTION evpub.pause()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_pause';
COMMENT ON FUNCTION evpub.pause() IS
'Publishes nothing until evpub.resume(), also after a restart; WAL is kept meanwhile, and writers go on. Returns when that is durable; it is an error on a standby and where there is no publisher.';
REVOKE ALL ON FUNCTION evpub.pause() FROM PUBLIC;

CREATE FUNCTION evpub.resume()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_resume';
COMMENT ON FUNCTION evpub.resume() IS
'Publishes again: after evpub.pause(), after a topic was found to be made anew, or after 100 dead letters of a topic in a row. Returns when that is durable; it is an error on a standby and where there is no publisher.';
REVOKE ALL ON FUNCTION evpub.resume() FROM PUBLIC;

CREATE FUNCTION evpub.take_over()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_take_over';
COMMENT ON FUNCTION evpub.take_over() IS
'Ends state "fenced": this server publishes from now on, under a new publisher id. Be sure that the server it may be a copy of publishes to these brokers no more; it is an error in any other state.';
REVOKE ALL ON FUNCTION evpub.take_over() FROM PUBLIC;

CREATE FUNCTION evpub.accept_gap(lsn pg_lsn)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_accept_gap';
COMMENT ON FUNCTION evpub.accept_gap(pg_lsn) IS
'Ends state "gap": publishing goes on behind the gap that evpub.status shows; what lies in it is given up, a NOTICE says how much, and consumers get evpub.gap events. It is an error if the gap reaches beyond lsn.';
REVOKE ALL ON FUNCTION evpub.accept_gap(pg_lsn) FROM PUBLIC;

CREATE FUNCTION evpub.discard(up_to pg_lsn)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_discard';
COMMENT ON FUNCTION evpub.discard(pg_lsn) IS
'Gives up what committed up to an LSN and is not in Kafka yet; a NOTICE says how much, and consumers get evpub.gap events. It is an error in states "gap" and "fenced".';
REVOKE ALL ON FUNCTION evpub.discard(pg_lsn) FROM PUBLIC;

CREATE FUNCTION evpub.forget_topic(topic text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_forget_topic';
COMMENT ON FUNCTION evpub.forget_topic(text) IS
'Forgets a topic that is retired, with its partition count and offsets; an event that still comes for it finds it as one never published to. It is an error if nothing was published to it.';
REVOKE ALL ON FUNCTION evpub.forget_topic(text) FROM PUBLIC;

CREATE FUNCTION evpub.skip_event(id text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_skip_event';
COMMENT ON FUNCTION evpub.skip_event(text) IS
'Gives up exactly the event that Kafka refuses and that publishing stands still at, whose id evpub.status shows; consumers get an evpub.skipped event of the same id. It is an error for any other id.';
REVOKE ALL ON FUNCTION evpub.skip_event(text) FROM PUBLIC;

CREATE FUNCTION evpub.register_database()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_register_database';
COMMENT ON FUNCTION evpub.register_database() IS
'Lets this database publish, if it is a copy made by CREATE DATABASE ... TEMPLATE; CREATE EXTENSION does it by itself. It is an error if evpub is not preloaded, or its worker does not run.';
REVOKE ALL ON FUNCTION evpub.register_database() FROM PUBLIC;

CREATE FUNCTION evpub_internal.status(
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
	OUT events_skipped         bigint,
	OUT relay_pid              integer,
	OUT relay_restarts         bigint,
	OUT last_error             text,
	OUT last_error_at          timestamptz,
	OUT bootstrap_servers      text,
	OUT librdkafka_version     text,
	OUT hint                   text)
RETURNS record
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_status';
COMMENT ON FUNCTION evpub_internal.status() IS 'the publisher''s status (for view evpub.status)';
REVOKE ALL ON FUNCTION evpub_internal.status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.status() TO pg_monitor;

CREATE VIEW evpub.status AS SELECT * FROM evpub_internal.status();
COMMENT ON VIEW evpub.status IS 'one row: what the publisher of this server does';
COMMENT ON COLUMN evpub.status.state IS
'unconfigured, starting, streaming, paused, blocked, gap, fenced or standby';
COMMENT ON COLUMN evpub.status.state_reason IS
'why, where the state does not say it; or the transaction that holds back WAL';
COMMENT ON COLUMN evpub.status.since IS 'when this state was entered';
COMMENT ON COLUMN evpub.status.publisher_id IS
'first 16 digits of the ids of its events; the first 8 stay when another server takes over';
COMMENT ON COLUMN evpub.status.confirmed_lsn IS 'all commits up to here are in Kafka';
COMMENT ON COLUMN evpub.status.read_lsn IS 'WAL is read up to here';
COMMENT ON COLUMN evpub.status.flush_lsn IS 'WAL is flushed up to here';
COMMENT ON COLUMN evpub.status.lag_bytes IS 'bytes of WAL between confirmed_lsn and flush_lsn';
COMMENT ON COLUMN evpub.status.lag_seconds IS
'seconds since the oldest commit with events that is not in Kafka, 0 if there is none';
COMMENT ON COLUMN evpub.status.retained_bytes IS 'bytes of WAL that the replication slot keeps';
COMMENT ON COLUMN evpub.status.events_published IS 'events that Kafka has acknowledged since the server started';
COMMENT ON COLUMN evpub.status.transactions_published IS 'transactions with events that are in Kafka as a whole, since the server started';
COMMENT ON COLUMN evpub.status.events_in_flight IS 'events that are sent to the relay and not acknowledged';
COMMENT ON COLUMN evpub.status.forged_dropped IS
'messages in WAL with the prefix of evpub that evpub did not write, since the server started';
COMMENT ON COLUMN evpub.status.dead_lettered IS 'events that the dead-letter topic has acknowledged since the server started';
COMMENT ON COLUMN evpub.status.duplicates_dropped IS
'events that a new relay found in Kafka and did not send again, since the server started';
COMMENT ON COLUMN evpub.status.events_skipped IS 'events given up by skip_event() since the server started';
COMMENT ON COLUMN evpub.status.relay_pid IS 'process id of evpub-relay, NULL: none runs';
COMMENT ON COLUMN evpub.status.relay_restarts IS
'relays started after one that had failed, since the server started; each new try to send a refused event is one';
COMMENT ON COLUMN evpub.status.last_error IS 'newest error of relay or worker, also when it is over';
COMMENT ON COLUMN evpub.status.last_error_at IS 'when that was';
COMMENT ON COLUMN evpub.status.bootstrap_servers IS 'setting evpub.bootstrap_servers';
COMMENT ON COLUMN evpub.status.librdkafka_version IS 'of the library in the relay';
COMMENT ON COLUMN evpub.status.hint IS 'what to do about the state, NULL: nothing, or it is not known';
GRANT SELECT ON evpub.status TO pg_monitor;

CREATE FUNCTION evpub_internal.failures()
RETURNS TABLE (first_at timestamptz, last_at timestamptz, count bigint, kind text, topic text,
			   partition integer, id text, code integer, text text, done text)
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_failures';
COMMENT ON FUNCTION evpub_internal.failures() IS 'what went wrong lately (for view evpub.failures)';
REVOKE ALL ON FUNCTION evpub_internal.failures() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.failures() TO pg_monitor;

CREATE VIEW evpub.failures AS SELECT * FROM evpub_internal.failures();
COMMENT ON VIEW evpub.failures IS
'the newest 100 refusals and errors of this server''s publisher, the newest first; outlives worker and server, and follows by about a second';
COMMENT ON COLUMN evpub.failures.first_at IS 'when the failure came first';
COMMENT ON COLUMN evpub.failures.last_at IS 'when the failure came last';
COMMENT ON COLUMN evpub.failures.count IS
'how often the failure came: one that differs in numbers of its text alone has no row of its own while the first is among the newest 8';
COMMENT ON COLUMN evpub.failures.kind IS
'refused (an event), kafka, topic (deleted and made again), settings, relay, server, gap or fenced';
COMMENT ON COLUMN evpub.failures.topic IS 'topic; NULL: none, or only the text names it';
COMMENT ON COLUMN evpub.failures.partition IS 'partition; NULL: none, or only the text names it';
COMMENT ON COLUMN evpub.failures.id IS 'id of the event; NULL: none, or only the text names it';
COMMENT ON COLUMN evpub.failures.code IS 'Kafka''s error code, or librdkafka''s if negative; NULL: none';
COMMENT ON COLUMN evpub.failures.text IS 'the reason as evpub.status had it';
COMMENT ON COLUMN evpub.failures.done IS
'what evpub did about it then: retried, blocked, skipped, dead-lettered, relay restarted, worker restarted or given up; whether it is over is in evpub.status';
GRANT SELECT ON evpub.failures TO pg_monitor;

CREATE FUNCTION evpub_internal.topics()
RETURNS TABLE (topic text, partitions integer, last_offsets bigint[])
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_topics';
COMMENT ON FUNCTION evpub_internal.topics() IS 'topics published to (for view evpub.topics)';
REVOKE ALL ON FUNCTION evpub_internal.topics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.topics() TO pg_monitor;

CREATE VIEW evpub.topics AS SELECT * FROM evpub_internal.topics();
COMMENT ON VIEW evpub.topics IS
'topics that this server has published to; follows the publisher by about a second';
COMMENT ON COLUMN evpub.topics.topic IS 'name of the topic';
COMMENT ON COLUMN evpub.topics.partitions IS
'partition count that keys are spread over; grows with the topic when all is confirmed';
COMMENT ON COLUMN evpub.topics.last_offsets IS
'last acknowledged offset of each partition, from partition 0 on; NULL: none yet';
GRANT SELECT ON evpub.topics TO pg_monitor;

-- ---------------------------------------------------------------------------
-- stat: figures since a reset
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub_internal.stat(
	OUT events               bigint,
	OUT transactions         bigint,
	OUT bytes                bigint,
	OUT refusals             jsonb,
	OUT relay_starts         jsonb,
	OUT gaps                 bigint,
	OUT dead_letters         bigint,
	OUT duplicates_dropped   bigint,
	OUT last_acknowledged_at timestamptz,
	OUT latency_p50          double precision,
	OUT latency_p95          double precision,
	OUT latency_p99          double precision,
	OUT stats_reset          timestamptz)
RETURNS record
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_stat';
COMMENT ON FUNCTION evpub_internal.stat() IS 'Figures since a reset (for view evpub.stat).';
REVOKE ALL ON FUNCTION evpub_internal.stat() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.stat() TO pg_monitor;

CREATE VIEW evpub.stat AS SELECT * FROM evpub_internal.stat();
COMMENT ON VIEW evpub.stat IS
'one row: what this server''s publisher has done since stats_reset; outlives worker and server';
COMMENT ON COLUMN evpub.stat.events IS 'events that Kafka has acknowledged, each once';
COMMENT ON COLUMN evpub.stat.transactions IS 'transactions of which the last event was acknowledged, or found in Kafka by a new relay';
COMMENT ON COLUMN evpub.stat.bytes IS 'bytes of keys, values and headers of these events, before compression';
COMMENT ON COLUMN evpub.stat.refusals IS
'how often a relay has ended with an error of Kafka, by its code (librdkafka''s if negative), as an object';
COMMENT ON COLUMN evpub.stat.relay_starts IS
'how often a relay was started, by cause, as an object: worker (started), settings (changed), refused, kafka, configuration, topic, died, hung, server, asked';
COMMENT ON COLUMN evpub.stat.gaps IS 'gaps that were found or made';
COMMENT ON COLUMN evpub.stat.dead_letters IS 'events that the dead-letter topic has acknowledged';
COMMENT ON COLUMN evpub.stat.duplicates_dropped IS
'events that a new relay found in Kafka and did not send again; not in events';
COMMENT ON COLUMN evpub.stat.last_acknowledged_at IS 'when the last event was acknowledged';
COMMENT ON COLUMN evpub.stat.latency_p50 IS
'seconds from commit to acknowledgement that half of the last minute''s events took at most, NULL: there were none';
COMMENT ON COLUMN evpub.stat.latency_p95 IS 'the same of 95 in 100 events';
COMMENT ON COLUMN evpub.stat.latency_p99 IS 'the same of 99 in 100 events';
COMMENT ON COLUMN evpub.stat.stats_reset IS 'since when all of this is counted';
GRANT SELECT ON evpub.stat TO pg_monitor;

CREATE FUNCTION evpub_internal.stat_topics()
RETURNS TABLE (topic text, events bigint, bytes bigint, last_acknowledged_at timestamptz)
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_stat_topics';
COMMENT ON FUNCTION evpub_internal.stat_topics() IS 'Figures by topic (for view evpub.stat_topics).';
REVOKE ALL ON FUNCTION evpub_internal.stat_topics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.stat_topics() TO pg_monitor;

CREATE VIEW evpub.stat_topics AS SELECT * FROM evpub_internal.stat_topics();
COMMENT ON VIEW evpub.stat_topics IS
'what is acknowledged of each topic since stats_reset in evpub.stat; topics beyond 1,000 are one row without a name';
COMMENT ON COLUMN evpub.stat_topics.topic IS 'name of the topic; NULL: all beyond the first 1,000';
COMMENT ON COLUMN evpub.stat_topics.events IS 'events that Kafka has acknowledged, each once';
COMMENT ON COLUMN evpub.stat_topics.bytes IS 'bytes of their keys, values and headers, before compression';
COMMENT ON COLUMN evpub.stat_topics.last_acknowledged_at IS 'when the last one was acknowledged';
GRANT SELECT ON evpub.stat_topics TO pg_monitor;

CREATE FUNCTION evpub_internal.stat_tables()
RETURNS TABLE (relation oid, created bigint, updated bigint, deleted bigint, truncated bigint,
               resynced bigint)
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_stat_tables';
COMMENT ON FUNCTION evpub_internal.stat_tables() IS
'Events captured, by table (for view evpub.stat_tables).';
REVOKE ALL ON FUNCTION evpub_internal.stat_tables() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.stat_tables() TO pg_monitor;

CREATE VIEW evpub.stat_tables AS
SELECT relation::pg_catalog.regclass AS "table", created, updated, deleted, truncated, resynced
  FROM evpub_internal.stat_tables();
COMMENT ON VIEW evpub.stat_tables IS
'events that this database''s captured tables have made since stats_reset in evpub.stat, committed, published or not; tables of this server beyond 8,192 are one row without a name';
COMMENT ON COLUMN evpub.stat_tables."table" IS
'captured table, for its partitions, too; NULL: all beyond the first 8,192 of the server';
COMMENT ON COLUMN evpub.stat_tables.created IS 'events of operation "create"';
COMMENT ON COLUMN evpub.stat_tables.updated IS 'events of operation "update"';
COMMENT ON COLUMN evpub.stat_tables.deleted IS 'events of operation "delete"';
COMMENT ON COLUMN evpub.stat_tables.truncated IS 'events of operation "truncate"';
COMMENT ON COLUMN evpub.stat_tables.resynced IS 'events of operation "resync": rows, and the two marks of each tenant';
GRANT SELECT ON evpub.stat_tables TO pg_monitor;

CREATE FUNCTION evpub.stat_reset()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'evpub_stat_reset';
COMMENT ON FUNCTION evpub.stat_reset() IS
'Counts anew from now on in evpub.stat, evpub.stat_topics and evpub.stat_tables.';
REVOKE ALL ON FUNCTION evpub.stat_reset() FROM PUBLIC;

-- ---------------------------------------------------------------------------
-- progress: how far long work is
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub_internal.stat_progress_resync()
RETURNS TABLE (pid integer, datname name, relid oid, phase text, rows_done bigint, rows_total bigint,
			   tables_done integer, tables_total integer, started_at timestamptz,
			   rows_per_second double precision, time_left interval)
LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'evpub_stat_progress_resync';
COMMENT ON FUNCTION evpub_internal.stat_progress_resync() IS
'Calls of evpub.resync() that run now (for view evpub.stat_progress_resync).';
REVOKE ALL ON FUNCTION evpub_internal.stat_progress_resync() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.stat_progress_resync() TO pg_monitor;

CREATE VIEW evpub.stat_progress_resync AS SELECT * FROM evpub_internal.stat_progress_resync();
COMMENT ON VIEW evpub.stat_progress_resync IS
'a row for each call of evpub.resync() that runs now, of any database of this server, up to 16; of other roles'' calls only who is in pg_read_all_stats sees more than pid and datname';
COMMENT ON COLUMN evpub.stat_progress_resync.pid IS 'process id of the session';
COMMENT ON COLUMN evpub.stat_progress_resync.datname IS 'its database';
COMMENT ON COLUMN evpub.stat_progress_resync.relid IS
'oid of the table that the call is at, in that database; NULL: none yet';
COMMENT ON COLUMN evpub.stat_progress_resync.phase IS
'checking, starting, waiting for commits to be visible, publishing rows, waiting for a locked row, or finishing';
COMMENT ON COLUMN evpub.stat_progress_resync.rows_done IS
'rows of the table that are published and committed';
COMMENT ON COLUMN evpub.stat_progress_resync.rows_total IS
'about how many rows the table has, as the last VACUUM or ANALYZE counted them; NULL: not known, also with a tenant or a filter, of the call or the capture';
COMMENT ON COLUMN evpub.stat_progress_resync.tables_done IS 'tables of the call that are done';
COMMENT ON COLUMN evpub.stat_progress_resync.tables_total IS 'tables that the call has';
COMMENT ON COLUMN evpub.stat_progress_resync.started_at IS 'when the call began';
COMMENT ON COLUMN evpub.stat_progress_resync.rows_per_second IS
'rows_done over the time since the first row of the table was looked for; NULL: that was not yet';
COMMENT ON COLUMN evpub.stat_progress_resync.time_left IS
'for the rows of this table, at that rate; NULL: not known';
GRANT SELECT ON evpub.stat_progress_resync TO pg_monitor;

CREATE FUNCTION evpub_internal.stat_progress_catchup()
RETURNS TABLE (state text, behind_since timestamptz, from_lsn pg_lsn, confirmed_lsn pg_lsn, target_lsn pg_lsn,
			   done_bytes bigint, left_bytes bigint, bytes_per_second bigint, time_left interval)
LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'evpub_stat_progress_catchup';
COMMENT ON FUNCTION evpub_internal.stat_progress_catchup() IS
'How far the publisher has caught up (for view evpub.stat_progress_catchup).';
REVOKE ALL ON FUNCTION evpub_internal.stat_progress_catchup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.stat_progress_catchup() TO pg_monitor;

CREATE VIEW evpub.stat_progress_catchup AS SELECT * FROM evpub_internal.stat_progress_catchup();
COMMENT ON VIEW evpub.stat_progress_catchup IS
'one row while the publisher is behind, else none: from when its oldest unpublished commit is older than 10 s until none is older than 1 s';
COMMENT ON COLUMN evpub.stat_progress_catchup.state IS 'as in evpub.status';
COMMENT ON COLUMN evpub.stat_progress_catchup.behind_since IS
'when the commit was made that was the oldest one not in Kafka when the publisher fell behind';
COMMENT ON COLUMN evpub.stat_progress_catchup.from_lsn IS 'all commits up to here were in Kafka then';
COMMENT ON COLUMN evpub.stat_progress_catchup.confirmed_lsn IS 'all commits up to here are in Kafka';
COMMENT ON COLUMN evpub.stat_progress_catchup.target_lsn IS 'WAL is flushed up to here';
COMMENT ON COLUMN evpub.stat_progress_catchup.done_bytes IS 'bytes of WAL between from_lsn and confirmed_lsn';
COMMENT ON COLUMN evpub.stat_progress_catchup.left_bytes IS 'bytes of WAL between confirmed_lsn and target_lsn';
COMMENT ON COLUMN evpub.stat_progress_catchup.bytes_per_second IS
'at which confirmed_lsn moved in the last ten seconds or so; NULL: not known yet';
COMMENT ON COLUMN evpub.stat_progress_catchup.time_left IS
'until left_bytes is zero, at the rate at which it shrank in that time; NULL: it did not, or the state is not streaming';
GRANT SELECT ON evpub.stat_progress_catchup TO pg_monitor;

-- ---------------------------------------------------------------------------
-- check: what is wrong, and what to type
-- ---------------------------------------------------------------------------

CREATE FUNCTION evpub_internal.check_server(
	OUT preloaded     boolean,
	OUT worker_pid    integer,
	OUT file          text,
	OUT file_detail   text,
	OUT disk_free     bigint,
	OUT disk_total    bigint,
	OUT disk_reserved bigint)
RETURNS record
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_check_server';
COMMENT ON FUNCTION evpub_internal.check_server() IS
'worker, state file and the file system of pg_wal (for evpub.check)';
REVOKE ALL ON FUNCTION evpub_internal.check_server() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.check_server() TO pg_monitor;

CREATE FUNCTION evpub_internal.small_topics()
RETURNS text
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'evpub_small_topics';
COMMENT ON FUNCTION evpub_internal.small_topics() IS
'topics that take less than evpub.max_event_bytes, as far as evpub may ask; NULL if there are none (for evpub.check)';
REVOKE ALL ON FUNCTION evpub_internal.small_topics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.small_topics() TO pg_monitor;

CREATE FUNCTION evpub_internal.open_transactions()
RETURNS TABLE (xid xid, first_lsn pg_lsn, prepared boolean)
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_open_transactions';
COMMENT ON FUNCTION evpub_internal.open_transactions() IS
'oldest open transactions that have logged events, and so hold back WAL (for evpub.check)';
REVOKE ALL ON FUNCTION evpub_internal.open_transactions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.open_transactions() TO pg_monitor;

-- The publisher of this server.  A decision table: of each name, the first
-- line that applies.  A line without a hint is fine.
CREATE FUNCTION evpub_internal.check_publisher()
RETURNS TABLE (place integer, name text, detail text, hint text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
WITH facts AS MATERIALIZED (
	SELECT v.*, s.*, l.slot_type, l.active_pid, l.wal_status, l.restart_lsn,
		   flush_lsn - restart_lsn AS kept,
		   pg_size_bytes(current_setting('wal_segment_size')) AS segment,
		   r.registered,
		   r.registered > 0 AND NOT pg_is_in_recovery() AS needed
	  FROM evpub_internal.check_server() v
		   CROSS JOIN evpub_internal.status() s
		   LEFT JOIN pg_replication_slots l ON l.slot_name = 'evpub'
		   CROSS JOIN (SELECT count(*) AS registered FROM pg_shseclabel
						WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass) r),
holder AS MATERIALIZED (
	SELECT o.xid, o.first_lsn, p.gid, quote_ident(p.database) AS database, k.pid
	  FROM evpub_internal.open_transactions() o
		   LEFT JOIN pg_prepared_xacts p ON o.prepared AND p.transaction = o.xid
		   LEFT JOIN pg_locks k ON NOT o.prepared AND k.locktype = 'transactionid'
			AND k.transactionid = o.xid AND k.granted
	 ORDER BY o.first_lsn LIMIT 1),
advised AS (
	SELECT *,
		   format('%s of WAL, from %s on', pg_size_pretty(kept), restart_lsn) AS kept_text,
		   coalesce(kept > 2 * segment, false) AS holds,
		   coalesce(first_lsn < restart_lsn + 2 * segment
					AND flush_lsn > first_lsn + segment, false) AS by_transaction,
		   CASE WHEN NOT preloaded
				THEN 'Add evpub to shared_preload_libraries and restart the server.'
				WHEN worker_pid IS NULL
				THEN format('See the server log. If there is no room for the worker, increase max_worker_processes (%s) and restart the server.',
							current_setting('max_worker_processes'))
				WHEN state = 'unconfigured' AND registered = 0
				THEN 'SELECT evpub.register_database();'
				WHEN state = 'unconfigured'
				THEN 'ALTER SYSTEM SET evpub.bootstrap_servers = ''<host>:9092''; SELECT pg_reload_conf();'
				WHEN state = 'paused' THEN 'SELECT evpub.resume();'
				WHEN state IN ('blocked', 'starting', 'fenced') THEN hint
				WHEN state = 'gap'
				THEN concat_ws(' ', hint,
							   'SELECT ' || substring(state_reason, 'evpub\.accept_gap\(''[0-9A-F/]+''\)') || ';')
		   END AS advice
	  FROM facts LEFT JOIN holder ON true)
SELECT DISTINCT ON (c.place) c.place, c.name, c.detail, c.hint
  FROM advised, LATERAL (VALUES
	(1, 'preload', 1, preloaded, 'evpub is preloaded', NULL),
	(1, 'preload', 2, true, 'evpub is not in shared_preload_libraries', advice),

	(2, 'publisher', 1, true, concat_ws(': ', state, state_reason), advice),

	(3, 'slot', 1, slot_type IS NULL AND NOT needed, 'none, and none is needed', NULL),
	(3, 'slot', 2, slot_type IS NULL, 'there is no replication slot "evpub", so WAL is not kept',
	 coalesce(advice, 'See the server log.')),
	(3, 'slot', 3, slot_type = 'logical', 'a logical replication slot has the name "evpub"',
	 'If nothing uses it: SELECT pg_drop_replication_slot(''evpub'');'),
	(3, 'slot', 4, wal_status = 'lost' OR restart_lsn IS NULL, 'it was invalidated and keeps no WAL',
	 coalesce(advice, format('SELECT pg_terminate_backend(%s); -- the worker starts again, and makes the slot anew', worker_pid))),
	(3, 'slot', 5, worker_pid IS NULL OR active_pid IS DISTINCT FROM worker_pid, 'it keeps WAL, but the worker does not hold it',
	 concat_ws(' ', advice, 'If evpub is not to publish from this server: SELECT pg_drop_replication_slot(''evpub'');')),
	(3, 'slot', 6, state = 'fenced', 'it keeps WAL until evpub.take_over(), and the worker holds it', NULL),
	(3, 'slot', 7, true, 'it keeps WAL, and the worker holds it', NULL),

	(4, 'state_file', 1, file = 'found', format('it says "%s"', file_detail), NULL),
	(4, 'state_file', 2, file = 'absent' AND NOT needed, 'none, and none is needed', NULL),
	(4, 'state_file', 3, true, coalesce(file_detail, 'there is no file "evpub/state" in the data directory'),
	 coalesce(advice, 'SELECT evpub.pause(), evpub.resume(); -- the worker writes it again')),

	(5, 'wal_kept', 1, kept IS NULL, 'none', NULL),
	(5, 'wal_kept', 2, NOT holds, kept_text, NULL),
	(5, 'wal_kept', 3, by_transaction AND gid IS NOT NULL,
	 format('%s: held by prepared transaction %L of database %s (xid %s)', kept_text, gid, database, xid),
	 format('In database %s: COMMIT PREPARED %L; or: ROLLBACK PREPARED %2$L;', database, gid)),
	(5, 'wal_kept', 4, by_transaction AND pid IS NOT NULL,
	 format('%s: held by the open transaction of process %s (xid %s)', kept_text, pid, xid),
	 format('It lets go when it ends. To end it: SELECT pg_terminate_backend(%s);', pid)),
	(5, 'wal_kept', 5, state NOT IN ('streaming', 'starting') OR worker_pid IS NULL,
	 format('%s: the state is "%s"%s', kept_text, state, ': ' || state_reason),
	 coalesce(advice, 'If evpub is not to publish from this server: SELECT pg_drop_replication_slot(''evpub'');')),
	(5, 'wal_kept', 6, lag_seconds > 60,
	 format('%s: events of %s s ago are not in Kafka yet', kept_text, round(lag_seconds)),
	 'Kafka, or the network, takes less than is written: SELECT * FROM evpub.status;'),
	(5, 'wal_kept', 7, true, kept_text, NULL),

	(6, 'disk', 1, disk_free IS NULL, 'the file system of pg_wal does not say how much is free', 'See the server log.'),
	(6, 'disk', 2, disk_free < 2 * disk_reserved OR holds AND disk_free < kept,
	 format('%s of %s are free in the file system of pg_wal, evpub.min_disk_free is %s', pg_size_pretty(disk_free),
			pg_size_pretty(disk_total), current_setting('evpub.min_disk_free', true)),
	 'Make room there. What WAL is kept for is in row "wal_kept".'),
	(6, 'disk', 3, true,
	 format('%s of %s are free in the file system of pg_wal', pg_size_pretty(disk_free), pg_size_pretty(disk_total)), NULL)
  ) AS c (place, name, line, applies, detail, hint)
 WHERE c.applies
 ORDER BY c.place, c.line
$$;
COMMENT ON FUNCTION evpub_internal.check_publisher() IS
'rows of evpub.check() about the publisher; fine where hint is null';
REVOKE ALL ON FUNCTION evpub_internal.check_publisher() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.check_publisher() TO pg_monitor;

-- What is wrong around it: a row for each database, transaction, standby and
-- trigger that is.
CREATE FUNCTION evpub_internal.check_faults()
RETURNS TABLE (name text, detail text, hint text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
SELECT 'registration', 'this database is not registered: nothing of it is published',
	   'SELECT evpub.register_database();'
 WHERE NOT EXISTS (SELECT FROM pg_shseclabel
					WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass
					  AND objoid = (SELECT oid FROM pg_database WHERE datname = current_database()))
UNION ALL
-- one that was prepared a moment ago is nothing to see to
SELECT 'prepared_transactions',
	   format('%L of database %I (xid %s) was prepared at %s, and holds back WAL from %s on',
			  p.gid, p.database, o.xid, date_trunc('second', p.prepared), o.first_lsn),
	   format('In database %I: COMMIT PREPARED %L; or: ROLLBACK PREPARED %2$L;', p.database, p.gid)
  FROM evpub_internal.open_transactions() o
	   JOIN pg_prepared_xacts p ON p.transaction = o.xid
	   CROSS JOIN evpub_internal.status() s
 WHERE o.prepared
   AND (s.flush_lsn > o.first_lsn + pg_size_bytes(current_setting('wal_segment_size'))
		OR p.prepared < clock_timestamp() - interval '10 minutes')
UNION ALL
-- not receivers of WAL only, which do not replay it, nor logical subscribers
SELECT 'standbys',
	   format('standby "%s" (process %s%s) does not follow the publisher: if it is promoted, it will be "fenced"',
			  r.application_name, r.pid, ', ' || host(r.client_addr)),
	   'There, after a promotion, when this server is gone for good: SELECT evpub.take_over();'
  FROM pg_stat_replication r
 WHERE r.state IN ('catchup', 'streaming') AND r.replay_lsn IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_replication_slots l
					WHERE l.slot_type = 'logical' AND l.active_pid = r.pid)
UNION ALL
SELECT 'standbys', 'this server is a standby that does not follow the publisher: if it is promoted, it will be "fenced"',
	   'After a promotion, when the old primary is gone for good: SELECT evpub.take_over();'
 WHERE pg_is_in_recovery()
UNION ALL
-- of a partitioned table and its partitions, the topmost
SELECT 'disabled_triggers',
	   format(CASE t.tgenabled WHEN 'R' THEN 'trigger %I of %s fires only for replicated changes'
			  WHEN 'O' THEN 'trigger %I of %s does not fire for replicated changes any more, for which it was made'
			  ELSE 'trigger %I of %s is disabled: changes are not captured' END,
			  t.tgname, t.tgrelid::regclass),
	   format('ALTER TABLE %s ENABLE %sTRIGGER %I;', t.tgrelid::regclass,
			  CASE WHEN t.on_replica THEN 'ALWAYS ' END, t.tgname)
  FROM (SELECT position('\000on_replica=true\000'::bytea IN '\000'::bytea || tgargs) > 0 AS on_replica, *
		  FROM pg_trigger) t
	   LEFT JOIN pg_trigger parent ON parent.oid = t.tgparentid
 WHERE t.tgfoid = 'evpub.capture()'::regprocedure
   AND (t.tgenabled NOT IN ('O', 'A') OR t.tgenabled = 'O' AND t.on_replica)
   AND parent.tgenabled IS DISTINCT FROM t.tgenabled
UNION ALL
-- The owner can drop one of them, and the others go on.  Bits of tgtype: insert 4,
-- delete 8, update 16, truncate 32.
SELECT 'disabled_triggers',
	   format('%s has no capture trigger for %s any more: such changes are not captured', c.tgrelid::regclass, m.missing),
	   o.definition || ';'
  FROM (SELECT tgrelid, bit_or(tgtype::integer) AS types, (array_agg(tgargs ORDER BY tgname))[1] AS args,
			   bool_or(tgenabled = 'A') AS on_replica
		  FROM pg_trigger
		 WHERE tgfoid = 'evpub.capture()'::regprocedure AND tgparentid = 0
		 GROUP BY tgrelid
		HAVING bool_and(starts_with(tgname, '_evpub_capture'))
		   AND bit_or(tgtype::integer) & (4 | 8 | 16 | 32) <> (4 | 8 | 16 | 32)) c
	   CROSS JOIN LATERAL evpub_internal.capture_options(c.tgrelid, c.args, c.on_replica) o
	   CROSS JOIN LATERAL (
		SELECT string_agg(w.operation, ', ' ORDER BY w.bit) AS missing
		  FROM (VALUES (4, 'insert'), (8, 'delete'), (16, 'update'), (32, 'truncate')) AS w (bit, operation)
		 WHERE w.operation = ANY (string_to_array(o.options ->> 'operations', ','))
		   AND c.types & w.bit = 0
		   AND NOT (w.operation = 'truncate' AND coalesce(o.options ->> 'on_truncate', '') = 'ignore')) m
 WHERE m.missing IS NOT NULL
UNION ALL
SELECT 'schema_rules',
	   CASE WHEN e.evtname IS NULL THEN 'no rule of evpub.schema_rules is applied to tables that are made: there is no event trigger evpub_rules'
			ELSE 'no rule of evpub.schema_rules is applied to tables that are made: event trigger evpub_rules does not fire' END,
	   CASE WHEN e.evtname IS NULL THEN 'SELECT evpub_internal.watch_rules(); -- as an administrator'
			ELSE 'ALTER EVENT TRIGGER evpub_rules ENABLE;' END
  FROM (SELECT FROM evpub.schema_rules LIMIT 1) r
	   LEFT JOIN pg_event_trigger e ON e.evtname = 'evpub_rules'
 WHERE e.evtenabled IS NULL OR e.evtenabled NOT IN ('O', 'A')
UNION ALL
-- By a rule, and by a dump with other settings, which need other triggers.  Bits of
-- tgtype: insert 4, delete 8, update 16, truncate 32.
(SELECT DISTINCT ON (a.tgrelid) 'schema_rules',
	   format('%s is captured twice: triggers %I and %I have different settings', a.tgrelid::regclass, a.tgname, b.tgname),
	   format('%s; -- or: %s;', x.definition, y.definition)
  FROM pg_trigger a
	   JOIN pg_trigger b ON b.tgrelid = a.tgrelid AND b.tgname > a.tgname AND b.tgfoid = a.tgfoid
			AND a.tgtype::integer & b.tgtype::integer & (4 | 8 | 16 | 32) <> 0
	   CROSS JOIN LATERAL evpub_internal.capture_options(a.tgrelid, a.tgargs, a.tgenabled = 'A') x
	   CROSS JOIN LATERAL evpub_internal.capture_options(b.tgrelid, b.tgargs, b.tgenabled = 'A') y
 WHERE a.tgfoid = 'evpub.capture()'::regprocedure AND a.tgparentid = 0 AND b.tgparentid = 0
   AND a.tgenabled <> 'D' AND b.tgenabled <> 'D'
   AND starts_with(a.tgname, '_evpub_capture') AND starts_with(b.tgname, '_evpub_capture')
   AND x.definition <> y.definition
   AND EXISTS (SELECT FROM evpub.schema_rules)
 ORDER BY a.tgrelid, a.tgname, b.tgname)
UNION ALL
-- One was made to take the place of a captured table, which was given another name
-- (member_old): it has its columns, and its name is a part of that one's.  So has a
-- table of whose partitions or children one alone is captured; it is none.
SELECT 'successors',
	   format('%s is not captured, and looks like the successor of %s, which is', s.oid::regclass, c.oid::regclass),
	   format('If it is: %s;', replace(o.definition,
									   quote_literal(format('%I.%I', n.nspname, c.relname)),
									   quote_literal(format('%I.%I', n.nspname, s.relname))))
  FROM (SELECT DISTINCT ON (tgrelid) tgrelid, tgargs, tgenabled FROM pg_trigger
		 WHERE tgfoid = 'evpub.capture()'::regprocedure AND tgparentid = 0
		 ORDER BY tgrelid, tgname) t
	   JOIN pg_class c ON c.oid = t.tgrelid
	   JOIN pg_namespace n ON n.oid = c.relnamespace
	   JOIN pg_class s ON s.relnamespace = c.relnamespace AND s.oid <> c.oid
			AND s.relkind IN ('r', 'p') AND NOT s.relispartition AND s.relpersistence = 'p'
			AND strpos(c.relname, s.relname) > 0
	   CROSS JOIN LATERAL evpub_internal.capture_options(t.tgrelid, t.tgargs, t.tgenabled = 'A') o
 WHERE NOT EXISTS (SELECT FROM pg_trigger u
					WHERE u.tgrelid = s.oid AND u.tgfoid = 'evpub.capture()'::regprocedure)
   AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = s.oid)
   AND NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid) p WHERE p.relid = s.oid)
   AND NOT EXISTS (SELECT FROM pg_attribute a
					WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
					  AND NOT EXISTS (SELECT FROM pg_attribute b
									   WHERE b.attrelid = s.oid AND b.attname = a.attname
										 AND b.attnum > 0 AND NOT b.attisdropped))
UNION ALL
-- A TRUNCATE that is applied to a partition fires the triggers of that alone, and
-- a statement trigger stands on the partitioned table.
SELECT DISTINCT 'replicated_partitions',
	   format('subscription %I fills the partitions of %s one by one: when it truncates them, no events are published',
			  s.subname, t.tgrelid::regclass),
	   format('On its source: ALTER PUBLICATION ... SET (publish_via_partition_root = true); and then here: ALTER SUBSCRIPTION %I REFRESH PUBLICATION;',
			  s.subname)
  FROM pg_trigger t
	   CROSS JOIN pg_partition_tree(t.tgrelid) p
	   JOIN pg_subscription_rel r ON r.srrelid = p.relid AND p.relid <> t.tgrelid
	   JOIN pg_subscription s ON s.oid = r.srsubid
 WHERE t.tgfoid = 'evpub.capture()'::regprocedure
   AND t.tgtype::integer & 32 <> 0 AND t.tgenabled = 'A'
UNION ALL
-- Triggers fire in the order of their names.  Bits of tgtype: row 1, before 2,
-- insert 4, delete 8, update 16, truncate 32, instead of 64.
SELECT 'trigger_order',
	   format('trigger %I of %s fires before the change is captured: what it changes is published first',
			  u.tgname, u.tgrelid::regclass),
	   CASE WHEN u.tgname < '_evpub_capture'
			THEN format('ALTER TRIGGER %I ON %s RENAME TO %I;', u.tgname, u.tgrelid::regclass,
						left('z_' || u.tgname, 63))
			ELSE format('ALTER TRIGGER %I ON %s RENAME TO _evpub_capture;', t.tgname, t.tgrelid::regclass) END
  FROM pg_trigger t
	   JOIN pg_trigger u ON u.tgrelid = t.tgrelid AND u.tgname < t.tgname
 WHERE t.tgfoid = 'evpub.capture()'::regprocedure
   AND t.tgtype::integer & 1 = 1
   AND u.tgfoid <> t.tgfoid
   AND u.tgtype::integer & (1 | 2 | 64) = 1
   AND u.tgtype::integer & t.tgtype::integer & (4 | 8 | 16) <> 0
   AND u.tgenabled <> 'D' AND u.tgparentid = 0
   AND NOT u.tgisinternal AND NOT u.tginitdeferred
UNION ALL
SELECT 'version',
	   format('the SQL objects of this database are of version %s, and version %s is installed', e.installed_version, e.default_version),
	   'If the server was not restarted since: restart it. Then: ALTER EXTENSION evpub UPDATE;'
  FROM pg_available_extensions e
 WHERE e.name = 'evpub' AND e.installed_version <> e.default_version
$$;
COMMENT ON FUNCTION evpub_internal.check_faults() IS
'rows of evpub.check() about this database, its version, transactions, standbys and triggers; none where all is fine';
REVOKE ALL ON FUNCTION evpub_internal.check_faults() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.check_faults() TO pg_monitor;

-- Who can read pg_control has the key of evpub's messages, and may forge events
-- where he may write messages.  On most servers nobody but evpub does, which needs
-- no right for it.
CREATE FUNCTION evpub_internal.check_messages()
RETURNS TABLE (name text, detail text, hint text)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT 'logical_messages',
	   CASE WHEN f.functions IS NULL THEN 'only roles that were given the right may write messages into WAL'
			ELSE 'every role may write messages into WAL: one that can read pg_control, here or in a copy of the server, can forge events' END,
	   'If nothing else in this database uses logical messages: REVOKE EXECUTE ON FUNCTION ' || f.functions || ' FROM PUBLIC;'
  FROM (SELECT string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid) AS functions
		  FROM pg_proc p
		 WHERE p.proname = 'pg_logical_emit_message' AND p.pronamespace = 'pg_catalog'::regnamespace
		   AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
						WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')) f
$$;
COMMENT ON FUNCTION evpub_internal.check_messages() IS
'row of evpub.check() about who may write messages into WAL';
REVOKE ALL ON FUNCTION evpub_internal.check_messages() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.check_messages() TO pg_monitor;

-- a dead-letter topic that takes less than an event may have is no fault: what does
-- not fit is cut
CREATE FUNCTION evpub_internal.check_dead_letters()
RETURNS TABLE (detail text, hint text)
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
SELECT CASE WHEN s.on_error <> 'dead_letter'
			THEN 'an event that Kafka refuses blocks what is behind it'
			WHEN s.topic = ''
			THEN 'evpub.on_error is dead_letter, and evpub.dead_letter_topic is not set: an event that Kafka refuses blocks what is behind it'
			WHEN t.tables IS NOT NULL
			THEN format('dead-letter topic "%s" is also a topic of events, of table %s: one of these that Kafka refuses blocks what is behind it', s.topic, t.tables)
			WHEN NOT s.creates AND NOT EXISTS (SELECT FROM evpub_internal.topics() u WHERE u.topic = s.topic)
			THEN format('dead-letter topic "%s" was not used yet, and is not created by evpub (evpub.create_topics is off): it has to be there', s.topic)
			ELSE format('an event that Kafka refuses goes to topic "%s"', s.topic)
	   END,
	   CASE WHEN s.on_error = 'dead_letter' AND s.topic = ''
			THEN 'ALTER SYSTEM SET evpub.dead_letter_topic = ''<topic>''; SELECT pg_reload_conf();'
			WHEN s.on_error = 'dead_letter' AND t.tables IS NOT NULL
			THEN 'Have another topic for dead letters alone: ALTER SYSTEM SET evpub.dead_letter_topic = ''<topic>''; SELECT pg_reload_conf();'
	   END
  FROM (SELECT current_setting('evpub.on_error'), current_setting('evpub.dead_letter_topic'),
			   current_setting('evpub.create_topics')::boolean) AS s (on_error, topic, creates)
	   CROSS JOIN LATERAL (SELECT string_agg(c."table"::text, ', ' ORDER BY c."table"::text)
							 FROM evpub.tables c WHERE c.topic = s.topic) AS t (tables)
$$;
COMMENT ON FUNCTION evpub_internal.check_dead_letters() IS
'one row of evpub.check(): what becomes of events that Kafka refuses';
REVOKE ALL ON FUNCTION evpub_internal.check_dead_letters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub_internal.check_dead_letters() TO pg_monitor;

CREATE FUNCTION evpub.check()
RETURNS TABLE (name text, ok boolean, detail text, hint text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
-- "logical_messages" is advice, and no fault
SELECT c.name, c.hint IS NULL OR c.name = 'logical_messages', c.detail, c.hint
  FROM (SELECT place, p.name, p.detail, p.hint FROM evpub_internal.check_publisher() p
		UNION ALL
		SELECT 14, m.name, m.detail, m.hint FROM evpub_internal.check_messages() m
		UNION ALL
		SELECT 15, 'topic_sizes', coalesce(s.detail, 'none is known to take less than events may have'),
			   CASE WHEN s.detail IS NOT NULL
					THEN 'Raise max.message.bytes of the topic, or lower evpub.max_event_bytes: then the writer of such an event gets an error, instead of a publisher that stands still at it.' END
		  FROM (SELECT evpub_internal.small_topics()) s (detail)
		UNION ALL
		SELECT 16, 'dead_letters', d.detail, d.hint FROM evpub_internal.check_dead_letters() d
		UNION ALL
		SELECT place, fine.name, coalesce(f.detail, fine.detail), f.hint
		  FROM (VALUES (7, 'registration', 'this database is registered'),
					   (8, 'prepared_transactions', 'none is forgotten'),
					   (9, 'standbys', 'none that would not publish after a promotion'),
					   (10, 'disabled_triggers', 'none'),
					   (11, 'trigger_order', 'no trigger fires before changes are captured'),
					   (12, 'schema_rules', 'rules for schemas are applied, if there are any'),
					   (13, 'replicated_partitions', 'each TRUNCATE of a subscription is published'),
					   (13, 'successors', 'no table has taken the place of a captured one'),
					   (17, 'version', 'the SQL objects are of the version that is installed')
			   ) AS fine (place, name, detail)
			   LEFT JOIN evpub_internal.check_faults() f ON f.name = fine.name) c
 ORDER BY c.place, c.detail
$$;
COMMENT ON FUNCTION evpub.check() IS
'Shows what is wrong with publishing on this server and in this database, and what to type: a row for each thing that is looked at, and ok is true where it is fine. Works in every state.';
REVOKE ALL ON FUNCTION evpub.check() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub.check() TO pg_monitor;

-- ---------------------------------------------------------------------------
-- the contract with consumers, as JSON Schema and AsyncAPI
-- ---------------------------------------------------------------------------

-- Everything here only reads catalogs, with operators and functions of pg_catalog:
-- nothing of a table's owner runs.  Calls of evpub_internal are exact in their types,
-- so that no function of the same name is a better match.  What a value becomes is decided in C, by
-- column_kind() in capture/render.c, and the envelopes are in event/output.c; whoever
-- changes these changes the schemas here.
--
-- Only words of JSON Schema are used that mean the same in 2020-12 and in draft 7,
-- since the latter is what AsyncAPI takes.  Objects may have more members than
-- their schema names: a consumer must not fail because a column was added.

-- A template with its placeholders filled, as far as "names" has them.  "form":
-- text; pattern, a regular expression in which anything may stand for the other
-- placeholders; or template, in which braces stay doubled.
CREATE FUNCTION evpub_internal.contract_fill(template text, names jsonb, form text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'evpub_contract_fill';
COMMENT ON FUNCTION evpub_internal.contract_fill(text, jsonb, text) IS
'a template of a captured table, filled as text, pattern or template (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_fill(text, jsonb, text) FROM PUBLIC;

-- Schema of a string that is made of a template.
CREATE FUNCTION evpub_internal.contract_string(template text, names jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	filled  text := evpub_internal.contract_fill(template, names, 'text'::text);
	pattern text := evpub_internal.contract_fill(template, names, 'pattern'::text);
BEGIN
	IF strpos(pattern, '[\s\S]*') = 0 THEN
		RETURN jsonb_build_object('type', 'string', 'const', filled);
	ELSIF pattern = '[\s\S]*' THEN
		RETURN jsonb_build_object('type', 'string', 'description', filled);
	END IF;
	RETURN jsonb_build_object('type', 'string', 'description', filled, 'pattern', concat('^', pattern, '$'));
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_string(text, jsonb) IS
'JSON Schema of a string that is made of a template (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_string(text, jsonb) FROM PUBLIC;

-- A list of column names, as it stands in the arguments of a trigger.
CREATE FUNCTION evpub_internal.contract_names(list text)
RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT array_agg(CASE WHEN m[1] ~ '^"' THEN replace(substr(m[1], 2, length(m[1]) - 2), '""', '"') ELSE lower(btrim(m[1])) END ORDER BY n)
  FROM regexp_matches(list, '\s*("(?:[^"]|"")*"|[^,"]+)\s*(?:,|$)', 'g') WITH ORDINALITY AS r (m, n)
$$;
COMMENT ON FUNCTION evpub_internal.contract_names(text) IS
'column names in an option of a captured table (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_names(text) FROM PUBLIC;

CREATE FUNCTION evpub_internal.contract_object(properties jsonb, optional text[])
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN jsonb_build_object('type', 'object', 'properties', properties,
		'required', jsonb_path_query_array(properties, '$.keyvalue().key') - optional);
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_object(jsonb, text[]) IS
'JSON Schema of an object (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_object(jsonb, text[]) FROM PUBLIC;

CREATE FUNCTION evpub_internal.contract_nullable(schema jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE WHEN schema = '{}' THEN schema
		WHEN schema ? 'anyOf' THEN jsonb_set(schema, '{anyOf}', schema -> 'anyOf' || '[{"type": "null"}]')
		WHEN schema ? 'enum' OR schema ->> 'type' IN ('object', 'array')
		THEN jsonb_build_object('anyOf', jsonb_build_array(schema, '{"type": "null"}'::jsonb))
		ELSE schema || jsonb_build_object('type', jsonb_build_array(schema -> 'type', 'null')) END;
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_nullable(jsonb) IS
'JSON Schema of a value or null (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_nullable(jsonb) FROM PUBLIC;

-- What a value of a type is in an event: what to_jsonb() makes of it.
CREATE FUNCTION evpub_internal.contract_type(type oid, typmod integer)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	t      pg_type;
	length integer := typmod - 4;
	clock  text := '[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?';
	day    text := '[0-9]{4,}-[0-9]{2}-[0-9]{2}';
BEGIN
	SELECT p.* INTO STRICT t FROM pg_type p WHERE p.oid = type;
	IF t.typtype = 'd' THEN
		RETURN evpub_internal.contract_type(t.typbasetype, t.typtypmod);
	ELSIF t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc THEN
		-- an array may have any number of dimensions, whatever its type says
		RETURN jsonb_build_object('type', 'array', 'items', jsonb_build_object('anyOf',
			jsonb_build_array(evpub_internal.contract_nullable(evpub_internal.contract_type(t.typelem, typmod)), '{"type": "array"}'::jsonb)));
	ELSIF t.typtype = 'c' THEN
		RETURN evpub_internal.contract_object(coalesce((
			SELECT jsonb_object_agg(a.attname, evpub_internal.contract_nullable(evpub_internal.contract_type(a.atttypid, a.atttypmod)))
			  FROM pg_attribute a
			 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '{}'::jsonb), '{}'::text[]);
	ELSIF t.oid >= 16384 THEN
		IF EXISTS (SELECT FROM pg_cast c
				   WHERE c.castsource = t.oid AND c.casttarget = 'json'::regtype AND c.castmethod = 'f') THEN
			RETURN '{}';
		ELSIF t.typtype = 'e' THEN
			RETURN jsonb_build_object('type', 'string', 'enum', (
				SELECT coalesce(jsonb_agg(e.enumlabel ORDER BY e.enumsortorder), '[]') FROM pg_enum e WHERE e.enumtypid = t.oid));
		END IF;
		RETURN '{"type": "string"}';
	END IF;
	RETURN CASE t.typname::text
		WHEN 'int2' THEN '{"type": "integer", "minimum": -32768, "maximum": 32767}'::jsonb
		WHEN 'int4' THEN '{"type": "integer", "format": "int32", "minimum": -2147483648, "maximum": 2147483647}'
		WHEN 'int8' THEN '{"type": "integer", "format": "int64", "minimum": -9223372036854775808, "maximum": 9223372036854775807}'
		WHEN 'bool' THEN '{"type": "boolean"}'
		WHEN 'float4' THEN '{"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}'
		WHEN 'float8' THEN '{"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}'
		WHEN 'numeric' THEN
			-- with a precision there is no infinity
			CASE WHEN typmod >= 4 THEN '{"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN"]}]}'
				 ELSE '{"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}' END::jsonb
		WHEN 'json' THEN '{}'
		WHEN 'jsonb' THEN '{}'
		WHEN 'varchar' THEN
			-- characters of other encodings may be several in UTF-8
			CASE WHEN length > 0 AND getdatabaseencoding() = 'UTF8' THEN jsonb_build_object('type', 'string', 'maxLength', length)
				 ELSE '{"type": "string"}' END
		WHEN 'bpchar' THEN
			CASE WHEN length > 0 AND getdatabaseencoding() = 'UTF8' THEN jsonb_build_object('type', 'string', 'minLength', length, 'maxLength', length)
				 ELSE '{"type": "string"}' END
		WHEN 'uuid' THEN '{"type": "string", "format": "uuid"}'
		WHEN 'bytea' THEN '{"type": "string", "pattern": "^\\\\x([0-9a-f]{2})*$"}'
		WHEN 'date' THEN jsonb_build_object('anyOf', jsonb_build_array(
			'{"type": "string", "format": "date"}'::jsonb,
			jsonb_build_object('type', 'string', 'pattern', concat('^(-?infinity|', day, ' BC|[0-9]{5,}-[0-9]{2}-[0-9]{2})$'))))
		WHEN 'timestamptz' THEN jsonb_build_object('anyOf', jsonb_build_array(
			'{"type": "string", "format": "date-time"}'::jsonb,
			jsonb_build_object('type', 'string', 'pattern', concat('^(-?infinity|', day, 'T', clock, '\+00:00 BC|[0-9]{5,}-[0-9]{2}-[0-9]{2}T', clock, '\+00:00)$'))))
		-- without an offset it is no date-time of RFC 3339
		WHEN 'timestamp' THEN jsonb_build_object('type', 'string', 'pattern', concat('^(-?infinity|', day, 'T', clock, '( BC)?)$'))
		WHEN 'time' THEN jsonb_build_object('type', 'string', 'pattern', concat('^', clock, '$'))
		WHEN 'timetz' THEN jsonb_build_object('type', 'string', 'pattern', concat('^', clock, '[-+][0-9]{2}(:[0-9]{2}){0,2}$'))
		ELSE '{"type": "string"}' END;
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_type(oid, integer) IS
'JSON Schema of the values of a type, but for NULL (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_type(oid, integer) FROM PUBLIC;

-- Schema of an object that has some of the properties; "names" NULL: all.
CREATE FUNCTION evpub_internal.contract_columns(properties jsonb, names text[])
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF names IS NOT NULL THEN
		properties := (SELECT coalesce(jsonb_object_agg(p.key, p.value), '{}') FROM jsonb_each(properties) AS p WHERE p.key = ANY (names));
	END IF;
	RETURN evpub_internal.contract_object(properties, '{}'::text[]);
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_columns(jsonb, text[]) IS
'JSON Schema of an object with some columns of a table (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_columns(jsonb, text[]) FROM PUBLIC;

-- The columns of tables, each with its schema, and the names of the primary key's.
-- Looks through the catalogs once for all of them, and describes a type once.
--
-- A few types, each with two columns of the one before, nest more values than memory
-- can hold, and a long chain of types is deeper than the stack: either would end the
-- document for all tables.  So what is nested is counted first, and where it is too
-- much, nothing nested is described.  It is counted for each table, since many columns
-- of one type, or of one enum with many names, multiply as well.  LIMIT ends the
-- recursion, so that counting takes no longer than the limit.
CREATE FUNCTION evpub_internal.contract_tables(rels oid[])
RETURNS TABLE (rel oid, properties jsonb, names jsonb, primary_key text[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
WITH columns AS MATERIALIZED (
	SELECT a.attrelid, a.attname::text AS name, a.attnum, a.atttypid, a.atttypmod,
		   -- from 18 on NOT NULL may be NOT VALID, and rows of before be null
		   a.attnotnull AND (a.attrelid, a.attnum) NOT IN (
				SELECT c.conrelid, k.attnum FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey) AS k (attnum)
				 WHERE c.contype = 'n' AND NOT c.convalidated AND c.conrelid <> 0) AS is_full,
		   EXISTS (
				SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
					AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) AS is_key
	  FROM pg_attribute a
	 WHERE a.attrelid = ANY (rels) AND a.attnum > 0 AND NOT a.attisdropped),
-- types in which others, or the names of an enum, are nested, or may be
nesting AS MATERIALIZED (
	SELECT t.oid AS atttypid
	  FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typsubscript = 'array_subscript_handler'::regproc
	 WHERE t.oid IN (SELECT c.atttypid FROM columns c) AND (t.typtype IN ('c', 'd', 'e') OR e.typtype IN ('c', 'd', 'e'))),
wide AS MATERIALIZED (
	SELECT r.attrelid
	  FROM (SELECT c.attrelid, array_agg(c.atttypid) AS types FROM columns c JOIN nesting USING (atttypid) GROUP BY c.attrelid) r
		   CROSS JOIN LATERAL (
			WITH RECURSIVE nested AS (
				SELECT u.type, 0 AS level FROM unnest(r.types) AS u (type)
				 UNION ALL
				SELECT i.type, n.level + 1
				  FROM nested n
					   JOIN pg_type t ON t.oid = n.type
					   CROSS JOIN LATERAL (
						SELECT t.typbasetype WHERE t.typtype = 'd'
						 UNION ALL
						SELECT t.typelem WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
						 UNION ALL
						SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
						 UNION ALL
						SELECT 0::oid FROM pg_enum l WHERE t.typtype = 'e' AND l.enumtypid = t.oid) AS i (type)
				 WHERE n.level <= 32)
			SELECT count(*) > 5000 OR max(l.level) > 32 AS is_wide
			  FROM (SELECT n.level FROM nested n LIMIT 5001) l) w
	 WHERE w.is_wide),
-- type 0: any value
described AS MATERIALIZED (
	SELECT c.*, CASE WHEN n.atttypid IS NULL OR w.attrelid IS NULL THEN c.atttypid ELSE 0 END AS type
	  FROM columns c
		   LEFT JOIN nesting n USING (atttypid)
		   LEFT JOIN wide w USING (attrelid)),
types AS MATERIALIZED (
	SELECT t.*, CASE WHEN t.type = 0 THEN '{}' ELSE evpub_internal.contract_type(t.type, t.atttypmod) END AS schema
	  FROM (SELECT DISTINCT d.type, d.atttypmod FROM described d) t),
kinds AS MATERIALIZED (
	SELECT t.type, t.atttypmod, f.is_full,
		   CASE WHEN f.is_full THEN t.schema ELSE evpub_internal.contract_nullable(t.schema) END AS schema
	  FROM types t CROSS JOIN (VALUES (true), (false)) AS f (is_full))
SELECT d.attrelid, jsonb_object_agg(d.name, k.schema), jsonb_agg(d.name ORDER BY d.attnum),
	   array_agg(d.name ORDER BY d.attnum) FILTER (WHERE d.is_key)
  FROM described d
	   JOIN kinds k USING (type, atttypmod, is_full)
 GROUP BY d.attrelid
$$;
COMMENT ON FUNCTION evpub_internal.contract_tables(oid[]) IS
'JSON Schemas of the columns of tables; {} for what nests types, where more than 5,000 values or 32 levels are in a table (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_tables(oid[]) FROM PUBLIC;

-- The value of an event in its envelope.  "fields" has the schemas of pk, and of
-- data, changed and old_pk where there may be any; the latter two are not in
-- every event.
CREATE FUNCTION evpub_internal.contract_value(envelope text, type jsonb, fields jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	common jsonb := '{"id": {"type": "string", "pattern": "^[0-9a-f]{16}-[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8}$", "description": "unique; ascends in a partition as long as the first 16 digits stay"},
		"tenant": {"type": "string"},
		"lsn": {"type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$", "description": "a replica that has replayed up to here has the change"},
		"time": {"type": "string", "format": "date-time", "description": "of the commit, UTC"}}';
BEGIN
	RETURN CASE envelope
		WHEN 'plain' THEN evpub_internal.contract_object(common || fields || jsonb_build_object('type', type,
				'tx', '{"type": "integer", "minimum": 1, "maximum": 4294967295, "description": "number of events of the transaction"}'::jsonb),
			'{changed,old_pk}'::text[])
		WHEN 'cloudevents' THEN evpub_internal.contract_object(common || jsonb_build_object('type', type,
				'specversion', '{"type": "string", "const": "1.0"}'::jsonb,
				'source', '{"type": "string", "format": "uri-reference", "pattern": "^/evpub/[0-9a-f]{16}/"}'::jsonb,
				'datacontenttype', '{"type": "string", "const": "application/json"}'::jsonb,
				'sequence', '{"type": "string", "pattern": "^[0-9A-F]{16}-[0-9A-F]{8}$"}'::jsonb,
				'data', evpub_internal.contract_object(fields, '{changed,old_pk}'::text[]))
				-- not of what has no key, or of one that is an empty string
				|| CASE WHEN fields -> 'pk' ->> 'type' = 'null' THEN '{}'
						ELSE '{"subject": {"type": "string", "minLength": 1, "description": "values of the primary key, with commas between them"}}'::jsonb END, '{subject}'::text[])
		WHEN 'cloudevents_binary' THEN evpub_internal.contract_object(fields, '{changed,old_pk}'::text[])
		ELSE coalesce(fields -> 'data', fields -> 'pk')  END;
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_value(text, jsonb, jsonb) IS
'JSON Schema of the value of an event (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_value(text, jsonb, jsonb) FROM PUBLIC;

-- Headers that evpub sets by itself.
CREATE FUNCTION evpub_internal.contract_headers(envelope text, type jsonb, fields jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	-- of the fields only a key that is null makes a difference
	p jsonb := evpub_internal.contract_value('cloudevents'::text, type,
		CASE WHEN fields -> 'pk' ->> 'type' = 'null' THEN '{"pk": {"type": "null"}}' ELSE '{}' END::jsonb) -> 'properties';
BEGIN
	RETURN jsonb_build_object('evpub-id', p -> 'id') || CASE envelope
		WHEN 'cloudevents' THEN '{"content-type": {"type": "string", "const": "application/cloudevents+json"}}'
		WHEN 'cloudevents_binary' THEN jsonb_build_object('content-type', '{"type": "string", "const": "application/json"}'::jsonb,
			'ce_specversion', p -> 'specversion', 'ce_id', p -> 'id', 'ce_source', p -> 'source', 'ce_type', type,
			'ce_time', p -> 'time', 'ce_tenant', p -> 'tenant', 'ce_lsn', p -> 'lsn', 'ce_sequence', p -> 'sequence')
			|| CASE WHEN p ? 'subject' THEN jsonb_build_object('ce_subject', p -> 'subject') ELSE '{}' END
		ELSE '{}' END;
END
$$;
COMMENT ON FUNCTION evpub_internal.contract_headers(text, jsonb, jsonb) IS
'JSON Schemas of the headers that an envelope has (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_headers(text, jsonb, jsonb) FROM PUBLIC;

-- What there is of each captured table: one row for each event that there may be.
-- "type" is its name; placeholders that only a row fills stay in it and in "topic".
-- "moves": an UPDATE may give a row another key; "merges": that may become an
-- update of a row that was deleted in the same transaction (fill_change() in
-- capture/row.c).
CREATE FUNCTION evpub_internal.contract_events()
RETURNS TABLE (capture bigint, rel oid, place text, event text, options jsonb, moves boolean, merges boolean, type text, type_schema jsonb, topic text, key jsonb, headers jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
WITH captures AS (
	-- triggers with other options make events of their own; bits of tgtype: row 1,
	-- insert 4, delete 8, update 16, truncate 32
	SELECT t.tgrelid AS rel, o.options - 'on_replica' AS options, min(t.tgname::text) AS name,
		   bit_or(t.tgtype::integer) AS fires, bool_or(t.tgtype::integer & 5 = 5) AS on_insert, bool_or(t.tgtype::integer & 1 = 1) AS on_row
	  FROM pg_trigger t
		   CROSS JOIN LATERAL evpub_internal.capture_options(t.tgrelid, t.tgargs, false) o
	 WHERE t.tgfoid = 'evpub.capture()'::regprocedure AND t.tgparentid = 0 AND o.options IS NOT NULL
	 GROUP BY t.tgrelid, o.options),
facts AS (
	SELECT c.*, row_number() OVER () AS capture, n.nspname, r.relname, r.relkind, w.*,
		   evpub_internal.contract_fill(c.options ->> 'key', '{"pk": ""}'::jsonb, 'template'::text) <> c.options ->> 'key' AS by_row,
		   -- a resync takes the first one that sees every row
		   c.on_row AND row_number() OVER (PARTITION BY c.rel ORDER BY c.on_insert DESC, c.on_row DESC, c.name) = 1 AS resyncs
	  FROM captures c
		   JOIN pg_class r ON r.oid = c.rel
		   JOIN pg_namespace n ON n.oid = r.relnamespace
		   CROSS JOIN LATERAL (
			SELECT bool_or(o.name = 'insert' AND c.fires & 4 <> 0) AS inserts, bool_or(o.name = 'update' AND c.fires & 16 <> 0) AS updates,
				   bool_or(o.name = 'delete' AND c.fires & 8 <> 0) AS deletes, bool_or(o.name = 'truncate' AND c.fires & 32 <> 0) AS truncates
			  FROM unnest(evpub_internal.contract_names(c.options ->> 'operations')) AS o (name)) w),
makes AS (
	SELECT f.*, f.truncates AND coalesce(f.options ->> 'on_truncate', CASE WHEN f.by_row THEN 'error' ELSE 'per_tenant' END) = 'per_tenant' AS empties
	  FROM facts f),
events AS (
	SELECT m.*, e.op, e.event, e.event LIKE 'resync\_%' AS is_mark
	  FROM makes m
		   CROSS JOIN LATERAL (VALUES
			-- as compile_makes() in capture/compile.c has it; an update of the key is
			-- deleted and created, deleted and inserted again is an update, and TRUNCATE
			-- of a partition deletes its rows
			('create', 'created', m.inserts OR m.updates),
			('update', 'updated', m.updates OR m.inserts AND m.deletes),
			('delete', 'deleted', m.deletes OR m.updates OR m.empties AND m.relkind = 'p' AND m.inserts),
			('truncate', 'truncated', m.empties),
			('resync', 'resynced', m.resyncs),
			('resync', 'resync_started', m.resyncs), ('resync', 'resync_finished', m.resyncs)
		   ) AS e (op, event, is_made)
	 WHERE e.is_made
	   -- without an envelope, marks can only be known by a header
	   AND (e.event NOT LIKE 'resync\_%' OR m.options ->> 'envelope' <> 'none'
			OR evpub_internal.contract_fill(m.options ->> 'headers', '{"event": "", "type": ""}'::jsonb, 'template'::text) <> m.options ->> 'headers')),
named AS (
	SELECT e.*, jsonb_build_object('database', current_database(), 'schema', e.nspname, 'table', e.relname) AS roots,
		   e.options ->> 'type' AS row_type,
		   CASE WHEN NOT e.is_mark OR evpub_internal.contract_fill(e.options ->> 'type', '{"event": ""}'::jsonb, 'template'::text) <> e.options ->> 'type'
				THEN e.options ->> 'type' ELSE '{table}.' || e.event END AS own_type
	  FROM events e),
filled AS (
	SELECT n.*, n.roots || jsonb_build_object('op', n.op, 'event', n.event) AS own,
		   n.roots || jsonb_build_object('op', n.op, 'event', CASE WHEN n.is_mark THEN 'resynced' ELSE n.event END) AS of_rows
	  FROM named n)
SELECT f.capture, f.rel, concat(f.nspname, '.', f.relname), f.event,
	   f.options, f.updates,
	   f.options ->> 'collapse' = 'true'
	   AND evpub_internal.contract_fill(f.options ->> 'key', '{"op": "", "event": "", "type": ""}'::jsonb, 'template'::text) = f.options ->> 'key'
	   AND coalesce(evpub_internal.contract_fill(f.options ->> 'headers', '{"op": "", "event": "", "type": ""}'::jsonb, 'template'::text) = f.options ->> 'headers', true),
	   evpub_internal.contract_fill(f.own_type, f.own, 'text'::text),
	   evpub_internal.contract_string(f.own_type, f.own),
	   evpub_internal.contract_fill(evpub_internal.contract_fill(f.options ->> 'topic', jsonb_build_object('type', f.row_type), 'template'::text),
							CASE WHEN f.options ? 'tenant_column' THEN f.of_rows
								 ELSE f.of_rows || jsonb_build_object('tenant', coalesce(evpub_internal.contract_fill(f.options ->> 'tenant', f.roots, 'text'::text), '')) END, 'text'::text),
	   -- of rows that are in many partitions, marks are in the one of the tenant
	   CASE WHEN f.is_mark AND f.by_row THEN evpub_internal.contract_string('{tenant}'::text, '{}'::jsonb)
			ELSE evpub_internal.contract_string(evpub_internal.contract_fill(f.options ->> 'key', jsonb_build_object('type', f.row_type), 'template'::text), f.of_rows) END,
	   (SELECT coalesce(jsonb_object_agg(h.key, evpub_internal.contract_string(
				evpub_internal.contract_fill(h.value, jsonb_build_object('type', f.own_type), 'template'::text), f.own)), '{}')
		  FROM jsonb_each_text((f.options ->> 'headers')::jsonb) h)
  FROM filled f
$$;
COMMENT ON FUNCTION evpub_internal.contract_events() IS
'the events that there may be of captured tables (for evpub.json_schema)';
REVOKE ALL ON FUNCTION evpub_internal.contract_events() FROM PUBLIC;

-- The messages of captured tables, as AsyncAPI has them, their payload in place;
-- "wanted": those of one type.  evpub.gap and evpub.skipped, which have no topic
-- here, may come in each.
CREATE FUNCTION evpub_internal.contract_messages(wanted text)
RETURNS TABLE (type text, place text, topic text, message jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
WITH events AS MATERIALIZED (
	SELECT e.*, e.options ->> 'envelope' AS envelope, e.event = 'deleted' AND e.options ->> 'on_delete' = 'tombstone' AS is_tombstone
	  FROM evpub_internal.contract_events() e
	 WHERE wanted IS NULL OR e.type = wanted),
-- what all events of a capture have in common
captures AS MATERIALIZED (
	SELECT c.capture, t.names, evpub_internal.contract_columns(p.properties, coalesce(evpub_internal.contract_names(c.options ->> 'key_columns'), t.primary_key, '{}')) AS key,
		   CASE WHEN c.options ->> 'payload' = 'row' THEN jsonb_build_object('data', evpub_internal.contract_columns(p.properties, NULL::text[]))
				WHEN c.options ? 'data_columns' THEN jsonb_build_object('data', evpub_internal.contract_columns(p.properties, evpub_internal.contract_names(c.options ->> 'data_columns')))
				ELSE '{}' END AS data
	  FROM (SELECT DISTINCT ON (e.capture) e.capture, e.rel, e.options FROM events e) c
		   LEFT JOIN evpub_internal.contract_tables(ARRAY(SELECT e.rel FROM events e)) t USING (rel)
		   CROSS JOIN LATERAL (SELECT coalesce(t.properties, '{}')) AS p (properties)),
fields AS (
	SELECT e.*, CASE
		WHEN e.event = 'truncated' THEN '{"pk": {"type": "null"}}'
		WHEN e.event LIKE 'resync\_%' THEN jsonb_build_object('pk', '{"type": "null"}'::jsonb, 'data', evpub_internal.contract_object(
			'{"run": {"type": "string", "description": "id of the call of evpub.resync()"},
			  "partial": {"type": "boolean", "const": true, "description": "only some rows have events: forget none"}}'::jsonb, '{partial}'::text[]))
		ELSE jsonb_build_object('pk', c.key) || c.data
			|| CASE WHEN e.event = 'updated' AND e.options ->> 'payload' = 'changed_columns'
					THEN jsonb_build_object('changed', jsonb_build_object('type', 'array', 'minItems', 1,
						'description', 'columns that changed; if this is missing, any may have',
						'items', jsonb_build_object('type', 'string', 'enum', c.names)))
					ELSE '{}' END
			|| CASE WHEN e.moves AND (e.event = 'created' OR e.event = 'updated' AND e.merges) THEN jsonb_build_object('old_pk', c.key) ELSE '{}' END
		END AS fields
	  FROM events e JOIN captures c USING (capture)),
messages AS (
	SELECT f.type, f.place, f.topic, f.key, f.headers || evpub_internal.contract_headers(CASE WHEN f.is_tombstone THEN '' ELSE f.envelope END, f.type_schema, f.fields) AS headers,
		   CASE f.event WHEN 'created' THEN 'A row was inserted, or has come to this key or tenant, or into the filter.'
						WHEN 'updated' THEN 'A row was changed.'
						WHEN 'deleted' THEN concat('A row was deleted, or has left this key or tenant, or the filter.', CASE WHEN f.is_tombstone THEN ' A tombstone: the message has no value.' END)
						WHEN 'truncated' THEN 'All rows of the table and tenant are gone.'
						WHEN 'resynced' THEN 'A row as it is, published by evpub.resync().'
						WHEN 'resync_started' THEN 'evpub.resync() begins to publish the rows of a tenant.'
						WHEN 'resync_finished' THEN 'Each row that the table has of the tenant has had an event since resync_started.' END AS summary,
		   'The table is captured with a filter, and a row outside of it is not found: ' || (f.options ->> 'filter') AS filter,
		   CASE WHEN f.envelope = 'cloudevents' AND NOT f.is_tombstone THEN 'application/cloudevents+json' ELSE 'application/json' END AS content,
		   CASE WHEN f.is_tombstone THEN '{"type": "null"}' ELSE evpub_internal.contract_value(f.envelope, f.type_schema, f.fields) END AS payload
	  FROM fields f
	UNION ALL
	SELECT o.type, NULL, NULL, o.key, evpub_internal.contract_headers('plain'::text, NULL::jsonb, o.fields), o.summary, NULL, 'application/json',
		   jsonb_set(evpub_internal.contract_value('plain'::text, jsonb_build_object('type', 'string', 'const', o.type), o.fields), '{properties,tenant}', o.tenant)
	  FROM (VALUES
		('evpub.gap', '{"type": "string", "pattern": "^evpub\\.gap/[0-9]+$"}'::jsonb, '{"type": "null"}'::jsonb,
		 'Changes were committed for which no events will be published: read anew what you copy.',
		 jsonb_build_object('pk', '{"type": "null"}'::jsonb, 'data', evpub_internal.contract_object('{
			"first_lsn": {"type": "string"}, "last_lsn": {"type": "string"}, "reason": {"type": "string"},
			"transactions": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
			"transaction_count": {"type": ["integer", "null"], "format": "int64"}, "event_count": {"type": ["integer", "null"], "format": "int64"},
			"counted": {"type": "string", "enum": ["all", "part", "none"]}}'::jsonb, '{}'::text[]))),
		('evpub.skipped', '{"type": "string", "description": "that of the event"}', '{"type": ["string", "null"]}',
		 'Kafka refuses an event, and an administrator gave it up: read its row back.',
		 -- evpub.publish() takes any value for it
		 jsonb_build_object('pk', '{"type": ["object", "array", "string", "number", "boolean", "null"], "description": "of the row; null: it is not known, read anew what you copy"}'::jsonb, 'data', evpub_internal.contract_object('{
			"type": {"type": ["string", "null"], "description": "of the event that was given up"}, "reason": {"type": "string"}}'::jsonb, '{}'::text[])))
	   ) AS o (type, key, tenant, summary, fields)
	 WHERE wanted IS NULL OR o.type = wanted)
SELECT m.type, m.place, m.topic, jsonb_build_object('name', m.type, 'title', m.type, 'summary', m.summary, 'contentType', m.content,
	   'headers', evpub_internal.contract_object(m.headers, '{ce_subject}'::text[]),
	   'payload', m.payload || jsonb_build_object('title', m.type) || described.by,
	   'bindings', jsonb_build_object('kafka', jsonb_build_object('key', m.key, 'bindingVersion', '0.5.0'))) || described.by
  FROM messages m
	   CROSS JOIN LATERAL (SELECT CASE WHEN m.filter IS NULL THEN '{}' ELSE jsonb_build_object('description', m.filter) END) AS described (by)
$$;
COMMENT ON FUNCTION evpub_internal.contract_messages(text) IS
'messages of AsyncAPI for captured tables (for evpub.asyncapi)';
REVOKE ALL ON FUNCTION evpub_internal.contract_messages(text) FROM PUBLIC;

-- These two run as the owner of the extension, so that a grant of EXECUTE on them
-- is enough.  That gives nothing away: all that they read, every role can read in
-- pg_catalog.  Why nobody else's code runs, is said above.
CREATE FUNCTION evpub.json_schema(type text)
RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	schemas jsonb;
	types   text[];
BEGIN
	IF type IS NULL THEN
		RAISE EXCEPTION 'type of the event must not be null'
			USING ERRCODE = 'null_value_not_allowed',
			      HINT = 'Name a type, such as member.created.';
	END IF;
	SELECT jsonb_agg(DISTINCT m.message -> 'payload') INTO schemas FROM evpub_internal.contract_messages(type) m;
	IF schemas IS NULL THEN
		SELECT array_agg(t.type ORDER BY t.type COLLATE "C") INTO types
		  FROM (SELECT DISTINCT e.type FROM evpub_internal.contract_events() e) t;
		RAISE EXCEPTION 'there are no events of type "%"', type
			USING ERRCODE = 'undefined_object',
			      DETAIL = 'No captured table of this database makes such events.',
			      HINT = CASE WHEN types IS NULL THEN 'Capture a table by evpub.capture_table() first.'
						ELSE concat('Types are ', array_to_string(types[1:20], ', '),
									CASE WHEN cardinality(types) > 20 THEN format(', and %s more: see evpub.asyncapi()', cardinality(types) - 20) END, '.') END;
	END IF;
	RETURN '{"$schema": "https://json-schema.org/draft/2020-12/schema"}'::jsonb ||
		CASE WHEN jsonb_array_length(schemas) = 1 THEN schemas -> 0
			 ELSE jsonb_build_object('title', type, 'anyOf', schemas) END;
END
$$;
COMMENT ON FUNCTION evpub.json_schema(text) IS
'Gives the JSON Schema (2020-12) of the values of events of a type, such as member.created; an error if no captured table makes such events.';
REVOKE ALL ON FUNCTION evpub.json_schema(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub.json_schema(text) TO pg_monitor;

-- AsyncAPI wants names of few characters.  Two that become the same are told apart
-- by a number, in the order of the alphabet.
CREATE FUNCTION evpub.asyncapi()
RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
WITH found AS MATERIALIZED (
	-- messages are large, so from here on they have numbers
	SELECT m.type, m.topic, m.place, m.message, dense_rank() OVER (ORDER BY m.type, m.message) AS n
	  FROM evpub_internal.contract_messages(NULL::text) m),
distinct_messages AS (
	SELECT f.n, min(f.type) AS type, min(f.place COLLATE "C") AS place, count(*) OVER (PARTITION BY min(f.type)) > 1 AS by_place
	  FROM found f
	 GROUP BY f.n),
named AS (
	SELECT d.*, m.message, regexp_replace(concat_ws('.', d.type, CASE WHEN d.by_place THEN d.place END), '[^A-Za-z0-9._-]+', '_', 'g') AS name
	  FROM distinct_messages d
		   JOIN (SELECT DISTINCT ON (f.n) f.n, f.message FROM found f) m USING (n)),
messages AS MATERIALIZED (
	SELECT n.n, n.message,
		   concat(n.name, CASE WHEN row_number() OVER (PARTITION BY n.name COLLATE "C" ORDER BY n.type COLLATE "C", n.place COLLATE "C", n.message) > 1
				-- a number could be the end of another name
				THEN '_' || left(md5(concat_ws(chr(1), n.type, n.place, n.message)), 12) END) AS id
	  FROM named n),
topics AS MATERIALIZED (
	SELECT t.topic, concat(t.name, CASE WHEN row_number() OVER (PARTITION BY t.name COLLATE "C" ORDER BY t.topic COLLATE "C") > 1
				THEN '_' || left(md5(t.topic), 12) END) AS id
	  FROM (SELECT f.topic, coalesce(nullif(regexp_replace(regexp_replace(f.topic, '[{}]', '', 'g'), '[^A-Za-z0-9._-]+', '_', 'g'), ''), '_') AS name
			  FROM found f WHERE f.topic IS NOT NULL GROUP BY f.topic) t),
carried AS MATERIALIZED (
	SELECT t.topic, t.id, m.id AS message
	  FROM (SELECT f.topic, f.n FROM found f WHERE f.topic IS NOT NULL
			 UNION
			SELECT o.topic, f.n FROM topics o CROSS JOIN found f WHERE f.topic IS NULL) f
		   JOIN topics t USING (topic)
		   JOIN messages m USING (n))
-- parts as text, which is parsed once at the end: jsonb would be copied at each level
SELECT json_build_object(
	'asyncapi', '3.0.0',
	'info', json_build_object(
		'title', concat('Events of database ', current_database()),
		'version', '1.0.0',
		'description', 'Changes of tables, published to Kafka by evpub when they are committed.

Order: events with the same message key are in one partition, in the order of their commits, and within a transaction in the order of its statements. Between keys there is no order. The partition is that of the Java client''s default partitioner (murmur2 of the key). Process a partition in order, and do not retry an event behind later ones.

Duplicates: after a crash an event may come again, with the same id (header evpub-id). Within a partition ids whose first 16 digits are the same ascend, so it is enough to remember the largest one, and to skip what is not above it.

Reading: created, updated and resynced are an upsert. Where an event holds no data, read the row back by its pk, whose values have the types of the columns; only the source''s own answer means not found, which is a row that was deleted since, and an event of that follows. truncated has no pk: all rows of the table and tenant are gone. Where the description of a message has a condition, the table is captured with a filter: read rows back, and ask whether they are gone, with the same condition, since a row that leaves it is deleted and may still be there. Between resync_started and resync_finished of one run each row of the tenant has an event: forget rows without one, unless data.partial is true. evpub.gap and evpub.skipped may come in each topic: for a gap, and for what was skipped without a pk, all rows have to be published anew, by CALL evpub.resync(...) of the database. Ignore types and members that you do not know. Numbers are exact: an integer may be larger than 2^53, and a numeric may have more digits than a floating-point number keeps, so take such a pk from the JSON itself.

Offsets: commit them after the transaction that stores what the events asked for, and store the largest id of each partition in that transaction. Read a partition without an offset, one that was added too, from its first record. When a topic is given more partitions, newer events of a key may be read before older ones: a consumer that makes the row what the source has now, for deleted as well, needs no order. How that is done in full: docs/consumers.md of evpub.

Not in this document: what evpub.publish() and evpub.publish_raw() send, headers of evpub.extra_headers, topics that a call of evpub.resync() names, and dead letters.'),
	'defaultContentType', 'application/json',
	'channels', (
		SELECT coalesce(json_object_agg(c.id, c.channel), '{}') FROM (
			SELECT k.id, jsonb_build_object('address', k.topic,
					'messages', jsonb_object_agg(k.message, jsonb_build_object('$ref', '#/components/messages/' || k.message)))
				|| CASE WHEN k.topic LIKE '%{%' THEN jsonb_build_object('parameters', (
						SELECT jsonb_object_agg(p.m[1], jsonb_build_object('description', CASE p.m[1]
							WHEN 'tenant' THEN 'the tenant of the event'
							ELSE 'values of the primary key, with commas between them' END))
						  FROM regexp_matches(k.topic, '\{([a-z]+)\}', 'g') AS p (m)))
					-- with parameters it has no one topic
					ELSE jsonb_build_object('bindings', jsonb_build_object('kafka', jsonb_build_object('topic', k.topic, 'bindingVersion', '0.5.0'))) END AS channel
			  FROM carried k
			 GROUP BY k.id, k.topic) c),
	'operations', (
		SELECT coalesce(json_object_agg('send_' || o.id, json_build_object('action', 'send',
					'summary', 'evpub publishes what was committed.',
					'channel', jsonb_build_object('$ref', '#/channels/' || o.id), 'messages', o.messages)), '{}')
		  FROM (SELECT k.id, jsonb_agg(jsonb_build_object('$ref', concat('#/channels/', k.id, '/messages/', k.message)) ORDER BY k.message COLLATE "C") AS messages
				  FROM carried k GROUP BY k.id) o),
	'components', json_build_object(
		'messages', (SELECT json_object_agg(m.id, m.message || jsonb_build_object('payload', jsonb_build_object('$ref', '#/components/schemas/' || m.id))) FROM messages m),
		'schemas', (SELECT json_object_agg(m.id, m.message -> 'payload') FROM messages m)))::jsonb
$$;
COMMENT ON FUNCTION evpub.asyncapi() IS
'Gives an AsyncAPI 3.0 document of the events of all captured tables: topics, messages, keys, headers, and the order in words; the same as long as tables and settings are.';
REVOKE ALL ON FUNCTION evpub.asyncapi() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evpub.asyncapi() TO pg_monitor;

-- ---------------------------------------------------------------------------
-- what to type for what
-- ---------------------------------------------------------------------------

-- For everybody who has USAGE on the schema, so it is granted below the default
-- privileges, which are revoked there.
CREATE FUNCTION evpub.help()
RETURNS TABLE (topic text, purpose text, command text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 40
SET search_path = pg_catalog, pg_temp
AS $help$
VALUES
	('start', 'name the Kafka brokers', $$ALTER SYSTEM SET evpub.bootstrap_servers = 'kafka1:9092,kafka2:9092';$$),
	('start', 'have the server read changed settings', $$SELECT pg_reload_conf();$$),
	('start', 'let an owner of tables capture them', $$GRANT USAGE ON SCHEMA evpub TO app_owner;$$),
	('start', '... and', $$GRANT EXECUTE ON FUNCTION evpub.capture, evpub.capture_table, evpub.release_table TO app_owner;$$),
	('start', 'let somebody watch: views and check()', $$GRANT pg_monitor TO ops;$$),
	('start', 'publish from a copy made by TEMPLATE', $$SELECT evpub.register_database();$$),
	('capture', 'publish changes of a table, keys only', $$SELECT evpub.capture_table('member', topic => 'hr', tenant_column => 'tenant_id');$$),
	('capture', '... with the values of the row', $$SELECT evpub.capture_table('member', tenant_column => 'tenant_id', payload => 'row');$$),
	('capture', '... of some rows, one tenant for all', $$SELECT evpub.capture_table('member', tenant => 'acme', filter => '{row}.deleted_at IS NULL');$$),
	('capture', '... in the schema of each customer', $$SELECT evpub.capture_schemas('^cust_(.*)$', '{member}', tenant => '{match}');$$),
	('capture', 'end that for a table', $$SELECT evpub.release_table('member');$$),
	('capture', '... for schemas', $$SELECT evpub.release_schemas('^cust_(.*)$', '{member}');$$),
	('capture', 'what is captured, and by which call', $$SELECT "table", topic, enabled, definition FROM evpub.tables;$$),
	('capture', 'rules for schemas', $$SELECT * FROM evpub.schema_rules;$$),
	('contract', 'what consumers get, as AsyncAPI', $$SELECT jsonb_pretty(evpub.asyncapi());$$),
	('contract', '... values of a type, as JSON Schema', $$SELECT jsonb_pretty(evpub.json_schema('member.created'));$$),
	('publish', 'an event of your own, at commit', $$SELECT evpub.publish('member.invited', 'acme', '{"id": 42}', topic => 'hr');$$),
	('publish', 'a value as it is, at commit', $$SELECT evpub.publish_raw('settings', 'acme', '{"theme": "dark"}');$$),
	('publish', 'rows that are there already', $$CALL evpub.resync('{member}');$$),
	('watch', 'what is wrong, and what to type', $$SELECT name, detail, hint FROM evpub.check() WHERE NOT ok;$$),
	('watch', 'what the publisher does, and why', $$SELECT state, state_reason, hint, lag_seconds, lag_bytes FROM evpub.status;$$),
	('watch', 'what went wrong lately', $$SELECT last_at, count, kind, topic, text, done FROM evpub.failures;$$),
	('watch', 'topics that were published to', $$SELECT * FROM evpub.topics;$$),
	('watch', 'how much, how fast, what was refused', $$SELECT events, latency_p99, refusals, relay_starts, stats_reset FROM evpub.stat;$$),
	('watch', '... of each topic', $$SELECT * FROM evpub.stat_topics ORDER BY events DESC;$$),
	('watch', '... of each captured table', $$SELECT * FROM evpub.stat_tables ORDER BY created + updated + deleted DESC;$$),
	('watch', '... anew from now on', $$SELECT evpub.stat_reset();$$),
	('watch', 'how far calls of resync() are', $$SELECT pid, phase, rows_done, rows_total, time_left FROM evpub.stat_progress_resync;$$),
	('watch', 'how far it has caught up, if behind', $$SELECT state, done_bytes, left_bytes, time_left FROM evpub.stat_progress_catchup;$$),
	('watch', 'events that will be published next', $$SELECT topic, key, value FROM evpub.peek(20);$$),
	('wait', 'until all that is committed is in Kafka', $$SELECT evpub.wait_published(timeout => '10 s');$$),
	('wait', 'until a standby has the row of an event', $$SELECT evpub.wait_replayed('0/16B3748', timeout => '1 s');$$),
	('steer', 'publish nothing for a while; WAL is kept', $$SELECT evpub.pause();$$),
	('steer', 'go on, also with a topic made anew', $$SELECT evpub.resume();$$),
	('give up', 'the one event that Kafka refuses', $$SELECT evpub.skip_event('0745be80dd5a1b04-00000001-00000000015B67F0-00000000');$$),
	('give up', 'what state "gap" has lost', $$SELECT evpub.accept_gap('0/16B3748');$$),
	('give up', 'all that waits up to now', $$SELECT evpub.discard(pg_current_wal_flush_lsn());$$),
	('give up', 'a topic that is retired', $$SELECT evpub.forget_topic('old-topic');$$),
	('failover', 'publish from this server, not the old', $$SELECT evpub.take_over();$$),
	('repair', 'change rows without events (session)', $$SET evpub.capture = off;$$),
	('end', 'publish nothing of this database', $$DROP EXTENSION evpub CASCADE;$$)
$help$;
COMMENT ON FUNCTION evpub.help() IS
'Shows what to type for what: a row for each purpose, grouped by topic, with a command whose names are examples.';

-- ---------------------------------------------------------------------------
-- default privileges of who installs evpub give others nothing here: who may
-- write evpub.schema_rules, for one, can do what a superuser can
-- ---------------------------------------------------------------------------

DO $$
DECLARE
	stranger text;
BEGIN
	FOR stranger IN
		SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
		  FROM (SELECT c.relacl, c.relowner FROM pg_class c
				 WHERE c.relnamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace)
				UNION ALL
				SELECT coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner FROM pg_proc p
				 WHERE p.pronamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace)) o (acl, owner),
			   aclexplode(o.acl) a
		 WHERE a.grantee <> o.owner AND a.grantee <> 'pg_monitor'::regrole
	LOOP
		EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA evpub, evpub_internal FROM %s', stranger);
		EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA evpub, evpub_internal FROM %s', stranger);
	END LOOP;
	REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA evpub, evpub_internal FROM pg_monitor;
END
$$;

GRANT EXECUTE ON FUNCTION evpub.help() TO PUBLIC;

-- ---------------------------------------------------------------------------
-- registration of this database: last, so that nothing is left of it when
-- something above fails
-- ---------------------------------------------------------------------------

DO $$ BEGIN PERFORM evpub.register_database(); END $$;
