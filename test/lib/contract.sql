-- Tables whose events are of every form: all families of types, all envelopes, keys
-- and topics that rows fill.  086_contract.pl compares their events with the contract.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(10,2);
CREATE TYPE address AS (street text, number positive, rent numeric, since timestamptz, mood mood, tags text[]);
CREATE TABLE code (tenant_id text, code text, label text, PRIMARY KEY (tenant_id, code));
CREATE TABLE everything (
	tenant_id text NOT NULL, id bigint PRIMARY KEY, i2 smallint, i4 int NOT NULL, positive positive, n numeric, n2 numeric(10,2),
	price price, r real, d double precision, b boolean, t text, v varchar(10), c char(4), u uuid, bytes bytea,
	day date, ts timestamp, tz timestamptz, clock time, zoned timetz, i interval, m money, mood mood, moods mood[], ints int[],
	numbers numeric[], range int4range, ranges int4multirange, j json, jb jsonb NOT NULL, home address, homes address[],
	domains positive[], ip inet, o oid, "char" "char", name name, path point, "odd ""name""" text DEFAULT 'x');
CREATE TABLE member (tenant_id text NOT NULL, id int PRIMARY KEY, name varchar(20) NOT NULL, at timestamptz, "Mixed" int);
CREATE TABLE structured (tenant_id text NOT NULL, id int PRIMARY KEY, name text, at timestamptz);
CREATE TABLE binary_mode (tenant_id text NOT NULL, id int PRIMARY KEY, name text, at timestamptz);
CREATE TABLE bare (tenant_id text NOT NULL, day date, n int, name text, PRIMARY KEY (day, n));
CREATE TABLE bare_key (tenant_id text NOT NULL, id int PRIMARY KEY, name text);
CREATE TABLE parts (tenant_id text NOT NULL, id int, name text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE TABLE by_hand (id uuid PRIMARY KEY, name text);
CREATE TABLE log (id int PRIMARY KEY, text text);
SELECT evpub.capture_table('code', tenant_column => 'tenant_id');
SELECT evpub.capture_table('everything', tenant_column => 'tenant_id', payload => 'row');
SELECT evpub.capture_table('member', topic => 'member.{event}', tenant_column => 'tenant_id', key => '{tenant}/{table}/{pk}',
	payload => 'changed_columns', data_columns => '{name,at,Mixed}', on_delete => 'tombstone',
	headers => '{"__TypeId__": "{table}", "what": "{event} of {tenant}"}');
SELECT evpub.capture_table('structured', tenant_column => 'tenant_id', payload => 'row', envelope => 'cloudevents',
	type => 'com.example.{table}.{event}');
SELECT evpub.capture_table('binary_mode', tenant_column => 'tenant_id', payload => 'changed_columns', data_columns => '{name,at}',
	envelope => 'cloudevents_binary', headers => '{"table": "{schema}.{table}"}');
SELECT evpub.capture_table('bare', topic => 'bare-{tenant}', tenant_column => 'tenant_id', data_columns => '{name,day}',
	envelope => 'none', headers => '{"type": "{type}"}', filter => '{row}.name <> ''hidden''');
SELECT evpub.capture_table('bare_key', topic => '{table}', tenant_column => 'tenant_id', envelope => 'none', operations => '{insert,update}',
	type => 'bare key: {event}', headers => '{"type": "{type}"}');
SELECT evpub.capture_table('parts', topic => 'parts', tenant_column => 'tenant_id', type => '{table}.{tenant}.{op}',
	operations => '{insert,truncate}');
CREATE TRIGGER by_hand AFTER INSERT OR DELETE ON by_hand FOR EACH ROW
	EXECUTE FUNCTION evpub.capture('tenant=acme', 'topic={tenant}-by-hand', 'key_columns=id', 'data_columns="name", id');
SELECT evpub.capture_table('log', topic => 'log', tenant => 'acme', key => '{table}', operations => '{insert}', payload => 'row');
