
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
is($node->safe_psql('many', q{SELECT evpub_internal.is_captured('cust_new.member'::regclass)}), 't',
	'tables of a schema that gets the name are captured');
is($node->safe_psql('many', q{SELECT evpub.release_schemas('^cust_', '{member}')}), '400', 'all are released');
$node->safe_psql('postgres', 'DROP DATABASE many');

# ---- what changes rows without events ----

$node->safe_psql('postgres', q{
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE member (id int PRIMARY KEY, tenant text, mood mood, note text);
INSERT INTO member VALUES (1, 'a', 'sad', 'x');
CREATE TABLE plain (id int PRIMARY KEY, tenant text, mood mood, note text);
INSERT INTO plain VALUES (1, 'a', 'sad', 'x');
CREATE TABLE empty (id int PRIMARY KEY, tenant text);
CREATE TABLE counted (id int PRIMARY KEY, tenant text, note text, mood text);
INSERT INTO counted VALUES (1, 'a', 'x', 'glad');
CREATE TABLE root (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE part (id int PRIMARY KEY, tenant text);
INSERT INTO part VALUES (1, 'a');
-- captured tables that a statement names only through another one
CREATE DOMAIN moody AS mood;
CREATE DOMAIN five AS int DEFAULT 5;
CREATE TYPE pair AS (first int, second mood);
CREATE TABLE above (id int, tenant text, note varchar(10), n int);
CREATE TABLE below (PRIMARY KEY (id)) INHERITS (above);
INSERT INTO below VALUES (1, 'a', 'x', 1);
CREATE TABLE loose (id int PRIMARY KEY, tenant text, n numeric(5,2)) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF loose FOR VALUES FROM (0) TO (10);
INSERT INTO leaf VALUES (1, 'a', 1);
CREATE TABLE moods (id int PRIMARY KEY, tenant text, a moody[]);
INSERT INTO moods VALUES (1, 'a', '{sad}');
CREATE TABLE pairs (id int PRIMARY KEY, tenant text, p pair[]);
INSERT INTO pairs VALUES (1, 'a', '{"(1,sad)"}');
CREATE TABLE whole (id int PRIMARY KEY, tenant text, n int, stamp timestamp(3)) PARTITION BY RANGE (id);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE TABLE whole_2 PARTITION OF whole FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE whole_21 PARTITION OF whole_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE whole_3 PARTITION OF whole FOR VALUES FROM (20) TO (30);
INSERT INTO whole VALUES (1, 'a', 1), (11, 'a', 1);
SELECT evpub.capture_table('below', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('leaf', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('moods', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('pairs', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('whole', tenant_column => 'tenant', payload => 'row');
SELECT evpub.capture_table('member', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('plain', tenant_column => 'tenant'),
       evpub.capture_table('empty', tenant_column => 'tenant', payload => 'row'),
       evpub.capture_table('counted', tenant_column => 'tenant', update_columns => '{note}', filter => $$ {row}.mood = 'glad' $$),
       evpub.capture_table('root', tenant_column => 'tenant');
});
sub notice_of
{
	my ($sql) = @_;
	is($node->psql('postgres', $sql, stdout => \$out, stderr => \$err), 0, $sql) or diag $err;
	return $err;
}
for my $case (
	[ q{ALTER TABLE member ALTER tenant TYPE varchar USING upper(tenant)}, 'member' ],
	[ q{ALTER TABLE member ALTER id TYPE bigint USING id + 1}, 'member' ],
	[ q{ALTER TABLE member ADD COLUMN added int DEFAULT 5}, 'member' ],
	[ q{ALTER TABLE counted ALTER note TYPE varchar USING upper(note)}, 'counted' ],
	[ q{ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'}, 'member', 'moods', 'pairs' ],
	[ q{ALTER TABLE above ALTER note TYPE text USING upper(note)}, 'below' ],
	[ q{ALTER TABLE above ADD COLUMN added int DEFAULT 5}, 'below' ],
	[ q{ALTER TABLE loose ALTER n TYPE numeric(5,1)}, 'leaf' ],
	[ q{ALTER TABLE whole ALTER n TYPE text}, 'whole' ],
	[ q{ALTER TABLE whole ADD COLUMN s serial}, 'whole' ],
	[ q{ALTER TABLE whole ADD COLUMN f five}, 'whole' ],
	[ q{DROP TABLE whole_1}, 'whole' ],
	[ q{DROP TABLE whole_2}, 'whole' ],
	[ q{ALTER TABLE root ATTACH PARTITION part FOR VALUES FROM (0) TO (10)}, 'root' ],
	[ q{ALTER TABLE root DETACH PARTITION part}, 'root' ])
{
	my ($sql, @tables) = @$case;
	my @noticed = notice_of($sql) =~ /NOTICE:  statement changes rows of captured table "(\w+)" without publishing events/g;
	is("@noticed", "@tables", 'says what is not published');
	like($err, qr/HINT:  To publish them: CALL evpub\.resync\(ARRAY\['public\.$_'\]::regclass\[\]\);/, 'and what publishes it')
		for @tables;
}
for my $sql (q{ALTER TABLE plain ALTER note TYPE varchar USING upper(note)},
	q{ALTER TABLE plain ADD COLUMN added int DEFAULT 5},
	q{ALTER TABLE member ADD COLUMN bare int},
	q{ALTER TABLE empty ALTER tenant TYPE varchar USING upper(tenant)},
	q{ALTER TYPE mood ADD VALUE 'so so'},
	# no value is another one in an event
	q{ALTER TABLE above ALTER n TYPE bigint},
	q{ALTER TABLE loose ALTER n TYPE numeric(8,1)},
	q{ALTER TABLE whole ALTER stamp TYPE timestamp(6)},
	q{ALTER TABLE above ALTER tenant TYPE varchar},
	q{ALTER TABLE above ALTER tenant TYPE text},
	q{ALTER TABLE above ALTER n SET DEFAULT 7},
	q{ALTER TABLE above ADD COLUMN bare text},
	# a partition without rows; a table is not told of a part of it that goes with it
	q{DROP TABLE whole_3},
	q{CREATE TABLE whole_4 PARTITION OF whole FOR VALUES FROM (30) TO (40); INSERT INTO whole VALUES (31, 'a'); DROP TABLE whole})
{
	unlike(notice_of($sql), qr/NOTICE/, 'nothing to say');
}
# Through a parent that is not captured itself: children and partitions that are.
$node->safe_psql('postgres', q{
CREATE TABLE parent (id int, tenant text);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE bare () INHERITS (parent);
CREATE TABLE family (id int, tenant text) PARTITION BY RANGE (id);
CREATE TABLE few PARTITION OF family (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10);
CREATE TABLE rest PARTITION OF family DEFAULT;
INSERT INTO child VALUES (1, 'a');
INSERT INTO bare VALUES (1, 'a');
INSERT INTO family VALUES (1, 'a'), (11, 'a');
SELECT evpub.capture_table('child', tenant_column => 'tenant'),
       evpub.capture_table('few', tenant_column => 'tenant');
});
for my $case ([ q{ALTER TABLE parent ALTER tenant TYPE varchar USING upper(tenant)}, 'child' ],
	[ q{ALTER TABLE family ALTER tenant TYPE varchar USING upper(tenant)}, 'few' ])
{
	my ($sql, $table) = @$case;
	my @noticed = notice_of($sql) =~ /NOTICE:  statement changes rows of captured table "(\w+)" without publishing events/g;
	is("@noticed", $table, 'the child that is captured');
}
unlike(notice_of(q{ALTER TABLE parent ADD COLUMN note text DEFAULT 'x'}), qr/NOTICE/, 'nothing to say of a column that is not published');

# Values that are computed anew, from PostgreSQL 17 on; also those that only a
# condition looks at, and from 18 on those that are not stored.
my $version = $node->safe_psql('postgres', 'SHOW server_version_num') / 10000;
for my $kind ($version >= 18 ? qw(STORED VIRTUAL) : $version >= 17 ? 'STORED' : ())
{
	# a virtual column can stand in a filter only
	my $stored = $kind eq 'STORED' ? '' : '--';
	$node->safe_psql('postgres', qq{
CREATE TABLE invoice (id int PRIMARY KEY, tenant text, net int,
	told int GENERATED ALWAYS AS (net + 1) $kind, asked int GENERATED ALWAYS AS (net + 2) $kind,
	counted int GENERATED ALWAYS AS (net + 3) $kind, other int GENERATED ALWAYS AS (net + 4) $kind);
INSERT INTO invoice VALUES (1, 'a', 1);
CREATE TABLE bill (LIKE invoice INCLUDING ALL) PARTITION BY RANGE (id);
CREATE TABLE bill_1 PARTITION OF bill FOR VALUES FROM (0) TO (10);
INSERT INTO bill VALUES (1, 'a', 1);
SELECT evpub.capture_table(t, tenant_column => 'tenant', filter => '{row}.asked > 2'
	$stored , data_columns => '{told}', update_columns => '{counted}'
	) FROM unnest('{invoice,bill}'::regclass[]) t;
});
	for my $case ([ asked => 'invoice' ], [ asked => 'bill' ], [ asked => 'bill_1' ],
		$stored eq '' ? (map { ([ told => $_ ], [ counted => $_ ]) } qw(invoice bill bill_1)) : ())
	{
		my ($column, $table) = @$case;
		my @noticed = notice_of("ALTER TABLE $table ALTER $column SET EXPRESSION AS (net * 10)") =~
		  /NOTICE:  statement changes rows of captured table "(\w+)" without publishing events\nDETAIL:  Values of column "$column"/g;
		is("@noticed", $table, "$kind column $column of $table: says what is not published");
	}
	unlike(notice_of("ALTER TABLE $_ ALTER other SET EXPRESSION AS (net * 10)"), qr/NOTICE/,
		"$kind column of $_ that nothing looks at: nothing to say")
	  for qw(invoice bill);
	$node->safe_psql('postgres', 'DROP TABLE invoice, bill');
}

like(notice_of(q{ALTER TABLE member RENAME TO member_old}),
	qr/NOTICE:  table public\.member_old stays captured under this name\n.*A table that takes the name "member" is not captured/,
	'a table that gives its name away');
# check() goes on to say so, and gives the call, until the new table is captured
my $successors = q{SELECT ok, detail, hint FROM evpub.check() WHERE name = 'successors'};
is($node->safe_psql('postgres', $successors), 't|no table has taken the place of a captured one|', 'nothing has its name');
$node->safe_psql('postgres', 'CREATE TABLE member (id int PRIMARY KEY, other int)');
is($node->safe_psql('postgres', $successors), 't|no table has taken the place of a captured one|', 'one of other columns is another table');
$node->safe_psql('postgres', 'DROP TABLE member; CREATE TABLE member (LIKE member_old INCLUDING ALL)');
my $successor = $node->safe_psql('postgres', $successors);
like($successor, qr/^f\|public\.member is not captured, and looks like the successor of public\.member_old, which is\|/, 'a table that takes its place');
my ($call) = $successor =~ /(SELECT evpub\.capture_table\('public\.member',.*\);)$/;
$node->safe_psql('postgres', $call);
is($node->safe_psql('postgres', $successors), 't|no table has taken the place of a captured one|', 'captured as the hint says');
is($node->safe_psql('postgres', q{SELECT tenant_column, payload FROM evpub.tables WHERE "table" = 'member'::regclass}),
	'tenant|row', 'with the same settings');
# where a partition or a child is captured alone, its parents are no successors
$node->safe_psql('postgres', q{
CREATE TABLE task (id int PRIMARY KEY, tenant text) PARTITION BY RANGE (id);
CREATE TABLE task_low PARTITION OF task FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE task_low_1 PARTITION OF task_low FOR VALUES FROM (0) TO (10);
CREATE TABLE note (id int PRIMARY KEY, tenant text);
CREATE TABLE note_new (PRIMARY KEY (id)) INHERITS (note);
SELECT evpub.capture_table('task_low_1', tenant_column => 'tenant'),
       evpub.capture_table('note_new', tenant_column => 'tenant');
});
is($node->safe_psql('postgres', $successors), 't|no table has taken the place of a captured one|', 'parents take no place');
like(notice_of(q{CREATE SCHEMA other; ALTER TABLE plain SET SCHEMA other}),
	qr/NOTICE:  table other\.plain stays captured under this name\n.*A table that takes its place in the old schema is not captured/,
	'or goes elsewhere');
like(notice_of(q{ALTER TABLE leaf RENAME TO leaf_old}),
	qr/NOTICE:  table public\.leaf_old stays captured under this name/, 'or is a partition that is captured itself');
like(notice_of(q{ALTER SCHEMA other RENAME TO another}),
	qr/NOTICE:  1 table stays captured in schema another\n.*Tables of a schema that takes the name "other" are not captured/,
	'or its schema has another name');
unlike(notice_of(q{CREATE SCHEMA bare; ALTER SCHEMA bare RENAME TO naked}), qr/NOTICE/, 'a schema without captured tables');
# what is none of the statement's business is not waited for, nor can it fail the statement
$node->safe_psql('postgres', q{CREATE TYPE lone AS ENUM ('a'); CREATE TABLE bystander (id int PRIMARY KEY, tenant text);
INSERT INTO bystander VALUES (1, 'a'); SELECT evpub.capture_table('bystander', tenant_column => 'tenant')});
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE bystander IN ACCESS EXCLUSIVE MODE; LOCK TABLE pg_statistic IN ACCESS SHARE MODE');
unlike(notice_of(q{SET lock_timeout = '10 s'; ALTER TYPE lone RENAME VALUE 'a' TO 'b'}), qr/NOTICE|lock/, 'a captured table that somebody has locked');
isnt($node->psql('postgres', q{SET lock_timeout = '10 s'; TRUNCATE pg_statistic}, stderr => \$err), 0, 'TRUNCATE of a catalog');
like($err, qr/permission denied: "pg_statistic" is a system catalog/, 'is refused at once');
$holder->quit;

done_testing();
