
# docs/topics.md is what happens: its SQL is run, its kcat commands are run
# against a real Kafka, and show what the page shows.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = EvpubKafka->new->start;
# the page shows topics of one partition
my $node = capture_node('main', kafka => $kafka, conf => "evpub.topic_partitions = 1\n");

# What is not the same twice.
sub normal
{
	my ($line) = @_;
	# the header has the id of the value
	my ($id) = $line =~ /"id":"([0-9a-f]{16}-[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8})"/;
	$line =~ s/\Q$id\E/substr($id, -8)/ge if defined $id;
	$line =~ s/"lsn":"[0-9A-F]+\/[0-9A-F]+"/"lsn":""/;
	$line =~ s/"time":"[-0-9]{10}T[:0-9]{8}\.[0-9]{6}Z"/"time":""/;
	return $line;
}

# The output of a command of the page, with the broker of this test.
sub shell
{
	my ($command) = @_;
	my ($out, $err) = ('', '');
	$command =~ s/localhost:9092/$kafka->bootstrap/e or BAIL_OUT("no broker in: $command");
	IPC::Run::run([ 'sh', '-c', $command ], '<', \undef, '>', \$out, '2>', \$err)
	  or diag "$command: $err";
	return $out;
}

my $page = PostgreSQL::Test::Utils::slurp_file('docs/topics.md');
my ($section, %topics) = ('tables');
while ($page =~ /^## ([^\n]*)$|^```(\w*)\n(.*?)^```$/msg)
{
	my ($title, $kind, $block) = ($1, $2, $3);
	if (defined $title)
	{
		$section = $title;
	}
	elsif ($kind eq 'sql')
	{
		$node->safe_psql('postgres', $block);
		ok(wait_published($node), "$section: published");
	}
	else
	{
		while ($block =~ /^\$ (.*)\n((?:^[^\$].*\n)*)/mg)
		{
			my ($command, $shown) = ($1, $2);
			my ($topic) = $command =~ / -t (\S+)/;
			$topics{$topic} = 1;
			is(join("\n", map { normal($_) } split /\n/, shell($command)),
				join("\n", map { normal($_) } split /\n/, $shown), "$section: $topic");
		}
	}
}
is(join(' ', sort keys %topics),
	'cms-hr-operation order-create-topic order-delete-topic order-topic order-update-topic profile-insert',
	'all combinations were there');
$node->stop;
done_testing();
