
# EvpubTls - certificate authorities and certificates for tests, made with
# openssl in a directory of their own.
package EvpubTls;

use strict;
use warnings;

use Carp;
use File::Temp;

# new(): an empty directory that goes with the object.
sub new
{
	my ($class) = @_;
	return bless { dir => File::Temp->newdir('evpub-tls-XXXXXX', TMPDIR => 1) },
	  $class;
}

sub path { "$_[0]{dir}/$_[1]" }

# ca(name): makes name.crt and name.key, a certificate authority.
sub ca
{
	my ($self, $name) = @_;
	_openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-nodes', '-days', 30, '-subj', "/CN=$name",
		'-keyout', $self->path("$name.key"), '-out', $self->path("$name.crt"));
	return $self->path("$name.crt");
}

# cert(name, ca, san => 'IP:127.0.0.1', days => 30)
# Makes name.crt and name.key, and name.pem with both, as Kafka wants them.
# days => 0: expired as soon as a second has passed (newer openssl makes none that
# has expired before).
sub cert
{
	my ($self, $name, $ca, %args) = @_;
	my $san = $args{san} || 'IP:127.0.0.1,DNS:localhost';
	_write($self->path("$name.ext"), "subjectAltName=$san\n");
	_openssl('req', '-new', '-newkey', 'ec', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$name",
		'-keyout', $self->path("$name.key"), '-out', $self->path("$name.csr"));
	_openssl('x509', '-req', '-in', $self->path("$name.csr"), '-CA',
		$self->path("$ca.crt"), '-CAkey', $self->path("$ca.key"),
		'-set_serial', 1 + int(rand(2**30)), '-days', $args{days} // 30,
		'-extfile', $self->path("$name.ext"), '-out', $self->path("$name.crt"));
	_write($self->path("$name.pem"),
		_read($self->path("$name.key")) . _read($self->path("$name.crt")));
	return $self->path("$name.pem");
}

# listener(name, certificate, ca, {setting => value}): settings of a broker for
# a TLS listener that shows this certificate and trusts clients of this CA.
sub listener
{
	my ($self, $name, $cert, $ca, $conf) = @_;
	my %conf = (
		'ssl.keystore.type' => 'PEM',
		'ssl.keystore.location' => $self->path("$cert.pem"),
		'ssl.truststore.type' => 'PEM',
		'ssl.truststore.location' => $self->path("$ca.crt"),
		%{ $conf || {} });
	my $prefix = 'listener.name.' . lc $name;
	return map { ("$prefix.$_" => $conf{$_}) } keys %conf;
}

sub _openssl
{
	my (@args) = @_;
	open my $pipe, '-|', 'sh', '-c', 'exec openssl "$@" 2>&1', 'openssl', @args
	  or croak "openssl: $!";
	local $/;
	my $output = <$pipe>;
	close $pipe or croak "openssl @args: $output";
	return;
}

sub _read
{
	my ($file) = @_;
	open my $in, '<', $file or croak "$file: $!";
	local $/;
	return scalar <$in>;
}

sub _write
{
	my ($file, $text) = @_;
	open my $out, '>', $file or croak "$file: $!";
	print $out $text;
	close $out or croak "$file: $!";
	return;
}

1;
