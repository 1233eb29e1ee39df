
# Databases that come without the server they were in: restored dumps are
# fenced, with a slot from the first moment; a copy by TEMPLATE publishes
# nothing until it is registered.
#
# Database "postgres" stays out of this: pg_dumpall does not dump the labels of
# it, since it expects it to exist.
use strict;
use warnings;

use EvpubKafka;
use EvpubLicence;
use EvpubTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$EvpubLicence::kafka = $kafka;
$EvpubTest::DATABASE = 'shop';
my $main = capture_node('main', kafka => $kafka, extension => 0);
for my $database ('shop', 'store')
{
	$main->safe_psql('postgres', "CREATE DATABASE $database");
	create_evpub($main, $database);
	code_table($main, $database);
	write_row($main, "main-$database", $database);
}
ok(wait_published($main), 'published');
my $main_id = status($main, 'publisher_id');

# restore(name, pg_dump's command): into a cluster that preloads evpub and
# knows nothing.  Errors that match $ignored are expected.
sub restore
{
	my ($name, $dump, $ignored) = @_;
	my $node = capture_node($name, kafka => $kafka, extension => 0);
	$node->{evpub_log_offset} = 0;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	my $from = '-h ' . $main->host . ' -p ' . $main->port;
	my $to = '-h ' . $node->host . ' -p ' . $node->port;
	my $errors = `$dump $from -f "$file" 2>&1; psql -Xq $to -d postgres -f "$file" 2>&1 >/dev/null`;
	my @errors = grep { /ERROR|FATAL/ && !/$ignored/ } split /\n/, $errors;
	is_deeply(\@errors, [], "$name: restored without an error");
	return $node;
}

sub check_restored
{
	my ($node, $name) = @_;
	is(labels($node), $main_id, "$name: the labels name the original");
	is(slots($node), 'evpub', "$name: the slot is there at once");
	stands_still($node, $name, 'fenced', qr/restored or upgraded/);
	taken_over($node, $name, not => $main_id);
	is_deeply(
		[ grep { $_->{code} =~ /^main-/ && event_publisher($_->{event}) ne $main_id } codes_in_kafka() ],
		[], "$name: what was restored is not published");
	return;
}

# One database.
my $dumped = restore('dumped', 'pg_dump -C shop', qr/^$/);
check_restored($dumped, 'dumped');
$dumped->stop;

# All of them.
my $dumpall = restore('dumpall', 'pg_dumpall',
	qr/role ".*" already exists/);
check_restored($dumpall, 'dumpall');
write_row($dumpall, 'dumpall-4', 'store');
ok(wait_published($dumpall), 'dumpall: the other database, too');
is(scalar(grep { $_->{code} eq 'dumpall-4' } codes_in_kafka('dumpall')),
	1, 'dumpall: publishes');
$dumpall->stop;

# A copy inside the server.
$main->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE shop');
sub warnings_of
{
	my ($sql) = @_;
	my $err;
	$main->psql('twin', $sql, stderr => \$err);
	return scalar(() = $err =~ /WARNING/g);
}
for my $session (1, 2)
{
	is( warnings_of("INSERT INTO code VALUES ('acme', 'twin-$session'); INSERT INTO code VALUES ('acme', 'twin-1$session')"),
		1, "twin: a warning in session $session");
}
cmp_ok(complaints($main, 'twin'), '>', 0, 'twin: evpub.check() complains there');
write_row($main, 'main-3', 'shop');
ok(wait_published($main), 'the original publishes');
is(scalar(codes_in_kafka('twin')), 0, 'twin: nothing of it is in Kafka');
$main->safe_psql('twin', 'SELECT evpub.register_database()');
is(warnings_of(q{INSERT INTO code VALUES ('acme', 'twin-3')}), 0, 'twin: registered, no warning');
ok(wait_published($main), 'twin: published');
is_deeply([ map { $_->{code} } codes_in_kafka('twin') ], ['twin-3'], 'twin: from then on');
is(labels($main), $main_id, 'twin: as the same publisher');

$main->stop;
done_testing();
