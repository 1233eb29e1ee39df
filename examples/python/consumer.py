#!/usr/bin/python3
"""Keeps a copy of the tables organization and member, by the rules of
docs/consumers.md, which the comments name by their numbers.

    consumer.py --source DSN --primary DSN --copy DSN --topic TOPIC \\
        -X bootstrap.servers=localhost:9092 [-X librdkafka.setting=value ...]

--source is where rows are read back, a replica for instance; resyncs are called
on --primary.  --copy is a database with the tables of copy.sql.

How it keeps right whatever comes:
- An event only names a row.  Each one, "deleted" included, makes the copy equal to
  what the source has at that moment, under a lock on the tenant, so it does not
  matter in which order two consumers come to a row.  A row is forgotten only when
  the source has been asked and does not have it.
- Offsets are in the copy's database, and commit in the transaction of what they
  stand for.  A consumer that lost a partition without knowing it yet finds there
  that another one has gone on, and passes over what that one did.
"""
import argparse
import json
import logging
import signal
import sys
import threading
import time

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

log = logging.getLogger("consumer")
TABLES = ("organization", "member")         # parents first


class Source:
    """Reads rows back, as they are now."""

    def __init__(self, dsn):
        self.db = psycopg.connect(dsn, autocommit=True)

    def wait(self, lsn):
        """Until the rows of events up to this position can be read.  Rule 7: briefly
        and several times; on a primary it is true at once."""
        while True:
            try:
                if self.db.execute("SELECT evpub.wait_replayed(%s::pg_lsn, '1 s')", (lsn,)).fetchone()[0]:
                    return
            except psycopg.errors.SerializationFailure:
                pass                        # cancelled in favour of the replay

    def row(self, table, pk):
        """The columns of a row; None: there is none.  The columns of "pk" have the types
        of the table, so they are for the query, and not "tenant", which is a text.
        A member brings its organization, as of the same moment (rule 3)."""
        return self.db.execute({
            "organization": """
                SELECT name FROM organization WHERE (tenant_id, id) = (%(tenant_id)s, %(id)s)""",
            "member": """
                SELECT m.organization_id, m.name, o.name
                FROM member m JOIN organization o ON (o.tenant_id, o.id) = (m.tenant_id, m.organization_id)
                WHERE (m.tenant_id, m.id) = (%(tenant_id)s, %(id)s)"""}[table], pk).fetchone()

    def present(self, table, tenant, ids):
        """Which of these rows are there."""
        return {id for id, in self.db.execute(
            f"SELECT id FROM {table} WHERE tenant_id = %s AND id = ANY(%s)", (tenant, ids))}


class Copy:
    """The copy's tables.  All but next_offset() and want() are called in a transaction."""

    def __init__(self, dsn):
        self.db = psycopg.connect(dsn, autocommit=True)

    def next_offset(self, topic, partition):
        """Where a partition goes on.  The very first start wants all rows ("To begin")."""
        with self.db.transaction():
            self.db.execute("""
                INSERT INTO resync SELECT 'first start' WHERE NOT EXISTS (SELECT FROM place)
                ON CONFLICT DO NOTHING""")
            self.db.execute("INSERT INTO place VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", (topic, partition))
            return self.lock(topic, partition)

    def lock(self, topic, partition):
        """Keeps others from this partition until the transaction ends."""
        return self.db.execute(
            "SELECT next_offset FROM place WHERE (topic, partition) = (%s, %s) FOR UPDATE",
            (topic, partition)).fetchone()[0]

    def lock_tenants(self, tenants):
        """In one order, or two consumers could wait for each other."""
        for tenant in sorted(tenants):
            self.db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (tenant,))

    def move(self, topic, partition, next_offset):
        self.db.execute("UPDATE place SET next_offset = %s WHERE (topic, partition) = (%s, %s)",
                        (next_offset, topic, partition))

    def applied(self, topic, partition):
        """The largest id of each publisher."""
        return dict(self.db.execute(
            "SELECT publisher, id FROM applied WHERE (topic, partition) = (%s, %s)", (topic, partition)).fetchall())

    def set_applied(self, topic, partition, ids):
        for publisher, id in ids.items():
            self.db.execute("""
                INSERT INTO applied VALUES (%s, %s, %s, %s)
                ON CONFLICT (topic, partition, publisher) DO UPDATE SET id = excluded.id""",
                (topic, partition, publisher, id))

    def add_organization(self, tenant, id, name):
        """One that is not here yet; an event of its own follows."""
        self.db.execute("INSERT INTO organization VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (tenant, id, name))

    def store_organization(self, tenant, id, name):
        self.db.execute("""
            INSERT INTO organization (tenant_id, id, name, run)
            VALUES (%(t)s, %(id)s, %(name)s, (SELECT run FROM run WHERE (tenant_id, table_name) = (%(t)s, 'organization')))
            ON CONFLICT (tenant_id, id) DO UPDATE SET (name, run) = (excluded.name, excluded.run)""",
            {"t": tenant, "id": id, "name": name})

    def store_member(self, tenant, id, organization, name):
        self.db.execute("""
            INSERT INTO member (tenant_id, id, organization_id, name, run)
            VALUES (%(t)s, %(id)s, %(o)s, %(name)s, (SELECT run FROM run WHERE (tenant_id, table_name) = (%(t)s, 'member')))
            ON CONFLICT (tenant_id, id) DO UPDATE
            SET (organization_id, name, run) = (excluded.organization_id, excluded.name, excluded.run)""",
            {"t": tenant, "id": id, "o": organization, "name": name})

    def delete(self, table, tenant, ids):
        """Members go with their organization (rule 10)."""
        self.db.execute(f"DELETE FROM {table} WHERE tenant_id = %s AND id = ANY(%s)", (tenant, ids))

    def not_of_run(self, table, tenant, run):
        """Rows that this run did not store; run None: all rows of the tenant."""
        return [id for id, in self.db.execute(
            f"SELECT id FROM {table} WHERE tenant_id = %s AND (run IS DISTINCT FROM %s OR run IS NULL)", (tenant, run))]

    def start_run(self, table, tenant, run):
        self.db.execute("""
            INSERT INTO run VALUES (%s, %s, %s)
            ON CONFLICT (tenant_id, table_name) DO UPDATE SET run = excluded.run""", (tenant, table, run))

    def want(self, reason):
        """All rows are to be published anew.  The same reason counts once."""
        log.warning("a resync is needed: %s", reason)
        self.db.execute("INSERT INTO resync VALUES (%s) ON CONFLICT DO NOTHING", (reason,))


class Resyncer(threading.Thread):
    """Calls the resyncs that are wanted: beside the loop, since they may take longer
    than Kafka waits for a consumer.  Of several consumers one does it."""

    def __init__(self, primary, copy):
        super().__init__(daemon=True)
        self.primary, self.copy = primary, copy

    def run(self):
        while True:
            try:
                with psycopg.connect(self.copy, autocommit=True) as copy:
                    while True:
                        self.look(copy)
                        time.sleep(1)
            except psycopg.Error as error:
                log.error("resync: %s", error)
                time.sleep(1)

    def look(self, copy):
        if not copy.execute("SELECT pg_try_advisory_lock(0, 0)").fetchone()[0]:
            return
        reasons = [reason for reason, in copy.execute("SELECT reason FROM resync WHERE NOT done")]
        if reasons:
            self.call(copy)
            copy.execute("UPDATE resync SET done = true WHERE reason = ANY(%s)", (reasons,))
            log.info("resync done: %s", ", ".join(reasons))
        copy.execute("SELECT pg_advisory_unlock(0, 0)")

    def call(self, copy):
        with psycopg.connect(self.primary, autocommit=True) as primary:
            # A tenant that has no rows any more has marks only when it is named.  So each
            # one that the source or the copy has is named; the rows of one that comes
            # later have events of their own.
            tenants = {tenant for db in (primary, copy) for table in TABLES
                       for tenant, in db.execute(f"SELECT DISTINCT tenant_id FROM {table}")}
            for tenant in sorted(tenants):
                primary.execute("CALL evpub.resync(%s::regclass[], tenant => %s)", (list(TABLES), tenant))


def parse(message):
    """The event; None: a tombstone, or another value that is no event (rule 9)."""
    try:
        event = json.loads(message.value())     # integers of any size stay exact (rule 8)
        if isinstance(event["id"], str) and isinstance(event["type"], str):
            return event
    except (KeyError, TypeError, ValueError):
        pass
    log.info("no event at %s/%s/%s", message.topic(), message.partition(), message.offset())
    return None


def number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Follower:
    def __init__(self, args):
        self.args, self.source, self.copy, self.stopped = args, None, None, False
        self.kafka = Consumer({
            "group.id": "copy", **args.kafka,
            "enable.auto.commit": False,
            # a place that Kafka does not have any more is a loss, and to be noticed
            "auto.offset.reset": "error"})
        self.kafka.subscribe([args.topic], on_assign=lambda _, partitions: self.assign(partitions))

    def connect(self):
        self.source, self.copy = Source(self.args.source), Copy(self.args.copy)

    def assign(self, partitions):
        """Goes on where the copy is.  A partition that was added begins with its first record."""
        partitions = [TopicPartition(p.topic, p.partition, self.copy.next_offset(p.topic, p.partition))
                      for p in partitions]
        log.info("assigned %s", " ".join(f"{p.partition}@{p.offset}" for p in partitions))
        self.kafka.assign(partitions)

    def run(self):
        self.connect()
        Resyncer(self.args.primary, self.args.copy).start()
        while not self.stopped:
            try:
                batches = {}
                for message in self.kafka.consume(500, 0.2):
                    place = message.topic(), message.partition()
                    if not message.error():
                        batches.setdefault(place, []).append(message)
                    elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                        self.lost(*place)
                    elif message.error().fatal():
                        sys.exit(str(message.error()))
                    else:
                        log.warning("%s", message.error())
                for (topic, partition), messages in batches.items():
                    self.apply_batch(topic, partition, messages)
            except (psycopg.Error, KafkaException) as error:
                # Nothing of the batch is there.  From the top, in order: what comes
                # behind must not overtake it (rule 5).
                log.error("tried again in a second: %s", error)
                time.sleep(1)
                try:
                    self.connect()
                    self.assign(self.kafka.assignment())
                except psycopg.Error:
                    pass
        self.kafka.close()

    def lost(self, topic, partition):
        """Retention has removed records that were not read, and no event says so."""
        low, _ = self.kafka.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        with self.copy.db.transaction():
            self.copy.want(f"{topic}/{partition} begins at {low}, expected {self.copy.lock(topic, partition)}")
            self.copy.move(topic, partition, low)
        self.assign(self.kafka.assignment())

    def apply_batch(self, topic, partition, messages):
        """One transaction: effect of the events, their ids, the offset."""
        events = [(message, parse(message)) for message in messages]
        known = [event for _, event in events if event]
        if known:
            self.source.wait(max((event["lsn"] for event in known if event.get("lsn")), key=number, default="0/0"))
        with self.copy.db.transaction():
            begin = self.copy.lock(topic, partition)
            self.copy.lock_tenants({event["tenant"] for event in known if event.get("tenant") is not None})
            last = self.copy.applied(topic, partition)
            for message, event in events:
                if message.offset() < begin or event is None:
                    continue                # another consumer did it; no event
                publisher = event["id"][:16]
                if event["id"] <= last.get(publisher, ""):
                    log.info("a duplicate: %s", event["id"])
                    continue                # rule 4
                self.apply(event)
                last[publisher] = event["id"]
            self.copy.set_applied(topic, partition, last)
            self.copy.move(topic, partition, max(begin, messages[-1].offset() + 1))
        # for those who watch the group's lag; nobody begins from it
        try:
            self.kafka.commit(offsets=[TopicPartition(topic, partition, messages[-1].offset() + 1)], asynchronous=True)
        except KafkaException as error:
            log.info("offset not committed: %s", error)

    def apply(self, event):
        type, tenant, pk, data = event["type"], event.get("tenant"), event.get("pk"), event.get("data") or {}
        if type == "evpub.gap":             # of all partitions and topics one run is enough
            return self.copy.want("evpub.gap " + event["id"][:-9])
        if type == "evpub.skipped":         # stands for another one
            type = data.get("type") or ""
            if pk is None:
                return self.copy.want("evpub.skipped " + event["id"])
        table, _, kind = type.rpartition(".")
        if table not in TABLES:
            return None                     # rule 6
        if kind in ("created", "updated", "resynced", "deleted") and pk:
            self.refresh(table, tenant, pk)
        elif kind == "truncated":
            self.forget(table, tenant, None)
        elif kind == "resync_started" and not data.get("partial"):
            self.copy.start_run(table, tenant, data["run"])
        elif kind == "resync_finished" and not data.get("partial"):
            self.forget(table, tenant, data["run"])     # rule 11
        else:
            log.info("passed over: %s", event)
        return None

    def refresh(self, table, tenant, pk):
        """Makes the copy of a row what the source has.  Rule 2: what is not there is
        deleted, or will be created."""
        row = self.source.row(table, pk)
        if row is None:
            self.copy.delete(table, tenant, [pk["id"]])
        elif table == "organization":
            self.copy.store_organization(tenant, pk["id"], *row)
        else:
            organization, name, organization_name = row
            self.copy.add_organization(tenant, organization, organization_name)
            self.copy.store_member(tenant, pk["id"], organization, name)

    def forget(self, table, tenant, run):
        """Rows that a run did not name, or those of before a TRUNCATE, if they are gone.
        It asks: when a topic grows, this event may be read before older ones are."""
        ids = self.copy.not_of_run(table, tenant, run)
        for some in (ids[i:i + 1000] for i in range(0, len(ids), 1000)):
            there = self.source.present(table, tenant, some)
            self.copy.delete(table, tenant, [id for id in some if id not in there])


def main():
    parser = argparse.ArgumentParser(description="Keeps a copy of organization and member.")
    for name in ("source", "primary", "copy", "topic"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("-X", dest="kafka", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    args.kafka = dict(setting.split("=", 1) for setting in args.kafka)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    follower = Follower(args)

    def stop(_signal, _frame):
        follower.stopped = True
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    follower.run()


if __name__ == "__main__":
    main()
