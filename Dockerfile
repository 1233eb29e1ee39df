# PostgreSQL with evpub, on the official image of PostgreSQL:
#
#	docker build -t evpub .
#
# and what CloudNativePG mounts beside its own image of PostgreSQL 18 or later: lib,
# share, bin, and in system the libraries that BASE lacks.  BASE must be of the same
# Debian and the same PostgreSQL as the server that it is mounted to:
#
#	docker build -t evpub-18 --target extension --build-arg PG_MAJOR=18 \
#		--build-arg BASE=ghcr.io/cloudnative-pg/postgresql:18-minimal-trixie .
ARG PG_MAJOR=15
ARG BASE=docker.io/library/postgres:${PG_MAJOR}-bookworm

FROM ${BASE} AS build
ARG PG_MAJOR
USER root
RUN find /usr/lib /lib -name '*.so.*' | sed 's,.*/,,' | sort -u >/libraries
RUN apt-get update && \
	apt-get install -y --no-install-recommends gcc libc6-dev librdkafka-dev make \
		postgresql-server-dev-${PG_MAJOR}
ENV PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config
WORKDIR /evpub
COPY Makefile evpub.control ./
COPY docs/evpub-relay.1 docs/
COPY sql sql
COPY src src
RUN make PG_CONFIG=${PG_CONFIG} && make install PG_CONFIG=${PG_CONFIG} DESTDIR=/install

# The relay looks for libraries beside it, whatever the server's environment says.
FROM build AS layout
RUN rm evpub-relay && \
	make evpub-relay PG_CONFIG=${PG_CONFIG} \
		CFLAGS_RELAY="-Wl,-rpath,'\$\$ORIGIN/../system' -Wl,--disable-new-dtags" && \
	mkdir -p /volume/lib /volume/share/extension /volume/bin /volume/system /volume/licenses && \
	cp evpub.so /volume/lib && \
	cp evpub.control sql/evpub--*.sql /volume/share/extension && \
	cp evpub-relay /volume/bin && \
	ldd evpub-relay | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r file; do \
		grep -qxF "${file##*/}" /libraries || \
			{ cp -L "$file" /volume/system && \
			package=$(dpkg-query -S "$(readlink -f "$file")" | cut -d: -f1) && \
			cp "/usr/share/doc/$package/copyright" "/volume/licenses/$package"; } || exit 1; \
	done

FROM scratch AS extension
COPY --from=layout /volume/ /
COPY LICENSE /licenses/evpub

FROM ${BASE} AS server
ARG PG_MAJOR
RUN apt-get update && apt-get install -y --no-install-recommends librdkafka1 && \
	rm -rf /var/lib/apt/lists/*
COPY --from=build /install/ /
# a new cluster preloads evpub; databases get it by CREATE EXTENSION
RUN echo "shared_preload_libraries = 'evpub'" \
		>>/usr/share/postgresql/${PG_MAJOR}/postgresql.conf.sample
