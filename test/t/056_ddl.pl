
# DDL on tables that are captured, or that a rule means.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = capture_node('main');
my ($out, $err);

# ---- the cost of a rule does not grow with what it means ----

$node->safe_psql('postgres', q{
CREATE DATABASE many;
});
create_evpub($node, 'many');
$node->safe_psql('many', q{SELECT evpub.capture_schemas('^cust_', '{member}', tenant => 'x')});

sub make_schemas
{
	my ($from, $to) = @_;
	$node->safe_psql('many', qq{
SELECT format('CREATE SCHEMA cust_%s CREATE TABLE member (id int PRIMARY KEY)', i) FROM generate_series($from, $to) i \\gexec
ANALYZE pg_class, pg_namespace;
});
	return;
}

# Catalog rows that making a table of nobody's reads.
sub rows_read
{
	my $rows = $node->safe_psql('many', q{
CREATE TABLE other (id int PRIMARY KEY);
DROP TABLE other;
BEGIN;
CREATE TABLE other (id int PRIMARY KEY);
SELECT sum(pg_stat_get_xact_tuples_returned(c) + pg_stat_get_xact_tuples_fetched(c))
  FROM unnest('{pg_class,pg_namespace,pg_index,pg_attribute,pg_trigger}'::regclass[]) c;
ROLLBACK;
});
	return $rows;
}
make_schemas(1, 10);
my $few = rows_read();
make_schemas(11, 400);
my $many = rows_read();
cmp_ok($many, '<=', $few + 100, "with 10 tables of a rule CREATE TABLE reads $few rows of catalogs, with 400 $many");
is($node->safe_psql('many', 'SELECT count(*) FROM evpub.tables'), '400', 'all are captured');
$node->safe_psql('many', 'ALTER SCHEMA cust_7 RENAME TO gone; CREATE SCHEMA new CREATE TABLE member (id int PRIMARY KEY)');
$node->safe_psql('many', 'ALTER SCHEMA new RENAME TO cust_new');
is($node->safe_psql('many', q{SELECT evpub._is_captured('cust_new.member'::regclass)}), 't',
	'tables of a schema that gets the name are captured');
is($node->safe_psql('many', q{SELECT evpub.release_schemas('^cust_', '{member}')}), '400', 'all are released');
$node->safe_psql('postgres', 'DROP DATABASE many');

done_testing();
