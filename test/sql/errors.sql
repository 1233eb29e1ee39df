-- Errors that no other file shows: SQLSTATE, detail, and what to do.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
-- peek
SELECT count(*) FROM evpub.peek(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM evpub.peek(NULL);
SELECT count(*) FROM evpub.peek(0);
-- WAL begins where this server was made
\set VERBOSITY terse
SELECT count(*) FROM evpub.peek(1, '0/1');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default

-- waiting
SELECT evpub.wait_published(timeout => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.wait_published(timeout => '-1 s');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.wait_published('FFFFFFFF/0', '0 s');

-- a filter where nothing finds the other rows of a key
CREATE TABLE seat (id int NOT NULL, tenant text);
SELECT evpub.capture_table('seat', tenant_column => 'tenant', key_columns => '{id}', filter => '{row}.tenant <> ''x''');
\echo :LAST_ERROR_SQLSTATE
-- and where nothing asks it
ALTER TABLE seat ADD PRIMARY KEY (id);
CREATE TRIGGER by_hand AFTER INSERT ON seat FOR EACH ROW
	EXECUTE FUNCTION evpub.capture('topic=t', 'tenant=acme', 'filter={row}.id > 0');
\echo :LAST_ERROR_SQLSTATE

-- a key that has no order can be published as it changes, but not read in order
CREATE TABLE place (at point NOT NULL, tenant text);
SELECT evpub.capture_table('place', topic => 't', tenant_column => 'tenant', key_columns => '{at}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO place VALUES ('(1,2)', 'acme');
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
CALL evpub.resync('{place}');
\echo :LAST_ERROR_SQLSTATE

-- a key column that came to be nullable while DDL was not looked at: the writer
-- gets the error, not the consumer
SET evpub.capture = off;
ALTER TABLE place ALTER COLUMN at DROP NOT NULL;
RESET evpub.capture;
INSERT INTO place VALUES (NULL, 'acme');
\echo :LAST_ERROR_SQLSTATE
CALL evpub.resync('{place}');
\echo :LAST_ERROR_SQLSTATE

-- functions that another version of evpub has declared
SELECT probin AS library FROM pg_proc WHERE oid = 'evpub.capture'::regproc \gset
-- an older one, without columns that the library fills in
CREATE FUNCTION pg_temp.old_status(OUT publisher_id text, OUT relay_restarts bigint) AS :'library', 'evpub_status' LANGUAGE C;
SELECT s = (SELECT (publisher_id, relay_restarts) FROM evpub.status) AS same FROM pg_temp.old_status() s;
CREATE FUNCTION pg_temp.old_options(OUT name text, OUT value text) RETURNS SETOF record AS :'library', 'evpub_options' LANGUAGE C;
SELECT * FROM pg_temp.old_options() ORDER BY name COLLATE "C" LIMIT 2;
-- with another type
CREATE FUNCTION pg_temp.other_options(OUT name text, OUT type oid, OUT value text, OUT comment text) RETURNS SETOF record AS :'library', 'evpub_options' LANGUAGE C;
SELECT * FROM pg_temp.other_options();
\echo :LAST_ERROR_SQLSTATE
-- with one that the library does not fill in
CREATE FUNCTION pg_temp.new_options(OUT name text, OUT type text, OUT value text, OUT comment text, OUT since text) RETURNS SETOF record AS :'library', 'evpub_options' LANGUAGE C;
SELECT * FROM pg_temp.new_options();
\echo :LAST_ERROR_SQLSTATE
-- and in another order it is the same
CREATE FUNCTION pg_temp.same_options(OUT comment text, OUT value text, OUT type text, OUT name text) RETURNS SETOF record AS :'library', 'evpub_options' LANGUAGE C;
SELECT name, type, value FROM pg_temp.same_options() ORDER BY name COLLATE "C" LIMIT 2;
-- options that an older version does not have are as by default
CREATE FUNCTION pg_temp.old_capture_table(rel regclass, topic text, tenant_column name, tenant text) RETURNS void AS :'library', 'evpub_capture_table' LANGUAGE C;
SELECT pg_temp.old_capture_table('seat', 'seats', NULL, 'acme');
SELECT definition FROM evpub.tables WHERE "table" = 'seat'::regclass;
SELECT format('CREATE FUNCTION pg_temp.new_capture_table(rel regclass, %s, since text) RETURNS void AS %L, ''evpub_capture_table'' LANGUAGE C',
	string_agg(format('%I %s', name, type), ', '), :'library') FROM evpub_internal.options() \gexec
SELECT format('SELECT pg_temp.new_capture_table(%L, %s, NULL)', 'seat', string_agg('NULL', ', ')) AS call FROM evpub_internal.options() \gset
:call;
\echo :LAST_ERROR_SQLSTATE
SELECT format('CREATE FUNCTION pg_temp.new_capture_schemas(pattern text, tables name[], %s, since text) RETURNS integer AS %L, ''evpub_capture_schemas'' LANGUAGE C',
	string_agg(format('%I %s', name, type), ', '), :'library') FROM evpub_internal.options() \gexec
SELECT format('SELECT pg_temp.new_capture_schemas(%L, %L, %s, NULL)', 'x', '{x}', string_agg('NULL', ', ')) AS call FROM evpub_internal.options() \gset
:call;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE seat, place;
