
# docs/tutorial.md is what happens: its blocks are run in their order, against a real
# server and a real Kafka, and print what the page shows.
#
# A block of "sql" is typed in psql, lines with "$" in a shell; the block without a
# language that follows is what is printed.  What the reader does elsewhere, or waits
# for, stands in comments of the page:
#	<!-- broker: pause|cont -->
#	<!-- wait: CONDITION -->      on evpub.status
#	<!-- no output -->            what the block above prints, the page does not show
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use File::Temp;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
# as the README leaves it: preloaded, and nothing set
my $node = capture_node('main', extension => 0, conf => "evpub.default_topic = ''");
my $dir = File::Temp->newdir;
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PATH} = $node->config_data('--bindir') . ":$ENV{PATH}";
# Debian's, which has the modules
mkdir "$dir/bin" or die $!;
symlink '/usr/bin/python3', "$dir/bin/python3" or die $!;
$ENV{PATH} = "$dir/bin:$ENV{PATH}";

# What is not the same twice, and the layout of tables, which follows its width.
sub normal
{
	my ($text) = @_;
	$text =~ s/[0-9a-f]{16}-[0-9A-F]{8}-[0-9A-F]{16}-([0-9A-F]{8})/$1/g;
	$text =~ s/\b[0-9A-F]+\/[0-9A-F]+\b/LSN/g;
	$text =~ s/"time":"[-0-9]{10}T[:0-9]{8}\.[0-9]{6}Z"/"time":""/g;
	$text =~ s/ +/ /g;
	$text =~ s/-{3,}/---/g;
	$text =~ s/ +$//mg;
	$text =~ s/\n+\z//;
	return $text;
}

# Standard output of a program of the page; its errors are an error here.
sub printed
{
	my ($input, @command) = @_;
	my ($out, $err) = ('', '');
	my $broker = $kafka->bootstrap;
	s/localhost:9092/$broker/g for $input, @command;
	my $done = IPC::Run::run(\@command, '<', \$input, '>', \$out, '2>', \$err,
		init => sub { chdir $dir or die $! });
	my ($first) = split /\n/, $input || $command[-1];
	ok($done && $err !~ /^ERROR|Traceback/m, 'runs: ' . substr($first, 0, 90)) or diag $err;
	return $out;
}

# Commands of a block of the shell, each with what the page shows below it.  A
# "here" document belongs to its command.
sub shell_commands
{
	my ($block) = @_;
	my @commands;
	my $end;
	for my $line (split /^/, $block)
	{
		if (defined $end)
		{
			$commands[-1][0] .= $line;
			undef $end if $line eq "$end\n";
		}
		elsif ($line =~ s/^\$ //)
		{
			push @commands, [ $line, '' ];
			$end = $1 if $line =~ /<<'(\w+)'$/;
		}
		else
		{
			$commands[-1][1] .= $line;
		}
	}
	return @commands;
}

my $page = slurp_file('docs/tutorial.md');
my ($section, $shown, $runs) = ('', undef, 0);
my $sql;    # output of the last block of SQL that was not compared yet

sub sql_shows
{
	my ($what) = @_;
	is(normal($sql), normal($what), "$section: what psql shows") if defined $sql;
	undef $sql;
	return;
}

while ($page =~ /^## ([^\n]*)$|^```(\w*)\n(.*?)^```$|^<!-- (.*?) -->$/msg)
{
	my ($title, $kind, $block, $remark) = ($1, $2, $3, $4);
	if (defined $remark)
	{
		if ($remark =~ /^broker: (pause|cont)$/) { $kafka->$1 }
		elsif ($remark =~ /^wait: (.*)$/)
		{
			ok($node->poll_query_until('cms', "SELECT $1 FROM evpub.status"), "$section: $1");
		}
		elsif ($remark eq 'no output') { undef $sql }
		else { fail("unknown remark: $remark") }
	}
	elsif (defined $title)
	{
		sql_shows('');
		$section = $title;
	}
	elsif ($kind eq 'sql')
	{
		sql_shows('');
		$sql = printed($block, 'psql', '-X', '-q', '-d', 'cms');
		$runs++;
	}
	elsif ($block =~ /^\$ /)
	{
		sql_shows('');
		for my $command (shell_commands($block))
		{
			is(normal(printed('', 'bash', '-c', $command->[0])), normal($command->[1]),
				"$section: what the shell shows");
			$runs++;
		}
	}
	else
	{
		ok(defined $sql, "$section: the block shows what was typed above it");
		sql_shows($block);
	}
}
cmp_ok($runs, '>=', 35, 'the page was run');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'nothing is left');
$node->stop;
done_testing();
