-- NOT NULL constraints that are NOT VALID (PostgreSQL 18): a row may be NULL
-- there, so such a column is no key.  The other output is that of older versions.
SELECT current_setting('server_version_num')::int < 180000 AS skip \gset
\if :skip
\quit
\endif
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE code (code text, tenant text);
INSERT INTO code VALUES (NULL, 'acme');
ALTER TABLE code ADD CONSTRAINT has_code NOT NULL code NOT VALID;
SELECT evpub.capture_table('code', topic => 't', tenant_column => 'tenant', key_columns => '{code}');
\echo :LAST_ERROR_SQLSTATE
-- valid, it is one
DELETE FROM code;
ALTER TABLE code VALIDATE CONSTRAINT has_code;
SELECT evpub.capture_table('code', topic => 't', tenant_column => 'tenant', key_columns => '{code}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO code VALUES ('a', 'acme');
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
-- and stays so
ALTER TABLE code DROP CONSTRAINT has_code;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE code;
