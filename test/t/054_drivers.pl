
# evpub.publish() by real drivers, in the forms that docs/sql.md shows: what they
# make of a string, a number, JSON and NULL decides whether there is such a
# function.  JDBC, psycopg 3 and 2, node-postgres.
use strict;
use warnings;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

for (qw(EVPUB_DRIVER_JARS EVPUB_NODE_PG))
{
	die "$_ is not set: run this by test/run\n" unless $ENV{$_};
}
my $here = "$ENV{EVPUB_TEST_DIR}/drivers";
my $node = capture_node('main', conf => "listen_addresses = '127.0.0.1'\n");
my ($port, $user) = ($node->port, getpwuid $<);
PostgreSQL::Test::Utils::append_to_file($node->data_dir . '/pg_hba.conf', "host all all 127.0.0.1/32 trust\n");
$node->reload;

my $closed = 'payroll.closed acme {"month": "2026-11"} {"sum": 1234.75}';
my $number = 'payroll.closed 42 {"month": "2026-11"} {"sum": 1234.75}';
my @same = ($closed, $number, 'payroll.closed acme null -', '{"theme": "dark"}');

# Runs a program; its output, and the events that it published.
sub published
{
	my (@command) = @_;
	my $since = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my ($out, $err) = run_command(\@command);
	note $err if $err;
	my @events = split /\n/, $node->safe_psql('postgres', qq{
SELECT CASE topic WHEN 'raw' THEN value::jsonb::text ELSE concat_ws(' ', value::jsonb ->> 'type', value::jsonb ->> 'tenant',
	value::jsonb -> 'pk', coalesce((value::jsonb -> 'data')::text, '-')) END FROM evpub.peek(100, '$since')});
	return [ $out, @events ];
}

my $java = "jdbc:postgresql://127.0.0.1:$port/postgres?user=$user";
is_deeply(published('java', '-cp', "$ENV{EVPUB_DRIVER_JARS}/*", "$here/Publish.java", $java),
	[ '42883', @same, $closed ], 'JDBC');
for my $driver ('psycopg', 'psycopg2')
{
	is_deeply(published('/usr/bin/python3', "$here/publish.py", $driver, "host=127.0.0.1 port=$port dbname=postgres user=$user"),
		[ '42883', @same, $closed ], $driver);
}
is_deeply(published('node', "$here/publish.js", "postgres://$user\@127.0.0.1:$port/postgres", $ENV{EVPUB_NODE_PG}),
	[ '', @same ], 'node-postgres');

done_testing();
