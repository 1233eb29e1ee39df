-- Everything in schemas evpub and evpub_internal says in a COMMENT what it is: functions, tables
-- and views with their columns, event triggers, and whatever else there is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS evpub;
RESET client_min_messages;

CREATE TEMP VIEW without_comment AS
SELECT pg_describe_object(d.classid, d.objid, 0) AS what
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'evpub' AND d.deptype = 'e'
-- row types belong to their table or view
AND d.classid <> 'pg_type'::regclass
AND NOT EXISTS (
	SELECT FROM pg_description c
	WHERE c.classoid = d.classid AND c.objoid = d.objid AND c.objsubid = 0)
UNION ALL
SELECT pg_describe_object('pg_class'::regclass, attrelid, attnum)
FROM pg_attribute
JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace IN ('evpub'::regnamespace, 'evpub_internal'::regnamespace) AND relkind IN ('r', 'v')
AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL;

SELECT what FROM without_comment ORDER BY what COLLATE "C";
-- the query finds one
BEGIN;
COMMENT ON FUNCTION evpub.pause() IS NULL;
COMMENT ON COLUMN evpub.status.state IS NULL;
SELECT what FROM without_comment ORDER BY what COLLATE "C";
ROLLBACK;
DROP VIEW without_comment;
