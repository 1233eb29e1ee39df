-- Stored generated columns are columns like others: as key, tenant, data, in a
-- filter, and as what changes.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE invoice (
	number int,
	year int,
	customer text,
	net numeric(10,2),
	id text GENERATED ALWAYS AS (year::text || '-' || number::text) STORED PRIMARY KEY,
	tenant text GENERATED ALWAYS AS (lower(customer)) STORED NOT NULL,
	gross numeric(10,2) GENERATED ALWAYS AS (net * 1.1) STORED,
	note text);
SELECT evpub.capture_table('invoice', tenant_column => 'tenant', data_columns => '{gross}', payload => 'changed_columns');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO invoice (number, year, customer, net) VALUES (1, 2026, 'Acme', 100), (2, 2026, 'Beta', 50);
UPDATE invoice SET net = 200 WHERE number = 1;
-- the base column changes, and the generated one with it: tenant, then key
UPDATE invoice SET customer = 'ACME' WHERE number = 2;
UPDATE invoice SET number = 3 WHERE number = 2;
UPDATE invoice SET customer = 'Acme' WHERE number = 3;
DELETE FROM invoice WHERE number = 3;
SELECT tx, n, type, tenant, pk, changed, data FROM pg_temp.brief(:'start');

-- it is made after BEFORE triggers, and the event has what it is then
CREATE FUNCTION discount() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.net := NEW.net / 2; RETURN NEW; END $$;
CREATE TRIGGER discount BEFORE INSERT ON invoice FOR EACH ROW EXECUTE FUNCTION discount();
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO invoice (number, year, customer, net) VALUES (4, 2026, 'Acme', 100);
SELECT tx, n, type, tenant, pk, changed, data FROM pg_temp.brief(:'start');

-- in update_columns, and in a filter
SELECT evpub.capture_table('invoice', tenant_column => 'tenant', update_columns => '{gross}', data_columns => '{gross}');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE invoice SET note = 'x' WHERE number = 1;
UPDATE invoice SET net = net + 1 WHERE number = 1;
SELECT tx, n, type, tenant, pk, changed, data FROM pg_temp.brief(:'start');
SELECT evpub.capture_table('invoice', tenant_column => 'tenant', filter => '{row}.gross > 100', payload => 'row');
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE invoice SET net = 100 WHERE number = 4;
UPDATE invoice SET net = 10 WHERE number = 4;
SELECT tx, n, type, tenant, pk, changed, data FROM pg_temp.brief(:'start');

-- the expression is dropped: an ordinary column from then on
ALTER TABLE invoice ALTER COLUMN tenant DROP EXPRESSION;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE invoice SET tenant = 'gamma' WHERE number = 1;
SELECT tx, n, type, tenant, pk FROM pg_temp.brief(:'start');
DROP TABLE invoice;
DROP FUNCTION discount;
