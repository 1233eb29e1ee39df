
# When a limit is reached, the database wins over the backlog: writers never
# notice, the state becomes "gap", WAL is removed, and when a person accepts the
# gap, which is announced before anything later, which arrives in order.
# Nothing is given up that could be published, and nothing before the state file
# says so.
use strict;
use warnings;

use EvpubGap;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $node = gap_node('main', kafka => $kafka);
my %topics = (one => 3, two => 2);
my $next = 0;
my %expected = (one => [], two => []);

# An event in each topic, that must arrive or not.
sub insert_both
{
	my (%args) = @_;
	$next++;
	is($node->safe_psql('postgres',
			"INSERT INTO a VALUES ($next, 'acme'); INSERT INTO b VALUES ($next, 'acme') RETURNING id"),
		$next, "writers write ($next)");
	push @{ $expected{$_} }, $next for $args{lost} ? () : keys %expected;
	return;
}

# One gap, from the beginning to the end: $hinder makes publishing stand, and
# $unhinder ends that.
sub give_up_and_accept
{
	my ($name, %conf) = @_;
	my ($hinder, $unhinder, $reason) = delete @conf{qw(hinder unhinder reason)};
	my %off = map { $_ => '-1' } keys %conf;
	my $xids = delete $conf{xids};
	delete $off{xids};

	insert_both();
	ok(wait_published($node), "$name: published before");
	$hinder->();
	my $confirmed = status($node, 'confirmed_lsn');
	insert_both(lost => 1);
	$node->safe_psql('postgres', 'CHECKPOINT');
	# the slot may be one write of the position behind
	my $oldest = $node->safe_psql('postgres', "SELECT pg_walfile_name('$confirmed')");
	grow_wal($node, 4);
	$node->safe_psql('postgres', 'CHECKPOINT');
	cmp_ok(oldest_segment($node), 'le', $oldest, "$name: without a limit WAL is kept");
	set_conf($node, %conf);
	ok(wait_for_state($node, 'gap'), "$name: state \"gap\"");
	like(status($node, 'state_reason'), $reason, "$name: the reason names the limit");
	my ($from, $to) = gap_of($node);
	insert_both(lost => 1);
	wait_until("$name: WAL is removed", sub { oldest_segment($node) gt $oldest });
	cmp_ok(status($node, 'retained_bytes'), '<', 3_000_000, "$name: little is kept");

	# the limit goes on, until less than two segments are behind the gap's end
	grow_wal($node, 4);
	my $grown = $node->lsn('insert');
	ok( wait_for_status($node,
			"(regexp_match(state_reason, 'accept_gap\\(''([^'']+)'))[1]::pg_lsn + 2 * 1024 * 1024 > '$grown'"),
		"$name: the end of the gap moves up");
	set_conf($node, %off);
	is(sqlstate($node, "SELECT evpub.accept_gap('$to')"),
		'22023', "$name: what has grown since it was seen is not accepted");
	my ($from2, $to2) = gap_of($node);
	is($from2, $from, "$name: its beginning stays");
	is($node->safe_psql('postgres', "SELECT '$from'::pg_lsn >= '$confirmed'"), 't',
		"$name: and is what was confirmed");
	insert_both();
	$node->restart;
	ok(wait_for_state($node, 'gap'), "$name: still \"gap\" after a restart");
	is_deeply([ gap_of($node) ], [ $from, $to2 ], "$name: the same one");
	accept_gap($node, $name);
	insert_both();
	$unhinder->();
	ok(wait_published($node), "$name: goes on");
	my $ids = check_gap_events($name, $kafka, \%topics, [ $from, $to2, $reason, [] ]);
	is_deeply($ids, \%expected, "$name: what is behind the gap arrives, in order");
	is(status($node, 'state'), 'streaming', "$name: streaming");
	return;
}

sub no_brokers { set_brokers($node, ''); wait_for_state($node, 'unconfigured') or die; return }
sub brokers { set_brokers($node, $kafka->bootstrap); return }
my $away = EvpubKafka::free_port();

give_up_and_accept(
	'disk',
	hinder => sub {
		set_brokers($node, "127.0.0.1:$away");
		ok(wait_for_state($node, 'blocked'), 'no broker: blocked');
	},
	unhinder => \&brokers,
	'evpub.min_disk_free' => '100%',
	reason => qr/file system of pg_wal .* evpub\.min_disk_free/);

give_up_and_accept(
	'paused',
	hinder => sub { $node->safe_psql('postgres', 'SELECT evpub.pause()') },
	unhinder => sub {
		is(status($node, 'state'), 'paused', 'paused: still, behind the gap');
		$node->safe_psql('postgres', 'SELECT evpub.resume()');
	},
	'evpub.max_lag_size' => '2MB',
	reason => qr/evpub\.max_lag_size/);

give_up_and_accept(
	'no brokers',
	hinder => \&no_brokers,
	unhinder => \&brokers,
	'evpub.max_lag_size' => '2MB',
	reason => qr/evpub\.max_lag_size/);

# Events flow while the disk is filled by others: nothing is given up, though an
# open transaction keeps some WAL.
my $open = hold($node, q{INSERT INTO a SELECT 100000 + i, 'load' FROM generate_series(1, 10000) i},
	'SELECT 1');
grow_wal($node, 4);
set_conf($node, 'evpub.min_disk_free' => '100%');
my $load = start_pgbench(
	$node,
	{
		"\\set id random(1000000, 2000000000)\nINSERT INTO a VALUES (:id, 'load') ON CONFLICT DO NOTHING;\n"
		  . "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 20000));\n" => 1
	},
	clients => 2,
	seconds => 4);
my $worst = 'streaming';
while (running($load))
{
	my $state = status($node, 'state');
	$worst = $state if $state ne 'streaming';
}
ok(finish($load), 'load') or diag $load->{err};
cmp_ok(status($node, 'retained_bytes'), '>', 4_000_000, 'there is WAL that could be given up');
ok(let_go($open), 'the open transaction commits');
ok(wait_published($node), 'published');
is($worst, 'streaming', 'healthy streaming gives nothing up, however little of the disk is free');
is(scalar(grep { $_->{event}{tenant} && $_->{event}{tenant} eq 'load' }
			check_ids('load', events($kafka, 'one'))),
	$node->safe_psql('postgres', q{SELECT count(*) FROM a WHERE tenant = 'load'}),
	'all of it arrived');
set_conf($node, 'evpub.min_disk_free' => '-1');
$node->safe_psql('postgres', q{DELETE FROM a WHERE tenant = 'load'});
ok(wait_published($node), 'published');

# The state file cannot be written when the limit is reached: nothing is given
# up, and the state says why.
my $directory = $node->data_dir . '/evpub';
no_brokers();
chmod 0500, $directory or die $!;
my $needed = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
insert_both(lost => 1);
$node->safe_psql('postgres', 'CHECKPOINT');
grow_wal($node, 4);
set_conf($node, 'evpub.max_lag_size' => '2MB');
ok(wait_for_status($node, q{state_reason ~ 'could not create file .*evpub/state'}),
	'state file cannot be written: the reason says so');
like(slurp_file($node->logfile), qr/could not create file .*\n.*HINT: .* write in directory "evpub"/,
	'the hint in the log names the right that is missing');
isnt(status($node, 'state'), 'gap', 'and it is no gap yet');
$node->safe_psql('postgres', 'CHECKPOINT');
cmp_ok(oldest_segment($node), 'le', $needed, 'nothing is removed that is needed');
is(sqlstate($node, 'SELECT evpub.pause()'), '58030', 'pause() is refused');
is(sqlstate($node, 'SELECT evpub.discard(pg_current_wal_flush_lsn())'), '58030', 'discard(), too');
isnt(status($node, 'state'), 'paused', 'and has no effect');
chmod 0700, $directory or die $!;
ok(wait_for_state($node, 'gap'), 'mended: state "gap"');
chmod 0500, $directory or die $!;
my (undef, $end) = gap_of($node);
is(sqlstate($node, "SELECT evpub.accept_gap('$end')"), '58030', 'accept_gap() is refused while it cannot be written');
is(status($node, 'state'), 'gap', 'the gap stays');
chmod 0700, $directory or die $!;
set_conf($node, 'evpub.max_lag_size' => '-1');
my ($from, $to) = accept_gap($node, 'mended');
brokers();
ok(wait_published($node), 'mended: goes on');
check_gap_events('mended', $kafka, \%topics, [ $from, $to, qr/max_lag_size/, [] ]);

# Fenced: the slot moves, the state stays, and who takes over finds the gap.
$node->stop;
rename $directory, "$directory.old" or die $!;
system_or_bail('cp', '-a', "$directory.old", $directory);
$node->start;
ok(wait_for_state($node, 'fenced'), 'a copy: fenced');
is(sqlstate($node, 'SELECT evpub.pause()'), '00000', 'it can be paused');
insert_both(lost => 1);
grow_wal($node, 4);
my $oldest = oldest_segment($node);
set_conf($node, 'evpub.max_lag_size' => '2MB');
wait_until('WAL is removed', sub { oldest_segment($node) gt $oldest });
is(status($node, 'state'), 'fenced', 'fenced: a limit lets WAL go, the state stays');
cmp_ok(status($node, 'retained_bytes'), '<', 2_000_000, 'fenced: little is kept');
set_conf($node, 'evpub.max_lag_size' => '-1');
my $publisher = status($node, 'publisher_id');
is(sqlstate($node, 'SELECT evpub.take_over()'), '00000', 'taken over');
ok(wait_for_state($node, 'gap'), 'what is missing is a gap');
($from, $to) = accept_gap($node, 'taken over');
is(status($node, 'state'), 'paused', 'the pause survived all this');
insert_both();
is(sqlstate($node, 'SELECT evpub.resume()'), '00000', 'resumed');
ok(wait_published($node), 'taken over: goes on');
isnt(status($node, 'publisher_id'), $publisher, 'under a new id');
my @records = events($kafka, 'two');
is(scalar(grep { ($_->{event}{pk}{id} // 0) == $next } @records), 1, 'what is behind the gap arrives');
is(scalar(grep { $_->{event}{type} eq 'evpub.gap' && $_->{event}{data}{last_lsn} eq $to } @records),
	2, 'the gap is announced');

# Once given up, the end moves by two segments at least: less frees nothing, and
# costs a checkpoint each time.
no_brokers();
insert_both(lost => 1);
grow_wal($node, 3);
my $log = -s $node->logfile;
set_conf($node, 'evpub.max_lag_size' => '1MB');
ok(wait_for_state($node, 'gap'), 'a small limit: gap');
(undef, $end) = gap_of($node);
$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1300000))});
my $rounds = 0;
wait_until(
	'some rounds of the worker',
	sub {
		$node->safe_psql('postgres', 'SELECT pg_sleep(0.5)');
		return ++$rounds >= 8;
	});
is((gap_of($node))[1], $end, 'and then it stands still');
my $given_up = () = slurp_file($node->logfile, $log) =~ /WARNING:  evpub gives up WAL/g;
is($given_up, 1, 'with no more checkpoints');

$node->stop;
done_testing();
