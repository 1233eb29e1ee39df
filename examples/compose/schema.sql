-- Run once, when the database of compose.yaml is made: the extension, and three tables
-- of many tenants whose changes go to one topic.
CREATE EXTENSION evpub;
CREATE TABLE organization (tenant_id text, id bigint, name text, PRIMARY KEY (tenant_id, id));
CREATE TABLE member (tenant_id text, id bigint, organization_id bigint, name text,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organization ON DELETE CASCADE);
CREATE TABLE code (tenant_id text, code text, label text, PRIMARY KEY (tenant_id, code));
SELECT evpub.capture_table('organization', topic => 'cms-hr-operation', tenant_column => 'tenant_id');
SELECT evpub.capture_table('member', topic => 'cms-hr-operation', tenant_column => 'tenant_id');
SELECT evpub.capture_table('code', topic => 'cms-hr-operation', tenant_column => 'tenant_id');
