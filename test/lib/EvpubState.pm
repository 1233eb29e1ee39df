
# EvpubState - the publisher's state file as a test sees it: read, and written
# with other values and a right checksum.
#
# Only the fields of fixed place, which come first, and the accepted gaps are
# known here (see src/position/position_format.c); what else follows them is
# carried along.
package EvpubState;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use File::Path qw(make_path);

our @EXPORT = qw(state_file read_state write_state newest_half
  state_gaps set_state_gaps lsn_number lsn_text);

# payload: network byte order
my @fields = (
	[ system_identifier => 'Q>' ],
	[ timeline => 'N' ],
	[ role => 'a' ],
	[ paused => 'C' ],
	[ directory_inode => 'Q>' ],
	[ restart_lsn => 'Q>' ],
	[ confirmed_lsn => 'Q>' ],
	[ next_event => 'N' ],
	[ sequence => 'Q>' ]);
my $fixed_format = join ' ', map { $_->[1] } @fields;
my $fixed_length = length pack $fixed_format, map { $_->[1] eq 'a' ? 'x' : 0 } @fields;

# an accepted gap, without the list of transactions that it has cut
my @gap_fields = qw(from to horizon accepted_at announced repeat next_number reason lost);
my $gap_format = 'Q> Q> Q> Q> C N N N/a* a17';

sub state_file
{
	my ($data_dir) = @_;
	return "$data_dir/evpub/state";
}

# CRC-32C, bit by bit: the files are small.
sub _checksum
{
	my ($data) = @_;
	my $crc = 0xffffffff;
	for my $byte (unpack 'C*', $data)
	{
		$crc ^= $byte;
		$crc = ($crc >> 1) ^ ($crc & 1 ? 0x82f63b78 : 0) for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

# The halves of a state file's bytes that are whole, as [where it begins, number,
# contents], the newest first (see src/position/halves.c).
sub _whole_halves
{
	my ($bytes) = @_;
	my @found;
	my $size = length($bytes) / 2;
	for my $at (0, $size)
	{
		next if $at + 28 > length $bytes;
		my ($magic, $number, undef, $length, $crc) = unpack 'a8 Q> N N N', substr $bytes, $at, 28;
		next if $magic !~ /^evpubst\d$/ || $at + 28 + $length > length $bytes;
		my $contents = substr $bytes, $at + 28, $length;
		push @found, [ $at, $number, $contents, $magic ]
		  if $crc == _checksum(substr($bytes, $at, 24) . $contents);
	}
	return sort { $b->[1] <=> $a->[1] } @found;
}

sub _slurp
{
	my ($file) = @_;
	open my $in, '<:raw', $file or return undef;
	local $/;
	return <$in>;
}

# newest_half(data directory): where the newest half of the state file begins, how long
# its header and contents are, and where the other one begins.
sub newest_half
{
	my ($data_dir) = @_;
	my $bytes = _slurp(state_file($data_dir));
	my ($newest) = _whole_halves($bytes) or croak 'no half is whole';
	return ($newest->[0], 28 + length $newest->[2], length($bytes) / 2 - $newest->[0]);
}

# read_state(data directory): {magic, the fields of fixed place, rest}; undef
# when there is no file.
sub read_state
{
	my ($data_dir) = @_;
	my $file = state_file($data_dir);
	my $bytes = _slurp($file);
	return undef if !defined $bytes;

	# the worker may be writing one half, and then the other
	my ($newest) = _whole_halves($bytes) or croak "$file: no half is whole";
	my (undef, undef, $payload, $magic) = @$newest;
	my %state = (magic => $magic, rest => substr($payload, $fixed_length));
	@state{ map { $_->[0] } @fields } = unpack $fixed_format, $payload;
	# another version may have moved these fields
	croak "$file: of another format than this test knows"
	  unless $state{role} =~ /^[cafgxr]$/ && $state{timeline} < 1000 && $state{paused} < 2;
	return \%state;
}

# write_state(data directory, state): as read_state() gave it, with what the
# test has changed.
sub write_state
{
	my ($data_dir, $state) = @_;
	my $file = state_file($data_dir);
	my $payload = pack($fixed_format, map { $state->{ $_->[0] } } @fields)
	  . $state->{rest};
	my $size = 4096 * (1 + int((28 + length $payload) / 4096));
	my $header = pack 'a8 Q> N N', $state->{magic}, 1, $size, length $payload;
	my $half = $header . pack('N', _checksum($header . $payload)) . $payload;

	make_path("$data_dir/evpub");
	open my $out, '>:raw', $file or croak "$file: $!";
	print $out ($half . "\0" x ($size - length $half)) x 2;
	close $out or croak "$file: $!";
	return;
}

# The accepted gaps in what follows the fields of fixed place: where they begin
# there and end, and the gaps.
sub _find_gaps
{
	my ($state) = @_;
	my $at = 0;
	my $take = sub {
		my ($format) = @_;
		my @values = unpack "\@$at $format .", $state->{rest};
		$at = pop @values;
		return @values;
	};
	$take->('a5');    # delivery, no skipped ids
	$take->('Q> N/a') if $state->{paused};
	$take->('Q> N Q>') for 1 .. ($take->('N'))[0];    # lineage
	$take->('Q>') for 1 .. ($take->('N'))[0];    # publishers that were replaced
	$take->('N/a');    # why it is fenced
	$take->('a25 N/a a17 N/N') if ($take->('C'))[0];    # the open gap
	my $begin = $at;
	my @gaps;
	for (1 .. ($take->('N'))[0])
	{
		my %gap;
		(@gap{@gap_fields}, my @cut) = $take->("$gap_format N/N");
		push @gaps, { %gap, cut => \@cut };
	}
	return ($begin, $at, @gaps);
}

# state_gaps(state): the accepted gaps, oldest first, each as {from, to, horizon,
# accepted_at, announced, repeat, next_number, reason, lost, cut}.
sub state_gaps
{
	my (undef, undef, @gaps) = _find_gaps($_[0]);
	return @gaps;
}

# set_state_gaps(state, gaps as state_gaps() gives them)
sub set_state_gaps
{
	my ($state, @gaps) = @_;
	my ($begin, $end) = _find_gaps($state);
	substr $state->{rest}, $begin, $end - $begin, pack('N', scalar @gaps)
	  . join '', map { pack "$gap_format N/N*", @$_{@gap_fields}, @{ $_->{cut} } } @gaps;
	return;
}

sub lsn_number
{
	my ($text) = @_;
	my ($high, $low) = split m{/}, $text;
	return (hex($high) << 32) + hex($low);
}

sub lsn_text
{
	my ($number) = @_;
	return sprintf '%X/%X', $number >> 32, $number & 0xffffffff;
}

1;
