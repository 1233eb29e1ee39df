
# A connection to Kafka that does not come about says what is wrong and what to
# do: each cause has a text of its own, which is the reason of state "blocked".
# The examples of docs/security.md connect, and publish.  And certificates that are
# renewed at the same path are used from the next reload on.
#
# SCRAM needs a newer librdkafka than Debian 12 has.  There, a relay that was built
# with that of Debian 13 stands in for these cases (test/newer-relay).
use strict;
use warnings;

use EvpubKafka;
use EvpubTest;
use EvpubTls;
use File::Copy qw(copy);
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $tls = EvpubTls->new;
$tls->ca($_) for qw(ca other);
$tls->cert('server', 'ca');
$tls->cert('expired', 'ca', days => 0);
$tls->cert('host', 'ca', san => 'DNS:kafka.example.com');
$tls->cert('foreign', 'other');
$tls->cert('client', 'ca');
$tls->cert('stranger', 'other');

my $login = 'org.apache.kafka.common.security';
my $kafka = EvpubKafka->new(
	listeners => {
		(map { $_ => 'SSL' } qw(TLS MTLS EXPIRED HOST FOREIGN)),
		SASL => 'SASL_PLAINTEXT',
		LOGIN => 'SASL_SSL' },
	scram => { evpub => 'secret' },
	conf => {
		# everybody may do everything, but in topics for which a right was granted
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'allow.everyone.if.no.acl.found' => 'true',
		'super.users' => 'User:ANONYMOUS',
		$tls->listener('TLS', 'server', 'ca'),
		$tls->listener('MTLS', 'server', 'ca', { 'ssl.client.auth' => 'required' }),
		$tls->listener('EXPIRED', 'expired', 'ca'),
		$tls->listener('HOST', 'host', 'ca'),
		$tls->listener('FOREIGN', 'foreign', 'other'),
		'listener.name.sasl.sasl.enabled.mechanisms' => 'SCRAM-SHA-512,PLAIN',
		'listener.name.sasl.scram-sha-512.sasl.jaas.config' =>
		  "$login.scram.ScramLoginModule required;",
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  "$login.plain.PlainLoginModule required user_evpub=\"secret \";",
		$tls->listener('LOGIN', 'server', 'ca', {
			'sasl.enabled.mechanisms' => 'SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER',
			(map { ("scram-sha-$_.sasl.jaas.config" => "$login.scram.ScramLoginModule required;") } 256, 512),
			'plain.sasl.jaas.config' =>
			  "$login.plain.PlainLoginModule required user_evpub=\"secret\";",
			# takes tokens without a signature
			'oauthbearer.sasl.jaas.config' =>
			  "$login.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"x\";",
		}),
	})->start;

my $relay = $ENV{EVPUB_RELAY} || 'evpub-relay';
my $ca = 'security.protocol=ssl\nssl.ca.location=' . $tls->path('ca.crt');
$ca =~ s/\\n/\n/;
my $mtls = sub {
	"$ca\nssl.certificate.location="
	  . $tls->path("$_[0].crt")
	  . "\nssl.key.location="
	  . $tls->path("$_[0].key");
};
my $sasl = sub {
	"security.protocol=sasl_plaintext\nsasl.username=evpub\n"
	  . "sasl.mechanism=$_[0]\nsasl.password=$_[1]\n";
};
my $node = capture_node('main', kafka => $kafka);
my $old_scram = `$relay --version` =~ /librdkafka (\d+)\.(\d+)\.(\d+)/
  && $1 * 10000 + $2 * 100 + $3 < 20601;

# ---- the examples of the documentation, with the paths of these certificates ----

# Hands out tokens to whoever asks, as the endpoint of an identity provider does.
sub hand_out_tokens
{
	my ($endpoint) = @_;

	while (my $asker = $endpoint->accept)
	{
		my ($length, $request, $now) = (0, '', time);
		while (my $line = <$asker>)
		{
			$length = $1 if $line =~ /^content-length: *(\d+)/i;
			last if $line =~ /^\r?$/;
		}
		read $asker, $request, $length;
		my $until = $now + 3600;
		my $token = join '.', encode_base64url('{"alg":"none"}'),
		  encode_base64url(qq({"sub":"evpub","iat":$now,"exp":$until})), '';
		my $answer = qq({"access_token":"$token","token_type":"Bearer","expires_in":3600});
		print $asker "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		  . 'Content-Length: ' . length($answer) . "\r\nConnection: close\r\n\r\n$answer";
		close $asker;
	}
	return;
}

my $endpoint = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5)
  or BAIL_OUT("no token endpoint: $!");
my $tokens = fork // BAIL_OUT("fork: $!");
if (!$tokens)
{
	alarm 180;    # it does not outlive a test that died
	hand_out_tokens($endpoint);
	POSIX::_exit(1);
}
my $page = slurp_file('docs/security.md');
my %example = $page =~ /^### ([^\n]+)\n(?:(?!^#).)*?^```properties\n(.*?)^```/msg;
is(join(', ', sort keys %example),
	'OAUTHBEARER, PLAIN over TLS, SCRAM, TLS, TLS with a certificate of evpub',
	'an example for each kind of connection');
my $directory = $tls->path('');
for (values %example)
{
	s{/etc/evpub/}{$directory}g;
	s{https://login\.example\.com}{'http://127.0.0.1:' . $endpoint->sockport}e;
}
sub has_oidc
{
	my ($library) = `ldd \$(command -v '$_[0]')` =~ /(\S*\/librdkafka\.\S+)/;
	return index(slurp_file($library), ' OAUTHBEARER_OIDC ') >= 0;
}
my $oidc = has_oidc($relay);

# the relay that can do SCRAM: this one, or one that was built for that
my $scram_relay = $old_scram ? $ENV{EVPUB_NEWER_RELAY} : $relay;
ok($scram_relay || $ENV{EVPUB_NO_NEWER_RELAY}, 'there is a relay that can do SCRAM, or a reason why not');

# name => [listener or address, Kafka settings, text that is reported; undef: works]
my %cases = (
	good => [ 'TLS', $ca, undef ],
	expired => [ 'EXPIRED', $ca, qr/certificate of the broker has expired\nRenew/ ],
	host => [ 'HOST', $ca, qr/made for another host name\n.*subjectAltName/ ],
	foreign => [ 'FOREIGN', $ca, qr/not signed by an authority that is trusted here\nSet ssl\.ca\.location/ ],
	no_tls => [ 'TLS', '', qr/wants TLS.*\n.*security\.protocol/ ],
	no_plain => [ undef, $ca, qr/does not speak TLS.*\n.*security\.protocol/ ],
	mutual => [ 'MTLS', $mtls->('client'), undef ],
	no_certificate => [ 'MTLS', $ca, qr/asks for a certificate, and none is set.*\n.*ssl\.certificate\.location/ ],
	stranger => [ 'MTLS', $mtls->('stranger'), qr/does not accept the certificate of evpub.*\n.*pg_reload_conf/ ],
	no_sasl => [ 'SASL', '', qr/wants authentication \(SASL\).*\n.*sasl\.mechanism/ ],
	sasl_nowhere => [ undef, $sasl->('PLAIN', 'secret'), qr/knows no authentication \(SASL\).*\n.*security\.protocol/ ],
	mechanism => [ 'SASL', $sasl->('SCRAM-SHA-256', 'secret'), qr/Unsupported SASL mechanism.*SCRAM-SHA-512.*\n.*one that the broker supports/ ],
	# of PLAIN's password the space at the end is a part
	space_kept => [ 'SASL', $sasl->('PLAIN', 'secret '), undef ],
	space_missing => [ 'SASL', $sasl->('PLAIN', 'secret'), qr/Invalid username or password\nCompare/ ],
	space_told => [ 'SASL', $sasl->('PLAIN', 'wrong '), qr/Invalid username or password\n.*white space/ ],
	scram => [ 'SASL', $sasl->('SCRAM-SHA-512', 'secret'), $old_scram ? qr/librdkafka \S+ cannot authenticate by SCRAM.*\nUse librdkafka 2\.6\.1 or later/ : undef ],
	example_tls => [ 'TLS', $example{'TLS'}, undef ],
	example_certificate => [ 'MTLS', $example{'TLS with a certificate of evpub'}, undef ],
	example_plain => [ 'LOGIN', $example{'PLAIN over TLS'}, undef ],
	example_scram => [ 'LOGIN', $example{'SCRAM'}, $old_scram ? qr/cannot authenticate by SCRAM/ : undef ],
	example_token => [ 'LOGIN', $example{'OAUTHBEARER'}, $oidc ? undef : qr/value of "sasl\.oauthbearer\.method" is not valid.*\n.*built with libcurl/ ],
	no_token => [ 'SASL', "security.protocol=sasl_plaintext\nsasl.mechanism=OAUTHBEARER\n", qr/OAUTHBEARER gets no token without sasl\.oauthbearer\.method=oidc\nSet / ],
	scram_wrong => [ 'SASL', $sasl->('SCRAM-SHA-512', 'wrong'), qr/invalid credentials/ ],
	postgres => [ '127.0.0.1:' . $node->port, '', qr/no listener of Kafka.*\n/ ],
	no_port => [ 'no.such.host.invalid', '', qr/no broker of no\.such\.host\.invalid answers: .*\n/ ],
	no_ca => [ 'TLS', "security.protocol=ssl\nssl.ca.location=/nonexistent/ca.crt\n", qr{line 2: could not read file "/nonexistent/ca\.crt" of "ssl\.ca\.location": No such file} ],
	broken_ca => [ 'TLS', "security.protocol=ssl\nssl.ca.location=/etc/passwd\n", qr{ssl\.ca\.location.*"/etc/passwd"} ],
	not_a_pair => [ 'MTLS', "$ca\nssl.certificate.location=" . $tls->path('client.crt')
		  . "\nssl.key.location=" . $tls->path('stranger.key'), qr/stranger\.key.*\n.*belong together/ ],
	mark => [ undef, "\xef\xbb\xbflinger.ms=1\n", qr/line 1: .*byte order mark/ ],
	space => [ undef, "linger.ms=1 \n", qr/line 1: value of "linger\.ms" ends with white space/ ],
	windows => [ undef, " linger.ms = 1\r\n\r\n", undef ],
	typing => [ undef, "\nssl.ca.locaton=x\n", qr/line 2: unknown property "ssl\.ca\.locaton"\n.*"ssl\.ca\.location".*pg_reload_conf/ ],
	nonsense => [ undef, "colour=blue\n", qr/line 1: unknown property "colour"\nNo property of librdkafka.*pg_reload_conf/ ],
	owned => [ undef, "enable.idempotence=false\n", qr/line 1: property "enable\.idempotence" is not allowed here\nlibrdkafka knows.*pg_reload_conf/ ],
	java => [ undef, "ssl.truststore.location=x\n", qr/line 1: property "ssl\.truststore\.location" is not allowed here\n.*Java.*ssl\.ca\.location.*pg_reload_conf/ ],
);

# the server of PostgreSQL must listen where a broker could
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
$node->restart;

my %ask;
for my $name (keys %cases)
{
	my ($where, $file) = @{ $cases{$name} };
	$ask{$name} = {
		servers => !defined $where ? $kafka->bootstrap
		: $where =~ /^[A-Z]+$/ ? $kafka->bootstrap($where)
		: $where,
		file => $file };
}
# Asks a relay these cases at once; so many TLS handshakes are all that a small
# machine does.
sub relay_says
{
	my ($program, @names) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'python3', 'test/lib/relay_says.py', $program ],
		'<', \JSON::PP::encode_json({ map { $_ => $ask{$_} } @names }), '>', \$out, '2>', \$err)
	  or BAIL_OUT("relay_says.py: $err");
	return %{ JSON::PP::decode_json($out) };
}

my $said = {
	relay_says($relay, grep { /^example_/ } keys %cases),
	relay_says($relay, grep { !/^example_/ } keys %cases) };
SKIP:
{
	skip "OAUTHBEARER with a newer librdkafka: $ENV{EVPUB_NO_NEWER_RELAY}", 1
	  if !$scram_relay || $scram_relay eq $relay;
	my %newer = relay_says($scram_relay, 'example_token');
	is("$newer{example_token}{kind} $newer{example_token}{text}",
		has_oidc($scram_relay) ? 'answered ' : 'no libcurl', 'OAUTHBEARER with a newer librdkafka: connected');
}
kill 'KILL', $tokens;
waitpid $tokens, 0;
for my $name (sort keys %cases)
{
	my $expected = $cases{$name}[2];
	my $answer = $said->{$name} || { kind => 'nothing', text => '' };
	if (defined $expected)
	{
		like($answer->{text}, $expected, "$name: the reason is reported");
	}
	else
	{
		is("$answer->{kind} $answer->{text}", 'answered ', "$name: connected");
	}
}

# ---- the same in the server: state, reason and hint, and what is published ----

my $dir = PostgreSQL::Test::Utils::tempdir();
my $config = "$dir/kafka.conf";
$node->safe_psql('postgres', q{
CREATE TABLE c (name text PRIMARY KEY);
SELECT evpub.capture_table('c', tenant => 'acme', topic => 'connected')});

# Has the server connect to a listener with these settings, by this relay.
sub connect_server
{
	my ($listener, $settings, $program) = @_;
	open my $out, '>', $config or die "$config: $!";
	print $out $settings;
	close $out;
	chmod 0600, $config;
	$node->append_conf('postgresql.conf', "evpub.kafka_config_file = '$config'\nevpub.bootstrap_servers = '"
		  . $kafka->bootstrap($listener) . "'\nevpub.relay_program = '" . ($program || '') . q{'});
	$node->reload;
	return;
}

my @connected;

# published(name, connection): a row that comes is published by it.
sub published
{
	my ($name, @connection) = @_;
	connect_server(@connection);
	$node->safe_psql('postgres', "INSERT INTO c VALUES ('$name')");
	ok(wait_published($node, 60), "$name: published");
	push @connected, $name;
	return;
}

# blocked(name, text of the reason, text of the hint, connection)
sub blocked
{
	my ($name, $reason, $hint, @connection) = @_;
	connect_server(@connection);
	ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%$reason%'", 60),
		"$name: blocked, and the reason names it");
	like(status($node, 'hint'), $hint, "$name: and what to do");
	return;
}

published('TLS', 'TLS', $example{'TLS'});
blocked('host name', 'made for another host name', qr/subjectAltName/, 'HOST', $ca);
blocked('expired', 'certificate of the broker has expired', qr/Renew/, 'EXPIRED', $ca);
published('certificate', 'MTLS', $example{'TLS with a certificate of evpub'});
blocked('no certificate', 'asks for a certificate, and none is set', qr/ssl\.certificate\.location/, 'MTLS', $ca);
published('PLAIN', 'LOGIN', $example{'PLAIN over TLS'});
blocked('wrong password', 'Invalid username or password', qr/sasl\.password/,
	'LOGIN', $example{'PLAIN over TLS'} =~ s/(sasl\.password=)\w+/$1wrong/r);
SKIP:
{
	skip "SCRAM: $ENV{EVPUB_NO_NEWER_RELAY}", 6 unless $scram_relay;
	for my $hash (256, 512)
	{
		my $settings = $example{'SCRAM'} =~ s/SCRAM-SHA-\K\d+/$hash/r;
		published("SCRAM-SHA-$hash", 'LOGIN', $settings, $scram_relay);
		blocked("SCRAM-SHA-$hash, wrong password", "invalid credentials with SASL mechanism SCRAM-SHA-$hash",
			qr/sasl\.password/, 'LOGIN', $settings =~ s/(sasl\.password=)\w+/$1wrong/r, $scram_relay);
	}
}

# a topic in which somebody else may write
$kafka->create_topic('denied', 1);
$kafka->allow('denied', 'somebody', 'WRITE');
published('rights', 'LOGIN', $example{'PLAIN over TLS'});
$node->safe_psql('postgres', q{SELECT evpub.publish('t', 'acme', topic => 'denied')});
ok(wait_for_status($node, q{state = 'blocked' AND state_reason LIKE '%"denied"%Topic authorization failed%'}, 60),
	'no right to write: blocked, and the reason names the topic');
like(status($node, 'hint'), qr/--operation Write.*--topic/, 'and what to type');
$kafka->allow('denied', 'evpub', 'WRITE');
ok(wait_published($node, 60), 'what is granted later is noticed');
is($kafka->record_count('denied'), 1, 'and it is there once');

# A relay that begins anew has to read what is there already.
sub publish_denied
{
	$node->safe_psql('postgres', q{SELECT evpub.publish('t', 'acme', topic => 'denied')});
	return;
}
sub deliver
{
	my ($delivery) = @_;
	$node->append_conf('postgresql.conf', "evpub.delivery = '$delivery'");
	$node->reload;
	return;
}
my $unreadable =
  q{state = 'blocked' AND state_reason LIKE '%topic "denied" cannot be read%Topic authorization failed%'};
kill_relay($node);
publish_denied();
ok(wait_for_status($node, $unreadable, 60), 'no right to read: blocked, and the reason names the topic');
like(status($node, 'hint'), qr/Grant evpub's user READ: kafka-acls.sh .*--topic <topic>\. .*at_least_once/s, 'and what to do');
like($node->safe_psql('postgres', q{SELECT string_agg(concat_ws(' ', detail, hint), ' ') FROM evpub.check() WHERE NOT ok}),
	qr/"denied" cannot be read.*Grant evpub's user READ/s, 'evpub.check() says so, too');
deliver('at_least_once');
ok(wait_published($node, 60), 'at_least_once goes on without');
deliver('deduplicated');
publish_denied();
ok(wait_for_status($node, $unreadable, 60), 'deduplicated again: blocked again');
my $patient = running_relay($node);
$kafka->allow('denied', 'evpub', 'READ');
ok(wait_published($node, 60), 'the right to read is granted later: published');
is(relay_pid($node), $patient, 'by the same relay');
# the user of a later connection may not read it, and nothing is published to it any more
use_pair('client');
connect_server('MTLS', "$ca\nssl.certificate.location=$dir/client.crt\nssl.key.location=$dir/client.key\n");
ok(wait_for_status($node, $unreadable, 60), 'a topic of before that may not be read: blocked');
like(status($node, 'hint'), qr/SELECT evpub\.forget_topic\('<topic>'\);/, 'and how to forget it');
$node->safe_psql('postgres', q{SELECT evpub.forget_topic('denied')});
ok(wait_for_state($node, 'streaming'), 'it is forgotten: streaming');
is($kafka->record_count('denied'), 3, 'each is there once');
published('again', 'TLS', $example{'TLS'});
is(join(', ', map { $_->{event}{pk}{name} } events($kafka, 'connected')),
	join(', ', @connected), 'each row came once, in order');

# ---- certificates that are renewed ----

# A pair of a CA that the broker does not trust; then a good one over it.
sub use_pair
{
	my ($pair) = @_;
	copy($tls->path("$pair.$_"), "$dir/client.$_") or die "copy: $!" for qw(crt key);
	return;
}

use_pair('stranger');
$node->safe_psql(
	'postgres', q{
CREATE TABLE t (id int PRIMARY KEY);
SELECT evpub.capture_table('t', tenant => 'acme', topic => 'renewed');
INSERT INTO t VALUES (1)});
connect_server('MTLS', "$ca\nssl.certificate.location=$dir/client.crt\nssl.key.location=$dir/client.key\n");
ok(wait_for_status($node, "state = 'blocked' AND state_reason LIKE '%does not accept the certificate%'"),
	'a certificate that the broker does not trust: blocked, with the reason');
like(status($node, 'hint'), qr/pg_reload_conf/, 'and a hint');
use_pair('client');
$node->reload;
ok(wait_for_state($node, 'streaming'), 'a good pair over it, and a reload: streaming');
ok(wait_published($node), 'published');

# While it streams: the next connection must not use an old certificate.
ok(wait_for_state($node, 'streaming'), 'streaming');
my $before = status($node, 'relay_pid');
$node->reload;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
ok(wait_published($node), 'a reload without a change: published');
is(status($node, 'relay_pid'), $before, 'by the same relay');
$tls->cert('renewed', 'ca');
use_pair('renewed');
$node->reload;
wait_until('another relay',
	sub { my $pid = status($node, 'relay_pid'); $pid && $pid != $before });
pass('a renewed certificate and a reload: another relay');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (3)');
ok(wait_published($node), 'which publishes');
is($kafka->record_count('renewed'), 3, 'all of it, once');

# What the brokers' addresses must look like.
my @bad = ('http://kafka:9092', 'SASL_SSL://kafka:9092', 'a:9092;b:9092', 'a:9092 b:9092',
	'kafka:', 'kafka:0', 'kafka:65536', 'kafka:90x92', '::1', 'fe80::1:9092', ':9092',
	'a:9092,,b:9092', ',', '[::1', 'kafka/topic', '[::1]9092');
for my $list (@bad)
{
	my ($stdout, $stderr) = ('', '');
	my $status = $node->psql('postgres', "ALTER SYSTEM SET evpub.bootstrap_servers = '$list'",
		stdout => \$stdout, stderr => \$stderr);
	ok($status != 0 && $stderr =~ /is not the address of a broker.*HINT:/s,
		"brokers \"$list\": refused with a hint")
	  or diag $stderr;
}
for my $list ("''", "'kafka'", "'kafka_1.example.com:9092,[::1]:9092'", "'a:1', 'b:65535'",
	"' a:1 , b '", "'[fe80::1%eth0]:9092'", "'192.0.2.1,'")
{
	is($node->psql('postgres', "ALTER SYSTEM SET evpub.bootstrap_servers = $list"),
		0, "brokers $list: taken");
}
# white space is no part of an address
$node->safe_psql('postgres', "ALTER SYSTEM SET evpub.bootstrap_servers = ' "
	  . $kafka->bootstrap('MTLS') . " , "
	  . $kafka->bootstrap('MTLS') . " '");
$node->reload;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (4)');
ok(wait_published($node), 'white space around brokers means nothing');

$node->stop;
done_testing();
