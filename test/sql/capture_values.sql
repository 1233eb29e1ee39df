-- Keys and tenants of every kind of type, printed the same in any session.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TYPE colour AS ENUM ('red', 'dark "blue"');
CREATE DOMAIN number AS int8;
CREATE TABLE numbers (a int2, b int4, c int8, d bool, e number, PRIMARY KEY (a, b, c, d, e));
CREATE TABLE numerics (n numeric PRIMARY KEY);
CREATE TABLE texts (a text, b varchar, c char(3), d name, e "char", f colour, g uuid,
	PRIMARY KEY (a, b, c, d, e, f, g));
CREATE TABLE times (a timestamptz, b timestamp, c date, d interval, e timetz, PRIMARY KEY (a, b, c, d, e));
CREATE TABLE others (a float8, b float4, c bytea, d int[], e int4range, PRIMARY KEY (a, b, c, d, e));
SELECT evpub.capture_table(t, topic => 'v', tenant => '{database}', key => '{pk}')
  FROM unnest('{numbers,numerics,texts,times,others}'::regclass[]) t;

SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO numbers VALUES (-32768, -2147483648, -9223372036854775808, true, 9007199254740993), (0, 1, 2, false, 3);
INSERT INTO numerics VALUES (1.50), (-0.000000000000000000001), (12345678901234567890123), ('NaN'), ('Infinity'), ('-Infinity');
INSERT INTO texts VALUES ('', 'ü "quoted" \', 'x', 'n', 'c', 'dark "blue"', '00000000-0000-0000-0000-00000000000a'),
	(E'\t\n\r\b\f\x01', '日本', '', '', '', 'red', '00000000-0000-0000-0000-00000000000b');
SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -10; SET bytea_output = 'escape';
INSERT INTO times VALUES ('2026-11-20 13:43:46.5+00', '2026-11-20 13:43:46', '2026-11-20', '1 day 2 hours', '10:00+02'),
	('infinity', '-infinity', '0044-03-15 BC', '-1 month', '00:00-11');
INSERT INTO others VALUES (0.1, 0.1, '\x00ff', '{1,2}', '[1,5)'), ('NaN', '-Infinity', '', '{}', 'empty');
-- the settings are as they were
SELECT now() - '1 day'::interval = now() - interval '1 day' AS same, current_setting('datestyle'), current_setting('timezone'), '\x00'::bytea;
RESET DateStyle; RESET TimeZone; RESET IntervalStyle; RESET extra_float_digits; RESET bytea_output;
SELECT n, key, value FROM pg_temp.events(:'start');
-- all of it is JSON
SELECT count(value::jsonb) FROM pg_temp.events(:'start');

-- tenants
CREATE TABLE tenants (id int PRIMARY KEY, a int, b timestamptz, c text);
SELECT evpub.capture_table('tenants', topic => 'v', tenant_column => 'a', tenant => 'none-{table}');
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO tenants VALUES (1, -5), (2, NULL);
UPDATE tenants SET a = 6 WHERE id = 2;
UPDATE tenants SET a = NULL WHERE id = 2;
SELECT evpub.capture_table('tenants', topic => 'v', tenant_column => 'b');
UPDATE tenants SET b = '2026-01-01 00:00+01' WHERE id = 1;
UPDATE tenants SET b = NULL WHERE id = 1;
DELETE FROM tenants WHERE id = 2;
SELECT evpub.capture_table('tenants', topic => 'v', tenant_column => 'c', tenant => 'x');
-- long values: out of line, compressed
INSERT INTO tenants VALUES (3, NULL, NULL, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)),
	(4, NULL, NULL, repeat('x', 10000));
UPDATE tenants SET a = 1, c = c || '' WHERE id > 2;
UPDATE tenants SET c = c WHERE id > 2;
SELECT tx, n, CASE WHEN length(key) > 100 THEN md5(key) ELSE key END AS key, left(value, 90) AS value FROM pg_temp.events(:'start');

DROP TABLE numbers, numerics, texts, times, others, tenants;
DROP TYPE colour; DROP DOMAIN number;
