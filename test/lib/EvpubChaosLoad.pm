
# EvpubChaosLoad - writers whose events can be told one by one, and a table that
# knows what must have been published: it is written in the same transactions.
#
# Each tenant has a counter row.  Whatever changes a row of the tenant takes the
# next number first, and so locks the counter until its commit: the order of the
# numbers is the order of commits, without holes, since what rolls back gives its
# numbers back.  The number is in the event (data.n) and in table "truth".
package EvpubChaosLoad;

use strict;
use warnings;

use EvpubTest;
use Exporter 'import';
use Time::HiRes qw(time);

our @EXPORT = qw(chaos_topics chaos_tables keep_writing end_writing foreign_records truth_lines);

# Table => its topic, key and partitions.  Key "tenant": all of a tenant in one
# order; "row": an order for each row.
our %TABLES = (
	code => { topic => 'chaos-tenants', key => 'tenant', partitions => 6 },
	organization => { topic => 'chaos-tenants', key => 'tenant', partitions => 6 },
	member => { topic => 'chaos-rows', key => 'row', partitions => 12 },
	shared => { topic => 'chaos-shared', key => 'tenant', partitions => 3 },
	compacted => { topic => 'chaos-compacted', key => 'row', partitions => 3 },
	grown => { topic => 'chaos-grown', key => 'tenant', partitions => 2 },
);
our $TENANTS = 40;

# wide: 20 topics of 50 partitions beside them, one for each of as many tenants.
our $WIDE = 20;

# {topic => {partitions =>, key =>, what is special}}
sub chaos_topics
{
	my ($wide) = @_;
	my %topics = map { $_->{topic} => {%$_} } values %TABLES;
	$topics{'chaos-compacted'}{compacted} = 1;
	$topics{'chaos-grown'}{grown} = 1;
	$topics{'chaos-shared'}{shared} = 1;
	$topics{"chaos-wide-w$_"} = { key => 'row', partitions => 50 }
	  for 1 .. ($wide ? $WIDE : 0);
	return \%topics;
}

# chaos_tables(node, wide)
sub chaos_tables
{
	my ($node, $wide) = @_;
	my $sql = qq{
CREATE TABLE counter (tenant text PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 20);
INSERT INTO counter SELECT 't' || i, 0 FROM generate_series(1, $TENANTS) i;
INSERT INTO counter SELECT 'w' || i, 0 FROM generate_series(1, $WIDE) i;
CREATE TABLE truth (tenant text, n bigint, tab text NOT NULL, event text NOT NULL, id bigint NOT NULL,
	PRIMARY KEY (tenant, n));
};
	for my $table (sort keys %TABLES, $wide ? 'wide' : ())
	{
		my $how = $TABLES{$table} || { topic => 'chaos-wide-{tenant}', key => 'row' };
		my $key = $how->{key} eq 'row' ? '{tenant}/{table}/{pk}' : '{tenant}';
		$sql .= qq{
CREATE TABLE $table (tenant text, id bigint, n bigint NOT NULL, v bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant, id));
-- a change of n alone is no event: it numbers the DELETE that follows
SELECT evpub.capture_table('$table', tenant_column => 'tenant', topic => '$how->{topic}',
	key => '$key', data_columns => '{n}', update_columns => '{v}', collapse => false);
};
	}
	$sql .= q{
-- one change of a row of a tenant
CREATE FUNCTION change(tab text, t text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	seq bigint;
	row_id bigint;
	dice float := random();
	event text;
BEGIN
	UPDATE counter SET n = n + 1 WHERE tenant = t RETURNING n INTO seq;
	IF dice > 0.5 THEN
		-- a newer row sooner than an old one
		EXECUTE format('SELECT id FROM %I WHERE tenant = $1 AND id >= $2 ORDER BY id LIMIT 1', tab)
			INTO row_id USING t, seq - (random() * 300)::bigint;
	END IF;
	IF row_id IS NULL THEN
		row_id := seq;
		event := 'created';
		EXECUTE format('INSERT INTO %I VALUES ($1, $2, $2)', tab) USING t, seq;
	ELSIF dice > 0.85 THEN
		event := 'deleted';
		EXECUTE format('UPDATE %I SET n = $3 WHERE tenant = $1 AND id = $2', tab) USING t, row_id, seq;
		EXECUTE format('DELETE FROM %I WHERE tenant = $1 AND id = $2', tab) USING t, row_id;
	ELSE
		event := 'updated';
		EXECUTE format('UPDATE %I SET n = $3, v = v + 1 WHERE tenant = $1 AND id = $2', tab) USING t, row_id, seq;
	END IF;
	INSERT INTO truth VALUES (t, seq, tab, event, row_id);
END $$;
-- many new rows in one statement
CREATE FUNCTION bulk(tab text, t text, rows int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	seq bigint;
BEGIN
	UPDATE counter SET n = n + rows WHERE tenant = t RETURNING n - rows INTO seq;
	EXECUTE format('INSERT INTO %I SELECT $1, g, g FROM generate_series($2 + 1, $2 + $3) g', tab)
		USING t, seq, rows;
	INSERT INTO truth SELECT t, g, tab, 'created', g FROM generate_series(seq + 1, seq + rows) g;
END $$;
-- some table or other, but 'wide' has tenants of its own
CREATE FUNCTION any_table() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT ('{code,code,organization,organization,member,member,shared,compacted,grown}'::text[])[1 + floor(random() * 9)::int] $$;
};
	$node->safe_psql('postgres', $sql);
	return;
}

my $tenant = "\\set t random(1, $TENANTS)\n";
my $change = q{SELECT change(any_table(), 't' || :t);
};
my %scripts = (
	"${tenant}BEGIN;\n${change}COMMIT;\n" => 30,
	"${tenant}BEGIN;\n" . $change x 4 . "COMMIT;\n" => 10,
	"${tenant}BEGIN;\n${change}${change}ROLLBACK;\n" => 6,
	"${tenant}BEGIN;\nSAVEPOINT a;\n${change}ROLLBACK TO a;\n${change}SAVEPOINT b;\n${change}RELEASE b;\n"
	  . "SAVEPOINT c;\n${change}SAVEPOINT d;\n${change}ROLLBACK TO c;\n${change}COMMIT;\n" => 6,
	# two tenants, always in the same order, so that there are no deadlocks
	"${tenant}\\set u random(:t + 1, $TENANTS + 1)\nBEGIN;\n${change}"
	  . "SELECT change(any_table(), 't' || :u) WHERE :u <= $TENANTS;\nCOMMIT;\n" => 6,
	"${tenant}\\set rows random(500, 3000)\nSELECT bulk(any_table(), 't' || :t, :rows);\n" => 1,
	"${tenant}\\set rows random(500, 3000)\nBEGIN;\nSELECT bulk(any_table(), 't' || :t, :rows);\nROLLBACK;\n" => 1,
	# what a crash leaves prepared is committed by keep_writing()
	"${tenant}\\set gid random(1, 1000000000)\nBEGIN;\n${change}${change}PREPARE TRANSACTION 'chaos-:gid';\n"
	  . "COMMIT PREPARED 'chaos-:gid';\n" => 2,
);
my %wide_scripts = (
	"\\set t random(1, $WIDE)\nBEGIN;\n" . q{SELECT change('wide', 'w' || :t);
} x 3 . "COMMIT;\n" => 20,
	"\\set t random(1, $WIDE)\n\\set rows random(200, 500)\nSELECT bulk('wide', 'w' || :t, :rows);\n" => 1,
);

# keep_writing({node =>, wide =>, rate => transactions a second}): sees to it
# that writers run; they end when the server crashes.  Commits are synchronous in
# every second run only.
sub keep_writing
{
	my ($load) = @_;
	return if $load->{run} && running($load->{run});
	end_writing($load);
	my $odd = $load->{runs}++ % 2;
	local $ENV{PGOPTIONS} = '-c synchronous_commit=' . ($odd ? 'on' : 'off');
	$load->{run} = start_pgbench(
		$load->{node}, { %scripts, $load->{wide} ? %wide_scripts : () },
		clients => 6,
		# "prepared" cannot name a prepared transaction
		mode => 'simple',
		seconds => 20,
		rate => $load->{rate});
	return;
}

sub end_writing
{
	my ($load) = @_;
	my $run = delete $load->{run} or return;
	$run->{handle}->signal('TERM') if running($run);
	eval { finish($run) };
	return;
}

# foreign_records(cluster): another producer writes into the shared topic, in the
# background, one such at a time.
my ($foreign, $foreign_at) = (undef, 0);

sub foreign_records
{
	my ($cluster) = @_;
	return if $foreign && waitpid($foreign, 1) == 0;
	undef $foreign;
	return if time < $foreign_at + 0.5;
	$foreign_at = time;
	$foreign = fork // die "fork: $!";
	return if $foreign;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	exec 'sh', '-c', 'seq 10 | kcat -P -q -E -X message.timeout.ms=3000 -t chaos-shared -k foreign -H by=another -b "$0"',
	  $cluster->bootstrap;
}

# truth_lines(node, sub): calls it with (tenant, n, table, event, id) of each
# change that was committed, the numbers of a tenant in order.
sub truth_lines
{
	my ($node, $sub) = @_;
	open my $pipe, '-|', 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	  'COPY (SELECT * FROM truth ORDER BY tenant, n) TO STDOUT'
	  or die "psql: $!";
	while (<$pipe>)
	{
		chomp;
		$sub->(split /\t/);
	}
	close $pipe or die "psql failed: $?";
	return;
}

1;
