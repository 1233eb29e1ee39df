
# Slot and state file that are lost, damaged, half made or somebody else's: the
# publisher stands still and says why; one statement ends it, and what was
# committed before, meanwhile and after is published.
use strict;
use warnings;

use EvpubKafka;
use EvpubLicence;
use EvpubState;
use EvpubTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
$EvpubLicence::kafka = $kafka;
my $node = capture_node('main', kafka => $kafka, conf => 'wal_keep_size = 256MB');
code_table($node);
my $data = $node->data_dir;
my $state = state_file($data);

sub slurp
{
	my ($file) = @_;
	open my $in, '<:raw', $file or die "$file: $!";
	local $/;
	return <$in>;
}

sub spew
{
	my ($file, $content) = @_;
	open my $out, '>:raw', $file or die "$file: $!";
	print $out $content;
	close $out or die "$file: $!";
	return;
}

# Stop the server with an event that is not published yet, damage something,
# start it again.  Returns the publisher id of before.
sub after
{
	my ($name, $damage) = @_;
	my $id = status($node, 'publisher_id');
	ok(wait_for_state($node, 'streaming'), "$name: it publishes before");
	publish_row($node, "$name-0");
	set_brokers($node, '');
	ok(wait_for_state($node, 'unconfigured'), "$name: nothing is published any more");
	write_row($node, "$name-9");
	$node->stop;
	$damage->();
	$node->append_conf('postgresql.conf',
		"evpub.bootstrap_servers = '@{[ $kafka->bootstrap ]}'");
	start_logged($node);
	return $id;
}

# It went on: the event that waited is there, too, and what had been published
# before is not lost by that.
sub nothing_lost
{
	my ($name) = @_;
	my %codes = map { $_->{code} => 1 } codes_in_kafka($name);
	ok($codes{"$name-0"} && $codes{"$name-9"}, "$name: what was committed before is published");
	return;
}

# goes_on() wants all events under the new id; the one of before has the old.
sub fenced_until_taken_over
{
	my ($name, $reason, $damage, %args) = @_;
	my $id = after($name, $damage);
	stands_still_here($name, 'fenced', $reason);
	taken_over($node, "$name-new", not => $id, lost => 1);
	nothing_lost($name) unless $args{nothing_before};
	check_meanwhile($name);
	return;
}

sub gap_until_accepted
{
	my ($name, $reason, $damage) = @_;
	my $id = after($name, $damage);
	stands_still_here($name, 'gap', $reason);
	accept_gap($node, $name, file_lost => 1);
	goes_on($node, "$name-new", not => $id, lost => 1);
	nothing_lost($name);
	check_meanwhile($name);
	return;
}

# As stands_still(), whose rows get a name of their own: nothing of them is in
# Kafka, while row 0 is.
sub stands_still_here
{
	my ($name, $still, $reason) = @_;
	stands_still($node, "$name-still", $still, $reason);
	is(scalar(grep { $_->{code} eq "$name-9" } codes_in_kafka($name)),
		0, "$name: neither is what waited before");
	return;
}

sub check_meanwhile
{
	my ($name) = @_;
	my %codes = map { $_->{code} => 1 } codes_in_kafka("$name-still");
	is_deeply([ sort keys %codes ], [ map { "$name-still-$_" } 1, 2 ],
		"$name: what was committed meanwhile is published");
	return;
}

# ---- the slot ----

fenced_until_taken_over('noslot', qr/slot/,
	sub { rmtree("$data/pg_replslot/evpub") });

# ---- the file ----

gap_until_accepted('nofile', qr/state file/, sub { unlink $state or die $! });

# Done to both halves (src/position/halves.c); each gets its bytes up to the end of what
# it says.
my %damages = (
	magic => sub { substr($_[0], 3, 1) ^= "\1" },
	number => sub { substr($_[0], 15, 1) ^= "\1" },
	length => sub { substr($_[0], 23, 1) ^= "\1" },
	checksum => sub { substr($_[0], 27, 1) ^= "\x80" },
	# the role: one that exists, but another
	flipped => sub { substr($_[0], 40, 1) = 'g' },
	last => sub { substr($_[0], -1, 1) ^= "\1" },
	format => sub { substr($_[0], 7, 1) = '8' });
# Done to the file.
my %wrecks = (
	short => sub { substr($_[0], 100) = '' },
	header => sub { substr($_[0], 10) = '' },
	empty => sub { $_[0] = '' },
	garbage => sub { $_[0] = join '', map { chr(($_ * 7919) % 251) } 1 .. 10000 });
for my $damage (keys %damages)
{
	$wrecks{$damage} = sub {
		my ($newest, $length, $older) = newest_half($data);
		for my $at ($newest, $older)
		{
			# the older one may have a little more behind it
			my $half = substr $_[0], $at, $length;
			$damages{$damage}->($half);
			substr($_[0], $at, $length) = $half;
		}
	};
}
for my $damage (sort keys %wrecks)
{
	my $content;
	gap_until_accepted("damaged$damage",
		$damage eq 'format' ? qr/it has format 8, and not 9/ : qr/state file|evpub\/state/,
		sub {
			$content = slurp($state);
			$wrecks{$damage}->($content);
			spew($state, $content);
		});
	ok(-e "$state.damaged" && slurp("$state.damaged") eq $content,
		"damaged$damage: the damaged file is kept");
}

# ---- one half ----

# The state of one write before has the same decisions, and the WAL that it needs is there.
# What is in Kafka since is read back.
sub goes_on_from_half
{
	my ($name, $damage) = @_;
	my $id = after($name, sub {
		my $content = slurp($state);
		$damage->($content, newest_half($data));
		spew($state, $content);
	});
	ok(wait_for_state($node, 'streaming'), "$name: it goes on");
	is(status($node, 'publisher_id'), $id, "$name: the same publisher");
	ok(wait_published($node), "$name: published");
	my %times;
	$times{ $_->{code} }++ for codes_in_kafka($name);
	is_deeply(\%times, { "$name-0" => 1, "$name-9" => 1 }, "$name: each event once");
	like(log_since_start($node), qr/LOG:  evpub: one half of file "evpub\/state" is damaged/,
		"$name: the log says it");
	return;
}

goes_on_from_half('newesthalf', sub { substr($_[0], $_[1] + 41, 1) ^= "\1" });
goes_on_from_half('olderhalf', sub { substr($_[0], $_[3] + 41, 1) ^= "\1" });
goes_on_from_half('firsthalf', sub { substr($_[0], 4096) = '' });

# Decisions are in both.
$node->safe_psql('postgres', 'SELECT evpub.pause()');
$node->stop;
my $damaged = read_state($data)->{sequence};
{
	my $content = slurp($state);
	my ($newest) = newest_half($data);
	substr($content, $newest, 200) = "\0" x 200;
	spew($state, $content);
}
$node->start;
ok(wait_for_state($node, 'paused'), 'pausedhalf: what a person decided holds');

# Standbys have a message of the number in the damaged half, and would pass over another.
# What is written next is written by this call.
$node->safe_psql('postgres', 'SELECT evpub.pause()');
cmp_ok(read_state($data)->{sequence}, '>', $damaged, 'pausedhalf: no number is used twice');
$node->safe_psql('postgres', 'SELECT evpub.resume()');

# ---- half made ----

my $id = after('temporary', sub { spew("$state.tmp", 'evpubst') });
ok(wait_for_state($node, 'streaming'), 'temporary: half a new file beside the old one is nothing');
is(status($node, 'publisher_id'), $id, 'temporary: the same publisher');
ok(wait_published($node), 'temporary: published');
nothing_lost('temporary');

gap_until_accepted('onlytemporary', qr/state file/,
	sub { rename $state, "$state.tmp" or die $! });

# A base backup between the file and the slot of a publisher being made; its
# label was committed by the time that the backup ended.
fenced_until_taken_over(
	'creating', qr/copied/,
	sub {
		my $file = read_state($data);
		$file->{role} = 'c';
		$file->{restart_lsn} = $file->{confirmed_lsn} = $file->{sequence} = 0;
		write_state($data, $file);
		rmtree("$data/pg_replslot/evpub");
	},
	# a real one has captured nothing before its label was committed
	nothing_before => 1);

# ---- somebody else's ----

fenced_until_taken_over(
	'system', qr/system/,
	sub {
		my $file = read_state($data);
		$file->{system_identifier}++;
		write_state($data, $file);
	});

# A newer file in an older data directory.
fenced_until_taken_over(
	'ahead', qr/ahead of WAL/,
	sub {
		my $file = read_state($data);
		$file->{$_} += 1 << 30 for 'restart_lsn', 'confirmed_lsn';
		write_state($data, $file);
	});

# An event that has the same id is the same event.
my %ids;
$ids{ $_->{event}{id} }{ $_->{code} } = 1 for codes_in_kafka();
is(scalar(grep { keys %$_ > 1 } values %ids), 0, 'no id stands for two events');

# ---- a crash while the first publisher is made ----

my $whose = read_state($data);
$node->stop;
my $fresh = capture_node('fresh', kafka => $kafka, extension => 0);
ok($fresh->poll_query_until('postgres', 'SELECT true'), 'fresh: it runs');
$fresh->stop;
my ($control) = run_command([ 'pg_controldata', $fresh->data_dir ]);
($whose->{system_identifier}) = $control =~ /Database system identifier:\s+(\d+)/;
$whose->{timeline} = 1;
mkdir $fresh->data_dir . '/evpub';
$whose->{directory_inode} = (stat $fresh->data_dir . '/evpub')[1];
$whose->{role} = 'c';
$whose->{restart_lsn} = $whose->{confirmed_lsn} = $whose->{sequence} = 0;
write_state($fresh->data_dir, $whose);
start_logged($fresh);
wait_until('the worker has looked', sub { !-e $fresh->data_dir . '/evpub/state' });
ok( $fresh->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_replication_slots}), 'fresh: finished, no slot is left');
create_evpub($fresh);
code_table($fresh);
write_row($fresh, 'fresh-1');
ok(wait_for_state($fresh, 'streaming'), 'fresh: a database can be registered');
ok(wait_published($fresh), 'fresh: published');
is(scalar(codes_in_kafka('fresh')), 1, 'fresh: it is in Kafka');
$fresh->stop;
done_testing();
