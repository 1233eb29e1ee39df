-- The consumer's tables.  "run": the resync that has published the row last.
CREATE TABLE organization (
	tenant_id text, id bigint, name varchar(60) NOT NULL, run text,
	PRIMARY KEY (tenant_id, id));
CREATE TABLE member (
	tenant_id text, id bigint, organization_id bigint NOT NULL, name varchar(60), run text,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organization ON DELETE CASCADE);
CREATE INDEX ON member (tenant_id, organization_id);

-- the last event of each partition that was applied
CREATE TABLE applied (
	topic text, partition int, id text COLLATE "C" NOT NULL,
	PRIMARY KEY (topic, partition));

-- the resync that is under way
CREATE TABLE resync (
	tenant_id text, table_name text, run text NOT NULL,
	PRIMARY KEY (tenant_id, table_name));
