use strict;
use warnings;
use EvpubKafka;
use EvpubTest;
use Test::More;
use Time::HiRes qw(time);
my $kafka = EvpubKafka->new(conf => { 'num.partitions' => 1 })->start;
my $node = capture_node('main', kafka => $kafka);
$node->safe_psql('postgres', q{
CREATE TABLE t (tenant text, id int, PRIMARY KEY (tenant, id));
SELECT evpub.capture_table('t', tenant_column => 'tenant', topic => 'tp-{tenant}');
INSERT INTO t VALUES ('known', 1);
});
ok(wait_published($node), 'first');
my $pm = (split /\n/, $node->safe_psql('postgres', q{select setting from pg_settings where name='data_directory'}))[0];
open my $pf, '<', "$pm/postmaster.pid"; my $pmpid = <$pf>; chomp $pmpid; close $pf;
sub cpu {
  my %c;
  my @all = map { m{/proc/(\d+)/} } glob('/proc/[0-9]*/stat');
  my %par;
  for my $p (@all) { open my $f, '<', "/proc/$p/stat" or next; my $l = <$f>; next unless defined $l; my ($r) = $l =~ /\)\s+(.*)$/; my @x = split ' ', $r; $par{$p} = [$x[1], $x[11]+$x[7]]; }
  for my $p (keys %par) {
    my $pp = $par{$p}[0];
    open my $f, '<', "/proc/$p/cmdline" or next; local $/; my $cmd = <$f> // ''; $cmd =~ tr/\0/ /;
    if ($cmd =~ /evpub-relay/ && (($par{$pp}[0]//0) == $pmpid || $pp == $pmpid)) { $c{relay} += $par{$p}[1]; }
    elsif ($pp == $pmpid && $cmd =~ /evpub/) { $c{worker} += $par{$p}[1]; }
  }
  return \%c;
}
my $out = $ENV{BENCH_OUT}; my $label = $ENV{BENCH_LABEL};
sub res { open my $o, '>>', $out; print $o "$label @_\n"; close $o; diag "$label @_"; }
for my $case (@{[ map { [400, $_] } 1..($ENV{N400}//3) ]}, @{[ map { [2000, $_] } 1..($ENV{N2000}//1) ]}) {
my ($n, $r) = @$case;
my $c0 = cpu(); my $start = time;
$node->safe_psql('postgres', qq{INSERT INTO t SELECT 'a$n.$r.' || i, 1 FROM generate_series(1, $n) i});
my $mid = time;
$node->safe_psql('postgres', qq{INSERT INTO t VALUES ('known', 100*$n+$r); SELECT evpub.wait_published()});
my $t = time; my $c1 = cpu();
res(sprintf '%d %.3f relay %d worker %d', $n, $t-$mid, 10*($c1->{relay}-$c0->{relay}), 10*($c1->{worker}-$c0->{worker}));
}
my (@known, @new);
for my $n (1 .. 15)
{
	for ([ \@known, "('known', 1 + $n)" ], [ \@new, "('new$n', 1)" ])
	{
		my ($times, $row) = @$_;
		my $start = time;
		$node->safe_psql('postgres',
			"INSERT INTO t VALUES $row; SELECT evpub.wait_published()");
		push @$times, 1000 * (time - $start);
	}
}
@$_ = sort { $a <=> $b } @$_ for \@known, \@new;
res(sprintf 'one %.1f %.1f', $known[7], $new[7]);
$node->stop;
done_testing();
