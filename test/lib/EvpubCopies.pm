
# EvpubCopies - the two consumers of the property test, each with a copy.
#
# One re-reads: it knows tenant, table and key of an event, and stores the row
# that it finds in the source at that time.  The other has payload "row": it
# stores what the event says, and is compared after each transaction with the
# mark that the writer left in the last event of the transaction.
#
# The server takes the events apart, as jsonb, so that no number is rounded.
package EvpubCopies;

use strict;
use warnings;

use Carp;
use Digest::MD5 qw(md5_hex);
use EvpubLoad;
use EvpubTables;
use PostgreSQL::Test::Utils;
use Test::More;

# new(node, kafka, groups)
sub new
{
	my ($class, $node, $kafka, @groups) = @_;
	my %tables;
	for my $group (@groups)
	{
		$tables{ $_->{name} } = { %$_, group => $group } for @{ $group->{tables} };
		$tables{"$group->{name}_boundary"} = { group => $group, boundary => 1 } if $group->{rows};
	}
	log_readings($node);
	return bless {
		node => $node,
		kafka => $kafka,
		groups => \@groups,
		tables => \%tables,
		dir => PostgreSQL::Test::Utils::tempdir(),
		read => {},       # topic and partition => offset of the next record
		last => {},       # topic and partition => id of the last event
		sent => {},       # topic and partition => id => [when it was sent, offset]
		copy => {},       # table => identity => row
		open => {},       # group => events of a transaction that is not whole yet
		marks => {},      # group => numbers of the boundaries that were reached
		count => {},
		wrong => []
	}, $class;
}

sub wrong
{
	my ($self, $what) = @_;
	$what =~ s/^(.{400}).*/$1.../mg;
	push @{ $self->{wrong} }, $what;
	return;
}

# New records of all topics.  Only what a relay that was killed had sent last may
# come twice.
sub fetch
{
	my ($self) = @_;
	my $topics = $self->{kafka}->topics;
	my %wanted = map { $_->{topic} => 1 } @{ $self->{groups} };
	my @records;
	for my $topic (sort grep { $wanted{ s/\..*//r } } keys %$topics)
	{
		$self->{kafka}->each_record(
			$topic,
			sub {
				my ($record) = @_;
				my $place = "$topic $record->{partition}";
				return if $record->{offset} < ($self->{read}{$place} // 0);
				$self->{read}{$place} = $record->{offset} + 1;
				my ($id) = $record->{headers} =~ /(?:^|,)evpub-id=([^,]*)/;
				return $self->wrong("a record without an id in $topic") unless defined $id;
				my $last = $self->{last}{$place};
				if ($last && $id le $last)
				{
					my $first = $self->{sent}{$place}{$id};
					$self->{count}{late}++;
					$self->wrong("$place: $id comes behind $last")
					  if !$first || !is_late(readings($self->{node}, $topic)->{ $record->{partition} }, @$first, $record->{timestamp});
					return;
				}
				$self->{last}{$place} = $id;
				$self->{sent}{$place}{$id} = [ @$record{qw(timestamp offset)} ];
				push @records, { %$record, topic => $topic, id => $id };
			});
	}
	return @records;
}

sub quoted
{
	my ($text) = @_;
	return '' unless defined $text;
	return '"' . $text =~ s/"/""/gr . '"';
}

sub header
{
	my ($record, $name) = @_;
	return $record->{headers} =~ /(?:^|,)ce_$name=([^,]*)/ ? $1 : undef;
}

# What the records say, whatever their envelope.
my $parts = q{
SELECT n, coalesce(value ->> 'type', type), coalesce(value ->> 'tenant', tenant),
       CASE WHEN type IS NOT NULL THEN value -> 'pk'
            WHEN value ? 'specversion' THEN value #> '{data,pk}' ELSE value -> 'pk' END,
       CASE WHEN type IS NOT NULL THEN value -> 'data'
            WHEN value ? 'specversion' THEN value #> '{data,data}' ELSE value -> 'data' END,
       value ->> 'tx'
  FROM received};

# The rows that events of a table name, as they are now.
sub reread_sql
{
	my ($table) = @_;
	my $tenant =
		$table->{tenant_type}
	  ? $table->{fallback} ? "coalesce(to_jsonb(t.tenant) #>> '{}', 'nobody')" : "(to_jsonb(t.tenant) #>> '{}')"
	  : "'$table->{group}{tenant}'";
	my $key = join ' AND ', map { "t.$_->{name} = (r.pk ->> '$_->{name}')::$_->{type}" }
	  $table->{fresh} ? $table->{columns}[0] : grep { $_->{key} } @{ $table->{columns} };
	return "SELECT 'row', r.n, to_jsonb(t) FROM parts r JOIN $table->{name} t"
	  . " ON $tenant = r.tenant AND $key WHERE r.type ~ '^$table->{name}\\.(created|updated)\$'";
}

# Take the records apart, and read the rows back that they name.
sub ask
{
	my ($self, @records) = @_;
	open my $out, '>', "$self->{dir}/received" or croak "$self->{dir}/received: $!";
	for my $n (0 .. $#records)
	{
		my $record = $records[$n];
		print $out join(',', $n, map { quoted($_) } header($record, 'type'),
			header($record, 'tenant'), $record->{value}), "\n";
	}
	close $out or croak "$self->{dir}/received: $!";
	# of a deadlock with a writer, that one is to fail, who may: so it looks for one first
	my $sql = "SET client_min_messages = error; SET TimeZone = 'UTC'; SET deadlock_timeout = '1h';\n"
	  . "CREATE TEMP TABLE received (n int, type text, tenant text, value jsonb);\n"
	  . "\\copy received FROM '$self->{dir}/received' (FORMAT csv)\n"
	  . "CREATE TEMP TABLE parts (n, type, tenant, pk, data, tx) AS $parts;\n"
	  . "SELECT 'event', * FROM parts ORDER BY n;\n"
	  . join '', map { reread_sql($_) . ";\n" }
	  map { $self->{tables}{$_} } sort grep { !$self->{tables}{$_}{group}{rows} } keys %{ $self->{tables} };
	my $answer = $self->{node}->safe_psql('postgres', $sql, extra_params => [ '-F', "\t" ]);
	for (split /\n/, $answer)
	{
		my ($what, $n, @fields) = split /\t/, $_, -1;
		my $record = $records[$n];
		if ($what eq 'row')
		{
			$record->{row} = $fields[0];
		}
		else
		{
			@$record{qw(type tenant pk data tx)} = @fields;
		}
	}
	return;
}

# Which table an event is about, what happened, and the identity of the row.
sub judge
{
	my ($self, $record) = @_;
	if (!defined $record->{value})
	{
		my (undef, $name) = split m{/}, $record->{key};
		return ($name, 'deleted', $record->{key});
	}
	my ($name, $event) = $record->{type} =~ /^(.*)\.(.*)$/ or return (undef, $record->{type});
	my $table = $self->{tables}{$name};
	return ($name, $event, $record->{key}) if $table && ($table->{options}{on_delete} // '') =~ /tombstone/;
	return ($name, $event, "$record->{tenant} $record->{pk}");
}

# Store, or forget, what an event tells of; "row" is what is to be stored.
sub apply
{
	my ($self, $record, $row) = @_;
	my ($name, $event, $identity) = $self->judge($record);
	return if $record->{type} eq 'noise';
	return $self->wrong("unknown type: $record->{type} $record->{value}") unless $name && $self->{tables}{$name};
	my $copy = $self->{copy}{$name} //= {};
	$self->{count}{$event}++;
	if ($event eq 'deleted')
	{
		delete $copy->{$identity};
	}
	elsif ($event eq 'truncated')
	{
		delete @$copy{ grep { index($_, "$record->{tenant} ") == 0 } keys %$copy };
	}
	elsif (defined $row && $row ne '')
	{
		$copy->{$identity} = $row;
	}
	else
	{
		# not found: deleted later, skip
		$self->{count}{gone}++;
	}
	return;
}

# The copy of a group after a transaction, before the mark that its writer left.
sub check_boundary
{
	my ($self, $group, $events) = @_;
	my $transaction = substr $events->[0]{id}, 0, -9;
	my ($boundary) = grep { ($_->{type} // '') eq "$group->{name}_boundary.created" } @$events;
	return $self->wrong("$group->{name}: $transaction has no boundary") unless $boundary;
	$self->wrong("$group->{name}: $transaction has $boundary->{tx} events, " . @$events . ' came')
	  if $boundary->{tx} != @$events;
	my ($n) = $boundary->{data} =~ /"n": (\d+)/;
	push @{ $self->{marks}{ $group->{name} } }, $n;
	for my $table (@{ $group->{tables} })
	{
		my ($want) = $boundary->{data} =~ /"$table->{name}": "(\w+)"/;
		my $copy = $self->{copy}{ $table->{name} } // {};
		my $have = md5_hex(join "\n", sort values %$copy);
		next if $have eq $want;
		$self->wrong("$table->{name} is another one after transaction $transaction (boundary $n):\n"
			  . join("\n", map { '  ' . $_->{value} } grep { $_->{type} =~ /^$table->{name}\./ } @$events)
			  . "\nthe copy has\n" . join("\n", map { "  $_" } sort values %$copy));
	}
	return;
}

# The consumer of data: goes from one transaction to the next.
sub take_rows
{
	my ($self, $group, @records) = @_;
	my $open = $self->{open}{ $group->{name} } //= [];
	for my $record (@records)
	{
		if (@$open && substr($open->[0]{id}, 0, -9) ne substr($record->{id}, 0, -9))
		{
			$self->check_boundary($group, [ splice @$open ]);
		}
		$self->apply($record, $record->{data}) unless ($record->{type} // '') =~ /_boundary\.created$/;
		push @$open, $record;
	}
	return;
}

# Consume what there is.
sub step
{
	my ($self) = @_;
	my @records = $self->fetch or return 0;
	$self->ask(@records);
	for my $group (@{ $self->{groups} })
	{
		my @own = grep { $_->{topic} =~ /^\Q$group->{name}\E(?:\.|$)/ } @records;
		if ($group->{rows})
		{
			$self->take_rows($group, @own);
		}
		else
		{
			$self->apply($_, $_->{row}) for @own;
		}
	}
	$self->{count}{events} += @records;
	return scalar @records;
}

# Rows that only one of two lists has.
sub difference
{
	my ($these, $those) = @_;
	my %left;
	$left{$_}++ for @$these;
	$left{$_}-- for @$those;
	return grep { $left{$_} > 0 } sort keys %left;
}

# At a pause: everything was consumed, so each copy is what the source has.
sub compare
{
	my ($self) = @_;
	for my $group (@{ $self->{groups} })
	{
		if ($group->{rows})
		{
			my $open = $self->{open}{ $group->{name} } // [];
			$self->check_boundary($group, [ splice @$open ]) if @$open;
			my $committed = $self->{node}->safe_psql('postgres',
				"SELECT string_agg(n::text, ' ' ORDER BY n) FROM $group->{name}_boundary");
			my $reached = join ' ', @{ $self->{marks}{ $group->{name} } // [] };
			$self->wrong("$group->{name}: transactions $committed have committed, events came of $reached")
			  if $committed ne $reached;
		}
		for my $table (@{ $group->{tables} })
		{
			my @source = split /\n/,
			  $self->{node}->safe_psql('postgres', "SET TimeZone = 'UTC'; " . EvpubTables::rows_sql($table));
			my @copy = values %{ $self->{copy}{ $table->{name} } // {} };
			my @missing = difference(\@source, \@copy);
			my @stale = difference(\@copy, \@source);
			$self->{count}{rows} += @source;
			next unless @missing || @stale;
			$self->wrong("$table->{name}: the source has, the copy has not:\n"
				  . join("\n", map { "  $_" } splice @missing, 0, 10)
				  . "\nthe copy has, the source has not:\n"
				  . join("\n", map { "  $_" } splice @stale, 0, 10));
		}
	}
	return;
}

1;
