
# Where the relay is found: setting evpub.relay_program; beside the server's
# programs; beside the library that runs; beside a directory of dynamic_library_path.
# Each of them is the one that is used as soon as those before it have none.
use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use IPC::Open2;

use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The server's directories in a place of their own, laid out alike, since the server
# finds them by its own path.  Programs are copied (links would be followed), all
# else is a link.
my $root = realpath(PostgreSQL::Test::Utils::tempdir());
my %dir;
for (qw(bindir pkglibdir sharedir))
{
	chomp(my $original = `$ENV{PG_CONFIG} --$_`);
	$dir{$_} = $root . $original;
	make_path(dirname($dir{$_}));
	if ($_ eq 'sharedir')
	{
		symlink $original, $dir{$_} or die "$dir{$_}: $!";
		next;
	}
	make_path($dir{$_});
	for my $file (glob "$original/*")
	{
		my $new = "$dir{$_}/" . basename($file);
		next if basename($file) eq 'evpub-relay';
		if ($_ eq 'bindir' && -f $file)
		{
			copy($file, $new) or die "$new: $!";
			chmod 0755, $new;
		}
		else
		{
			symlink $file, $new or die "$new: $!";
		}
	}
}

# place(directory): a directory of an extension, with lib and bin in it.  The library
# is a link: PostgreSQL 15 to 17 load $libdir/evpub for the functions, and two
# different files would be two libraries.
sub place
{
	my ($name, %with) = @_;
	make_path("$root/$name/lib", "$root/$name/bin");
	if ($with{library})
	{
		symlink "$dir{pkglibdir}/evpub.so", "$root/$name/lib/evpub.so" or die $!;
	}
	if ($with{relay})
	{
		copy($ENV{EVPUB_RELAY}, "$root/$name/bin/evpub-relay") or die $!;
		chmod 0755, "$root/$name/bin/evpub-relay";
	}
	return "$root/$name";
}

my $extension = place('extensions/evpub', library => 1, relay => 1);
my $empty = place('extensions/other');
my $later = place('extensions/later', relay => 1);
my $set = place('set', relay => 1);

open2(my $says, my $steer, $ENV{EVPUB_MOCKBROKER}, '--topic', 'cms-hr-operation:1');
my ($brokers) = <$says> =~ /^bootstrap (\S+)/ or die 'the mock of a broker does not start';

my $node = capture_node('place',
	install_path => dirname($dir{bindir}),
	conf => qq{
evpub.bootstrap_servers = '$brokers'
dynamic_library_path = '$empty/lib:$later/lib:$extension/lib:\$libdir'
});
$node->safe_psql('postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme')});

# uses(program, name): a relay of this file runs, and publishes.
my $rows = 0;

sub uses
{
	my ($program, $name) = @_;
	my $is = '';
	# the relay of before may still run after a reload
	eval {
		wait_until($name,
			sub {
				my $pid = relay_pid($node);
				$is = ($pid && readlink "/proc/$pid/exe") || '';
				$is eq $program;
			}, 30);
	};
	is($is, $program, $name);
	$rows++;
	$node->safe_psql('postgres', "INSERT INTO t VALUES ($rows)");
	ok(wait_published($node), "$name: it publishes");
	return;
}

# lacks(pattern of the reason, name): no relay is found
sub lacks
{
	my ($reason, $name) = @_;
	ok(wait_for_status($node, "state = 'blocked' AND state_reason ~ '$reason'"), $name);
	like(status($node, 'hint'), qr/beside the server's programs, or set evpub\.relay_program/,
		"$name: the hint says where to put it");
	return;
}

# search(directories): a value of dynamic_library_path, for another relay
my $searches = 0;

sub search
{
	my ($directories) = @_;
	$searches++;
	$node->append_conf('postgresql.conf',
		"dynamic_library_path = '$directories'\nevpub.topic_partitions = $searches");
	$node->reload;
	return;
}

like(
	slurp_file('/proc/' . worker_pid($node) . '/maps'),
	qr{/evpub\.so$}m,
	'the library runs');
uses("$extension/bin/evpub-relay", 'beside the library, which dynamic_library_path has found');

# Now the library is that of the server, which has no relay beside it.
$node->append_conf('postgresql.conf', "dynamic_library_path = '$later/lib:\$libdir'");
$node->restart;
uses("$later/bin/evpub-relay", 'beside a directory of dynamic_library_path');

# A relative path names nothing, though there is a relay there, seen from the
# current directory of the server.  (A server with it would not start again:
# PostgreSQL takes such a path for an error when it loads a library.)
make_path($node->data_dir . '/bin', $node->data_dir . '/lib');
copy($ENV{EVPUB_RELAY}, $node->data_dir . '/bin/evpub-relay') or die $!;
chmod 0755, $node->data_dir . '/bin/evpub-relay';
search("lib:./lib:\$libdir:\$libdirs:");
lacks('could not execute ".*/bin/evpub-relay": No such file', 'nowhere');
search('$libdir');

# What a role or a database has of its own does not reach the worker.
$node->safe_psql('postgres', qq{
ALTER DATABASE postgres SET dynamic_library_path = '$later/lib:\$libdir';
ALTER ROLE ALL SET dynamic_library_path = '$later/lib:\$libdir'});
my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
kill 'TERM', worker_pid($node);
ok( wait_for_status($node,
		"state = 'blocked' AND state_reason ~ 'could not execute' AND since > '$before'"),
	'another worker does not look where a role or a database has it look');
$node->safe_psql('postgres', q{
ALTER DATABASE postgres RESET dynamic_library_path;
ALTER ROLE ALL RESET dynamic_library_path});

copy($ENV{EVPUB_RELAY}, "$dir{bindir}/evpub-relay") or die $!;
chmod 0644, "$dir{bindir}/evpub-relay";
search("$later/lib:\$libdir");
lacks('could not execute ".*/bin/evpub-relay": Permission denied',
	'one that cannot be executed is named, and none behind it is used');
chmod 0755, "$dir{bindir}/evpub-relay";
$node->reload;
uses("$dir{bindir}/evpub-relay", 'beside the server comes before all others');

$node->append_conf('postgresql.conf', "evpub.relay_program = '$set/bin/evpub-relay'");
$node->reload;
uses("$set/bin/evpub-relay", 'a path that is set comes first');

my ($out, $err);
$node->psql('postgres', q{ALTER SYSTEM SET evpub.relay_program = 'bin/evpub-relay'},
	stdout => \$out, stderr => \$err);
like($err, qr/invalid value for parameter "evpub\.relay_program".*\n.*must be absolute/,
	'a path that is not absolute is refused');

$node->stop;
close $steer;

done_testing();
