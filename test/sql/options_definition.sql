-- The call in evpub.tables.definition gives the same triggers again, for every option.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int NOT NULL, "a, ""b""" text NOT NULL, "Name" text, PRIMARY KEY (id));
CREATE FUNCTION pg_temp.triggers() RETURNS text LANGUAGE sql AS $$
SELECT string_agg(pg_get_triggerdef(oid) || ' ' || tgenabled::text, E'\n' ORDER BY tgname)
  FROM pg_trigger WHERE tgrelid = 'member'::regclass
$$;
CREATE TABLE option (call text);
INSERT INTO option VALUES
	($$tenant_column => 'a, "b"'$$),
	($$tenant => '{schema}', tenant_column => 'Name'$$),
	($$tenant => 'it''s \ {{', topic => 'cms.{table}.{op}'$$),
	($$tenant => 'x', key => '{tenant}/{table}/{pk}', type => '{{}} ''{event}'''$$),
	($$tenant => '', type => '', key => ''$$),
	($$tenant => 'x', operations => '{delete,insert}'$$),
	($$tenant => 'x', operations => '{truncate}'$$),
	($$tenant => 'x', update_columns => '{"a, \"b\"",Name,id}'$$),
	($$tenant => 'x', update_columns => '{}'$$),
	($$tenant => 'x', ignore_columns => '{Name}'$$),
	($$tenant => 'x', payload => 'changed_columns', data_columns => '{Name,"a, \"b\""}'$$),
	($$tenant => 'x', payload => 'row'$$),
	($$tenant => 'x', headers => '{"a b": "it''s {{ \\ \" {pk}", "c": ""}'$$),
	($$tenant => 'x', envelope => 'cloudevents'$$),
	($$tenant => 'x', envelope => 'cloudevents_binary'$$),
	($$tenant => 'x', envelope => 'none'$$),
	($$tenant => 'x', key_columns => '{"a, \"b\"",id}'$$),
	($$tenant => 'x', on_truncate => 'ignore'$$),
	($$tenant => 'x', on_truncate => 'error'$$),
	($$tenant => 'x', key => '{tenant}/{table}/{pk}', on_delete => 'tombstone'$$),
	($$tenant => 'x', collapse => false$$),
	($$tenant => 'x', on_replica => true$$);
-- what is given as the default is not written down
SELECT evpub.capture_table('member', tenant => 'x', key => '{tenant}', operations => '{insert,update,delete,truncate}',
	payload => 'key', envelope => 'plain', on_delete => 'event', collapse => true, on_replica => false);
SELECT definition FROM evpub.tables;
DO $$
DECLARE
	o option;
	made text;
	definition text;
BEGIN
	FOR o IN SELECT * FROM option LOOP
		EXECUTE format('SELECT evpub.capture_table(''member'', %s)', o.call);
		made := pg_temp.triggers();
		SELECT t.definition INTO STRICT definition FROM evpub.tables t;
		RAISE NOTICE '%', definition;
		PERFORM evpub.release_table('member');
		EXECUTE definition;
		IF made IS DISTINCT FROM pg_temp.triggers() OR
			definition IS DISTINCT FROM (SELECT t.definition FROM evpub.tables t) THEN
			RAISE 'not the same: % %', made, pg_temp.triggers();
		END IF;
	END LOOP;
END $$;
DROP TABLE member, option;
