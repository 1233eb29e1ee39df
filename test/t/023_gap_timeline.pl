# A gap in WAL of an earlier timeline, met by a server that was promoted and has
# taken over: ids ascend over it.
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use Test::More;

my $kafka = EvpubKafka->new->start;
my $primary = capture_node('primary', kafka => $kafka);
$primary->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme');
INSERT INTO t VALUES (1);
});
ok(wait_published($primary), 'published before');
$primary->backup('backup');
my $node = PostgreSQL::Test::Cluster->new('standby');
$node->init_from_backup($primary, 'backup', has_streaming => 1);
$node->start;

# the primary does not publish these any more, and the standby loses their WAL
set_brokers($primary, '');
ok(wait_for_state($primary, 'unconfigured'), 'no brokers');
$primary->safe_psql('postgres', "INSERT INTO t VALUES ($_)") for 2 .. 5;
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->wait_for_catchup($node);
$primary->stop;
$node->promote;
ok(wait_for_state($node, 'fenced'), 'promoted: fenced');

# the checkpoint of the promotion may have been faster
unlink $node->data_dir . "/pg_wal/$segment";
ok(!-e $node->data_dir . "/pg_wal/$segment", 'WAL of the timeline before goes');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (6)');
$node->safe_psql('postgres', 'SELECT evpub.take_over()');
ok(wait_for_state($node, 'gap'), 'WAL of the timeline before is not there');
my ($lsn) = status($node, 'state_reason') =~ /accept_gap\('([^']+)'\)/;
$node->safe_psql('postgres', "SELECT evpub.accept_gap('$lsn')");
ok(wait_published($node), 'published after');

my ($publisher) = status($node, 'publisher_id');
my @all = events($kafka);
my @old = grep { index($_->{event}{id}, $publisher) != 0 } @all;
my @new = grep { index($_->{event}{id}, $publisher) == 0 } @all;
check_ids('events of the old publisher', @old);
check_ids('events of the new publisher', @new);
is_deeply([ map { $_->{event}{type} eq 'evpub.gap' ? 'gap' : $_->{event}{pk}{id} } @new ],
	[6], 'what was committed behind the gap');

# it ends before the promotion, so it has the id that was in force there
my @partition = grep { $_->{partition} == $new[0]{partition} } @all;
is_deeply([ map { $_->{event}{type} eq 'evpub.gap' ? 'gap' : $_->{event}{pk}{id} } @partition ],
	[ 1, 'gap', 6 ], 'and the gap comes first');
$node->stop;
done_testing();
