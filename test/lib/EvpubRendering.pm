
# EvpubRendering - every event of a topic before two strict JSON parsers,
# Python's and Jackson's, and before what it should say.
package EvpubRendering;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run ();
use Test::More;

our @EXPORT = qw(rendering judge_events);

my $here = dirname(__FILE__);

sub _run
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err)
	  or croak "@command[0 .. 1]: $err";
	return $out;
}

# The program next to this file, with these arguments.
sub rendering
{
	my (@args) = @_;
	return _run('python3', "$here/rendering.py", @args);
}

# judge_events(kafka, topic, directory): compares the events of a topic of one
# partition with file "expected" in the directory; the number of events that
# are right; if one is not, 0, and says which.
sub judge_events
{
	my ($kafka, $topic, $dir) = @_;
	open my $out, '>:raw', "$dir/events" or croak "$dir/events: $!";
	$kafka->each_record(
		$topic,
		sub {
			my ($record) = @_;
			croak 'a line end in a value' if $record->{value} =~ /\n/;
			print $out unpack('H*', $record->{key}), "\t$record->{value}\n";
		});
	close $out or croak "$dir/events: $!";
	my $count = eval {
		_run('java', '-XX:TieredStopAtLevel=1', '-cp', "$ENV{EVPUB_KAFKA_JARS}/*",
			"$here/StrictJson.java", "$dir/events", "$dir/jackson");
		rendering('judge', "$dir/events", "$dir/expected", "$dir/jackson");
	};
	diag $@ unless defined $count;
	chomp $count if defined $count;
	return $count || 0;
}

1;
