
# EvpubChaos - SQL that registers, deregisters and writes at random (seed rand
# before), so that it can be told afterwards what must have been published.
#
# Each word that is written stands in a ledger, too, "sure" if the same label
# was there before and after it.  Words of transactions that roll back begin
# with x.
package EvpubChaos;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(chaos_functions random_transaction third_database);

# What the transactions need, to be run in each database.
sub chaos_functions
{
	return q{
CREATE TABLE IF NOT EXISTS item (w text PRIMARY KEY);
CREATE TABLE ledger (w text PRIMARY KEY, sure boolean NOT NULL);
-- the version of the label, so that one that went and came is another
CREATE FUNCTION label() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT l.xmin || l.label FROM pg_shseclabel l JOIN pg_database d ON d.oid = objoid
	WHERE provider = 'evpub' AND classoid = 'pg_database'::regclass
	AND datname = current_database() $$;
CREATE FUNCTION said(word text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE before text := label();
BEGIN
	PERFORM evpub.publish('said', 'acme', pk => jsonb_build_object('w', word), topic => 'words');
	INSERT INTO ledger VALUES (word, coalesce(before = label(), false));
EXCEPTION WHEN undefined_function OR invalid_schema_name THEN
END $$;
CREATE FUNCTION put_row(word text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE before text := label();
BEGIN
	INSERT INTO item VALUES (word);
	INSERT INTO ledger VALUES (word, coalesce(before = label(), false) AND
		EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'item'::regclass));
END $$;
CREATE FUNCTION come() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE EXTENSION IF NOT EXISTS evpub;
	PERFORM evpub.register_database();
	PERFORM evpub.capture_table('item', topic => 'words', tenant => 'acme');
END $$;
};
}

my $words = 0;

sub write_something
{
	my ($prefix) = @_;
	my $word = $prefix . ++$words;
	return rand() < 0.5 ? "SELECT said('$word');" : "SELECT put_row('$word');";
}

sub change_something
{
	my ($database) = @_;
	my $dice = rand();
	return 'SELECT come();' if $dice < 0.5;
	return 'DROP EXTENSION IF EXISTS evpub CASCADE;' if $dice < 0.8;
	return "SECURITY LABEL FOR evpub ON DATABASE $database IS NULL;";
}

sub random_transaction
{
	my ($database) = @_;
	my $commit = rand() < 0.7;
	my $prefix = $commit ? 'w' : 'x';
	my $sql = 'BEGIN;';
	for (1 .. 1 + int rand 4)
	{
		my $dice = rand();
		if ($dice < 0.6) { $sql .= write_something($prefix) }
		elsif ($dice < 0.75) { $sql .= change_something($database) }
		elsif ($dice < 0.85)
		{
			$sql .= 'SAVEPOINT s;' . change_something($database) . 'ROLLBACK TO s;';
		}
		else { $sql .= 'SAVEPOINT s;' . write_something('x') . 'ROLLBACK TO s;' }
	}
	$sql .= sprintf 'SELECT pg_sleep(%.3f);', rand 0.03 if rand() < 0.3;
	return $sql . ($commit ? "COMMIT;\n" : "ROLLBACK;\n");
}

# A life of database c.  What it wrote goes to the ledger of the database
# "postgres" before it is dropped.
sub third_database
{
	my $sql = "CREATE DATABASE c;\n\\c c\n@{[ chaos_functions() ]}\nSELECT come();\n";
	$sql .= random_transaction('c') for 1 .. 5;
	$sql .= q{SELECT coalesce(string_agg(w, ',') FILTER (WHERE sure), '-') AS sure,
	coalesce(string_agg(w, ',') FILTER (WHERE NOT sure), '-') AS rest FROM ledger \gset
\c postgres
INSERT INTO ledger SELECT regexp_split_to_table(:'sure', ','), true
	ON CONFLICT DO NOTHING;
INSERT INTO ledger SELECT regexp_split_to_table(:'rest', ','), false
	ON CONFLICT DO NOTHING;
DROP DATABASE c WITH (FORCE);
};
	return $sql;
}

1;
