-- evpub.help(): each command is valid, each function and view of schema evpub is in
-- it, it fits on a screen, and whoever may use the schema may call it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS evpub;
SELECT DISTINCT topic FROM evpub.help() ORDER BY 1;
-- the columns of a wide terminal
SELECT count(*) > 30 AS enough, max(length(topic)) <= 10 AS topic, max(length(purpose)) <= 42 AS purpose,
       max(length(command)) <= 96 AS command, bool_and(command ~ '^[^\n]+;$') AS one_line
  FROM evpub.help();

-- who may call it
CREATE ROLE regress_evpub_reader;
SET ROLE regress_evpub_reader;
SELECT count(*) FROM evpub.help();
RESET ROLE;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_reader;
SET ROLE regress_evpub_reader;
SELECT count(*) > 30 AS all FROM evpub.help();
RESET ROLE;
REVOKE USAGE ON SCHEMA evpub FROM regress_evpub_reader;
DROP ROLE regress_evpub_reader;

-- all that people use is in it; the trigger function is, as a right
SELECT o.name AS not_in_help
  FROM (SELECT proname FROM pg_proc WHERE pronamespace = 'evpub'::regnamespace AND proname <> 'help'
        UNION
        SELECT relname FROM pg_class WHERE relnamespace = 'evpub'::regnamespace AND relkind IN ('r', 'v')) o (name)
 WHERE NOT EXISTS (SELECT FROM evpub.help() WHERE command ~ format('\mevpub\.%s\M', o.name))
 ORDER BY 1;

-- A query is planned, which finds its functions and columns; a statement that changes
-- something is run, and rolled back.
CREATE TABLE member (tenant_id text, id bigint, deleted_at date, PRIMARY KEY (tenant_id, id));
CREATE ROLE app_owner;
CREATE ROLE ops;
CREATE FUNCTION pg_temp.fault(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF command LIKE 'SELECT %' THEN
		EXECUTE 'EXPLAIN ' || command;
	ELSE
		EXECUTE command;
		RAISE EXCEPTION USING ERRCODE = 'EVTST';
	END IF;
	RETURN NULL;
EXCEPTION
	WHEN SQLSTATE 'EVTST' THEN RETURN NULL;
	WHEN OTHERS THEN RETURN SQLERRM;
END
$$;
SELECT command, pg_temp.fault(command) FROM evpub.help()
 WHERE command !~ '^(ALTER SYSTEM|CALL) ' AND pg_temp.fault(command) IS NOT NULL;
SELECT pg_temp.fault($$SELECT evpub.no_such('member');$$) AS the_check_finds_one;
-- these cannot be in a transaction
SELECT evpub.capture_table('member', topic => 'hr', tenant_column => 'tenant_id');
SELECT command FROM evpub.help() WHERE command ~ '^(ALTER SYSTEM|CALL) ' ORDER BY 1
\gexec
ALTER SYSTEM RESET evpub.bootstrap_servers;
DROP TABLE member;
DROP ROLE app_owner, ops;

-- \df and \df+: what people use, and what it is for in one or two sentences
SELECT p.proname FROM pg_proc p WHERE pronamespace = 'evpub'::regnamespace
   AND (proname ~ '^_' OR obj_description(oid, 'pg_proc') !~ '^[A-Z].*\.$' OR length(obj_description(oid, 'pg_proc')) > 320);
SELECT count(*) AS outside FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'evpub')
   AND p.pronamespace NOT IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace);
