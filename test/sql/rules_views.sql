-- Rules and views that end on a captured table: what happens to its rows is published.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text NOT NULL, name text, active boolean DEFAULT true);
CREATE TABLE log (id int PRIMARY KEY, tenant text, what text);
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{name}');
SELECT evpub.capture_table('log', tenant_column => 'tenant', data_columns => '{what}');
INSERT INTO member VALUES (1, 'acme', 'Kim', true), (2, 'acme', 'Lee', true), (3, 'acme', 'Choi', false);

-- a view that PostgreSQL can write through, and one on top of it
CREATE VIEW active_member AS SELECT id, tenant, name FROM member WHERE active;
CREATE VIEW acme_member AS SELECT id, name FROM active_member WHERE tenant = 'acme' WITH CASCADED CHECK OPTION;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO active_member VALUES (4, 'beta', 'Park');
UPDATE acme_member SET name = upper(name);
DELETE FROM acme_member WHERE id = 2;
DELETE FROM acme_member WHERE id = 3;
INSERT INTO active_member VALUES (4, 'beta', 'Kang') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
-- what the view refuses is not published
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE VIEW checked AS SELECT id, tenant, name FROM member WHERE tenant = 'acme' WITH CHECK OPTION;
UPDATE checked SET tenant = 'beta' WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a view with triggers of its own
CREATE VIEW full_log AS SELECT log.id, log.tenant, log.what, member.name FROM log LEFT JOIN member USING (id);
CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM log WHERE id = OLD.id;
		RETURN OLD;
	END IF;
	INSERT INTO member VALUES (NEW.id, NEW.tenant, NEW.name);
	INSERT INTO log VALUES (NEW.id, NEW.tenant, NEW.what);
	RETURN NEW;
END $$;
CREATE TRIGGER write_log INSTEAD OF INSERT OR DELETE ON full_log FOR EACH ROW EXECUTE FUNCTION write_log();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO full_log VALUES (5, 'acme', 'joined', 'Yoon');
DELETE FROM full_log WHERE id = 5;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- a rule that writes as well: after an INSERT, but before an UPDATE or a DELETE,
-- since PostgreSQL runs it so
CREATE RULE also_inserted AS ON INSERT TO member DO ALSO INSERT INTO log VALUES (NEW.id * 10, NEW.tenant, 'created');
CREATE RULE also_deleted AS ON DELETE TO member DO ALSO INSERT INTO log VALUES (OLD.id * 10 + 1, OLD.tenant, 'deleted');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (6, 'acme', 'Jung'), (7, 'beta', 'Han');
DELETE FROM member WHERE id = 6;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
-- COPY knows no rules
SELECT pg_current_wal_insert_lsn() AS start \gset
COPY member (id, tenant, name) FROM stdin;
8	acme	Shin
\.
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP RULE also_inserted ON member;
DROP RULE also_deleted ON member;

-- rules that do something else instead, or nothing
CREATE RULE keep AS ON DELETE TO member DO INSTEAD UPDATE member SET active = false WHERE id = OLD.id;
CREATE RULE no_beta AS ON UPDATE TO member WHERE OLD.tenant = 'beta' DO INSTEAD NOTHING;
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM member WHERE id = 1;
UPDATE member SET name = 'x' WHERE id IN (1, 4);
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP RULE keep ON member;
DROP RULE no_beta ON member;

-- a view made writable by a rule
CREATE VIEW name AS SELECT DISTINCT id, name FROM member;
CREATE RULE change_name AS ON UPDATE TO name DO INSTEAD UPDATE member SET name = NEW.name WHERE id = OLD.id;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE name SET name = 'y' WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- the table is captured, not the view
SELECT evpub.capture_table('active_member', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
CREATE MATERIALIZED VIEW copy AS SELECT * FROM member;
SELECT evpub.capture_table('copy', tenant_column => 'tenant');
\echo :LAST_ERROR_SQLSTATE
SET client_min_messages = warning;
DROP TABLE member, log CASCADE;
DROP FUNCTION write_log;
