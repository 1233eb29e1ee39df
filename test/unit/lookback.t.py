#!/usr/bin/env python3
"""evpub-relay reads partitions back: what it finds, and what it drops.

Most of it is shown on a real broker, one for all tests: markers of transactions,
deleted records, rights.  What brokers do only when they are in trouble is shown on
librdkafka's mock cluster.  The relay is the one built with sanitizers, which believes
after 8 s instead of 30 that a partition ends below the acknowledged offset, waits 3 s
instead of 45 for a replica that keeps silent, reads 1,000 records again at most, and takes
nothing for late after 10 s instead of a minute.
"""
import importlib.machinery
import importlib.util
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

# Relays get their socket as descriptor 3.  While this process has that, no pipe
# to a child that is being started can be there.
TAKEN = os.open(os.devnull, os.O_RDONLY)

# what a sanitizer ends the relay with
os.environ['ASAN_OPTIONS'] = 'exitcode=99'
os.environ['UBSAN_OPTIONS'] = 'exitcode=99:print_stacktrace=1'

HERE = os.path.dirname(os.path.abspath(__file__))
loader = importlib.machinery.SourceFileLoader('relay', os.path.join(HERE, 'relay.t.py'))
relay = importlib.util.module_from_spec(importlib.util.spec_from_loader('relay', loader))
loader.exec_module(relay)
relay.RELAY = os.environ.get('EVPUB_CHECKED_RELAY', os.path.join(HERE, 'lib', 'evpub-relay'))
ADMIN = os.path.join(HERE, '..', 'kafka', 'evpub-kafka-admin')

ROOT = 0xabcd1234
ENTRY = 0x00000001
GAP = 0xf0000000


def own(n, number=0, entry=ENTRY, root=ROOT, timeline=1):
    """The id of an event whose LSN is n."""
    return b'%08x%08x-%08X-%016X-%08X' % (root, entry, timeline, n, number)


class Kafka:
    """A real broker; User:evpub comes by SASL and has no rights but those granted."""

    def __init__(self):
        self.process = subprocess.Popen(
            [os.path.join(HERE, '..', 'kafka', 'broker'), '--listener', 'SASL=SASL_PLAINTEXT',
             'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
             'super.users=User:ANONYMOUS', 'log.cleaner.backoff.ms=100',
             'listener.name.sasl.sasl.enabled.mechanisms=PLAIN',
             'listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security'
             '.plain.PlainLoginModule required user_evpub="secret";'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.servers = self.process.stdout.readline().strip()
        self.sasl = self.process.stdout.readline().split()[1]

    def admin(self, *args, stderr=None):
        return subprocess.run([ADMIN, self.servers, *map(str, args)], check=True,
                              stdout=subprocess.PIPE, stderr=stderr, text=True).stdout

    def create(self, topic, partitions=1, *settings):
        self.admin('create', topic, partitions, *settings)
        for _ in range(600):
            try:
                self.admin('offsets', topic, stderr=subprocess.DEVNULL)
                return
            except subprocess.CalledProcessError:
                time.sleep(0.05)

    def write(self, topic, *headers, values=(b'v',), partition=0):
        """As another producer."""
        subprocess.run(['kcat', '-P', '-b', self.servers, '-t', topic, '-p', str(partition)]
                       + [x for h in headers for x in ('-H', h)],
                       input=b'\n'.join(values), check=True)

    def write_own(self, topic, *ids, partition=0, headers=()):
        """As evpub: a relay that reads nothing back."""
        r = Reader(self.servers)
        r.topic(0, topic, 1 + partition)
        r.batch(*[r.put(i, 0, partition, headers) for i in ids])
        r.wait_acked(len(ids))
        r.close()

    def ids(self, topic, partition=0):
        out = subprocess.run(['kcat', '-C', '-b', self.servers, '-t', topic, '-p', str(partition),
                              '-o', 'beginning', '-e', '-q', '-f', '%h\n'],
                             stdout=subprocess.PIPE, check=True).stdout
        return [m.group(1) for m in re.finditer(rb'evpub-id=([^,\n]*)', out)]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(relay.PATIENCE)
        self.process.stdout.close()


class Reader(relay.Relay):
    """A relay that may read back; "answers": gives the ids of a TAIL frame."""

    def __init__(self, servers, **settings):
        super().__init__(servers, **settings)
        # a relay that takes nothing in must not stop the test
        self.socket.settimeout(relay.PATIENCE)
        self.found = {}
        self.again = set()          # topics of which a partition may be reported again
        self.answers = lambda topic, partition, ids: []

    def origin(self, *left):
        self.send('R', struct.pack('=8sII', b'%08x' % ROOT, len(left), 0)
                  + b''.join(struct.pack('=QQ', *one) for one in left))

    def read_back(self, topic):
        self.send('r', struct.pack('=Ii', topic, -1))

    def known(self, number, name, offsets):
        """A topic that was published to."""
        self.topic(number, name, len(offsets))
        for partition, offset in enumerate(offsets):
            if offset is not None:
                self.offset(number, partition, offset)
        self.read_back(number)

    def tail(self, topic, partition, ids, again=0):
        self.send('t', struct.pack('=IiqII', topic, partition, 0, len(ids), again)
                  + b''.join(kind + i for kind, i in ids))

    def put(self, identity, topic=0, partition=0, headers=()):
        encoded = b''.join(struct.pack('=I', len(x)) + x for h in headers for x in h)
        return (struct.pack('=IiiiI', topic, partition, 1, 1, len(encoded))
                + identity + b'kv' + encoded)

    def note(self, kind, payload):
        if kind == 'f':
            topic, partition, end, count, again = struct.unpack('=IiqII', payload[:24])
            ids = {(payload[at:at + 1], payload[at + 1:at + 52])
                   for at in range(24, 24 + count * 52, 52)}
            assert len(ids) == count
            assert (topic, partition) not in self.found or topic in self.again
            self.found[topic, partition] = end, ids
            if self.answers is not None:
                self.tail(topic, partition, self.answers(topic, partition, ids), again)
        return super().note(kind, payload)

    def wait_found(self, topic=0, partition=0):
        while (topic, partition) not in self.found:
            self.wait('f')
        return self.found[topic, partition]

    def silent(self, seconds=0.3):
        """Nothing is acknowledged for so long."""
        acked = self.acked
        deadline = time.monotonic() + seconds
        while self.receive(deadline) is not None:
            pass
        assert self.acked == acked


kafka = None


def reader(t, servers=None, **settings):
    r = Reader(servers or kafka.servers, **settings)
    t.open.append(r)
    return r


# ---------------------------------------------------------------- what is found

def test_found(t):
    "of its own records it reports the highest of each publisher id, and what is no event"
    other = own(900, entry=7)
    kafka.create('found')
    kafka.write_own('found', own(1), own(2), own(5), own(4), other, own(800, entry=7),
                    own(3, GAP), own(3, GAP + 1), own(2000, entry=9), own(1500, entry=9),
                    own(100, entry=9))
    kafka.write_own('found', own(6), headers=[(b'evpub-error-code', b'10')])
    r = reader(t)
    r.origin((ROOT << 32 | 9, 1500))
    r.known(0, 'found', [None])
    end, ids = r.wait_found()
    assert end == 12, end
    assert ids == {(b'e', own(5)), (b'e', other), (b'g', own(3, GAP)), (b'g', own(3, GAP + 1)),
                   (b'd', own(6)), (b'e', own(2000, entry=9)), (b'e', own(1500, entry=9))}, ids


def test_behind_offset(t):
    "it reads behind the acknowledged offset only, and a partition at its end as well"
    kafka.create('behind', 3)
    kafka.write_own('behind', own(1), own(2), own(3), own(4))
    r = reader(t)
    r.origin()
    r.known(0, 'behind', [2, None, None])
    assert r.wait_found() == (4, {(b'e', own(4))})
    assert r.wait_found(0, 1) == r.wait_found(0, 2) == (0, set())
    r = reader(t)
    r.origin()
    r.known(0, 'behind', [3, None, None])
    assert r.wait_found() == (4, set())


def test_foreign(t):
    "records of others are passed over, whatever they contain"
    good = own(0xab).decode()
    kafka.create('foreign')
    kafka.write('foreign')
    for header in ('evpub-id=', 'evpub-id=' + good[:-1], 'evpub-id=' + good + '0',
                   'evpub-id=' + good.upper(), 'evpub-id=' + good.lower(), 'evpub-id=' + good.replace('-', '_'),
                   'evpub-id=' + good[:-1] + 'g', 'evpub-id=' + own(7, root=1).decode(),
                   'Evpub-Id=' + good, 'other=' + good):
        kafka.write('foreign', header)
    kafka.write_own('foreign', own(3))
    kafka.write('foreign', values=[b'x' * 900000])
    r = reader(t)
    r.origin()
    r.known(0, 'foreign', [None])
    assert r.wait_found() == (13, {(b'e', own(3))})


def test_markers(t):
    "a partition whose last offsets are the ends of transactions is read, too"
    kafka.create('markers', 2)
    kafka.write_own('markers', own(1))
    kafka.admin('transact', 'markers', 0, 3, 'commit')
    kafka.admin('transact', 'markers', 0, 2, 'abort')
    # the end of a transaction is written after the answer
    deadline = time.monotonic() + relay.PATIENCE
    while '0 0 8' not in kafka.admin('offsets', 'markers'):
        assert time.monotonic() < deadline, kafka.admin('offsets', 'markers')
        time.sleep(0.02)
    r = reader(t)
    r.origin()
    r.known(0, 'markers', [None, None])
    end, ids = r.wait_found()
    assert ids == {(b'e', own(1))} and end == 8, (end, ids)
    r = reader(t)
    r.origin()
    r.known(0, 'markers', [5, None])
    assert r.wait_found()[1] == set()


def test_deleted(t):
    "where records behind the offset were deleted, it reads what is left"
    kafka.create('deleted', 2)
    for partition in range(2):
        kafka.write_own('deleted', *[own(i) for i in range(10)], partition=partition)
    kafka.admin('delete-records', 'deleted', 0, 8)
    kafka.admin('delete-records', 'deleted', 1, 10)
    r = reader(t)
    r.origin()
    r.known(0, 'deleted', [3, 3])
    assert r.wait_found() == (10, {(b'e', own(9))})
    assert r.wait_found(0, 1)[1] == set()


def test_compacted(t):
    "in a compacted topic, what is left decides"
    kafka.create('compact', 1, 'cleanup.policy=compact', 'segment.ms=10',
                 'min.cleanable.dirty.ratio=0.001')
    n = 0
    while True:
        n += 3
        # with one key, so that only the newest stays
        kafka.write_own('compact', *[own(i) for i in range(n - 2, n + 1)])
        if own(1) not in kafka.ids('compact'):
            break
    r = reader(t)
    r.origin()
    r.known(0, 'compact', [0])
    assert r.wait_found() == (n, {(b'e', own(n))})


def test_below(t):
    "an end below the acknowledged offset: it waits, and says why; if it stays so, it ends"
    kafka.create('below')
    kafka.write_own('below', own(1), own(2))
    r = reader(t)
    r.origin()
    r.known(0, 'below', [3])
    r.batch(r.put(own(9)))
    r.wait_trouble('^topic "below" partition 0 ends at offset 2, but offset 3 was '
                   'acknowledged: its leader lags behind, or it has lost records')
    kafka.write_own('below', own(3), own(4), own(5))
    assert r.wait_found() == (5, {(b'e', own(5))})
    r.wait_acked(1)
    r = reader(t)
    r.origin()
    r.known(0, 'below', [100])
    kind, text = r.wait_failed()
    assert kind == 't' and re.search('offset 100 was acknowledged: the topic was deleted', text), text
    assert ('P', struct.pack('=Ii', 0, -1)) in r.frames


def test_many_foreign(t):
    "many records of others: little memory, it lives and says how far it is"
    n = 300000
    kafka.create('crowd')
    kafka.write('crowd', values=[b'foreign'] * n)
    kafka.write_own('crowd', own(1))
    # the relay that is measured is the one that is delivered
    delivered = os.environ.get('EVPUB_RELAY') or relay.find_relay()
    relay.RELAY, checked = delivered, relay.RELAY
    try:
        r = reader(t)
    finally:
        relay.RELAY = checked
    r.origin()
    r.known(0, 'crowd', [None])
    r.batch(r.put(own(2)))
    start = time.monotonic()
    most = 0
    while (0, 0) not in r.found:
        assert r.receive(time.monotonic() + relay.PATIENCE)
        most = max(most, r.resident())
    print(f'# {n} records in {time.monotonic() - start:.2f} s, {most} kB resident')
    assert r.found[0, 0] == (n + 1, {(b'e', own(1))})
    r.wait_acked(1)
    assert most < 40000, most


# ---------------------------------------------------------------- new topics

def test_new(t):
    "a topic that is new is not read; where others have written, its ends come with its count"
    kafka.create('shared', 3)
    kafka.write('shared', values=[b'x'] * 5, partition=1)
    for pinned, last in ((0, 4), (-1, 5)):
        r = reader(t)
        r.pin = False
        r.origin()
        r.topic(0, 'shared', pinned)
        r.topic(1, f'made{pinned}', 0)
        r.batch(r.put(own(1), 1))
        while len([f for f in r.frames if f[0] == 'P']) < 2:
            r.wait('P')
        while not [f for f in r.frames if f[0] == 'o']:
            r.wait('o')
        frames = [f for f in r.frames if f[0] in 'Po']
        at = frames.index(('P', struct.pack('=Ii', 0, 3)))
        assert frames[at + 1] == ('o', struct.pack('=Iiq51s5x', 0, 1, last, b'')), frames
        assert len([f for f in frames if f[0] == 'o']) == 1, frames
        r.topic(0, 'shared', 3)
        r.offset(0, 1, last)
        r.topic(1, f'made{pinned}', 6)
        r.batch(r.put(own(2), 0, 1))
        r.wait_acked(2)
        assert not r.found


def test_reread(t):
    "a topic without a count that is to be read back is read when it has one"
    kafka.create('reread', 2)
    kafka.write_own('reread', own(5))
    r = reader(t)
    r.origin()
    r.topic(0, 'reread', 0)
    r.read_back(0)
    r.batch(r.put(own(6)))
    assert r.wait_found() == (1, {(b'e', own(5))})
    r.wait_acked(1)
    assert kafka.ids('reread') == [own(5), own(6)]


def test_grown(t):
    "the partitions that a topic has got are read, the others not again"
    kafka.create('grown', 2)
    kafka.write_own('grown', own(1))
    kafka.write_own('grown', own(2), partition=1)
    r = reader(t)
    r.origin()
    r.known(0, 'grown', [None])
    r.wait_found()
    r.batch(r.put(own(3)))
    r.wait_acked(1)
    r.topic(0, 'grown', 2)
    r.read_back(0)
    r.batch(r.put(own(4), partition=1))
    assert r.wait_found(0, 1) == (1, {(b'e', own(2))})
    r.wait_acked(2)


# ---------------------------------------------------------------- what is dropped

def test_dropped(t):
    "what is in Kafka is dropped and counted, the rest is sent; the tail is met"
    kafka.create('dropped', 2)
    kafka.write_own('dropped', *[own(i) for i in range(1, 9)])
    r = reader(t)
    r.origin()
    r.answers = lambda topic, partition, ids: [(b't', i) for _, i in ids]
    r.known(0, 'dropped', [3, None])
    r.batch(*[r.put(own(i)) for i in range(5, 13)], r.put(own(13), partition=1))
    r.wait_acked(9)
    assert r.dropped == 4
    assert kafka.ids('dropped') == [own(i) for i in range(1, 13)]
    assert kafka.ids('dropped', 1) == [own(13)]
    kinds = [(kind, payload) for kind, payload in r.frames if kind in 'mpAo']
    met = kinds.index(('m', struct.pack('=Ii', 0, 0)))
    assert not [1 for kind, payload in kinds[:met] if kind == 'A'
                and struct.unpack('=QQ', payload)[0] >= 4]
    # the newest offset comes with its id
    last = [payload for kind, payload in kinds if kind == 'o' and payload[4:8] == b'\0\0\0\0'][-1]
    assert struct.unpack('=Iiq51s5x', last) == (0, 0, 11, own(12)), last


def test_hidden(t):
    "what a leader has not shown yet is seen behind the first record, which alone is twice"
    kafka.create('hidden')
    kafka.write_own('hidden', *[own(i) for i in range(1, 4)])
    r = reader(t)
    r.again = {0, 1}
    r.answers = None
    r.origin()
    r.known(0, 'hidden', [2])
    assert r.wait_found()[1] == set()

    # what the predecessor got in, as seen from here, appears now
    kafka.write_own('hidden', *[own(i) for i in range(4, 8)])
    r.tail(0, 0, [])
    r.answers = lambda topic, partition, ids: [(b't', i) for _, i in ids]
    r.batch(*[r.put(own(i)) for i in range(4, 11)])
    r.wait_acked(7)
    assert r.dropped == 3, r.dropped
    assert kafka.ids('hidden') == [own(i) for i in range(1, 8)] + [own(4)] + [own(i) for i in range(8, 11)]

    # others may write in between at any time: nothing of that is ours
    kafka.create('between')
    r.known(1, 'between', [None])
    r.wait_found(1)
    kafka.write('between', values=[b'x'] * 3)
    r.batch(*[r.put(own(i), topic=1) for i in range(20, 25)])
    r.wait_acked(12)
    assert r.dropped == 3, r.dropped

    # but for what a publisher of our root has that we do not know, wherever its WAL is
    kafka.create('stranger')
    r.known(2, 'stranger', [None])
    r.wait_found(2)
    stranger = own(1, entry=0xeeeeeeee)
    kafka.write_own('stranger', stranger)
    r.again.add(2)
    r.batch(r.put(own(30), topic=2))
    r.wait('f')
    assert r.found[2, 0][1] == {(b'e', stranger)}, r.found


def test_hidden_offset(t):
    "where a first record is counts when what was hidden before it is known, and met"
    kafka.create('unsettled')
    r = reader(t)
    r.again = {0}
    r.answers = None
    r.origin()
    r.known(0, 'unsettled', [None])
    r.wait_found()
    kafka.write_own('unsettled', *[own(i) for i in range(1, 4)])
    r.tail(0, 0, [])
    r.batch(*[r.put(own(i)) for i in range(1, 5)])
    r.wait('f')
    assert r.found[0, 0][1] == {(b'e', own(3))} and not r.offsets, (r.found, r.offsets)
    r.tail(0, 0, [(b't', own(3))], again=1)
    r.wait_acked(4)
    assert kafka.ids('unsettled') == [own(1), own(2), own(3), own(1), own(4)]
    again = [struct.unpack('=IiqII', payload[:24])[4] for kind, payload in r.frames if kind == 'f']
    assert again == [0, 1], again
    assert r.offsets == {(0, 0): 4}, r.offsets


def test_hidden_far(t):
    "of what others have written for days, it reads no more than a predecessor may lie in"
    kafka.create('busy')
    r = reader(t)
    r.again = {0}
    r.origin()
    r.known(0, 'busy', [None])
    r.wait_found()
    kafka.write('busy', values=[b'x'] * 3000)
    r.batch(r.put(own(1)), r.put(own(2)))
    r.wait_acked(2)
    assert r.found[0, 0] == (1000, set()), r.found


def test_hidden_tail(t):
    "an announcement that goes before the tail is met does not end the tail"
    kafka.create('announced')
    kafka.write_own('announced', *[own(i) for i in range(1, 6)])
    r = reader(t)
    r.again = {0}
    r.answers = lambda topic, partition, ids: [(b't' if kind == b'e' else b'x', i)
                                               for kind, i in ids]
    r.origin()
    r.known(0, 'announced', [None])
    r.wait_found()
    kafka.write('announced')
    r.batch(r.put(own(1, GAP)))
    r.wait_acked(1)
    r.batch(*[r.put(own(i)) for i in range(1, 9)])
    r.wait_acked(9)
    assert kafka.ids('announced') == [own(i) for i in range(1, 6)] + [own(1, GAP)] + \
        [own(i) for i in range(6, 9)]
    assert r.dropped == 5, r.dropped
    assert ('m', struct.pack('=Ii', 0, 0)) in r.frames


def test_late_behind(t):
    "what comes late between two records is in front of no offset that the next relay gets"
    kafka.create('behind_own')
    r = reader(t)
    r.origin()
    r.known(0, 'behind_own', [None])
    r.wait_found()
    r.batch(r.put(own(1)))
    r.wait_acked(1)
    kafka.write_own('behind_own', *[own(i) for i in range(1, 11)])
    r.batch(r.put(own(2)))
    r.wait_acked(2)
    r.silent()
    assert r.offsets == {(0, 0): 0}, r.offsets

    # nothing comes late any more, and nothing else is acknowledged
    r.wait('o')
    assert r.offsets == {(0, 0): 11}, r.offsets


def test_answer_of_before(t):
    "an answer to PASSED that crosses another one is not taken for that to what is read again"
    kafka.create('crossed')
    kafka.write_own('crossed', own(1))
    r = reader(t)
    r.again = {0}
    r.answers = None
    r.origin()
    r.known(0, 'crossed', [None])
    r.wait_found()
    kafka.write_own('crossed', *[own(i) for i in range(2, 8)])
    r.tail(0, 0, [(b't', own(1))])
    r.batch(*[r.put(own(i)) for i in range(2, 8)])
    r.wait('p')
    # the worker has explained the tail by itself, and answers PASSED as well
    r.tail(0, 0, [])
    r.wait('f')
    r.tail(0, 0, [])
    r.silent()
    r.tail(0, 0, [(b't', own(7))], again=1)
    r.wait_acked(6)
    assert r.dropped == 5, r.dropped
    assert kafka.ids('crossed') == [own(i) for i in range(1, 8)] + [own(2)]


def test_count_of_another(t):
    "where a new topic ends is not asked any more when its count has come from a relay before"
    b = t.broker('--topic', 'counted:1')
    n = 0
    # the count comes at each stage of what the relay does until it has the end: an answer
    # takes longer than from one try to the next
    for ms in range(0, 3000, 45):
        b.command('rtt 1 100')
        r = reader(t, b.servers)
        r.pin = False
        r.origin()
        r.topic(0, 'counted')
        deadline = time.monotonic() + ms / 1000
        while r.receive(deadline) is not None:
            pass
        # what it has said by now is looked at, and it says no more before it has the count
        os.kill(r.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, r.process.pid, os.WSTOPPED | os.WNOWAIT)
        while r.receive(time.monotonic() + 0.05) is not None:
            pass
        if [1 for kind, _ in r.frames if kind == 'P']:
            r.process.send_signal(signal.SIGCONT)
            return
        r.topic(0, 'counted', 1)
        r.batch(*[r.put(own(n + i)) for i in range(1, 4)])
        b.command('rtt 1 0')
        r.process.send_signal(signal.SIGCONT)
        n += 3
        r.wait_acked(3)
        r.silent()
        # an offset without an id would be that of records whose ids nobody knows
        assert all(payload[16] for kind, payload in r.frames if kind == 'o'), (ms, r.frames)
        r.close()
    raise AssertionError('it has never said how many partitions there are')


def test_dropped_offset(t):
    "an offset behind what was dropped is reported when that is acknowledged"
    b = t.broker('--brokers', '2', '--topic', 'slow:1', '--topic', 'events:1')
    b.command('leader slow 0 1')
    b.command('leader events 0 2')
    r = reader(t, b.servers)
    r.answers = lambda topic, partition, ids: [(b'x', own(1, GAP))] if topic == 1 else []
    r.origin()
    r.known(0, 'slow', [None])
    r.known(1, 'events', [None])
    r.wait_found(0)
    r.wait_found(1)
    b.command('rtt 1 1000')
    r.batch(r.put(own(1), topic=0), r.put(own(1, GAP), topic=1), r.put(own(2), topic=1))
    r.wait_acked(3)
    assert r.dropped == 1 and r.offsets == {(0, 0): 0, (1, 0): 0}, (r.dropped, r.offsets)
    # whoever takes the offset has the acknowledgement of the second record already
    offset = [i for i, (kind, payload) in enumerate(r.frames)
              if kind == 'o' and payload[:4] == b'\1\0\0\0'][0]
    acked = [struct.unpack('=QQ', payload)[0] for kind, payload in r.frames[:offset] if kind == 'A']
    assert acked and acked[-1] >= 2, r.frames


def test_dropped_all(t):
    "records that are all dropped are acknowledged without an offset"
    kafka.create('dropall')
    kafka.write_own('dropall', *[own(i) for i in range(2000)])
    r = reader(t)
    r.origin()
    r.answers = lambda topic, partition, ids: [(b't', i) for _, i in ids]
    r.known(0, 'dropall', [None])
    r.batch(*[r.put(own(i)) for i in range(2000)])
    r.wait_acked(2000)
    assert r.dropped == 2000 and not r.offsets


def test_waits_for_tail(t):
    "nothing goes to a partition before its tail has come, while others go on"
    kafka.create('waits', 2)
    r = reader(t)
    r.origin()
    r.answers = None
    r.known(0, 'waits', [None, None])
    r.wait_found(0, 0)
    r.wait_found(0, 1)
    r.tail(0, 1, [])
    r.batch(r.put(own(1), partition=1), r.put(own(2)), r.put(own(3), partition=1))
    r.wait_acked(1)
    r.silent()
    # far more than the input buffer lies between
    for i in range(20):
        r.batch(*[r.put(own(10 + i))[:-1] + b'v' for _ in range(2000)])
    r.tail(0, 0, [])
    r.wait_acked(40003)


def test_passed(t):
    "a tail that is passed is reported once, and nothing is sent before another one comes"
    kafka.create('passed')
    kafka.write_own('passed', own(1), own(2), own(4))
    r = reader(t)
    r.origin()
    r.answers = lambda topic, partition, ids: [(b't', own(4))]
    r.known(0, 'passed', [None])
    r.batch(*[r.put(own(i)) for i in (1, 2, 3, 5, 6)])
    assert r.wait('p') == struct.pack('=Ii', 0, 0)
    while r.acked < 3:
        r.wait('A')
    r.silent()
    r.tail(0, 0, [(b't', own(5))])
    r.wait('m')
    r.wait_acked(5)
    assert r.dropped == 4
    assert len([1 for kind, _ in r.frames if kind == 'p']) == 1
    assert kafka.ids('passed') == [own(1), own(2), own(4), own(6)]


def test_exact(t):
    "ids that are dropped exactly, also above the tail; numbers of gaps know no tail"
    kafka.create('exact')
    r = reader(t)
    r.origin()
    r.answers = lambda topic, partition, ids: [(b't', own(4)), (b'x', own(9, GAP)),
                                               (b'x', own(8)), (b'x', own(100))]
    r.known(0, 'exact', [None])
    r.batch(*[r.put(i) for i in (own(1, GAP), own(9, GAP), own(3), own(8), own(10, GAP), own(4),
                                 own(5), own(8), own(100), own(101))])
    r.wait_acked(10)
    assert r.dropped == 5
    assert kafka.ids('exact') == [own(1, GAP), own(10, GAP), own(5), own(8), own(101)]


# ---------------------------------------------------------------- trouble

def test_no_right(t):
    "without the right to read, nothing is sent; what to grant is reported at once"
    kafka.create('locked', 3)
    kafka.admin('allow', 'locked', 'evpub', 'WRITE')
    kafka.write_own('locked', own(1))
    file = relay.config_file('security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\n'
                             'sasl.username=evpub\nsasl.password=secret\n')
    # nothing is behind the offsets, and no record waits
    r = reader(t, kafka.sasl, kafka_config_file=file)
    r.origin()
    r.known(0, 'locked', [0, None, None])
    text = r.wait_trouble('READ')
    assert re.fullmatch('topic "locked" cannot be read, which evpub.delivery = \'deduplicated\' '
                        'needs: .*\nGrant evpub\'s user READ: kafka-acls.sh .* --topic <topic>\\. .*'
                        'evpub.delivery = \'at_least_once\'; SELECT pg_reload_conf\\(\\); .*forget_topic.*',
                        text), text
    r.batch(r.put(own(2), partition=1))
    r.silent()
    assert not r.found
    # the same one goes on when the right is granted; without read-back it need not be
    plain = reader(t, kafka.sasl, kafka_config_file=file)
    plain.topic(0, 'locked', 3)
    plain.batch(plain.put(own(3), partition=2))
    plain.wait_acked(1)
    kafka.admin('allow', 'locked', 'evpub', 'READ')
    r.wait_acked(1)
    while r.trouble[-1] != '':
        r.wait('S')
    os.unlink(file)


def test_no_leader(t):
    "a partition without a leader does not hold up others"
    b = t.broker('--topic', 'events:2')
    b.command('leader events 1 -1')
    r = reader(t, b.servers)
    r.origin()
    r.known(0, 'events', [None, None])
    r.batch(r.put(own(1)), r.put(own(2), partition=1))
    r.wait_acked(1)
    r.wait_trouble('^topic "events" partition 1 cannot be read back yet: .*eader')
    assert (0, 1) not in r.found
    b.command('leader events 1 1')
    r.wait_acked(2)


def test_leaves(t):
    "a relay that reads back leaves at once"
    b = t.broker('--topic', 'events:1')
    r = reader(t, b.servers)
    r.wait('b')
    b.freeze()
    r.origin()
    r.known(0, 'events', [None])
    r.batch(r.put(own(1)))
    r.wait('h')
    start = time.monotonic()
    r.socket.shutdown(socket.SHUT_WR)
    r.process.wait(relay.PATIENCE)
    assert time.monotonic() - start < 5


def test_malformed(t):
    "frames about read-back that make no sense end it"
    b = t.broker('--topic', 'events:1')

    def broken(kind, payload, origin=True):
        r = reader(t, b.servers)
        if origin:
            r.origin()
        r.topic(0, 'events', 1)
        r.send(kind, payload)
        kind, text = r.wait_failed()
        assert kind == 'r' and re.search('malformed|unexpected|before it was read', text), text

    broken('R', b'12345678' + bytes(8))
    broken('R', struct.pack('=8sII', b'%08x' % ROOT, 1, 0), origin=False)
    broken('R', b'short', origin=False)
    broken('r', struct.pack('=Ii', 0, -1), origin=False)
    broken('r', struct.pack('=Ii', 5, -1))
    broken('r', struct.pack('=Ii', 0, 1))
    broken('r', b'x')
    broken('t', struct.pack('=IiqII', 0, 0, 0, 0, 0))
    broken('t', struct.pack('=IiqII', 0, 7, 0, 0, 0))
    broken('t', struct.pack('=IiqII', 0, 0, 0, 1, 0))
    r = reader(t, b.servers)
    r.origin()
    r.answers = lambda topic, partition, ids: [(b't', own(1)), (b't', own(2))]
    r.known(0, 'events', [None])
    assert r.wait_failed()[0] == 'r'


def test_silent_replica(t):
    "an end is asked for when all in-sync replicas answer, or one has kept silent for long"
    b = t.broker('--brokers', '3', '--topic', 'events:1', '--topic', 'others:1')
    b.command('leader events 0 1')
    b.command('leader others 0 1')
    r = reader(t, b.servers)
    r.origin()
    r.known(0, 'events', [None])
    r.wait_found()
    r.socket.close()
    assert r.process.wait(relay.PATIENCE) == 0
    log = r.process.stderr.read().decode()
    assert 'has not answered' not in log, 'brokers that answer are not given up'

    b.command('rtt 2 5000')
    r = reader(t, b.servers)
    start = time.monotonic()
    r.origin()
    r.known(0, 'events', [None])
    r.batch(r.put(own(1)))
    r.wait_trouble('^broker 2 does not answer, and is an in-sync replica of topic "events" partition 0: ')
    assert not r.found
    r.wait_found()
    assert time.monotonic() - start >= 3, 'the wait was too short'
    r.wait_acked(1)
    # the consumer is gone, and a question was still on its way
    b.command('rtt 2 0')
    r.known(1, 'others', [None])
    r.wait_found(1)
    r.socket.close()
    assert r.process.wait(relay.PATIENCE) == 0
    log = r.process.stderr.read().decode()
    assert log.count('broker 2 has not answered for 3 s, and is an in-sync replica of topic '
                     '"events" partition 0: ') == 1, log


def main():
    global kafka
    kafka = Kafka()
    relay.__dict__.update({k: v for k, v in globals().items() if k.startswith('test_')})
    for name in [k for k in relay.__dict__ if k.startswith('test_') and k not in globals()]:
        del relay.__dict__[name]
    try:
        return relay.main()
    finally:
        kafka.stop()


if __name__ == '__main__':
    sys.exit(main())
