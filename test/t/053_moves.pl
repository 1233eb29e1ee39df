
# Rows that an UPDATE moves to another partition fire triggers of DELETE and
# INSERT, and are published as the update that they are: with every subset of
# operations, with and without update_columns, filter, collapse, a key that the
# move changes, and several captures of one table.  The truth is computed here,
# row by row, from what the statements do.
use strict;
use warnings;

use EvpubTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->canonical->allow_nonref->utf8;
my $node = capture_node('main');

# a partition with columns in another order, and one that has partitions itself
$node->safe_psql('postgres', q{
CREATE TABLE task (id int NOT NULL, region text NOT NULL, kind int NOT NULL DEFAULT 0,
	tenant text, x int, y int, state text) PARTITION BY LIST (region);
CREATE TABLE task_a PARTITION OF task FOR VALUES IN ('a');
CREATE TABLE task_b (gone int, state text, y int, x int, tenant text, kind int NOT NULL DEFAULT 0,
	region text NOT NULL, id int NOT NULL);
ALTER TABLE task_b DROP COLUMN gone;
ALTER TABLE task ATTACH PARTITION task_b FOR VALUES IN ('b');
CREATE TABLE task_c PARTITION OF task FOR VALUES IN ('c') PARTITION BY LIST (kind);
CREATE TABLE task_c0 PARTITION OF task_c FOR VALUES IN (0);
CREATE TABLE task_c1 PARTITION OF task_c FOR VALUES IN (1);
ALTER TABLE task ADD UNIQUE (id, region, kind);
CREATE TABLE result (config int, event text, n serial);
CREATE TABLE nested (of_id int PRIMARY KEY, id int, region text);
CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE task t SET region = n.region FROM nested n WHERE n.of_id = OLD.id AND t.id = n.id;
	RETURN NULL;
END $$;
-- by its name between the capture and nothing else
CREATE TRIGGER nested AFTER DELETE ON task FOR EACH ROW EXECUTE FUNCTION nested();
});

# What statements do to rows: id => {column => value}; undef: it goes.
my @statements = (
	[ q{INSERT INTO task VALUES (1, 'a', 0, 't', 1, 1, 'live'), (2, 'a', 0, 't', 1, 1, 'draft'), (3, 'b', 0, 't', 1, 1, 'live')},
		{ map { $_->[0] => { id => $_->[0], region => $_->[1], kind => 0, tenant => 't', x => 1, y => 1, state => $_->[2] } }
			[ 1, 'a', 'live' ], [ 2, 'a', 'draft' ], [ 3, 'b', 'live' ] } ],
	[ q{UPDATE task SET region = 'b' WHERE id = 1}, { 1 => { region => 'b' } } ],
	[ q{UPDATE task SET region = 'c', x = 2 WHERE id = 1}, { 1 => { region => 'c', x => 2 } } ],
	[ q{UPDATE task SET kind = 1, y = 2 WHERE id = 1}, { 1 => { kind => 1, y => 2 } } ],
	[ q{UPDATE task SET region = 'a', kind = 0 WHERE id = 1}, { 1 => { region => 'a', kind => 0 } } ],
	[ q{UPDATE task SET y = 3 WHERE id = 1}, { 1 => { y => 3 } } ],
	[ q{UPDATE task SET x = 3 WHERE id = 1}, { 1 => { x => 3 } } ],
	[ q{UPDATE task SET x = x}, {} ],
	# into the filter, out of it, and outside
	[ q{UPDATE task SET region = 'b', state = 'live' WHERE id = 2}, { 2 => { region => 'b', state => 'live' } } ],
	[ q{UPDATE task SET region = 'a', state = 'draft' WHERE id = 2}, { 2 => { region => 'a', state => 'draft' } } ],
	[ q{UPDATE task SET region = 'b', x = 9 WHERE id = 2}, { 2 => { region => 'b', x => 9 } } ],
	# another tenant, another key, both ways in one statement
	[ q{UPDATE task SET region = 'b', tenant = 'u' WHERE id = 1}, { 1 => { region => 'b', tenant => 'u' } } ],
	[ q{UPDATE task SET region = 'a', id = 4 WHERE id = 1}, { 1 => { region => 'a', id => 4 } } ],
	[ q{UPDATE task SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END},
		{ 1 => { region => 'b' }, 2 => { region => 'a' }, 3 => { region => 'a' } } ],
	# a move, rows that are new and rows that go, by one command
	[ q{MERGE INTO task t USING (VALUES (2, 'b'), (3, 'c'), (7, 'a'), (4, 'x')) s (id, region) ON t.id = s.id
		WHEN MATCHED AND s.region = 'x' THEN DELETE
		WHEN MATCHED THEN UPDATE SET region = s.region
		WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.region, 0, 't', 1, 1, 'live')},
		{ 2 => { region => 'b' }, 3 => { region => 'c' }, 1 => undef,
			7 => { id => 7, region => 'a', kind => 0, tenant => 't', x => 1, y => 1, state => 'live' } } ],
	[ q{WITH moved AS (UPDATE task SET region = 'a' WHERE id = 3 RETURNING id)
		INSERT INTO task SELECT id + 5, 'b', 0, 't', 1, 1, 'live' FROM moved},
		{ 3 => { region => 'a' },
			8 => { id => 8, region => 'b', kind => 0, tenant => 't', x => 1, y => 1, state => 'live' } } ],
	# a trigger that moves another row, between the two halves of the move
	[ q{INSERT INTO nested VALUES (7, 8, 'c')}, {} ],
	[ q{UPDATE task SET region = 'b' WHERE id = 7}, { 7 => { region => 'b' }, 8 => { region => 'c' } } ],
	[ q{DELETE FROM nested}, {} ],
	# what was rolled back does not count
	[ q{DO $$ BEGIN
		BEGIN UPDATE task SET region = 'a' WHERE id = 7; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
		UPDATE task SET region = 'c' WHERE id = 7;
	END $$}, { 7 => { region => 'c' } } ],
	[ q{DELETE FROM task WHERE id IN (2, 3)}, { 2 => undef, 3 => undef } ]);

my @operations = qw(insert update delete truncate);

# The events that one changed row makes: type, tenant and key.
sub truth
{
	my ($config, $old, $new) = @_;
	my %on = map { $_ => 1 } @{ $config->{operations} };
	my $was = $old && (!$config->{filter} || $old->{state} eq 'live');
	my $is = $new && (!$config->{filter} || $new->{state} eq 'live');
	my $name = sub {
		my ($event, $row) = @_;
		return join ' ', $event, $row->{tenant}, map { $row->{$_} } @{ $config->{key} };
	};
	return $on{insert} && $is ? $name->('created', $new) : () unless $old;
	return $on{delete} && $was ? $name->('deleted', $old) : () unless $new;
	return () unless $on{update};
	return $is ? $name->('created', $new) : $was ? $name->('deleted', $old) : ()
	  unless $was && $is;
	my %changed = map { $_ => 1 } grep { $old->{$_} ne $new->{$_} } keys %$new;
	return ($name->('deleted', $old), $name->('created', $new))
	  if grep { $changed{$_} } 'tenant', @{ $config->{key} };
	return grep({ $changed{$_} } $config->{counted} ? ('x') : keys %$new)
	  ? $name->('updated', $new)
	  : ();
}

# All that the statements make of it, transaction by transaction.
sub truths
{
	my ($config) = @_;
	my (%rows, @result);
	for (@statements)
	{
		my (undef, $changes) = @$_;
		my @events;
		for my $id (sort keys %$changes)
		{
			my $old = $rows{$id};
			my $new = $changes->{$id} ? { %{ $old // {} }, %{ $changes->{$id} } } : undef;
			push @events, truth($config, $old, $new);
			$rows{$id} = $new;
			delete $rows{$id} unless $new;
		}
		push @result, join ', ', sort @events if @events;
	}
	return @result;
}

sub array
{
	return "'{" . join(',', @_) . "}'";
}

my @configs;
for my $subset (1 .. 15)
{
	my @subset = map { $operations[$_] } grep { $subset & 1 << $_ } 0 .. 3;
	for my $key ([qw(id)], [qw(id region kind)])
	{
		for my $variant (0 .. 7)
		{
			# a filter needs an index on the key
			next if @$key == 1 && $variant & 4;
			push @configs,
			  {
				operations => \@subset,
				key => $key,
				counted => $variant & 1,
				collapse => $variant & 2 ? 'true' : 'false',
				filter => $variant & 4
			  };
		}
	}
}

sub options
{
	my ($config) = @_;
	return join ', ', "tenant_column => 'tenant'",
	  'operations => ' . array(@{ $config->{operations} }),
	  'key_columns => ' . array(@{ $config->{key} }), "collapse => $config->{collapse}",
	  ($config->{counted} ? "update_columns => '{x}'" : ()),
	  ($config->{filter} ? "filter => '{row}.state = ''live'''" : ());
}

my @script;
for my $i (0 .. $#configs)
{
	push @script, 'SET evpub.capture = off', 'TRUNCATE task', 'RESET evpub.capture',
	  "SELECT evpub.capture_table('task', " . options($configs[$i]) . ')',
	  q{SELECT pg_current_wal_insert_lsn() AS start \gset}, map({ $_->[0] } @statements),
	  # pk is text here, as Perl will have it
	  qq{INSERT INTO result SELECT $i, string_agg(event, ', ' ORDER BY event COLLATE "C") FROM (
		SELECT commit_lsn, concat_ws(' ', split_part(value::jsonb ->> 'type', '.', 2), value::jsonb ->> 'tenant',
			value::jsonb #>> '{pk,id}', value::jsonb #>> '{pk,region}', value::jsonb #>> '{pk,kind}') AS event
		  FROM evpub.peek(1000, :'start')) e GROUP BY commit_lsn ORDER BY commit_lsn};
}
$node->safe_psql('postgres', join '', map { /\\gset$/ ? "$_\n" : "$_;\n" } @script);

my %seen;
for (split /\n/, $node->safe_psql('postgres', 'SELECT config, event FROM result ORDER BY n'))
{
	my ($config, $event) = split /\|/;
	push @{ $seen{$config} }, $event;
}
my $wrong = 0;
for my $i (0 .. $#configs)
{
	my @truth = truths($configs[$i]);
	next if "@{[ join ';', @truth ]}" eq join ';', @{ $seen{$i} // [] };
	next if $wrong++ > 3;
	is_deeply($seen{$i} // [], \@truth, options($configs[$i]));
}
is($wrong, 0, 'moves are published as updates with ' . @configs . ' settings');

# two captures of a table do not take each other's rows; by hand it is the same
$node->safe_psql('postgres', q{
SELECT evpub.capture_table('task', topic => 'one', tenant_column => 'tenant', operations => '{update}', key_columns => '{id}',
	payload => 'changed_columns');
CREATE TRIGGER second AFTER INSERT OR UPDATE OR DELETE ON task FOR EACH ROW
	EXECUTE FUNCTION evpub.capture('topic=two', 'tenant_column=tenant', 'operations=insert,delete', 'key_columns=id');
CREATE TRIGGER third AFTER INSERT OR UPDATE OR DELETE ON task FOR EACH ROW
	EXECUTE FUNCTION evpub.capture('topic=three', 'tenant_column=tenant', 'collapse=false', 'payload=row', 'key_columns=id');
});
my $since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{
INSERT INTO task VALUES (21, 'a', 0, 't', 1, 1, 'live'), (22, 'b', 0, 't', 1, 1, 'live');
UPDATE task SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END, y = 5 WHERE id > 20;
});
my $events = q{SELECT string_agg(concat_ws(' ', topic, split_part(value::jsonb ->> 'type', '.', 2),
	value::jsonb #>> '{pk,id}', value::jsonb ->> 'changed', value::jsonb #>> '{data,region}'), ', ' ORDER BY id)
	FROM evpub.peek(1000, '%s') WHERE topic <> ''};
is($node->safe_psql('postgres', sprintf($events, $since)),
	'two created 21, three created 21 a, two created 22, three created 22 b, '
	  . 'one updated 21 ["y", "region"], three updated 21 b, '
	  . 'one updated 22 ["region", "y"], three updated 22 a', 'several captures of one table');

# many rows, more than the buffer has room for; and events of triggers in between
$node->safe_psql('postgres', q{
DROP TRIGGER second ON task; DROP TRIGGER third ON task;
SELECT evpub.capture_table('task', tenant_column => 'tenant', operations => '{update,delete}', key_columns => '{id}', collapse => false);
INSERT INTO task SELECT i, 'a', 0, 't', 1, 1, 'live' FROM generate_series(1001, 21000) i;
});
$since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{UPDATE task SET region = 'b' WHERE id > 1000});
is($node->safe_psql('postgres', qq{SELECT value::jsonb ->> 'type', count(*), count(DISTINCT value::jsonb #>> '{pk,id}')
	FROM evpub.peek(100000, '$since') GROUP BY 1}), 'task.updated|20000|20000', 'twenty thousand rows move');

# with a topic for each, so that routes are forgotten on the way
$node->safe_psql('postgres', q{
SELECT evpub.capture_table('task', topic => 'topic{tenant}', tenant_column => 'tenant', operations => '{update}', key_columns => '{id}', collapse => false);
SET evpub.capture = off;
UPDATE task SET tenant = id WHERE id > 1000;
});
$since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{UPDATE task SET region = 'a' WHERE id > 1000});
is($node->safe_psql('postgres', qq{SELECT count(*), bool_and(topic = 'topic' || (value::jsonb ->> 'tenant') AND
	value::jsonb #>> '{pk,id}' = value::jsonb ->> 'tenant' AND value::jsonb ->> 'type' = 'task.updated')
	FROM evpub.peek(100000, '$since')}), '20000|t', 'each to its own topic');
$node->safe_psql('postgres', q{UPDATE task SET region = 'b' WHERE id = 1001});

# an event in WAL cannot be taken back: then more is published, not less
$node->safe_psql('postgres', q{
CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evpub.publish('talk', 't', to_jsonb(i), to_jsonb(repeat('x', 1000))) FROM generate_series(1, 1000) i;
	RETURN NULL;
END $$;
CREATE TRIGGER talk AFTER DELETE ON task FOR EACH ROW EXECUTE FUNCTION talk();
});
$since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{UPDATE task SET region = 'a' WHERE id = 1001});
is($node->safe_psql('postgres', qq{SELECT string_agg(value::jsonb ->> 'type', ', ' ORDER BY id)
	FROM evpub.peek(100000, '$since') WHERE value::jsonb ->> 'type' <> 'talk'}),
	'task.deleted, task.created', 'with many events in between');

# the row goes where a BEFORE trigger of the new partition lets it go
$node->safe_psql('postgres', q{
DROP TRIGGER talk ON task;
CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER drop_it BEFORE INSERT ON task_b FOR EACH ROW EXECUTE FUNCTION drop_it();
});
$since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{UPDATE task SET region = 'b' WHERE id = 1001});
is($node->safe_psql('postgres', sprintf($events, $since)), 'topic1001 deleted 1001',
	'a row that does not arrive is deleted');
# another row of the same command comes right behind it
for (['{insert}', 'moved created 1003'], ['{insert,delete}', 'moved deleted 1002, moved created 1003'],
	['{delete}', 'moved deleted 1002'])
{
	my ($operations, $wanted) = @$_;
	$node->safe_psql('postgres', qq{
SELECT evpub.capture_table('task', topic => 'moved', tenant_column => 'tenant', operations => '$operations',
	key_columns => '{id}');
DELETE FROM task WHERE id IN (1002, 1003);
INSERT INTO task (id, region, tenant) VALUES (1002, 'a', 't');
});
	$since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres', q{MERGE INTO task USING (VALUES (1002), (1003)) s (i) ON task.id = s.i
WHEN MATCHED THEN UPDATE SET region = 'b' WHEN NOT MATCHED THEN INSERT (id, region, tenant) VALUES (s.i, 'a', 't')});
	is($node->safe_psql('postgres', sprintf($events, $since)), $wanted, "with $operations another row in its place is not lost");
}
$node->safe_psql('postgres', 'DROP TRIGGER drop_it ON task_b');

# a dump has what moves need, and what view tables shows makes the same triggers
my $triggers = q{SELECT string_agg(regexp_replace(pg_get_triggerdef(oid), '[0-9]+', '', 'g'), E'\n' ORDER BY tgname)
	FROM pg_trigger WHERE tgrelid = 'task'::regclass AND tgfoid = 'evpub.capture'::regproc};
$node->safe_psql('postgres', q{SELECT evpub.capture_table('task', tenant_column => 'tenant', operations => '{update}',
	key_columns => '{id,region,kind}', filter => '{row}.state = ''live''')});
my $made = $node->safe_psql('postgres', $triggers);
like($made, qr/_evpub_capture_move/, 'a trigger for moves');
my $definitions = $node->safe_psql('postgres', q{SELECT DISTINCT definition FROM evpub.tables WHERE "table" = 'task'::regclass});
unlike($definitions, qr/\n/, 'one definition');
$node->safe_psql('postgres', $definitions);
is($node->safe_psql('postgres', $triggers), $made, 'its call makes the same triggers');
is($node->safe_psql('postgres', q{SELECT name, detail FROM evpub.check() WHERE NOT ok AND detail LIKE '%task%'}), '',
	'check() has nothing against it');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $dump = $node->backup_dir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dump');
$node->safe_psql('copy', '\i ' . $dump);
is($node->safe_psql('copy', $triggers), $made, 'a dump makes the same triggers');

# Triggers in between make so many events that they are collapsed before the row
# arrives: an update before the move is published nevertheless.
$node->append_conf('postgresql.conf', "evpub.collapse_memory = '64kB'");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('evpub.collapse_memory') = '64kB'}) or die;
$node->safe_psql('postgres', q{
CREATE TABLE moved (id int, r text, v int, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
CREATE TABLE moved_a PARTITION OF moved FOR VALUES IN ('a');
CREATE TABLE moved_b PARTITION OF moved FOR VALUES IN ('b');
CREATE TABLE busy (id int PRIMARY KEY, v int, d text);
INSERT INTO busy VALUES (1, 0);
SELECT evpub.capture_table('moved', tenant => 't', topic => 'x', key_columns => '{id}', update_columns => '{v}'),
	evpub.capture_table('busy', tenant => 't', topic => 'x', payload => 'row');
CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN FOR i IN 1 .. 3000 LOOP UPDATE busy SET v = v + 1, d = repeat('x', 1000); END LOOP; RETURN NULL; END $$;
CREATE TRIGGER zz AFTER DELETE ON moved FOR EACH ROW EXECUTE FUNCTION busy();
INSERT INTO moved VALUES (1, 'a', 1)});
$node->safe_psql('postgres', q{BEGIN; UPDATE moved SET v = 2; UPDATE moved SET r = 'b'; COMMIT});
is($node->safe_psql('postgres', q{SELECT string_agg(value::jsonb ->> 'type', ' ') FROM evpub.peek(100000)
	WHERE value::jsonb ->> 'type' LIKE 'moved.%'}), 'moved.created moved.updated', 'an update before a move is published');

done_testing();
