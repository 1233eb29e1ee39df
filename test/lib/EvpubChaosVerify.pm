
# EvpubChaosVerify - compares what is in Kafka with what the database says.
#
# Records are taken as they come, in the order of their partitions; what is wrong
# with them, or with what is missing, is counted by kind.  A kind of fault() is a
# failure; the others are told in the report.  self_test() shows that it sees
# what it is for: it feeds records, damages them in each way, and feeds again.
#
# A second copy of an event is, by delivery mode, allowed, or
#	duplicate	a failure: the relay could have known that it was there;
#	late		one of the two was sent by a relay that was dead by then: it stands
#				behind something that a later relay has sent to the partition;
#	unseen		the first copy was not yet readable when the relay that sent the
#				second began: too few replicas had it.  That is so of the first
#				record only that a relay sends to a partition: when it is
#				acknowledged, what was in front of it can be read.  Nobody could
#				know of these two, as is documented;
#	deleted		the first copy had been deleted before the second was sent.
package EvpubChaosVerify;

use strict;
use warnings;

use EvpubTest qw(partition_of);

# What is a failure in each mode.
my @ALWAYS = qw(hole phantom reordered wrong strange);

# new(topics => from chaos_topics(), tables => {table => topic, key},
#     delivery => 'at_least_once' | 'deduplicated', say => sub of a text)
sub new
{
	my ($class, %args) = @_;
	my $self = bless {
		%args,
		# tenant => [n => "what, id, partition, offset, sent, read, when the newest in
		# front of it was sent", joined by tabs, since an hour makes millions of them;
		# "" once it is known to be committed]
		seen => {},
		last => {},    # topic, key, partition => n
		last_id => {},    # topic, partition => id
		newest => {},    # topic, partition => when the newest that is there was sent
		grown => {},    # tenant => partitions that the grown topic had at its last event
		next => {},    # topic, partition => offset
		counts => {},
		clock => [ [ 0, 0 ] ],    # [since when, milliseconds that it is off]
		again => [],    # second copies, of which is told at the end
		relays => [],    # when relays began (true times, ms)
		deletions => {},    # topic, partition => [[before which offset, when]]
		examples => [] }, $class;
	return $self;
}

sub count { return $_[0]{counts}{ $_[1] } // 0 }

sub counted
{
	my ($self, $kind, $text) = @_;
	$self->{counts}{$kind}++;
	push @{ $self->{examples} }, "$kind: $text"
	  if $self->{counts}{$kind} <= 5 && $kind ne 'foreign';
	return;
}

# The kinds that were counted and must not be.
sub faults
{
	my ($self) = @_;
	return grep { $self->count($_) } @ALWAYS,
	  $self->{delivery} eq 'at_least_once' ? () : 'duplicate';
}

# The server's wall clock is off by so much from now on (ms).
sub clock_set
{
	my ($self, $now, $offset) = @_;
	push @{ $self->{clock} }, [ $now, $offset ];
	return;
}

# The true time of a record's time stamp.
sub true_time
{
	my ($self, $stamp) = @_;
	my @clock = @{ $self->{clock} };
	for my $i (reverse 0 .. $#clock)
	{
		my $time = $stamp - $clock[$i][1];
		# the relay takes a moment to see the new clock
		return $time
		  if $time >= $clock[$i][0] - 1000
		  && ($i == $#clock || $time < $clock[ $i + 1 ][0] + 1000);
	}
	return $stamp;
}

sub relay_began
{
	my ($self, $now) = @_;
	push @{ $self->{relays} }, $now;
	return;
}

# When did the relay begin that has sent something then?
sub relay_of
{
	my ($self, $sent) = @_;
	my $began = 0;
	for (@{ $self->{relays} }) { $began = $_ if $_ > $began && $_ <= $sent }
	return $began;
}

sub records_deleted
{
	my ($self, $topic, $partition, $before, $now) = @_;
	push @{ $self->{deletions}{"$topic $partition"} }, [ $before, $now ];
	return;
}

# record(topic, partition, offset, time stamp, headers, key, value, time when it
# was read; both times in ms)
sub record
{
	my ($self, $topic, $partition, $offset, $stamp, $headers, $key, $value, $read) = @_;
	# whoever reads may begin anew
	my $next = \$self->{next}{"$topic $partition"};
	return if $offset < ($$next //= 0);
	$$next = $offset + 1;

	my $where = "$topic/$partition/$offset";
	if ($headers eq 'by=another' && $self->{topics}{$topic}{shared})
	{
		$self->counted('foreign', $where);
		return;
	}
	my ($id) = $headers =~ /^evpub-id=([0-9a-fA-F-]{51})$/;
	my ($value_id, $table, $event, $tenant, $row, $n) = $value =~
	  /^\{"id":"([^"]+)","type":"(\w+)\.(\w+)","tenant":"(\w+)","pk":\{"tenant":"\4","id":(\d+)\},.*"data":\{"n":(\d+)\}\}$/;
	if (!defined $id || !defined $n || $value_id ne $id)
	{
		$self->counted('strange', "$where: $headers $key $value");
		return;
	}
	my $how = $self->{tables}{$table} || {};
	my $wanted = $table eq 'wide' ? "chaos-wide-$tenant" : $how->{topic} // '';
	my $wanted_key = ($self->{topics}{$topic}{key} // '') eq 'tenant' ? $tenant : undef;
	if ($wanted ne $topic || (defined $wanted_key ? $key ne $wanted_key : $key !~ /^\Q$tenant\E\/$table\/.*\b$row\b/))
	{
		$self->counted('wrong', "$where: topic or key of $value is $key");
		return;
	}
	my $newest = \$self->{newest}{"$topic $partition"};
	my $sent = $self->true_time($stamp);
	my $copy = [ "$table $event $row", $id, $partition, $offset, $sent, $read, $$newest // 0 ];
	$$newest = $sent if $sent > ($$newest // 0);
	my $first = $self->{seen}{$tenant}[$n];
	if ($first)
	{
		$self->again($topic, $where, "$tenant $n", [ split /\t/, $first ], $copy);
		return;
	}
	$self->{seen}{$tenant}[$n] = join "\t", @$copy;
	$self->{counts}{events}++;
	$self->check_place($topic, $partition, $where, $key, $n, $id);
	return;
}

# A first copy: does it stand behind what it must stand behind?
sub check_place
{
	my ($self, $topic, $partition, $where, $key, $n, $id) = @_;
	my $last = \$self->{last}{"$topic $key $partition"};
	my $last_id = \$self->{last_id}{"$topic $partition"};
	my $how = $self->{topics}{$topic};
	if (!defined $$last)
	{
		# of one that grows, see grown()
		$self->counted('wrong', "$where: partition of key $key")
		  if !$how->{grown} && $partition != partition_of($key, $how->{partitions});
	}
	elsif ($n < $$last)
	{
		$self->counted('reordered', "$where: key $key: $n after $$last");
	}
	elsif (defined $$last_id && $id le $$last_id)
	{
		$self->counted('reordered', "$where: id $id after $$last_id");
	}
	$$last = $n if !defined $$last || $n > $$last;
	$$last_id = $id if !defined $$last_id || $id gt $$last_id;
	return;
}

# A copy of an event that was seen.
sub again
{
	my ($self, $topic, $where, $event, $first, $copy) = @_;
	if ($copy->[1] ne $first->[1] || $copy->[0] ne $first->[0])
	{
		$self->counted('wrong', "$where: $event has come as $first->[1], $first->[0], and as $copy->[1], $copy->[0]");
		return;
	}
	if ($copy->[2] != $first->[2])
	{
		$self->counted('reordered', "$where: $event is in partition $first->[2], too");
		return;
	}
	# when its relay began may become known later than this
	push @{ $self->{again} }, [ $topic, $where, $event, $first, $copy ];
	return;
}

# Which kind of duplicate is it?
sub tell_apart
{
	my ($self, $topic, $where, $event, $first, $copy) = @_;
	my $began = $self->relay_of($copy->[4]);
	my $kind =
	    $copy->[4] < $first->[4] || $self->relay_of($first->[6]) > $first->[4] ? 'late'
	  : $first->[4] < $began && $first->[5] > $began && $copy->[6] < $began ? 'unseen'
	  : 'duplicate';
	for my $deletion (@{ $self->{deletions}{"$topic $copy->[2]"} || [] })
	{
		$kind = 'deleted'
		  if $first->[3] < $deletion->[0] && $copy->[4] > $deletion->[1] - 1000;
	}
	$self->counted($kind, "$where: $event, first at $first->[3]; sent at $first->[4] and $copy->[4], "
		  . "the first read at $first->[5], the second's relay began at $began");
	return;
}

# All has been read: what is missing, and what should not be there?  $truth calls
# a sub with (tenant, n, table, event, id).
sub finish
{
	my ($self, $truth) = @_;
	my (%newest, @missing);
	$self->tell_apart(@$_) for splice @{ $self->{again} };
	$truth->(sub {
		my ($tenant, $n, $table, $event, $row) = @_;
		my $copy = $self->{seen}{$tenant}[$n];
		$self->{counts}{committed}++;
		my $how = $self->{topics}{ $self->{tables}{$table}{topic} // '' };
		my $compacted = $how->{compacted};
		$newest{"$tenant $row"} = $n if $compacted;
		if (!defined $copy)
		{
			push @missing, [ $tenant, $n, "$table $event $row", $compacted ? "$tenant $row" : undef ];
			return;
		}
		my ($what, undef, $partition) = split /\t/, $copy;
		$self->grown($tenant, $n, $partition, $how->{partitions}) if $how->{grown};
		$self->counted('wrong', "$tenant $n is $what in Kafka, and $table $event $row in the database")
		  if $what ne "$table $event $row";
		$self->{seen}{$tenant}[$n] = '';
	});
	for my $miss (@missing)
	{
		# compaction keeps the newest of each key
		my $kind = defined $miss->[3] && $newest{ $miss->[3] } > $miss->[1] ? 'compacted' : 'hole';
		$self->counted($kind, "$miss->[0] $miss->[1]: $miss->[2]");
	}
	for my $tenant (sort keys %{ $self->{seen} })
	{
		$self->counted('phantom', "$tenant: $_") for grep { $_ } @{ $self->{seen}{$tenant} };
	}
	return $self;
}

# The next event of a tenant in the topic that grows: it stands where its key
# belongs with as many partitions as there were before, or more.  A key may come
# back to a partition, but its events never go by a count that was given up.
sub grown
{
	my ($self, $tenant, $n, $partition, $most) = @_;
	my $count = $self->{grown}{$tenant} // 2;
	$count++ while $count <= $most && $partition != partition_of($tenant, $count);
	if ($count > $most)
	{
		$self->counted('reordered',
			"$tenant $n: in partition $partition of the topic that grows, @{[ $self->{grown}{$tenant} // 2 ]} partitions or more");
		return;
	}
	$self->{grown}{$tenant} = $count;
	return;
}

# ---- is it worth anything? ----

sub self_test_records
{
	my @records;
	my %offset;
	for my $n (1 .. 40)
	{
		for my $tenant (qw(t1 t2))
		{
			my ($table, $topic, $key, $partitions) = $n % 2
			  ? ('code', 'chaos-tenants', $tenant, 6)
			  : ('compacted', 'chaos-compacted', "$tenant/compacted/$tenant," . ($n > 20 ? $n - 20 : $n), 3);
			my $row = $n > 20 ? $n - 20 : $n;
			my $event = $n > 20 ? 'updated' : 'created';
			my $id = sprintf '5f0c2a9e41d7b386-00000001-%016X-00000000', $n * 16 + ($tenant eq 't2');
			my $partition = partition_of($key, $partitions);
			push @records,
			  [
				$topic, $partition, $offset{"$topic $partition"}++, 1000 * $n,
				"evpub-id=$id", $key,
				qq({"id":"$id","type":"$table.$event","tenant":"$tenant","pk":{"tenant":"$tenant","id":$row},"lsn":"0/1","tx":1,"time":"2026","data":{"n":$n}}),
				1000 * $n + 10
			  ];
		}
	}
	return @records;
}

# Of the topic that grows: of each tenant, some with two partitions, some with
# three, some with four.
sub grown_records
{
	my (@counts) = @_;
	my @records;
	for my $n (1 .. 30)
	{
		for my $i (1 .. 9)
		{
			my $id = sprintf '5f0c2a9e41d7b386-00000001-%016X-%08X', $n * 16, $i;
			push @records,
			  [
				'chaos-grown', partition_of("t$i", $counts[ ($n - 1) / 10 ]), 0, 1000 * $n,
				"evpub-id=$id", "t$i",
				qq({"id":"$id","type":"grown.created","tenant":"t$i","pk":{"tenant":"t$i","id":$n},"lsn":"0/1","tx":1,"time":"2026","data":{"n":$n}}),
				1000 * $n + 10
			  ];
		}
	}
	return @records;
}

# Give records of a partition their places again, after one was damaged.
sub renumber
{
	my (@records) = @_;
	my %offset;
	return map { my @r = @$_; $r[2] = $offset{"$r[0] $r[1]"}++; \@r } @records;
}

# self_test(topics =>, tables =>): calls $ok->(true, name) for each thing that it
# must see, in both modes.
sub self_test
{
	my ($class, $ok, %args) = @_;
	my @good = self_test_records();
	my $truth = sub {
		my ($sub) = @_;
		for my $tenant (qw(t1 t2))
		{
			$sub->($tenant, $_, $_ % 2 ? 'code' : 'compacted', $_ > 20 ? 'updated' : 'created', $_ > 20 ? $_ - 20 : $_)
			  for 1 .. 40;
		}
	};
	# sent at 21000, read at 21010; the next relay begins at 22000
	my ($late, $again) = map { [ @{ $good[40] } ] } 1 .. 2;
	$late->[3] -= 5000;
	$again->[3] += 5000;
	my @slow = map { [@$_] } @good;
	$slow[$_][7] = 22500 for 36, 40;
	# the same, sent by the next relay to the same partition, one and then another one
	my @sent_again = map { [ @{ $good[$_] } ] } 36, 40;
	$_->[3] = 22100 for @sent_again;
	# what a dead relay had sent arrives behind what the next one has sent
	my @behind = map { [@$_] } @good;
	$behind[36][3] = 22050;
	my $same_relay = [ @{ $good[-1] } ];
	# two of one key in one partition
	my @same = grep { $good[$_][5] eq $good[0][5] } 0 .. $#good;
	my @swapped = @good;
	@swapped[ $same[3], $same[4] ] = @swapped[ $same[4], $same[3] ];
	# of the compacted topic: an older one of its key, and the newest
	my @compacted = grep { $good[$_][5] eq 't1/compacted/t1,4' } 0 .. $#good;
	my $without = sub { my ($i) = @_; return @good[ grep { $_ != $i } 0 .. $#good ] };
	my $changed = sub {
		my ($i, $field, $from, $to) = @_;
		my @records = @good;
		$records[$i] = [ @{ $good[$i] } ];
		$records[$i][$field] =~ s/$from/$to/;
		return @records;
	};
	my $phantom = [ @{ $good[-1] } ];
	$phantom->[6] =~ s/"n":40/"n":41/;
	# a later id
	$phantom->[$_] =~ s/-(0+281)-/-${\ sprintf '%016X', 0x300}-/ for 4, 6;
	my @cases = (
		[ 'what is right', '', '', @good ],
		[ 'one dropped', 'hole', 'hole', $without->( $same[5] ) ],
		[ 'the last one dropped', 'hole', 'hole', @good[ 0 .. $#good - 1 ] ],
		[ 'one compacted away', '', '', $without->( $compacted[0] ) ],
		[ 'the newest compacted away', 'hole', 'hole', $without->( $compacted[1] ) ],
		[ 'two swapped', 'reordered', 'reordered', @swapped ],
		[ 'one doubled', '', 'duplicate', @good, $again ],
		[ 'one doubled by one relay', '', 'duplicate', @slow, $same_relay ],
		[ 'one of a dead relay', '', '', @good, $late ],
		[ 'one that was not readable yet', '', '', @slow[ 0 .. 41 ], $sent_again[0], @slow[ 42 .. $#slow ] ],
		[ 'two that were not readable yet', '', 'duplicate', @slow[ 0 .. 41 ], @sent_again, @slow[ 42 .. $#slow ] ],
		[ 'one of a dead relay in front', '', '', @behind[ 0 .. 41 ], $sent_again[1], @behind[ 42 .. $#behind ] ],
		[ 'one that nobody committed', 'phantom', 'phantom', @good, $phantom ],
		[ 'another key', 'wrong hole', 'wrong hole', $changed->(8, 5, qr/^/, 'x') ],
		[ 'another event', 'wrong', 'wrong', $changed->(8, 6, qr/created/, 'updated') ],
		[ 'another row', 'wrong', 'wrong', $changed->($same[5], 6, qr/"id":\d+\}/, '"id":99}') ],
		[ 'another partition', 'wrong', 'wrong', $changed->(0, 1, qr/\d+/, 5) ],
		[ 'no event', 'hole strange', 'hole strange', $changed->(8, 6, qr/^/, '{') ],
		[ 'no id', 'strange hole', 'strange hole', $changed->(8, 4, qr/.*/, 'by=another') ]);
	for my $case (@cases)
	{
		my ($name, @rest) = @$case;
		my %wanted = (at_least_once => shift @rest, deduplicated => shift @rest);
		for my $delivery (sort keys %wanted)
		{
			my $verify = $class->new(%args, delivery => $delivery);
			$verify->relay_began($_) for 500, 22000;
			$verify->record(@$_) for renumber(@rest);
			$verify->finish($truth);
			my $found = join ' ', sort $verify->faults;
			$ok->($found eq join(' ', sort split / /, $wanted{$delivery}), "$name, $delivery: \"$found\"");
		}
	}
	my $all = sub {
		my ($sub) = @_;
		for my $i (1 .. 9) { $sub->("t$i", $_, 'grown', 'created', $_) for 1 .. 30 }
	};
	for my $case ([ 'a topic that grows', '', 2, 3, 4 ], [ 'one that goes back', 'reordered', 3, 2, 4 ])
	{
		my ($name, $wanted, @counts) = @$case;
		my %topics = (%{ $args{topics} }, 'chaos-grown' => { key => 'tenant', grown => 1, partitions => 4 });
		my $verify = $class->new(%args, topics => \%topics, delivery => 'deduplicated');
		$verify->record(@$_) for renumber(grown_records(@counts));
		$verify->finish($all);
		my $found = join ' ', sort $verify->faults;
		$ok->($found eq $wanted, "$name: \"$found\"");
	}
	return;
}

1;
