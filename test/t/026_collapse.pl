
# Collapsing: whatever a transaction does to rows, a consumer that applies its
# events in order has at its end exactly the rows that are there, by the data in
# the events (payload row) as well as by re-reading the rows that they name.
# Random changes of tables with unique, deferrable and composite keys, with
# savepoints and rollbacks, with and without collapsing, with memory for all of a
# transaction's events and for few of them.
use strict;
use warnings;

use EvpubTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EVPUB_SEED} // time;
note "EVPUB_SEED=$seed";
srand $seed;

my $json = JSON::PP->new->canonical->allow_nonref->utf8;
my $node = capture_node('main');

# name, key columns, further clauses of the key
my %tables = (
	plain => [ ['id'], '' ],
	late => [ ['id'], 'DEFERRABLE INITIALLY DEFERRED' ],
	pair => [ [ 'id', 'b' ], 'DEFERRABLE INITIALLY DEFERRED' ],
	named => [ ['id'], '' ],
	parted => [ [ 'id', 'b' ], 'DEFERRABLE INITIALLY DEFERRED' ]);
my @names = sort keys %tables;

# Each table is captured twice, one stream collapses and one does not.  The key
# is long, so that little memory is soon too little.
sub create_table
{
	my ($name) = @_;
	my ($key, $clause) = @{ $tables{$name} };
	my $columns = join ', ', @$key;
	my $sql = "CREATE TABLE $name (id int NOT NULL, b int NOT NULL, tenant text NOT NULL, x int";
	$sql .= ", PRIMARY KEY ($columns) $clause" unless $name eq 'named';
	$sql .= ', serial bigserial PRIMARY KEY' if $name eq 'named';
	$sql .= ')';
	if ($name eq 'parted')
	{
		$sql .= ' PARTITION BY LIST (b)';
		$sql .= "; CREATE TABLE ${name}_$_ PARTITION OF $name FOR VALUES IN ($_)" for 0, 1;
		$sql .= "; CREATE TABLE ${name}_2 (x int, tenant text NOT NULL, b int NOT NULL, id int NOT NULL)";
		$sql .= "; ALTER TABLE $name ATTACH PARTITION ${name}_2 FOR VALUES IN (2)";
	}
	my $named = '';
	if ($name eq 'named')
	{
		$sql .= "; ALTER TABLE named ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED";
		$named = ", key_columns => '{id}'";
	}
	$sql .= ";
SELECT evpub.capture_table('$name', topic => 'collapsed', tenant_column => 'tenant',
	payload => 'row', key => repeat('k', 10000)$named);
CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON $name
	FOR EACH ROW EXECUTE FUNCTION evpub.capture('topic=all', 'tenant_column=tenant', 'payload=row',
		'collapse=false'" . ($named ? ", 'key_columns=id'" : '') . ");\n";
	return $sql;
}

sub pick { return $_[ rand @_ ] }

# A statement that may fail: then it, or the transaction, is rolled back.
sub statement
{
	my $name = pick(@names);
	my ($id, $other) = (int rand 12, int rand 12);
	my ($b, $tenant, $x) = (int rand 3, pick('a', 'b'), int rand 1000);
	my $some = pick("id = $id", "id < $id", "id % 3 = 0", "tenant = '$tenant'", "x % 2 = 0", 'true');
	return pick(
		("INSERT INTO $name (id, b, tenant, x) VALUES ($id, $b, '$tenant', $x)") x 3,
		"INSERT INTO $name (id, b, tenant, x) SELECT i, i % 3, '$tenant', $x FROM generate_series($id, $other) i",
		("UPDATE $name SET x = $x WHERE $some") x 2,
		"UPDATE $name SET x = x + 1 WHERE $some",
		"UPDATE $name SET x = x WHERE $some",
		"UPDATE $name SET tenant = '$tenant' WHERE $some",
		("UPDATE $name SET id = id + 1") x 2,
		"UPDATE $name SET id = id - 1, x = $x",
		"UPDATE $name SET id = $id WHERE id = $other",
		"UPDATE $name SET id = CASE id WHEN $id THEN $other ELSE $id END WHERE id IN ($id, $other)",
		"UPDATE $name SET b = (b + 1) % 3 WHERE $some",
		"UPDATE $name SET id = id + 1, tenant = CASE tenant WHEN 'a' THEN 'b' ELSE 'a' END WHERE $some",
		"DELETE FROM $name WHERE id = $id",
		"DELETE FROM $name WHERE id = $id AND x < $x",
		"DELETE FROM $name WHERE id > 9 OR id < 0",
		"WITH d AS (DELETE FROM $name WHERE $some RETURNING *) INSERT INTO $name (id, b, tenant, x) SELECT id, b, tenant, x + 1 FROM d",
		"INSERT INTO plain VALUES ($id, $b, '$tenant', $x) ON CONFLICT (id) DO UPDATE SET x = EXCLUDED.x");
}

# Of rows with the same key one is left, so that the transaction can commit.
sub tidy
{
	return map {
		my $name = $_;
		my $same = join ' AND ', map { "t.$_ = o.$_" } @{ $tables{$name}[0] };
		my $newer = pick('<', '>');
		"DELETE FROM $name t USING $name o WHERE $same AND (t.tableoid, t.ctid) $newer (o.tableoid, o.ctid)";
	} @names;
}

sub transaction
{
	my @sql = 'BEGIN';
	my $depth = 0;
	for (1 .. 1 + rand(pick(4, 12, 30)))
	{
		my $what = rand;
		if ($what < 0.1)
		{
			push @sql, 'SAVEPOINT s' . ++$depth;
		}
		elsif ($what < 0.2 && $depth)
		{
			# back to it, and it is there still
			push @sql, "ROLLBACK TO s$depth";
		}
		elsif ($what < 0.27 && $depth)
		{
			push @sql, 'RELEASE s' . $depth--;
		}
		else
		{
			push @sql, statement();
		}
	}
	push @sql, tidy() if rand() < 0.95;
	push @sql, rand() < 0.95 ? 'COMMIT' : 'ROLLBACK';
	return @sql;
}

# The rows of all tables, by table, tenant and key.
my $snapshot = 'SELECT pg_current_wal_insert_lsn(), jsonb_object_agg(k, r) FROM ('
  . join(
	' UNION ALL ',
	map {
		my $pk = join ', ', map { "'$_', $_" } @{ $tables{$_}[0] };
		"SELECT '$_ ' || tenant || ' ' || jsonb_build_object($pk), to_jsonb(t) FROM $_ t"
	} @names) . ') s (k, r)';

# Run transactions; returns after each of them what is there.
sub run
{
	my ($count) = @_;
	my $sql = "\\set ON_ERROR_ROLLBACK @{[ pick('on', 'off') ]}\n";
	for (1 .. $count)
	{
		$sql .= "$_;\n" for transaction();
		$sql .= "INSERT INTO history (lsn, rows) $snapshot;\n";
	}
	my $file = "$PostgreSQL::Test::Utils::tmp_check/collapse.sql";
	PostgreSQL::Test::Utils::append_to_file($file, '');
	open my $out, '>', $file or die "$file: $!";
	print $out $sql;
	close $out;
	# statements that fail are part of it
	$node->psql('postgres', undef, extra_params => [ '-q', '-v', 'ON_ERROR_STOP=0', '-f', $file ],
		on_error_stop => 0, stderr => \my $errors);
	return;
}

sub lines
{
	my ($sql) = @_;
	return map { [ split /\t/, $_, -1 ] }
	  split /\n/, $node->safe_psql('postgres', $sql, extra_params => [ '-F', "\t" ]);
}

# One consumer applies the data, one re-reads; returns what differs.
sub differences
{
	my ($topic, $events, $history) = @_;
	my (%applied, %reread, @wrong);
	my $next = 0;
	for my $moment (@$history)
	{
		my ($lsn, $rows) = @$moment;
		for (; $next < @$events && $events->[$next]{lsn} <= $lsn; $next++)
		{
			my $event = $events->[$next];
			next if $event->{topic} ne $topic;
			my $key = $event->{key};
			if ($event->{type} eq 'deleted')
			{
				delete $applied{$key};
				delete $reread{$key};
			}
			else
			{
				$applied{$key} = $event->{data};
				# not found: deleted later, skip
				$reread{$key} = $rows->{$key} if exists $rows->{$key};
			}
		}
		my $want = $json->encode($rows);
		push @wrong, "data, after $lsn" if $json->encode(\%applied) ne $want;
		push @wrong, "re-read, after $lsn" if $json->encode(\%reread) ne $want;
	}
	return @wrong;
}

# What is left of the events of one row in one transaction.
sub odd_groups
{
	my ($events) = @_;
	my %group;
	$group{"$_->{lsn} $_->{key}"} .= substr $_->{type}, 0, 1
	  for grep { $_->{topic} eq 'collapsed' } @$events;
	return map { "$group{$_} $_" } grep { $group{$_} !~ /^(?:c|cu|u|d|cd)$/ } sort keys %group;
}

$node->safe_psql('postgres', join '', 'CREATE TABLE history (n serial, lsn pg_lsn, rows jsonb);',
	map { create_table($_) } @names);
my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my $till = time + ($ENV{EVPUB_SECONDS} // 25);
my ($rounds, $collapsed, $all, $spilled) = (0, 0, 0, 0);
my @bad;
# on a slow machine few rounds have little memory: until one shows it
while (!@bad && ($rounds < 3 || $all <= 5000 || time < $till || (!$spilled && $rounds < 60)))
{
	my $memory = (64, 65536, 512)[ $rounds++ % 3 ];
	$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.collapse_memory = '${memory}kB'; SELECT pg_reload_conf()");
	$node->poll_query_until('postgres',
		"SELECT setting = '$memory' FROM pg_settings WHERE name = 'evpub.collapse_memory'");
	run(40);

	my @history = map { [ hex $_->[0], $_->[1] eq '' ? {} : $json->decode($_->[1]) ] } lines(
		"SELECT lpad(to_hex((lsn - '0/0')::bigint), 16, '0'), rows FROM history ORDER BY n");
	my @events = map {
		my ($lsn, $topic, $value) = @$_;
		my $event = $json->decode($value);
		my ($table, $type) = split /\./, $event->{type};
		my $pk = join ', ', map { "\"$_\": $event->{pk}{$_}" } sort keys %{ $event->{pk} };
		# jsonb writes keys by length, then name
		$pk = "\"b\": $event->{pk}{b}, \"id\": $event->{pk}{id}" if exists $event->{pk}{b};
		{
			lsn => hex $lsn, topic => $topic, type => $type, data => $event->{data},
			key => "$table $event->{tenant} {$pk}"
		}
	} lines("SELECT lpad(to_hex((commit_lsn - '0/0')::bigint), 16, '0'), topic, value FROM evpub.peek(100000000, '$start')");

	for my $topic ('collapsed', 'all')
	{
		push @bad, map { "$topic: $_" } differences($topic, \@events, \@history);
	}
	my @odd = odd_groups(\@events);
	push @bad, map { "not collapsed: $_" } @odd if $memory == 65536;
	$spilled += @odd if $memory == 64;
	$collapsed += grep { $_->{topic} eq 'collapsed' } @events;
	$all += grep { $_->{topic} eq 'all' } @events;

	# the next round begins with empty tables, and gets no event of that
	$node->safe_psql('postgres', 'SET evpub.capture = off; TRUNCATE history, ' . join(', ', @names));
	$start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}
is(join("\n", splice @bad, 0, 10), '', 'consumers have what is there after each transaction');
cmp_ok($all, '>', 5000, "with enough to tell: $all changes, $collapsed events, in $rounds rounds");
cmp_ok($collapsed, '<', $all, 'collapsing leaves fewer events');
cmp_ok($spilled, '>', 0, "with little memory there are more ($spilled rows)");
$node->stop;
done_testing();
