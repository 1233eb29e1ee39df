
# EvpubTables - random tables for the property test, and random changes of them.
#
# Each table has a column i, of which its first key column is made, so that a
# row can be moved to the key of another whatever the type; a column n, an
# integer for filters and triggers; and columns of random types.  Values are SQL
# expressions with random(), so that a statement can make many rows.
package EvpubTables;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(pick random_group group_sql statement tidy);

our $ROWS = 12;    # values of i, as far as conditions tell them apart

sub pick { return $_[ rand @_ ] }

# One of some literals, chosen by the server for each row.
sub one_of
{
	my ($type, @literals) = @_;
	return "(ARRAY['" . join("', '", map { s/'/''/gr } @literals) . "']::$type\[])"
	  . '[1 + floor(random() * ' . @literals . ')::int]';
}

# Of a key: type, and a value made of an integer (%s).  One text for each value.
my %keys = (
	int => '(%s)',
	bigint => '(9007199254740990 + (%s))',
	smallint => '((%s) %% 30000)',
	text => q{('k/' || (%s) || ',%%é"\\')},
	'char(9)' => q{('c' || (%s))},
	uuid => q{('00000000-0000-4000-8000-' || lpad(abs(%s)::text, 12, '0'))},
	date => q{(date '2026-11-20' + (%s))},
	'numeric(12,2)' => '((%s) * 1.10)',
	timestamptz => q{(timestamptz '2026-11-20 10:00:00.000001+02' + (%s) * interval '1 hour')},
	property_label => q{('l' || abs((%s) %% 40))},
	property_code => q{('d' || (%s))},
	bytea => q{decode(md5((%s)::text), 'hex')},
	inet => q{(inet '10.0.0.0' + abs(%s))});

my %values = (
	int => '(random() * 1000)::int',
	bigint => '9223372036854775807 - (random() * 10)::int',
	text => one_of('text', '', ' ', 'é"\\', "it's", "a\tb\nc\x01", '{"a": 1}', "\xf0\x9f\x98\x80", 'null'),
	numeric => one_of('numeric', '1.500', 'NaN', '-0.001', '1e30', '12345678901234567890.0123456789', '0', '-Infinity'),
	'numeric(12,3)' => '(random() * 1000)',
	float8 => one_of('float8', '0.1', '-0', '1e300', 'NaN', 'Infinity', '123456789.125'),
	real => 'random()',
	boolean => 'random() < 0.5',
	date => one_of('date', '2026-11-20', 'infinity', '0044-03-15 BC'),
	timestamp => one_of('timestamp', '2026-11-20 13:43:46.5', '-infinity', '1999-12-31'),
	timestamptz => q{timestamptz '2026-11-20 13:43:46.5+03' + random() * 1000 * interval '1 hour'},
	timetz => one_of('timetz', '10:00:00+02', '23:59:59.999-11'),
	interval => one_of('interval', '1 mon -2 days 03:04:05.6', '-1 year', '0'),
	uuid => 'md5(random()::text)::uuid',
	bytea => q{decode(md5(random()::text), 'hex')},
	jsonb => one_of('jsonb', '{"b": [1, 2.50, null], "a": {"c": "\\u00e9"}}', '[]', '"x"', '1e3', 'null'),
	json => one_of('json', '{"a": 1, "a": 2}', ' [1E3, 1.0] ', '{"": {}}'),
	'int[]' => 'ARRAY[1, NULL, (random() * 9)::int]',
	'text[]' => q{ARRAY[['a', 'b,"c"'], [NULL, md5(random()::text)]]},
	int4range => 'int4range((random() * 9)::int, 10)',
	tstzrange => q{tstzrange('2026-11-20 10:00+02', NULL)},
	nummultirange => q{'{[1,2),[3.50,]}'},
	inet => one_of('inet', '10.0.0.1/8', '::1'),
	'varbit(9)' => q{B'101'},
	property_label => q{('l' || (random() * 39)::int)},
	property_code => q{('d' || (random() * 9)::int)},
	property_pair => q{ROW((random() * 9)::int, md5(random()::text))},
	name => q{md5(random()::text)},
	# long enough to be stored out of line
	'text STORAGE' => q{(SELECT string_agg(md5((random() + g)::text), '') FROM generate_series(1, 100) g)});

# Types that the tables are made of.
sub types_sql
{
	return q{
CREATE TYPE property_label AS ENUM (} . join(', ', map { "'l$_'" } 0 .. 39) . q{);
CREATE DOMAIN property_code AS text CHECK (VALUE ~ '^d');
CREATE TYPE property_pair AS (a int, b text);
};
}

sub value_of
{
	my ($type) = @_;
	my $value = "($values{$type})::" . $type =~ s/ STORAGE//r;
	return rand() < 0.6 ? "CASE WHEN random() < 0.2 THEN NULL ELSE $value END" : $value;
}

# The key column's value for an integer.
sub key_of
{
	my ($column, $i) = @_;
	return sprintf("$keys{$column->{type}}::%s", $i, $column->{type});
}

# Columns besides i: {name, type, key => 1, value => sub (SQL of an integer)}
sub random_columns
{
	my ($table) = @_;
	my (@columns, @key);
	my $count = $table->{fresh} || $table->{parent_of} ? 1 : pick(1, 1, 2, 3);
	for my $number (1 .. $count)
	{
		# the label of another number may be the same
		my @types = grep { !$table->{fresh} || $_ ne 'property_label' } sort keys %keys;
		my $column = { name => "k$number", type => pick(@types), key => 1 };
		$column->{value} =
		  $number == 1
		  ? sub { key_of($column, $_[0]) }
		  : sub { key_of($column, '(random() * 2)::int') };
		push @columns, $column;
	}
	push @columns, { name => 'p', type => 'int', key => !$table->{fresh}, value => sub { '(random() * 2)::int' } }
	  if $table->{partitioned};
	if (my $tenant = $table->{tenant_type})
	{
		my @names = map {
				$tenant eq 'int' ? $_
			  : $tenant eq 'uuid' ? "00000000-0000-0000-0000-00000000000$_"
			  : "t$_"
		} 1 .. 3;
		my $in_key = !$table->{fallback} && !$table->{parent_of} && !$table->{fresh} && rand() < 0.5;
		my $value = one_of($tenant, @names);
		$value = "CASE WHEN random() < 0.3 THEN NULL ELSE $value END" if $table->{fallback};
		push @columns, { name => 'tenant', type => $tenant, key => $in_key, value => sub { $value } };
	}
	push @columns, { name => 'n', type => 'int', value => sub { "nullif((random() * 20)::int, 7)" } };
	for my $number (1 .. pick(1 .. 5))
	{
		my $type = pick(sort(keys %values), ('text STORAGE') x 4);
		my $value = value_of($type);
		push @columns, { name => "v$number", type => $type, value => sub { $value } };
	}
	if (my $parent = $table->{parent})
	{
		my ($type) = map { $_->{type} } grep { $_->{name} eq 'k1' } @{ $parent->{columns} };
		my $value = "(SELECT k1 FROM $parent->{name} ORDER BY random() LIMIT 1)";
		push @columns, { name => 'ref', type => $type, value => sub { $value } };
	}
	return \@columns;
}

# The options with which a table of a group is captured.
sub random_options
{
	my ($table, $group) = @_;
	my %options = (topic => "'$group->{topic}'");
	$options{tenant} = $table->{fallback} ? "'nobody'" : "'$group->{tenant}'"
	  if $table->{fallback} || !$table->{tenant_type};
	$options{tenant_column} = "'tenant'" if $table->{tenant_type};
	$options{key_columns} = "'{k1}'" if $table->{fresh};
	$options{collapse} = 'false' if rand() < 0.3;
	$options{envelope} = pick("'cloudevents'", "'cloudevents_binary'") if rand() < 0.3;
	$options{headers} = pick(q{'{"x": "{event}"}'}, q{'{"x": "y", "t": "{tenant}"}'}) if rand() < 0.2;
	if (!$table->{fresh} && rand() < 0.3)
	{
		$table->{filter} = pick('{row}.n > 4', '{row}.n % 2 = 0', 'NOT {row}.n < 15');
		$options{filter} = "'$table->{filter}'";
	}
	if ($group->{rows})
	{
		$options{payload} = "'row'";
		return \%options;
	}
	$options{payload} = pick("'key'", "'key'", "'changed_columns'", "'row'");
	$options{topic} = "'$group->{topic}.{table}'" if rand() < 0.4;
	$options{key} = pick("'{tenant}/{table}'", "'{tenant}/{table}/{pk}'") if rand() < 0.5;
	if (($options{key} // '') =~ /pk/ && rand() < 0.4)
	{
		$options{on_delete} = "'tombstone'";
		delete $options{envelope};
	}
	return \%options;
}

# random_group(name, rows => 1: captured with payload row, for one tenant):
# tables whose changes hang together, by foreign keys and by triggers.
sub random_group
{
	my ($name, %args) = @_;
	my $group = { name => $name, rows => $args{rows}, topic => $name, tenant => 'acme', tables => [] };
	for my $number (1 .. pick(3, 4))
	{
		my $table = { name => "${name}_$number", clause => '' };
		$table->{tenant_type} = pick('text', 'int', 'uuid') if !$args{rows} && rand() < 0.7;
		$table->{fallback} = 1 if $table->{tenant_type} && rand() < 0.3;
		if ($number == 1)
		{
			$table->{parent_of} = 1;
		}
		else
		{
			$table->{partitioned} = rand() < 0.4;
			$table->{fresh} = $table->{partitioned} && rand() < 0.5;
			$table->{parent} = $group->{tables}[0] if rand() < 0.6;
			$table->{clause} = pick('', 'DEFERRABLE INITIALLY DEFERRED', 'DEFERRABLE INITIALLY IMMEDIATE')
			  unless $table->{fresh};
		}
		$table->{columns} = random_columns($table);
		$table->{options} = random_options($table, $group);
		push @{ $group->{tables} }, $table;
	}
	return $group;
}

sub key_columns
{
	my ($table) = @_;
	return grep { $_->{key} } @{ $table->{columns} };
}

sub create_table
{
	my ($table) = @_;
	my $name = $table->{name};
	my @columns = ('i int NOT NULL', map {
			my $type = $_->{type} =~ s/ STORAGE//r;
			"$_->{name} $type" . ($_->{key} ? ' NOT NULL' : '')
	} @{ $table->{columns} });
	push @columns, 'g bigint GENERATED ALWAYS AS (n * 2) STORED' if rand() < 0.3;
	my $sql = "CREATE TABLE $name (" . join(', ', rand() < 0.3 ? 'gone int' : (), @columns);
	$sql .= ', PRIMARY KEY (' . join(', ', map { $_->{name} } key_columns($table)) . ") $table->{clause}"
	  unless $table->{fresh};
	$sql .= ')';
	if ($table->{partitioned})
	{
		$sql .= " PARTITION BY LIST (p);\n";
		$sql .= "CREATE TABLE ${name}_$_ PARTITION OF $name FOR VALUES IN ($_);\n" for 0, 1;
		# the columns of a partition may stand in another order
		$sql .= "CREATE TABLE ${name}_2 (" . join(', ', grep { !/^g / } reverse @columns);
		$sql .= ', gone int' if $sql =~ /gone/;
		$sql .= ', g bigint GENERATED ALWAYS AS (n * 2) STORED' if grep { /^g / } @columns;
		$sql .= ");\nALTER TABLE $name ATTACH PARTITION ${name}_2 DEFAULT";
	}
	$sql .= ";\nALTER TABLE $name DROP COLUMN gone" if $sql =~ /gone/;
	$sql .= ";\nALTER TABLE $name ALTER k1 SET NOT NULL;\nCREATE SEQUENCE ${name}_seq" if $table->{fresh};
	$sql .= ";\nCREATE INDEX ON $name (i)";
	$sql .= ";\nCREATE INDEX ON $name (ref)" if $table->{parent};
	$sql .= join '', map { ";\nALTER TABLE $name ALTER $_->{name} SET STORAGE EXTERNAL" }
	  grep { $_->{type} =~ /STORAGE/ } @{ $table->{columns} };
	if ($table->{parent})
	{
		my @do = ('CASCADE', 'CASCADE', 'SET NULL');
		$sql .= ";\nALTER TABLE $name ADD FOREIGN KEY (ref) REFERENCES $table->{parent}{name}"
		  . ' ON DELETE ' . pick(@do) . ' ON UPDATE ' . pick(@do)
		  . pick('', ' DEFERRABLE INITIALLY DEFERRED');
	}
	return "$sql;\n";
}

# Tables that what runs in the middle of a statement on this one may write to.
# To rows that the statement, or its cascades, changes as well only where an index
# finds them again.
sub targets
{
	my ($table, $group) = @_;
	return @{ $group->{tables} } unless grep { $_->{fresh} } @{ $group->{tables} };
	return grep {
		     $_ != $table
		  && ($_->{parent} // 0) != $table
		  && ($table->{parent} // 0) != $_
	} @{ $group->{tables} };
}

# What a user's trigger may meet without harm to the statement.
my $harmless = 'unique_violation OR foreign_key_violation OR triggered_data_change_violation';

# Triggers of users: some change the row, some write to other rows, of this
# table or of another one.
sub create_triggers
{
	my ($table, $group) = @_;
	my $name = $table->{name};
	my $sql = '';
	if (rand() < 0.3)
	{
		my $skip = pick('', 'IF NEW.n = 19 THEN RETURN NULL; END IF; ');
		$sql .= qq{
CREATE FUNCTION ${name}_before() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN ${skip}NEW.n := (coalesce(NEW.n, 0) + 1) % 20; RETURN NEW; END \$\$;
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON $name FOR EACH ROW EXECUTE FUNCTION ${name}_before();
};
	}
	return $sql if rand() < 0.4;
	$table->{writes} = 1;
	my $level = pick('ROW', 'STATEMENT', 'DEFERRED');
	$level = 'STATEMENT' if $level eq 'DEFERRED' && $table->{partitioned};
	my @targets = $level eq 'ROW' ? targets($table, $group) : @{ $group->{tables} };
	# what a deferred trigger changes may set off others, and must come to an end
	@targets = grep { $_->{name} gt $name } @targets if $level eq 'DEFERRED';
	return $sql unless @targets;
	my $what = small_statement(pick(@targets));
	$what = "BEGIN $what; EXCEPTION WHEN $harmless THEN NULL; END" if rand() < 0.7;
	my $events = pick('INSERT OR UPDATE OR DELETE', 'UPDATE', 'DELETE', 'INSERT', 'UPDATE OR DELETE');
	my $kind = $level eq 'DEFERRED' ? 'CONSTRAINT TRIGGER' : 'TRIGGER';
	my $each = $level eq 'DEFERRED' ? 'DEFERRABLE INITIALLY DEFERRED FOR EACH ROW' : "FOR EACH $level";
	$sql .= qq{
CREATE FUNCTION ${name}_after() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN IF pg_trigger_depth() < 2 THEN $what; END IF; RETURN NULL; END \$\$;
CREATE $kind after AFTER $events ON $name $each EXECUTE FUNCTION ${name}_after();
};
	return $sql;
}

# A function for UPDATE ... SET n = touch(n), which writes while the statement
# that calls it is under way.
sub create_function
{
	my ($table, $group) = @_;
	my @targets = targets($table, $group);
	my $what = @targets ? small_statement(pick(@targets)) : 'NULL';
	return qq{
CREATE FUNCTION $table->{name}_touch(old int) RETURNS int LANGUAGE plpgsql AS \$\$
BEGIN BEGIN $what; EXCEPTION WHEN $harmless THEN NULL; END; RETURN (old + 1) % 20; END \$\$;
};
}

# Rows of a group as a consumer of "data" has them: {table => md5}.
sub fingerprint_sql
{
	my ($group) = @_;
	my $tables = join ",\n", map {
		"'$_->{name}', (SELECT md5(coalesce(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\"), '')) FROM ("
		  . rows_sql($_) . ') s (r))'
	} @{ $group->{tables} };
	return qq{
CREATE FUNCTION $group->{name}_marks() RETURNS jsonb LANGUAGE plpgsql
	SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'
	SET extra_float_digits = 1 SET bytea_output = 'hex' AS \$\$
BEGIN RETURN jsonb_build_object($tables); END \$\$;
CREATE TABLE $group->{name}_boundary (n bigserial PRIMARY KEY, marks jsonb);
SELECT evpub.capture_table('$group->{name}_boundary', topic => '$group->{topic}',
	tenant => '$group->{tenant}', payload => 'row');
};
}

# The rows that a copy of the table has to have.
sub rows_sql
{
	my ($table) = @_;
	my $sql = "SELECT to_jsonb(t)::text FROM $table->{name} t";
	$sql .= ' WHERE ' . $table->{filter} =~ s/\{row\}/t/gr if $table->{filter};
	return $sql;
}

# All that makes the tables of a group, and what captures them.
sub group_sql
{
	my ($group) = @_;
	my $sql = join '', map { create_table($_) } @{ $group->{tables} };
	for my $table (@{ $group->{tables} })
	{
		my $options = $table->{options};
		$sql .= "SELECT evpub.capture_table('$table->{name}', "
		  . join(', ', map { "$_ => $options->{$_}" } sort keys %$options) . ");\n";
		$sql .= create_triggers($table, $group) . create_function($table, $group);
	}
	$sql .= fingerprint_sql($group) if $group->{rows};
	return $sql;
}

# ---- changes ----

# New rows with these values of i: a row source, named s, and columns of it.
sub source
{
	my ($table, $first, $last) = @_;
	return "(SELECT nextval('$table->{name}_seq')::int AS j FROM generate_series($first, $last)) s"
	  if $table->{fresh};
	return "(SELECT j FROM generate_series($first, $last) j) s";
}

sub names
{
	my ($table) = @_;
	return join ', ', 'i', map { $_->{name} } @{ $table->{columns} };
}

sub row
{
	my ($table, $i) = @_;
	return join ', ', $i, map { $_->{value}->($i) } @{ $table->{columns} };
}

# New values for some columns that are no key.
sub changes
{
	my ($table) = @_;
	my @free = grep { !$_->{key} && !($table->{fresh} && $_->{name} eq 'k1') } @{ $table->{columns} };
	my %chosen = map { $_->{name} => $_ } map { pick(@free) } 1 .. pick(1 .. 3);
	return join ', ', map { "$_ = " . $chosen{$_}{value}->('i') } sort keys %chosen;
}

sub some
{
	my ($table) = @_;
	my $x = int rand $ROWS;
	return pick(
		("i % $ROWS = $x") x 3,
		"i % $ROWS < $x",
		'n % 2 = 0',
		'n IS NULL',
		'random() < 0.3',
		$table->{partitioned} ? ("p = $x % 3") : (),
		$table->{parent} ? ('ref IS NULL') : (),
		'true');
}

# The first key column made of another number.
sub moved
{
	my ($table, $number) = @_;
	return "i = $number, k1 = " . $table->{columns}[0]{value}->("($number)");
}

sub insert
{
	my ($table, $first, $last) = @_;
	return "INSERT INTO $table->{name} (@{[ names($table) ]}) SELECT @{[ row($table, 's.j') ]} FROM "
	  . source($table, $first, $last);
}

sub upsert
{
	my ($table, $first, $last) = @_;
	my $insert = insert($table, $first, $last);
	return $insert if $table->{fresh} || $table->{clause};
	return "$insert ON CONFLICT DO NOTHING" if rand() < 0.3;
	my $key = join ', ', map { $_->{name} } key_columns($table);
	return "$insert ON CONFLICT ($key) DO UPDATE SET n = (EXCLUDED.n + 1) % 20";
}

sub merge
{
	my ($table, $first, $last) = @_;
	my $name = $table->{name};
	my $new = $table->{fresh} ? '' : "WHEN NOT MATCHED THEN INSERT (@{[ names($table) ]}) VALUES (@{[ row($table, 's.j') ]})";
	return "MERGE INTO $name USING generate_series($first, $last) s (j) ON $name.i = s.j"
	  . " WHEN MATCHED AND n % 3 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET @{[ changes($table) ]} $new";
}

# What a trigger does: few rows, and no key of more than one of them.
sub small_statement
{
	my ($table) = @_;
	my ($name, $x, $y) = ($table->{name}, int rand $ROWS, int rand $ROWS);
	return pick(
		insert($table, $x, $x),
		upsert($table, $x, $x),
		"UPDATE $name SET n = (n + 1) % 20 WHERE i % $ROWS = $x",
		"UPDATE $name SET @{[ changes($table) ]} WHERE i % $ROWS = $x",
		$table->{fresh} ? () : ("UPDATE $name SET @{[ moved($table, $y) ]} WHERE i = $x"),
		"DELETE FROM $name WHERE i % $ROWS = $x");
}

sub key_change
{
	my ($table) = @_;
	my ($name, $x, $y) = ($table->{name}, int rand $ROWS, int rand $ROWS);
	my @other = grep { $_->{key} && $_->{name} ne 'k1' } @{ $table->{columns} };
	my @ways = map { "UPDATE $name SET $_->{name} = @{[ $_->{value}->('i') ]} WHERE " . some($table) } @other;
	push @ways, "UPDATE $name SET p = (p + 1) % 3 WHERE " . some($table) if $table->{partitioned};
	push @ways,
	  "UPDATE $name SET @{[ moved($table, 'i + 1') ]}",
	  "UPDATE $name SET @{[ moved($table, 'i - 1') ]}, n = n + 1 WHERE " . some($table),
	  "UPDATE $name SET @{[ moved($table, $y) ]} WHERE i = $x",
	  "UPDATE $name SET @{[ moved($table, qq{CASE i WHEN $x THEN $y ELSE $x END}) ]} WHERE i IN ($x, $y)"
	  unless $table->{fresh};
	return @ways ? pick(@ways) : "UPDATE $name SET i = i";
}

# Many rows, more than a level keeps in memory; most of them go again.
sub bulk
{
	my ($table) = @_;
	return small_statement($table) if $table->{writes};
	my @sql = (
		insert($table, 1000, 1000 + int rand 1500),
		"UPDATE $table->{name} SET n = (n + 1) % 20 WHERE i >= 1000",
		"DELETE FROM $table->{name} WHERE i >= " . pick(20, 1003));
	return "DO \$\$ BEGIN " . join('; ', @sql) . '; END $$';
}

sub block
{
	my ($table) = @_;
	my ($name, $x) = ($table->{name}, int rand $ROWS);
	my $first = small_statement($table);
	my $caught = pick($harmless . ' OR division_by_zero');
	return pick(
		"DO \$\$ BEGIN $first; BEGIN @{[ small_statement($table) ]}; PERFORM 1 / 0; EXCEPTION WHEN $caught THEN @{[ small_statement($table) ]}; END; END \$\$",
		"DO \$\$ BEGIN FOR x IN $x .. $x + 5 LOOP BEGIN @{[ insert($table, 'x', 'x') ]}; EXCEPTION WHEN $caught THEN UPDATE $name SET @{[ changes($table) ]} WHERE i = x; END; END LOOP; END \$\$",
		"DO \$\$ DECLARE c CURSOR FOR SELECT * FROM $name FOR UPDATE; BEGIN FOR r IN c LOOP IF r.i % 3 = 0 THEN DELETE FROM $name WHERE CURRENT OF c; ELSIF r.i % 3 = 1 THEN UPDATE $name SET n = (n + 1) % 20 WHERE CURRENT OF c; END IF; END LOOP; END \$\$");
}

# What is beyond the rows that conditions look for.
sub tidy
{
	my ($group) = @_;
	return map { "DELETE FROM $_->{name} WHERE i > 40 OR i < 0" } @{ $group->{tables} };
}

# One or a few statements that change one table, and may fail.
sub statement
{
	my ($group, $file) = @_;
	my $table = pick(@{ $group->{tables} });
	my ($name, $x) = ($table->{name}, int rand $ROWS);
	my ($first, $last) = ($x, $x + int rand 6);
	my $kind = rand;
	return insert($table, $first, $last) if $kind < 0.15;
	return upsert($table, $first, $last) if $kind < 0.25;
	return merge($table, $first, $last) if $kind < 0.30;
	return ("COPY (SELECT @{[ row($table, 's.j') ]} FROM @{[ source($table, $first, $last) ]}) TO '$file'",
		"COPY $name (@{[ names($table) ]}) FROM '$file'")
	  if $kind < 0.34;
	return "UPDATE $name SET @{[ changes($table) ]} WHERE " . some($table) if $kind < 0.46;
	return "UPDATE $name SET n = n, i = i WHERE " . some($table) if $kind < 0.48;
	return "UPDATE $name SET n = ${name}_touch(n) WHERE " . some($table) if $kind < 0.52;
	return key_change($table) if $kind < 0.68;
	return "DELETE FROM $name WHERE " . some($table) if $kind < 0.78;
	return "WITH d AS (DELETE FROM $name WHERE @{[ some($table) ]} RETURNING *) INSERT INTO $name (@{[ names($table) ]}) SELECT "
	  . join(', ', map { $_->{name} eq 'n' ? 'n + 1' : "$_->{name}" } { name => 'i' }, @{ $table->{columns} })
	  . ' FROM d'
	  if $kind < 0.83;
	return block($table) if $kind < 0.94;
	return ("SELECT evpub.publish('noise', '$group->{tenant}', topic => '$group->{topic}')") if $kind < 0.95;
	return "TRUNCATE $name@{[ $table->{partitioned} && rand() < 0.6 ? '_' . int rand 3 : '' ]} CASCADE"
	  if $kind < 0.975;
	return small_statement($table) if $kind < 0.985;
	return bulk($table);
}

1;
