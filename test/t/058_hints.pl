
# Each reason for which nothing is published says what to type: those in the
# source are compared with the list of hints, and the commonest are brought about.
use strict;
use warnings;

use EvpubGap;
use EvpubKafka;
use EvpubTest;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- the list ----

my $source = slurp_file('src/publisher/advice.c');
my ($table) = $source =~ /advices\[\] =\n\{(.*?)\n\};/s;
my @parts = $table =~ /^\t\{"((?:[^"\\]|\\.)*)",/mg;
cmp_ok(scalar(@parts), '>', 30, 'the list has been read');

# Texts of the relay, and of the worker where it is hindered.
my $literals = qr/"(?:[^"\\]|\\.)*"(?:\s*PRI\w+\s*"(?:[^"\\]|\\.)*")*/;
my %without;
my $count = 0;
for my $file (glob('src/relay/*.c'), 'src/publisher/supervise.c')
{
	my $text = slurp_file($file);
	while ($text =~ /(?:relay_fail\(EVPUB_FAILURE_\w+,|relay_fail_as\([^";]*?,|(?:topic|->)\w*trouble, sizeof\([^)]*\),|evpub_state_hinder\([^";]*?|RELAY_TEXT_MAX,)\s*($literals)/g)
	{
		my $reason = $1;
		next if $reason =~ /^"(?:%s)*"$/;
		$count++;
		next if $reason =~ /\\n/;
		# a reason that begins with the broker's words is looked up by these
		next if $reason =~ /^"topic \\"%s\\"(?: partition %d)?: %s/;
		$without{$reason} = $file unless grep { index($reason, $_) >= 0 } @parts;
	}
}
cmp_ok($count, '>', 35, 'the texts have been read');
is_deeply(\%without, {}, 'each reason in the source has a hint');

# ---- in the server ----

my $kafka = EvpubKafka->new->start;
my $node = capture_node('hints', kafka => $kafka,
	conf => "evpub.create_topics = off\n");
$node->safe_psql('postgres', q{
CREATE TABLE a (id int PRIMARY KEY);
SELECT evpub.capture_table('a', topic => 'one', tenant => 'x');
CREATE TABLE b (id int PRIMARY KEY);
SELECT evpub.capture_table('b', topic => 'two', tenant => 'x');
INSERT INTO a VALUES (1);
INSERT INTO b VALUES (1)});

# blocked(reason, hint, name)
sub blocked
{
	my ($reason, $hint, $name) = @_;
	ok(wait_for_status($node, "state = 'blocked' AND state_reason ~ '$reason'"), "$name: blocked")
	  or diag status($node, 'concat_ws(E\'\n\', state, state_reason, hint)');
	like(status($node, 'hint'), $hint, "$name: the hint says what to type");
	is( $node->safe_psql('postgres',
			q{SELECT c.hint = s.hint FROM evpub.check() c, evpub.status s WHERE c.name = 'publisher'}),
		't', "$name: so does check()");
	return;
}

sub set
{
	my (%conf) = @_;
	$node->append_conf('postgresql.conf', "$_ = '$conf{$_}'") for keys %conf;
	$node->reload;
	return;
}

blocked('create_topics', qr/ALTER SYSTEM SET evpub\.create_topics = on;/, 'no topic');
is(sqlstate($node, q{SELECT evpub.forget_topic('one')}), '00000', 'it can be forgotten');
blocked('"one".*create_topics', qr/Create the topic/, '... and the event that waits makes it known again');
is(sqlstate($node, q{SELECT evpub.forget_topic('none')}), '42704', 'one of no event cannot');
$kafka->create_topic('one', 1);
$kafka->create_topic('two', 3);
ok(wait_published($node), 'there is one: published');
ok(wait_for_status($node, q{state = 'streaming' AND hint IS NULL}), 'then there is no hint');

$kafka->delete_topic($_) for 'one', 'two';
# the broker still takes records until it has heard of it
wait_until('deletion', sub { my $topics = $kafka->topics; !$topics->{one} && !$topics->{two} });
$node->safe_psql('postgres', 'INSERT INTO a VALUES (2)');
blocked('does not exist any more', qr/SELECT topic, partitions FROM evpub\.topics;.*evpub\.resume\(\)/,
	'topic deleted');
$kafka->create_topic('one', 1);
blocked('made again', qr/evpub\.resume\(\)/, 'topic made again');
$node->safe_psql('postgres', 'SELECT evpub.resume()');
is( $node->safe_psql('postgres', q{SELECT partitions FROM evpub.topics WHERE topic = 'two'}),
	'3', 'how many partitions the other one had is still shown');

set('evpub.bootstrap_servers' => '127.0.0.1:1');
blocked('no broker of', qr/evpub\.bootstrap_servers/, 'no broker');

set('evpub.relay_program' => '/nowhere/evpub-relay');
blocked('could not execute', qr/Install evpub's program evpub-relay/, 'no relay');
my $file = $node->data_dir . '/kafka.conf';
append_to_file($file, "security.protocol=plaintext\nno.such.property=1\n");
set('evpub.relay_program' => '', 'evpub.kafka_config_file' => $file);
blocked('must not be accessible', qr/chmod 0600.*pg_reload_conf\(\)/, 'a file that others may read');
chmod 0600, $file or die $!;
set('work_mem' => '5MB');
blocked('kafka.conf line 2', qr/propert/, 'a wrong line');

like(slurp_file($node->logfile), qr/WARNING:  evpub: .*kafka.conf line 2.*\n.*HINT:  .*propert/,
	'the log has the hint, too');

set('evpub.bootstrap_servers' => '');
ok(wait_for_state($node, 'unconfigured'), 'no brokers set');
like(status($node, 'hint'), qr/ALTER SYSTEM SET evpub\.bootstrap_servers/, 'with a hint');

# ---- what the documentation names is there, and what is there is named ----

my $settings = slurp_file('docs/settings.md');
my $sql = slurp_file('docs/sql.md');
my %bytes = ('' => 1, B => 1, kB => 1024, MB => 1024 * 1024);

# a size in bytes, else the text as it is
sub value
{
	my ($text) = @_;
	return $text =~ /^(\d+)(B|kB|MB)$/ ? $1 * $bytes{$2} : $text;
}
my %who = (reload => 'sighup', superuser => 'superuser', everybody => 'user');
my @told = map { $_->[1] =~ s/^'(.*)'$/$1/r =~ s/(.*)/join '|', $_->[0], value($1), $who{$_->[2]} \/\/ $_->[2]/er }
  map { [/^\| `([^`]+)` \| `(.*?)` \| (.*?) \|/] } grep { /^\| `/ } split /\n/, $settings;
my @are = map {
	my ($name, $default, $unit, $context) = split /\|/;
	join '|', $name, value($default =~ /^\d+$/ ? "$default$unit" : $default), $context
} split /\n/, $node->safe_psql('postgres', q{
SELECT name, boot_val, coalesce(unit, ''), context FROM pg_settings WHERE name ~ '^evpub[.]'});
is(join("\n", sort @told), join("\n", sort @are), 'docs/settings.md: settings, their defaults, and who may change them');

for my $column (split /\n/, $node->safe_psql('postgres', q{
SELECT relname || ' ' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'evpub'::regnamespace AND relkind = 'v' AND attnum > 0}))
{
	my ($view, $name) = split / /, $column;
	like($sql, qr/`$name`/, "docs/sql.md: column $name of view $view");
}
my ($columns) = $sql =~ /^### View `status`\n(.*?)^\| state \|/ms;
my @named = map { /`(\w+)`/g } map { (split / \| /)[0] } grep { /^\| `/ } split /\n/, $columns;
is($node->safe_psql('postgres', q{
SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'evpub.status'::regclass AND attnum > 0}),
	join(' ', sort @named), 'docs/sql.md: columns of view status');

my %functions = map { ($_ => 1) } split /\n/, $node->safe_psql('postgres', q{
SELECT proname FROM pg_proc WHERE pronamespace = 'evpub'::regnamespace});
my %headed = map { ($_ => 1) } map { /`(?:CALL )?(\w+)\(/g } $sql =~ /^### (.*)$/mg;
# the trigger function is told of in words
is(join(' ', sort 'capture', keys %headed), join(' ', sort keys %functions), 'docs/sql.md: functions');

$node->stop;
done_testing();
