
# WAL that cannot be read stops the publisher, says so, and loses nothing: when
# the WAL is back, it goes on, with all that was committed before, in and after
# the part that was missing.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use File::Copy qw(move);
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
# little memory, so that the large transaction is read again when it is sent
my $node = capture_node('main', kafka => $kafka,
	conf => "evpub.decode_memory = '64kB'\nwal_keep_size = 1GB");
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme');
INSERT INTO t VALUES (0);
});
ok(wait_published($node), 'published before');

sub segment
{
	return $node->data_dir . '/pg_wal/'
	  . $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
}

$node->safe_psql('postgres', 'SELECT evpub.pause()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
my $missing = segment();
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(3, 20000)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (20001)');
# all of it is read, so the large transaction's commit is known
ok(wait_for_status($node, 'read_lsn >= flush_lsn'), 'WAL is read while paused');
move($missing, "$missing.away") or die $!;
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_for_state($node, 'gap'), 'without its WAL the publisher stands in state "gap"');
like(status($node, 'state_reason'), qr/WAL segment/, 'the reason names the segment');
is($node->safe_psql('postgres', q{SELECT evpub.wait_published(NULL, '100 ms')}),
	'f', 'nothing is said to be published that is not');
move("$missing.away", $missing) or die $!;
ok(wait_for_state($node, 'streaming'), 'when it is back, the publisher goes on');
ok(wait_published($node), 'and publishes the rest');

my @events = check_ids('events', events($kafka));
is_deeply([ map { $_->{event}{pk}{id} } @events ], [ 0 .. 20001 ], 'all, in order');

# A damaged record: nothing is guessed over it.
$node->safe_psql('postgres', 'SELECT evpub.pause()');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (20002)');
my $damaged = segment();
my $lsn = $node->lsn('insert');
ok(wait_for_status($node, "read_lsn >= '$lsn'"), 'read before it is damaged');
# the server writes the last page again from memory, with the damage it found
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;
open my $file, '+<', $damaged or die $!;
binmode $file;
sysread $file, my $page, 8192;
# the marks of a chunk: our prefix, the kind, the format
my $at = index $page, "evpub\0C";
cmp_ok($at, '>', 0, 'the chunk is found in the segment');
sysseek $file, $at + 12, 0;
syswrite $file, chr(ord(substr($page, $at + 12, 1)) ^ 1);
close $file;
$node->start;
ok(wait_for_state($node, 'gap'), 'a damaged record: state "gap"');
like(status($node, 'state_reason'), qr/could not read WAL at .* checksum/,
	'the reason names position and cause');
open $file, '+<', $damaged or die $!;
binmode $file;
sysseek $file, $at + 12, 0;
syswrite $file, substr($page, $at + 12, 1);
close $file;
ok(wait_for_status($node, "state = 'paused'"), 'mended, it is read; the pause is still there');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
ok(wait_published($node), 'published');
@events = check_ids('events', events($kafka));
is($events[-1]{event}{pk}{id}, 20002, 'the event of the damaged record, too');

# A reload that changes what the relay is started with replaces the relay, not
# the worker.
my $worker = worker_pid($node);
my $load = start_pgbench($node,
	{ "\\set id random(30000, 2000000000)\nINSERT INTO t VALUES (:id) ON CONFLICT DO NOTHING;\n" => 1 },
	clients => 2, transactions => 3000);
for my $n (1 .. 20)
{
	my $relay = status($node, 'relay_pid');
	$node->append_conf('postgresql.conf', 'evpub.topic_partitions = ' . (3 + $n % 2));
	$node->reload;
	ok(wait_for_status($node, "relay_pid IS DISTINCT FROM NULLIF('$relay', '')::int"),
		"reload $n: another relay");
}
ok(finish($load), 'load') or diag $load->{err};
ok(wait_published($node), 'all is published');
is(worker_pid($node), $worker, 'it is still the same worker');
check_ids('events after reloads', events($kafka));

# pg_resetwal: WAL begins anew, in a segment behind that of the position.
$node->stop;
command_ok([ 'pg_resetwal', '-f', $node->data_dir ], 'pg_resetwal');
$node->start;
ok(wait_for_state($node, 'gap'), 'after pg_resetwal: gap');
($lsn) = status($node, 'state_reason') =~ /accept_gap\('([^']+)'\)/;
$node->safe_psql('postgres', "SELECT evpub.accept_gap('$lsn')");
$node->safe_psql('postgres', 'INSERT INTO t VALUES (20003)');
ok(wait_published($node), 'accepted: published');
@events = check_ids('events after pg_resetwal', events($kafka));
is((grep { ($_->{event}{pk} // {})->{id} } @events)[-1]{event}{pk}{id}, 20003, 'with what came then');

$node->stop;
done_testing();
