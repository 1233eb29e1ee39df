-- what may not have been meant is reported, once; an identical repeat is silent
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir /lib/events.sql
\i :file
\set ECHO all
CREATE TABLE ord (id int PRIMARY KEY, tenant text, tenant_id text, kind text);

-- the second argument is topic
SELECT evpub.capture_table('ord', 'tenant');
SELECT evpub.capture_table('ord', 'tenant', 'tenant_id');
-- a column's name that is near
SELECT evpub.capture_table('ord', 'orders', 'tenants');
SELECT evpub.capture_table('ord', 'orders', 'customer');
SELECT evpub.capture_table('ord', 'orders', 'tenant', update_columns => '{kinds}');
-- templates of columns
SELECT evpub.capture_table('ord', 'orders', 'tenant', key => '{tenant_id}');
SELECT evpub.capture_table('ord', 'orders', tenant => '{tenant_id}');
-- constants that look like columns or placeholders
SELECT evpub.capture_table('ord', 'orders', tenant => 'tenant_id');
SELECT evpub.capture_table('ord', 'orders', 'tenant', key => 'tenant', type => 'table');
-- a constant that does not
SELECT evpub.release_table('ord');
SELECT evpub.capture_table('ord', 'orders', tenant => 'acme', key => 'all', type => 'order');

-- captured again: the same is silent, also with rows
SELECT evpub.capture_table('ord', 'orders', tenant => 'acme', key => 'all', type => 'order');
INSERT INTO ord VALUES (1, 'acme');
SELECT evpub.capture_table('ord', 'orders', tenant => 'acme', key => 'all', type => 'order');
SELECT evpub.capture_table('ord', 'orders', tenant => 'acme');
SELECT evpub.release_table('ord');

-- a table with rows; its rows are gone; none for who does not want to hear
SELECT evpub.capture_table('ord', 'orders', 'tenant');
SELECT evpub.release_table('ord');
DELETE FROM ord;
SELECT evpub.capture_table('ord', 'orders', 'tenant');
SELECT evpub.release_table('ord');
INSERT INTO ord VALUES (1, 'acme');
SET client_min_messages = warning;
SELECT evpub.capture_table('ord', 'orders', 'tenant');
RESET client_min_messages;

-- an owner who may not read his table
CREATE ROLE evpub_blind;
GRANT USAGE ON SCHEMA evpub TO evpub_blind;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evpub TO evpub_blind;
CREATE TABLE unread (id int PRIMARY KEY);
INSERT INTO unread VALUES (1);
ALTER TABLE unread OWNER TO evpub_blind;
REVOKE SELECT ON unread FROM evpub_blind;
SET ROLE evpub_blind;
SELECT evpub.capture_table('unread', tenant => 'x');
RESET ROLE;
DROP TABLE unread;
DROP OWNED BY evpub_blind;
DROP ROLE evpub_blind;

-- a part of a family
CREATE TABLE root (id int, tenant text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF root FOR VALUES FROM (0) TO (10);
INSERT INTO root VALUES (1, 'acme');
SELECT evpub.capture_table('part', 'orders', 'tenant');
SELECT evpub.capture_table('part', 'orders', 'tenant');
SELECT evpub.release_table('part');
SELECT evpub.capture_table('root', 'orders', 'tenant');
CREATE TABLE child () INHERITS (ord);
SELECT evpub.release_table('ord');
SELECT evpub.capture_table('ord', 'orders', 'tenant');

-- an illegal topic names table and template
SELECT evpub.capture_table('ord', 'orders-{tenant}', 'tenant');
INSERT INTO ord VALUES (2, 'a b');
SET evpub.allowed_topics = 'orders-acme';
INSERT INTO ord VALUES (2, 'other');
RESET evpub.allowed_topics;
SELECT evpub.publish('t', 'x', topic => 'a b');

-- a rule sums up
CREATE SCHEMA shop_1;
CREATE TABLE shop_1.item (id int PRIMARY KEY);
CREATE SCHEMA shop_2;
CREATE TABLE shop_2.item (id int PRIMARY KEY);
CREATE SCHEMA shop_3;
CREATE TABLE shop_3.item (id int PRIMARY KEY);
INSERT INTO shop_1.item VALUES (1);
INSERT INTO shop_2.item VALUES (1);
SELECT evpub.capture_schemas('^shop_', '{item}', tenant => '{schema}');
SELECT evpub.capture_schemas('^shop_', '{item}', tenant => '{schema}');
SELECT evpub.release_schemas('^shop_', '{item}');

SET client_min_messages = warning;
DROP SCHEMA shop_1, shop_2, shop_3 CASCADE;
DROP TABLE ord, root CASCADE;
