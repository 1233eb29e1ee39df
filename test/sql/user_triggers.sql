-- Triggers of your own, on captured tables and writing to captured tables.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE member (id int PRIMARY KEY, tenant text, name text, deleted boolean DEFAULT false);
CREATE TABLE task (id int PRIMARY KEY, tenant text, member int);
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{name}');
SELECT evpub.capture_table('task', tenant_column => 'tenant');

-- BEFORE: the event has what is stored
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.tenant := lower(NEW.tenant);
	NEW.name := trim(NEW.name);
	RETURN NEW;
END $$;
CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON member FOR EACH ROW EXECUTE FUNCTION tidy();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (1, 'ACME', ' Kim ');
UPDATE member SET tenant = 'Acme', name = ' Kim' WHERE id = 1;
UPDATE member SET tenant = 'Acme', name = ' Lee' WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- BEFORE, and something else is done instead: what was done is published
CREATE FUNCTION soft_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE member SET deleted = true WHERE id = OLD.id;
	RETURN NULL;
END $$;
CREATE TRIGGER soft_delete BEFORE DELETE ON member FOR EACH ROW EXECUTE FUNCTION soft_delete();
SELECT pg_current_wal_insert_lsn() AS start \gset
DELETE FROM member WHERE id = 1;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TRIGGER soft_delete ON member;

-- BEFORE, and another table is written: those events come first
CREATE FUNCTION task_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO task VALUES (NEW.id * 10, NEW.tenant, NEW.id);
	RETURN NEW;
END $$;
CREATE TRIGGER task_first BEFORE INSERT ON member FOR EACH ROW EXECUTE FUNCTION task_first();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (2, 'acme', 'a'), (3, 'acme', 'b');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TRIGGER task_first ON member;

-- AFTER: behind the event of the row, before that of the next row
CREATE FUNCTION task_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO task VALUES (NEW.id * 10, NEW.tenant, NEW.id);
	RETURN NULL;
END $$;
CREATE TRIGGER task_after AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION task_after();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (4, 'acme', 'a'), (5, 'acme', 'b');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');

-- ... unless its name sorts before: evpub.check() says so
ALTER TRIGGER task_after ON member RENAME TO "A task";
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (6, 'acme', 'a');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
SELECT detail, hint FROM evpub.check() WHERE name = 'trigger_order';
DROP TRIGGER "A task" ON member;

-- AFTER, and the same row is changed again, or taken away
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'shout' THEN
		UPDATE member SET name = 'SHOUT' WHERE id = NEW.id;
	ELSIF NEW.name = 'nobody' THEN
		DELETE FROM member WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON member FOR EACH ROW EXECUTE FUNCTION again();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (7, 'acme', 'shout');
INSERT INTO member VALUES (8, 'acme', 'nobody');
UPDATE member SET name = 'shout' WHERE id = 2;
UPDATE member SET name = 'nobody' WHERE id = 3;
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TRIGGER again ON member;

-- AFTER the statement, with its rows: behind all of them
CREATE FUNCTION task_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO task SELECT id * 10 + 1, tenant, id FROM added ORDER BY id;
	RETURN NULL;
END $$;
CREATE TRIGGER task_statement AFTER INSERT ON member REFERENCING NEW TABLE AS added
	FOR EACH STATEMENT EXECUTE FUNCTION task_statement();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (9, 'acme', 'a'), (10, 'acme', 'b');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TRIGGER task_statement ON member;

-- a trigger that fails takes all with it; one that catches its error takes what
-- it did
CREATE FUNCTION careless() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO task VALUES (NEW.id * 10, NEW.tenant, NEW.id);
		IF NEW.id = 11 THEN
			RAISE 'not this one';
		END IF;
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	IF NEW.id = 12 THEN
		RAISE 'nor this one';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER careless AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION careless();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO member VALUES (11, 'acme', 'a');
\set VERBOSITY terse
INSERT INTO member VALUES (13, 'acme', 'a'), (12, 'acme', 'a');
\set VERBOSITY default
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TRIGGER careless ON member;

-- triggers that are switched off, that of capture among them
SELECT pg_current_wal_insert_lsn() AS start \gset
ALTER TABLE member DISABLE TRIGGER USER;
INSERT INTO member VALUES (14, 'acme', 'a');
ALTER TABLE member ENABLE TRIGGER USER;
SET session_replication_role = replica;
INSERT INTO member VALUES (15, 'acme', 'a');
RESET session_replication_role;
SET evpub.capture = off;
INSERT INTO member VALUES (16, 'acme', 'a');
RESET evpub.capture;
INSERT INTO member VALUES (17, 'acme', 'a');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
-- with on_replica it stays on under session_replication_role
SELECT evpub.capture_table('member', tenant_column => 'tenant', data_columns => '{name}', on_replica => true);
SELECT pg_current_wal_insert_lsn() AS start \gset
SET session_replication_role = replica;
INSERT INTO member VALUES (18, 'acme', 'a');
UPDATE member SET name = 'b' WHERE id = 18;
DELETE FROM member WHERE id = 18;
TRUNCATE member;
RESET session_replication_role;
INSERT INTO member VALUES (19, 'acme', 'a');
SELECT tx, n, type, tenant, pk, data FROM pg_temp.brief(:'start');
DROP TABLE member, task;
DROP FUNCTION tidy, soft_delete, task_first, task_after, again, task_statement, careless;
