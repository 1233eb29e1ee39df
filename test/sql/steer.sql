-- pause, resume, accept_gap, discard, take_over: what one session sees.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
-- nothing is open to everybody
CREATE ROLE regress_evpub_nobody;
GRANT USAGE ON SCHEMA evpub TO regress_evpub_nobody;
SET ROLE regress_evpub_nobody;
SELECT evpub.pause();
SELECT evpub.resume();
SELECT evpub.take_over();
SELECT evpub.accept_gap('0/1');
SELECT evpub.discard('0/1');
RESET ROLE;
-- a grant is enough
GRANT EXECUTE ON FUNCTION evpub.pause, evpub.discard TO regress_evpub_nobody;
SET ROLE regress_evpub_nobody;
SELECT evpub.pause();
SELECT evpub.discard('0/1');
RESET ROLE;
SELECT state, regexp_replace(state_reason, E' at .*', ' at T') AS state_reason FROM evpub.status;
-- it is not undone by a rollback
SELECT evpub.resume();
BEGIN;
SELECT evpub.pause();
ROLLBACK;
SELECT state, regexp_replace(state_reason, E' at .*', ' at T') AS state_reason FROM evpub.status;
-- twice is once
SELECT evpub.pause();

-- wrong states
SELECT evpub.accept_gap('0/1');
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.take_over();
\echo :LAST_ERROR_SQLSTATE
SELECT evpub.accept_gap(NULL) IS NULL AS nothing;
SELECT evpub.discard(NULL) IS NULL AS nothing;

-- up to what is written, and no further
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'x', topic => 'steer');
INSERT INTO t VALUES (1);
\set VERBOSITY sqlstate
SELECT evpub.discard(pg_current_wal_flush_lsn() + 1000000);
\set VERBOSITY default
SELECT count(*) FROM evpub.peek(1000000) WHERE topic = 'steer';
-- a NOTICE has numbers, here of what other tests have left
SET client_min_messages = warning;
SELECT evpub.discard(commit_lsn - 1) FROM evpub.peek(1000000) WHERE topic = 'steer';
RESET client_min_messages;
SELECT count(*) FROM evpub.peek(1000000) WHERE topic = 'steer';
SELECT commit_lsn FROM evpub.peek(1000000) WHERE topic = 'steer' \gset
SELECT evpub.discard(:'commit_lsn');
SELECT count(*) FROM evpub.peek(1000000) WHERE topic = 'steer';
SELECT confirmed_lsn >= :'commit_lsn' AS confirmed FROM evpub.status;
-- still in WAL, for those who ask for it
SELECT count(*) FROM evpub.peek(100, :'commit_lsn'::pg_lsn - 1) WHERE topic = 'steer';
INSERT INTO t VALUES (2);
SELECT value::jsonb -> 'pk' AS pk FROM evpub.peek(1000000) WHERE topic = 'steer';

-- the limits
SHOW evpub.max_lag_size;
SHOW evpub.min_disk_free;
SELECT name, unit, context FROM pg_settings WHERE name IN ('evpub.max_lag_size', 'evpub.min_disk_free') ORDER BY 1;
SET evpub.max_lag_size = '1GB';
\set VERBOSITY sqlstate
ALTER SYSTEM SET evpub.max_lag_size = '-2MB';
\set VERBOSITY default
ALTER SYSTEM SET evpub.min_disk_free = '101%';
ALTER SYSTEM SET evpub.min_disk_free = 'much';
ALTER SYSTEM SET evpub.min_disk_free = '';

SELECT evpub.resume();
SELECT evpub.release_table('t');
DROP TABLE t;
REVOKE EXECUTE ON FUNCTION evpub.pause, evpub.discard FROM regress_evpub_nobody;
REVOKE USAGE ON SCHEMA evpub FROM regress_evpub_nobody;
DROP ROLE regress_evpub_nobody;
