-- The consumer's own database: the copy, and beside it, so that they commit in the
-- same transaction, how far each partition was applied and what is still to do.

-- "run": the resync that was under way when the row was stored last
CREATE TABLE organization (
	tenant_id text, id bigint, name text, run text,
	PRIMARY KEY (tenant_id, id));
CREATE TABLE member (
	tenant_id text, id bigint, organization_id bigint NOT NULL, name text, run text,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organization ON DELETE CASCADE);
CREATE INDEX ON member (tenant_id, organization_id);

-- where each partition goes on
CREATE TABLE place (
	topic text, partition int, next_offset bigint NOT NULL,
	PRIMARY KEY (topic, partition));

-- the largest id of each publisher, by partition
CREATE TABLE applied (
	topic text, partition int, publisher text, id text NOT NULL,
	PRIMARY KEY (topic, partition, publisher));

-- the run that is under way
CREATE TABLE run (
	tenant_id text, table_name text, run text NOT NULL,
	PRIMARY KEY (tenant_id, table_name));

-- why all rows have to be published anew, and whether that was done
CREATE TABLE resync (
	reason text PRIMARY KEY, done boolean NOT NULL DEFAULT false);
