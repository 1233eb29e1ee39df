# evpub: "make" builds, "make install" installs, "make test" runs the whole
# suite, "make demo" shows it at work.  demo, test and bench install what a
# Debian machine lacks, so they do not need PostgreSQL's headers beforehand.

PG_CONFIG ?= pg_config

EXTENSION = evpub
DATA = sql/evpub--1.0.sql
MODULE_big = evpub
ROOMS = src src/capture src/publisher src/admin
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS)))))

RELAY = evpub-relay
RELAY_SOURCES = $(sort $(wildcard src/relay/*.c))
RELAY_HEADERS = $(wildcard src/relay/*.h) src/frame.h

EXTRA_CLEAN = $(RELAY) test/mockbroker/evpub-mockbroker

WARNINGS = -Wall -Wextra
ifdef WERROR
WARNINGS += -Werror
endif

PG_CFLAGS = $(WARNINGS)
# -isystem: PostgreSQL's own headers are not clean under -Wextra
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
# no bitcode: nothing here is worth inlining, and it would need clang
override with_llvm = no

all: $(RELAY)

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
$(OBJS): $(wildcard $(addsuffix /*.h,$(ROOMS)))
endif

$(RELAY): $(RELAY_SOURCES) $(RELAY_HEADERS)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) $(CFLAGS_RELAY) -Isrc -o $@ $(RELAY_SOURCES) -lrdkafka -lpthread

install: install-relay
install-relay: $(RELAY)
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(RELAY) '$(DESTDIR)$(bindir)/$(RELAY)'

uninstall: uninstall-relay
uninstall-relay:
	rm -f '$(DESTDIR)$(bindir)/$(RELAY)'

.PHONY: install-relay uninstall-relay
