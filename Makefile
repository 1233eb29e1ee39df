# evpub: "make" builds, "make install" installs, "make test" runs the whole
# suite, "make demo" shows it at work.  demo, test and bench install what a
# Debian machine lacks, so they do not need PostgreSQL's headers beforehand.

PG_CONFIG ?= pg_config

EXTENSION = evpub
DATA = $(sort $(wildcard sql/evpub--*.sql))
MODULE_big = evpub
ROOMS = src src/event src/capture src/reader src/position src/sender src/publisher \
	src/admin
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS)))))

RELAY = evpub-relay
RELAY_SOURCES = $(sort $(wildcard src/relay/*.c))
RELAY_HEADERS = $(wildcard src/relay/*.h) src/frame.h src/clock.h src/filemark.h \
	src/relaysettings.h

UNIT_TESTS = $(patsubst %.c,%.bin,$(sort $(wildcard test/unit/*.c)))
KAFKA_ADMIN = test/kafka/evpub-kafka-admin
FAULTS = test/faults/evpub-faults.so
EAGER = test/eager/evpub_eager.so
WALK = test/walk/evpub_walk.so

CHECKED_RELAY = test/unit/lib/evpub-relay

EXTRA_CLEAN = $(RELAY) $(UNIT_TESTS) $(CHECKED_RELAY) test/fuzz/*.bin test/fuzz/*.so test/fuzz/relay $(KAFKA_ADMIN) $(EAGER) $(WALK) $(FAULTS) test/mockbroker/evpub-mockbroker .pg-version

# for "installcheck", in a server that preloads evpub; "test" has its own server
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
# the name of the database is in the expected output
override CONTRIB_TESTDB = regression

WARNINGS = -Wall -Wextra
ifdef WERROR
WARNINGS += -Werror
endif

PG_CFLAGS = $(WARNINGS)
# -isystem: PostgreSQL's own headers are not clean under -Wextra
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
# calls between our own files do not go through a table, as those that others may replace
SHLIB_LINK = -Wl,-Bsymbolic-functions
# no bitcode: nothing here is worth inlining, and it would need clang
override with_llvm = no

all: $(RELAY)

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
$(OBJS): $(wildcard $(addsuffix /*.h,$(ROOMS))) .pg-version
endif

# changes when another PostgreSQL is built for: its objects are of no use
.pg-version: FORCE
	@$(PG_CONFIG) --version | cmp -s - $@ || $(PG_CONFIG) --version > $@
FORCE:

$(RELAY): $(RELAY_SOURCES) $(RELAY_HEADERS)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) $(CFLAGS_RELAY) -Isrc -o $@ $(RELAY_SOURCES) -lrdkafka -lpthread

install: install-relay
install-relay: $(RELAY)
	$(MKDIR_P) '$(DESTDIR)$(bindir)' '$(DESTDIR)$(mandir)/man1'
	$(INSTALL_PROGRAM) $(RELAY) '$(DESTDIR)$(bindir)/$(RELAY)'
	$(INSTALL_DATA) docs/$(RELAY).1 '$(DESTDIR)$(mandir)/man1/$(RELAY).1'

uninstall: uninstall-relay
uninstall-relay:
	rm -f '$(DESTDIR)$(bindir)/$(RELAY)' '$(DESTDIR)$(mandir)/man1/$(RELAY).1'

# A unit test is one file that includes what it tests, and prints TAP.  It runs
# without a server, so that the sanitizers see each byte.
UNIT_LIBRARY = $(wildcard test/unit/lib/*.[ch])
UNIT_FLAGS = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
test/unit/%.bin: test/unit/%.c $(UNIT_LIBRARY) $(wildcard src/*.[ch] src/event/*.[ch] src/position/*.[ch] src/reader/*.[ch]) .pg-version
	$(CC) -std=gnu11 $(UNIT_FLAGS) $(WARNINGS) -D_GNU_SOURCE $(PG_CPPFLAGS) -o $@ \
		$< test/unit/lib/assertion.c -L$(shell $(PG_CONFIG) --pkglibdir) -lpgport

# a relay that notices each byte too far, and soon that no broker answers, that a
# partition ends too early or that a replica keeps silent
$(CHECKED_RELAY): $(RELAY_SOURCES) $(RELAY_HEADERS)
	$(CC) -std=gnu11 $(UNIT_FLAGS) $(WARNINGS) -DTROUBLE_GIVE_UP_MS=6000 \
		-DREADER_BELOW_MS=8000 -DINSYNC_GIVE_UP_MS=3000 -DREADER_AGAIN_MOST=1000 -DOFFSETS_LATE_MS=10000 \
		-Isrc -o $@ \
		$(RELAY_SOURCES) -lrdkafka -lpthread

# Fuzz targets: libFuzzer and sanitizers, of the clang that PostgreSQL was built
# with, which its package brings (test/deps sees to the rest).
FUZZ_CLANG = $(or $(CLANG),clang)
FUZZ_RUNTIME = $(shell $(FUZZ_CLANG) -print-file-name=libclang_rt.$(1)-$(shell uname -m).$(2))
FUZZ_HEADERS = $(wildcard test/fuzz/lib/*.h)
FUZZ_FLAGS = -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all $(WARNINGS)
FUZZ_PG_FLAGS = $(FUZZ_FLAGS) -Wno-ignored-attributes -D_GNU_SOURCE -DUSE_ASSERT_CHECKING=1 $(PG_CPPFLAGS)
FUZZ_BYTES = $(patsubst %,test/fuzz/%.bin,chunk position relayclient statefile walpass)
FUZZ_RELAY = $(patsubst %,test/fuzz/%.bin,kafkafile relay)
FUZZ_SERVER = test/fuzz/server.so test/fuzz/nogettext.so test/fuzz/libasan.so

# readers of bytes, each included by its target, as in a unit test
$(FUZZ_BYTES): test/fuzz/%.bin: test/fuzz/%.c test/unit/position.c test/unit/walpass.c \
		$(FUZZ_HEADERS) $(UNIT_LIBRARY) .pg-version $(wildcard src/*.h src/event/*.[ch] \
		src/position/*.[ch] src/reader/walpass.[ch] src/sender/*.[ch] src/publisher/kafkafiles.[ch])
	$(FUZZ_CLANG) $(FUZZ_PG_FLAGS) -fsanitize=fuzzer -o $@ $< test/unit/lib/assertion.c \
		-L$(shell $(PG_CONFIG) --pkglibdir) -lpgcommon -lpgport

# the files of the relay, in a made-up world
FUZZ_RELAY_FLAGS = $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -D_GNU_SOURCE= -Isrc
FUZZ_RELAY_OBJECTS = $(patsubst src/relay/%.c,test/fuzz/relay/%.o,\
	$(filter-out $(addprefix src/relay/,consumer.c insync.c lookup.c main.c reader.c readtask.c),$(RELAY_SOURCES)))
$(FUZZ_RELAY_OBJECTS): test/fuzz/relay/%.o: src/relay/%.c $(RELAY_HEADERS) $(FUZZ_HEADERS)
	@$(MKDIR_P) test/fuzz/relay
	$(FUZZ_CLANG) $(FUZZ_RELAY_FLAGS) -include test/fuzz/lib/relay.h -include test/fuzz/lib/tested.h -c -o $@ $<
$(FUZZ_RELAY): test/fuzz/%.bin: test/fuzz/%.c test/fuzz/lib/relayworld.c src/relay/main.c $(FUZZ_RELAY_OBJECTS)
	$(FUZZ_CLANG) $(FUZZ_RELAY_FLAGS) -fsanitize=fuzzer -o $@ $< test/fuzz/lib/relayworld.c \
		$(FUZZ_RELAY_OBJECTS) -lrdkafka -lpthread

# readers of texts, in a server: a module that has libFuzzer in it
FUZZ_SERVER_SOURCES = $(addprefix src/,admin/filtertext.c capture/catalog.c capture/fixed.c \
	capture/headers.c capture/optionjson.c capture/options.c capture/optiontable.c \
	capture/render.c capture/template.c event/mac.c event/siphash.c event/write.c settings.c)
test/fuzz/server.so: test/fuzz/server.c $(FUZZ_SERVER_SOURCES) $(FUZZ_HEADERS) .pg-version \
		$(wildcard src/*.h src/event/*.h src/capture/*.h src/admin/filtertext.h)
	$(FUZZ_CLANG) $(FUZZ_PG_FLAGS) -fsanitize=fuzzer-no-link -fPIC -shared -shared-libasan \
		-Wl,-Bsymbolic -o $@ $< $(FUZZ_SERVER_SOURCES) \
		$(call FUZZ_RUNTIME,fuzzer_no_main,a) -lstdc++
test/fuzz/nogettext.so: test/fuzz/lib/nogettext.c
	$(FUZZ_CLANG) -std=gnu11 -O1 -g $(WARNINGS) -fPIC -shared -o $@ $<
# under a name that the sanitizer takes for its own
test/fuzz/libasan.so:
	cp $(call FUZZ_RUNTIME,asan,so) $@

fuzz-programs: $(FUZZ_BYTES) $(FUZZ_RELAY) $(FUZZ_SERVER)

$(KAFKA_ADMIN): test/kafka/admin.c
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -o $@ $< -lrdkafka

# librdkafka's mock cluster as a program: for the demo and for injected faults
mockbroker: test/mockbroker/evpub-mockbroker
test/mockbroker/evpub-mockbroker: test/mockbroker/evpub-mockbroker.c
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -o $@ $< -lrdkafka

# a module that makes the postmaster restart the publisher at once
$(EAGER): test/eager/evpub_eager.c src/compat.h .pg-version
	$(CC) -O2 -g -fPIC -shared $(WARNINGS) -D_GNU_SOURCE $(PG_CPPFLAGS) -o $@ $<

# The publisher's reader of WAL as an SQL function, which passes over all records
# that are long enough for it.  -Bsymbolic: evpub.so has functions of the same names.
$(WALK): test/walk/evpub_walk.c $(wildcard src/*.h src/reader/wal*.[ch]) .pg-version
	$(CC) -O2 -g -fPIC -shared -Wl,-Bsymbolic $(WARNINGS) -D_GNU_SOURCE \
		-DEVPUB_PASS_ABOVE=EVPUB_PASS_HEAD $(PG_CPPFLAGS) -o $@ $<

# preloaded into a server: kills the publisher between two steps, sets the clock
$(FAULTS): $(wildcard test/faults/*.c)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -shared -fPIC -o $@ $^ -ldl

# what TAP tests use beside the server
tap-programs: $(KAFKA_ADMIN) $(EAGER) $(WALK) $(FAULTS) mockbroker
test-programs: $(UNIT_TESTS) $(CHECKED_RELAY) tap-programs

# Once what is missing is installed, make starts anew: the path of PGXS may not
# have been there when this file was read.
AGAIN = $(MAKE) --no-print-directory PG_CONFIG='$(PG_CONFIG)'

deps:
	@PG_CONFIG='$(PG_CONFIG)' test/deps

# TESTS="thread order" runs only the tests whose names contain one of these
test: deps
	@$(AGAIN) -j$$(nproc) WERROR=1 all test-programs fuzz-programs
	@$(AGAIN) WERROR=1 install
	@PG_CONFIG='$(PG_CONFIG)' test/run $(TESTS)

# Faults drawn from a seed, under load, and what was lost: test/t/071_chaos.pl says
# what can be set.  The report goes to the file REPORT.
MINUTES ?= 10
REPORT ?= chaos-report.txt
chaos: deps
	@$(AGAIN) WERROR=1 all test-programs
	@$(AGAIN) WERROR=1 install
	@PG_CONFIG='$(PG_CONFIG)' EVPUB_CHAOS_MINUTES='$(MINUTES)' EVPUB_SEED='$(SEED)' \
		EVPUB_CHAOS_PLAN='$(PLAN)' EVPUB_CHAOS_DELIVERY='$(DELIVERY)' EVPUB_CHAOS_WIDE='$(WIDE)' \
		EVPUB_CHAOS_RATE='$(RATE)' EVPUB_CHAOS_REPORT='$(REPORT)' test/run 071_chaos

# each fuzz target for so long, two at a time; TARGETS="relay chunk": only these
SECONDS = 30
fuzz: deps
	@$(AGAIN) WERROR=1 all fuzz-programs
	@PG_CONFIG='$(PG_CONFIG)' EVPUB_FUZZ_SECONDS='$(SECONDS)' EVPUB_FUZZ_TARGETS='$(TARGETS)' \
		test/run fuzz

# reads the source without running it, and looks at the form of all files
lint: deps
	@PG_CONFIG='$(PG_CONFIG)' test/lint/run

# mends the form where that does not depend on taste
format:
	@test/lint/format

# What is committed, as PGXN wants it: the archive is the same on every machine.
VERSION = $(shell sed -n '0,/"version"/s/.*"version": "\(.*\)".*/\1/p' META.json)
dist:
	TZ=UTC git archive --format=zip --prefix=evpub-$(VERSION)/ -o evpub-$(VERSION).zip HEAD

# Debian packages of what is committed, in the directory DEB: one for each PostgreSQL
# that this Debian supports.  debian/control is that of Debian 12.
DEB ?= deb
deb:
	rm -rf '$(DEB)'
	mkdir -p '$(DEB)'
	git archive --prefix=evpub-$(VERSION)/ HEAD | tar -x -C '$(DEB)'
	tar -C '$(DEB)' -cJf '$(DEB)/evpub_$(VERSION).orig.tar.xz' --exclude=evpub-$(VERSION)/debian evpub-$(VERSION)
	cd '$(DEB)/evpub-$(VERSION)' && PG_UPDATECONTROL=yes dpkg-buildpackage -us -uc

# builds, checks, installs, upgrades, removes and purges the packages in roots of Debian
SUITES ?= bookworm trixie
package-test: deps
	@for suite in $(SUITES); do test/packages/run $$suite || exit 1; done

# KAFKA=1: on a real broker instead of librdkafka's mock
demo: deps
	@$(AGAIN) all mockbroker $(if $(KAFKA),$(KAFKA_ADMIN))
	@$(AGAIN) install
	@PG_CONFIG='$(PG_CONFIG)' KAFKA='$(KAFKA)' examples/demo/run

# QUICK=1: little of all, to see that it runs; GROWTH=1: growth curves instead of
# figures; PARTS="writers latency": only these (bench/run names them).  Raw values go
# to the file RESULTS, pictures into the directory PLOTS.
RESULTS ?= bench-results.tsv
PLOTS ?= bench-plots
bench: deps
	@$(AGAIN) all test-programs
	@$(AGAIN) install
	@PG_CONFIG='$(PG_CONFIG)' RESULTS='$(RESULTS)' bench/run \
		$(if $(GROWTH),growth) $(if $(QUICK),quick) $(PARTS)
	@bench/plot '$(RESULTS)' '$(PLOTS)'

.PHONY: FORCE chaos deb dist package-test deps lint format test tap-programs test-programs fuzz fuzz-programs mockbroker demo bench install-relay uninstall-relay
