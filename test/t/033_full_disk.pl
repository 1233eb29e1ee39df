
# pg_wal on a file system of its own that runs full while no broker answers: the
# database goes on, the backlog is given up by the default of
# evpub.min_disk_free, and accept_gap() ends it.
#
# The same with evpub's own files: how far Kafka is, is written although there is no room.
#
# The file systems are tmpfs in a mount namespace that this test makes for
# itself; where users may not, it is skipped.
use strict;
use warnings;

# before anything else: PostgreSQL's modules change where output goes
my $disk;

BEGIN
{
	$disk = $ENV{EVPUB_SMALL_DISK};
	my @namespace = qw(unshare --user --map-current-user --keep-caps --mount);
	my $mount = 'mount -t tmpfs -o size=64m,mode=700 tmpfs "$0" 2>/dev/null && mkdir "$0/evpub" '
	  . '&& mount -t tmpfs -o size=64k,mode=700 tmpfs "$0/evpub" && exec "$@"';
	if (!$disk)
	{
		$disk = "$ENV{TESTDIR}/disk";
		mkdir $disk;
		if (system("@namespace true 2>/dev/null") == 0
			&& system(@namespace, 'sh', '-c', $mount, $disk, 'true') == 0)
		{
			$ENV{EVPUB_SMALL_DISK} = $disk;
			exec @namespace, 'sh', '-c', $mount, $disk, $^X,
			  (map { "-I$_" } @INC), $0;
		}
		print "1..0 # SKIP no tmpfs can be mounted: user namespaces are not permitted\n";
		exit 0;
	}
}

use EvpubGap;
use EvpubKafka;
use EvpubState;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = gap_node(
	'main',
	kafka => $kafka,
	initdb => [ '-X', "$disk/wal" ],
	conf => "max_wal_size = 8MB\n");
my ($size) = `df --output=size -k $disk` =~ /(\d+)\s*$/;
is($size, 64 * 1024, 'pg_wal is on a small file system');
$node->safe_psql('postgres', q{INSERT INTO a VALUES (1, 'acme'); INSERT INTO b VALUES (1, 'acme')});
ok(wait_published($node), 'published');
$node->append_conf('postgresql.conf', q{evpub.min_disk_free = '20%'});
set_brokers($node, '127.0.0.1:' . EvpubKafka::free_port());
ok(wait_for_state($node, 'blocked'), 'no broker');

# Three times what fits.  When less is free than there should be, it is the
# worker's turn, who looks each second: nobody can promise more than what is left
# by then.
my $least = $size;
my $failed = 0;
for my $i (2 .. 64)
{
	grow_wal($node, 3);
	$failed++ if sqlstate($node, "INSERT INTO a VALUES ($i, 'acme')") ne '00000';
	wait_until(
		'room on the disk',
		sub {
			my ($free) = `df --output=avail -k $disk` =~ /(\d+)\s*$/;
			$least = $free if $free < $least;
			return $free > $size / 5;
		});
}
is($failed, 0, 'writers write');
note "least free: $least kB of $size";
cmp_ok($least, '<', $size / 4, 'the file system was nearly full');
ok(wait_for_state($node, 'gap'), 'state "gap"');
like(status($node, 'state_reason'), qr/evpub\.min_disk_free/, 'by the limit');
set_brokers($node, $kafka->bootstrap);
my ($from, $to) = accept_gap($node, 'full disk');
$node->safe_psql('postgres', q{INSERT INTO a VALUES (1000, 'acme')});
ok(wait_published($node), 'goes on');
my $ids = check_gap_events('full disk', $kafka, { one => 3, two => 2 },
	[ $from, $to, qr/min_disk_free/, [] ]);
is($ids->{one}[0], 1, 'what was published before is there');
is($ids->{one}[-1], 1000, 'and what came behind the gap');

$node->stop;

# ---- no room for evpub's own files ----

my $full = capture_node('full', kafka => $kafka, start => 0);
symlink "$disk/evpub", $full->data_dir . '/evpub' or die $!;
$full->start;
create_evpub($full);
$full->safe_psql('postgres', q{
CREATE TABLE c (n int PRIMARY KEY);
SELECT evpub.capture_table('c', tenant => 'acme', topic => 'full')});
# evpub.status may be beyond it, since it goes on over WAL without events
my $first = lsn_number($full->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'));
$full->safe_psql('postgres', 'INSERT INTO c VALUES (1)');
ok(wait_published($full), 'room: published');
sub written { return read_state($full->data_dir)->{confirmed_lsn} }
wait_until('the position is written', sub { written() > $first });
open my $filler, '>', "$disk/evpub/filler" or die $!;
$filler->autoflush;
1 while syswrite $filler, 'x' x 4096;
like($!, qr/No space/, 'no room');
for my $n (2 .. 4)
{
	my $before = written();
	$full->safe_psql('postgres', "INSERT INTO c VALUES ($n)");
	ok(wait_published($full), 'no room: published');
	wait_until('the position is written', sub { written() > $before });
	ok(wait_for_state($full, 'streaming'), 'no room: the position is written all the same');

	# that replaces the file
	is(sqlstate($full, 'SELECT evpub.pause()'), '58030', 'no room: pause() is refused');
}
$full->safe_psql('postgres', 'INSERT INTO c VALUES (5)');
ok(wait_for_state($full, 'streaming'), 'no room: and publishing goes on');
close $filler;
unlink "$disk/evpub/filler" or die $!;
is(sqlstate($full, 'SELECT evpub.pause()'), '00000', 'room again: pause() is done');
$full->stop;
done_testing();
