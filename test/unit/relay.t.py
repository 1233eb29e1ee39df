#!/usr/bin/env python3
"""evpub-relay, driven over its frame protocol against mock brokers.

Prints TAP.  The worker's part is played by this script: it makes the socket
pair, starts evpub-relay with one end at descriptor 3, and speaks frame.h.
Nothing here waits for a fixed time: every wait is for a frame or an exit.

What the mock broker cannot show (sequence numbers, real topic creation) is
shown by the tests on a real broker.
"""
import collections
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find_relay():
    """The one of the tree, or the installed one when only test/ is there."""
    built = os.path.join(TOP, 'evpub-relay')
    if os.path.exists(built):
        return built
    out = subprocess.run([os.environ.get('PG_CONFIG', 'pg_config'), '--bindir'],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    return os.path.join(out.strip(), 'evpub-relay')


RELAY = os.environ.get('EVPUB_RELAY') or find_relay()
MOCK = os.environ.get('EVPUB_MOCKBROKER',
                      os.path.join(TOP, 'test/mockbroker/evpub-mockbroker'))
PATIENCE = float(os.environ.get('EVPUB_TEST_PATIENCE', '60'))

VERSION = 5
ID_LENGTH = 51

# EvpubFrameFailed
FAILED = struct.Struct('<BBHiIiQQQI51s51sH4x')
Failed = collections.namedtuple('Failed', 'kind size zero code topic partition bytes '
                                'first last count first_id last_id also_zero')

PRODUCE = 0                     # Kafka's number of the request


def event_id(n):
    return b'%016x-%08x-%016X-%08x' % (1, 1, n, 0)


def murmur2(data):
    """The Java client's hash."""
    m, mask = 0x5bd1e995, 0xffffffff
    h = (0x9747b28c ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = struct.unpack('<I', data[i:i + 4])[0] * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, 'little')) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key, count):
    return (murmur2(key) & 0x7fffffff) % count


class Broker:
    def __init__(self, *args):
        self.process = subprocess.Popen([MOCK, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.servers = self.process.stdout.readline().split()[1]

    def command(self, text):
        self.process.stdin.write(text + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == 'ok', f'{text}: {answer}'

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)
        # the signal takes a moment to arrive
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


class Gone(Exception):
    pass


class Skip(Exception):
    """A case that cannot be run here, and why."""


class Relay:
    def __init__(self, servers, descriptors=None, preload=None, **settings):
        """descriptors: how many it may have open; preload: a library."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

        def at_three():
            os.dup2(theirs.fileno(), 3)
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        # pass_fds would close 3 when it is not in the list
        environment = dict(os.environ)
        if preload:
            environment.update(LD_PRELOAD=preload, ASAN_OPTIONS='verify_asan_link_order=0')
        self.process = subprocess.Popen([RELAY], preexec_fn=at_three, env=environment,
                                        pass_fds=(3, theirs.fileno())
                                        if theirs.fileno() != 3 else (3,),
                                        stderr=subprocess.PIPE)
        theirs.close()
        self.socket = mine
        self.buffer = b''
        self.frames = []        # all frames received
        self.acked = self.dropped = 0
        self.offsets = {}
        self.trouble = []
        self.next = 1
        self.unpinned = {}      # topics whose count is asked for: number to name
        self.pin = True         # confirm counts as soon as they are reported
        config = {'bootstrap_servers': servers, 'kafka_config_file': '',
                  'create_topics': 'on', 'topic_partitions': '-1',
                  'topic_replication_factor': '-1', 'client_id': 'evpub-test'}
        config.update(settings)
        self.send('C', b''.join(k.encode() + b'\0' + v.encode() + b'\0'
                                for k, v in config.items()))

    def send(self, kind, payload):
        self.socket.sendall(struct.pack('=IBBH', len(payload), ord(kind), VERSION, 0)
                            + payload)

    def topic(self, number, name, pinned=0):
        if pinned <= 0:
            self.unpinned[number] = name
        self.send('T', struct.pack('=Ii', number, pinned) + name.encode())

    def offset(self, topic, partition, offset):
        self.send('O', struct.pack('=Iiq', topic, partition, offset))

    def record(self, topic, key, value, headers=(), n=None):
        encoded = b''.join(struct.pack('=I', len(x)) + x for h in headers for x in h)
        return (struct.pack('=IiiiI', topic, -1, -1 if key is None else len(key),
                            -1 if value is None else len(value), len(encoded))
                + event_id(n or 0) + (key or b'') + (value or b'') + encoded)

    def encode_batch(self, records):
        first = self.next
        self.next += len(records)
        return struct.pack('=QII', first, len(records), 0) + b''.join(records)

    def batch(self, *records):
        self.send('B', self.encode_batch(records))

    def receive(self, deadline):
        """One frame, or None at the deadline."""
        while True:
            if len(self.buffer) >= 8:
                length, kind, version, _ = struct.unpack('=IBBH', self.buffer[:8])
                assert version == VERSION
                if len(self.buffer) >= 8 + length:
                    payload = self.buffer[8:8 + length]
                    self.buffer = self.buffer[8 + length:]
                    return self.note(chr(kind), payload)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            data = self.socket.recv(1 << 20)
            if not data:
                raise Gone('the relay closed its socket')
            self.buffer += data

    def note(self, kind, payload):
        if kind == 'A':
            value, dropped = struct.unpack('=QQ', payload)
            assert value > self.acked, 'acknowledgements must go up'
            assert dropped - self.dropped in (0, value - self.acked), 'what was dropped comes apart'
            self.acked, self.dropped = value, dropped
        elif kind == 'o':
            topic, partition, offset, identity = struct.unpack('=Iiq51s5x', payload)
            assert offset > self.offsets.get((topic, partition), -1)
            self.offsets[topic, partition] = offset
        elif kind == 'P' and self.pin:
            number, count = struct.unpack('=Ii', payload)
            if number in self.unpinned:
                self.topic(number, self.unpinned.pop(number), count)
        elif kind == 'S':
            self.trouble.append(payload.decode())
        self.frames.append((kind, payload))
        return kind, payload

    def wait(self, kind, condition=lambda payload: True, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while True:
            frame = self.receive(deadline)
            if frame is None:
                raise AssertionError(f'no frame {kind} in {patience} s; had '
                                     f'{self.frames[-10:]}')
            if frame[0] == 'F' and kind != 'F':
                raise AssertionError(f'relay failed: {frame[1]}')
            if frame[0] == kind and condition(frame[1]):
                return frame[1]

    def wait_acked(self, number):
        while self.acked < number:
            self.wait('A')

    def wait_trouble(self, pattern):
        return self.wait('S', lambda text: re.search(pattern, text.decode())).decode()

    def wait_no_trouble(self):
        """The answer that ends it may come before an acknowledgement that was waited for."""
        while self.trouble[-1] != '':
            self.wait('S')

    def wait_failed(self):
        payload = self.wait('F')
        self.process.wait(PATIENCE)
        self.failed = Failed(*FAILED.unpack(payload[:FAILED.size]))
        return chr(self.failed.kind), payload[FAILED.size:].decode()

    def resident(self):
        with open(f'/proc/{self.process.pid}/status') as status:
            return int(re.search(r'VmRSS:\s+(\d+)', status.read()).group(1))

    def close(self):
        self.socket.close()
        code = self.process.wait(PATIENCE)
        self.process.stderr.close()
        return code


class TestCase:
    """Ends what a test started, also when it fails."""

    def __init__(self):
        self.open = []

    def broker(self, *args):
        self.open.append(Broker(*args))
        return self.open[-1]

    def relay(self, servers, **settings):
        relay = Relay(servers, **settings)
        self.open.append(relay)
        return relay

    def end(self):
        for thing in reversed(self.open):
            if isinstance(thing, Relay):
                if thing.process.poll() is None:
                    thing.process.kill()
                thing.close()
            else:
                thing.stop()


def free_port():
    """A port that nobody uses, below the range for outgoing connections: there, a
    client that tries again and again may be connected to itself."""
    while True:
        port = random.randrange(10200, 32200)
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue


def consume(servers, topic, count):
    """(partition, offset, key, value, headers) of records, by kcat.  A key or
    value that is not there is None."""
    out = subprocess.run(
        ['kcat', '-C', '-b', servers, '-t', topic, '-o', 'beginning', '-c', str(count),
         '-f', '%p\t%o\t%K\t%k\t%S\t%s\t%h\n', '-q'],
        stdout=subprocess.PIPE, timeout=PATIENCE, check=True).stdout
    rows = [line.split(b'\t') for line in out.splitlines()]
    return [(int(p), int(o), k if int(kl) >= 0 else None,
             v if int(vl) >= 0 else None, h) for p, o, kl, k, vl, v, h in rows]


def config_file(text, mode=0o600):
    fd, path = tempfile.mkstemp(prefix='evpub-relay-test')
    os.write(fd, text.encode())
    os.close(fd)
    os.chmod(path, mode)
    return path


# ---------------------------------------------------------------- the tests

def test_version(t):
    "--version names the program and librdkafka"
    out = subprocess.run([RELAY, '--version'], stdout=subprocess.PIPE, check=True).stdout
    assert re.fullmatch(rb'evpub-relay \S+ \(librdkafka \S+\)\n', out), out


def test_without_socket(t):
    "started by hand, it says why it does not run"
    got = subprocess.run([RELAY], stderr=subprocess.PIPE, close_fds=True)
    assert got.returncode == 2 and b'background worker' in got.stderr


def test_publishes(t):
    "records arrive in the partition of their key, with id and headers"
    b = t.broker('--topic', 'events:4')
    r = t.relay(b.servers)
    r.wait('H')
    r.topic(7, 'events')
    n = 200
    r.batch(*[r.record(7, b'tenant-%d' % (i % 13), b'{"n":%d}' % i,
                       [(b'__TypeId__', b'x')] if i % 2 else [], i) for i in range(n)])
    assert struct.unpack('=Ii', r.wait('P')) == (7, 4)
    r.wait_acked(n)
    rows = consume(b.servers, 'events', n)
    for partition in range(4):
        mine = [row for row in rows if row[0] == partition]
        numbers = [int(re.search(rb'\d+', row[3]).group()) for row in mine]
        assert numbers == sorted(numbers), 'order within a partition'
        assert r.offsets[7, partition] == len(mine) - 1
    for partition, _, key, value, headers in rows:
        i = int(re.search(rb'\d+', value).group())
        assert partition == partition_of(key, 4)
        assert headers == b'evpub-id=' + event_id(i) + (b',__TypeId__=x' if i % 2 else b'')


def test_pins_first(t):
    "no record goes out under a count that the worker has not made durable"
    b = t.broker('--topic', 'known:2', '--topic', 'events:4', '--topic', 'more:3')
    r = t.relay(b.servers)
    r.pin = False
    r.topic(0, 'known', 2)
    r.topic(1, 'events')
    r.batch(r.record(0, b'k', b'v'), r.record(1, b'k', b'v'))
    # far more than the input buffer lies between; another topic is in it
    for _ in range(5):
        r.batch(*[r.record(0, b'k', b'x' * 1000) for _ in range(100)])
    r.topic(2, 'more', -1)
    r.batch(r.record(2, b'k', b'v'))
    counts = {}
    while len(counts) < 2:
        number, count = struct.unpack('=Ii', r.wait('P'))
        counts[number] = count
    assert counts == {1: 4, 2: 3}
    r.wait_acked(1)
    deadline = time.monotonic() + 0.3
    while (frame := r.receive(deadline)) is not None:
        assert frame[0] == 'h', frame
    assert r.acked == 1
    r.topic(2, 'more', 3)
    r.topic(1, 'events', 4)
    r.wait_acked(503)


def test_kinds_of_records(t):
    "no key goes by the id; tombstones, empty keys and empty values stay apart"
    b = t.broker('--topic', 'events:5')
    r = t.relay(b.servers)
    r.topic(0, 'events', 5)
    cases = [(None, b'no key'), (b'', b'empty key'), (b'gone', None), (b'hollow', b'')]
    r.batch(*[r.record(0, k, v, n=i) for i, (k, v) in enumerate(cases)])
    r.wait_acked(4)
    rows = {i: row for i in range(4) for row in consume(b.servers, 'events', 4)
            if event_id(i) in row[4]}
    for i, (k, v) in enumerate(cases):
        row = rows[i]
        assert row[0] == partition_of(event_id(i) if k is None else k, 5), (i, row)
        assert (row[2], row[3]) == (k, v), row


def test_unknown_size(t):
    "large events, and a batch far larger than the input buffer"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    for size, count in ((900000, 3), (300000, 20), (10, 5000), (900000, 1), (1, 1)):
        r.batch(*[r.record(0, b'k', b'x' * size) for _ in range(count)])
        r.wait_acked(r.next - 1)


def test_split_frames(t):
    "frames that come in single bytes"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    payload = r.encode_batch([r.record(0, b'k', b'v') for _ in range(3)])
    for byte in struct.pack('=IBBH', len(payload), ord('B'), VERSION, 0) + payload:
        r.socket.send(bytes([byte]))
    r.wait_acked(3)


def test_missing_topic_created(t):
    "a topic that was never published to is made"
    b = t.broker()
    r = t.relay(b.servers)
    r.topic(3, 'fresh')
    r.batch(r.record(3, b'k', b'v'))
    number, count = struct.unpack('=Ii', r.wait('P'))
    assert number == 3 and count > 0
    r.wait_acked(1)


def test_topic_error(t):
    "records wait for a topic that cannot be used, in order, and the reason is reported"
    b = t.broker('--topic', 'good:1', '--topic', 'bad:1')
    b.command('topic-error bad 3')      # UNKNOWN_TOPIC_OR_PARTITION
    r = t.relay(b.servers)
    r.topic(0, 'good')
    r.topic(1, 'bad', 1)
    r.batch(r.record(0, b'k', b'1'), r.record(1, b'k', b'2'), r.record(0, b'k', b'3'))
    text = r.wait_trouble('"bad" does not exist any more')
    r.wait_acked(1)
    assert r.acked == 1, text
    b.command('topic-error bad 0')
    r.wait_acked(3)
    r.wait_no_trouble()


def test_no_leader(t):
    "a partition without a leader: the reason is reported, and all goes on when it has one"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    b.command('leader events 0 -1')
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    text = r.wait_trouble('brokers answer, and have not acknowledged')
    assert re.search(r'partition 0 of topic "events" has no leader\n.*--unavailable-partitions', text), text
    b.command('leader events 0 1')
    r.wait_acked(1)
    r.wait_no_trouble()


def test_another_version(t):
    "a server of another version: the relay says so"
    r = t.relay('127.0.0.1:1')
    r.socket.sendall(struct.pack('=IBBH', 0, ord('B'), VERSION + 1, 0))
    kind, text = r.wait_failed()
    assert text == f'the server speaks version {VERSION + 1} of the relay protocol, evpub-relay speaks {VERSION}', text


def test_fewer_partitions(t):
    "a topic with fewer partitions than before was made again: stop"
    b = t.broker('--topic', 'events:2')
    r = t.relay(b.servers)
    r.topic(0, 'events', 3)
    r.batch(r.record(0, b'k', b'v'))
    code, text = r.wait_failed()
    assert code == 't' and '"events"' in text and r.acked == 0, (code, text)


def test_more_partitions(t):
    "a grown topic is reported, keys stay where they were until it is adopted"
    b = t.broker('--topic', 'events:6')
    r = t.relay(b.servers)
    r.topic(0, 'events', 4)
    keys = [b'key-%d' % i for i in range(40)]
    r.batch(*[r.record(0, k, b'before') for k in keys])
    assert struct.unpack('=Ii', r.wait('P')) == (0, 6)
    r.wait_acked(40)
    r.topic(0, 'events', 6)
    r.batch(*[r.record(0, k, b'after') for k in keys])
    r.wait_acked(80)
    for p, _, k, v, _ in consume(b.servers, 'events', 80):
        assert p == partition_of(k, 4 if v == b'before' else 6)


def test_lower_offset(t):
    "an offset below an earlier one: the topic was made again"
    b = t.broker('--topic', 'events:2')
    r = t.relay(b.servers)
    r.topic(0, 'events', 2)
    r.offset(0, partition_of(b'k', 2), 100)
    r.batch(r.record(0, b'k', b'v'))
    code, text = r.wait_failed()
    assert code == 't' and '"events" partition' in text, (code, text)
    assert r.acked == 0


def test_failed_report(t):
    "a refused record: nothing from it on is acknowledged, the relay ends"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(*[r.record(0, b'k', b'v', n=i) for i in range(1, 6)])
    r.wait_acked(5)
    b.command(f'push-error {PRODUCE} 10')   # MSG_SIZE_TOO_LARGE
    r.batch(r.record(0, b'k', b'v', n=6))
    code, text = r.wait_failed()
    assert code == 'e' and r.acked == 5, (code, text, r.acked)
    assert '"events" partition 0' in text and 'MSG_SIZE_TOO_LARGE' in text
    assert event_id(6).decode() in text
    f = r.failed
    assert (f.code, f.topic, f.partition, f.count, f.size) == (10, 0, 0, 1, 1), f
    assert (f.first, f.last, f.first_id, f.last_id) == (6, 6, event_id(6), event_id(6)), f


def test_failed_batch(t):
    "a refused batch: all of its records are named, and none of another partition"
    b = t.broker('--topic', 'events:2')
    r = t.relay(b.servers)
    r.topic(0, 'events', 2)
    keys = [next(k for k in (b'%d' % i for i in range(100)) if partition_of(k, 2) == p)
            for p in (0, 1)]
    r.batch(*[r.record(0, k, b'v', n=i) for i, k in enumerate(keys, 1)])
    r.wait_acked(2)
    b.command(f'push-error {PRODUCE} 87')   # INVALID_RECORD
    r.batch(*[r.record(0, keys[0], b'v', n=i) for i in range(3, 9)])
    code, text = r.wait_failed()
    f = r.failed
    assert code == 'e' and f.size == 0 and f.partition == 0, (code, f)
    assert f.first_id == event_id(f.first) and f.last_id == event_id(f.last), f
    assert 3 <= f.first <= f.last <= 8 and f.count == f.last - f.first + 1, f
    assert r.acked == f.first - 1, (r.acked, f)


def test_limit(t):
    "a limit of bytes in flight stops nothing for good: one record may always go"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.send('L', struct.pack('=Iiq', 0, 0, 2000))
    r.batch(*[r.record(0, b'k', b'v' * 900) for _ in range(200)],
            r.record(0, b'k', b'v' * 100000))
    r.wait_acked(201)


def test_limit_outgrown(t):
    "a larger record that is acknowledged has shown that so much is taken"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.command('rtt 1 100')
    r.send('L', struct.pack('=Iiq', 0, 0, 1000))

    def seconds(count):
        start = time.monotonic()
        r.batch(*[r.record(0, b'k', b'v' * 900) for _ in range(count)])
        r.wait_acked(r.next - 1)
        return time.monotonic() - start

    capped = seconds(20)
    assert capped >= 2, capped          # one by one, each 100 ms
    r.batch(r.record(0, b'k', b'v' * 100000))
    r.wait_acked(r.next - 1)
    free = seconds(20)
    assert free < capped / 2, (capped, free)


def test_too_large(t):
    "a record that librdkafka refuses itself"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v', n=1), r.record(0, b'k', b'v' * 16900000, n=2))
    code, text = r.wait_failed()
    assert code == 'e' and 'MSG_SIZE_TOO_LARGE' in text and event_id(2).decode() in text
    assert r.acked == 1 and r.failed.count == 1 and r.failed.last == 2, r.failed


def test_temporary_errors(t):
    "errors that pass are retried without a loss"
    b = t.broker('--topic', 'events:3')
    r = t.relay(b.servers)
    r.topic(0, 'events', 3)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.command(f'push-error {PRODUCE} 19 2')     # NOT_ENOUGH_REPLICAS
    r.batch(r.record(0, b'k', b'w'))
    r.wait_acked(2)
    assert [row[3] for row in consume(b.servers, 'events', 2)] == [b'v', b'w']


def after_produce_error(t, code):
    """A relay that has a record to send when the broker answers so, once.

    One record is one request.  With two of them on their way, the mock broker, which knows no
    sequence numbers, would take the second one, and librdkafka would conclude from that that
    the broker has the first one, too, or say that the two have come apart.
    """
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'1'))
    r.wait_acked(1)
    b.command(f'push-error {PRODUCE} {code}')
    r.batch(r.record(0, b'k', b'2', n=2))
    return b, r


def test_producer_errors(t):
    "the broker does not go on with this producer: another relay is to send it all again"
    for code, name in ((45, 'OUT_OF_ORDER_SEQUENCE_NUMBER'), (47, 'INVALID_PRODUCER_EPOCH')):
        b, r = after_produce_error(t, code)
        kind, text = r.wait_failed()
        assert kind == 'r' and name in text, (code, kind, text)
        assert r.acked == 1 and r.failed.first == 2, r.failed
        assert [row[3] for row in consume(b.servers, 'events', 1)] == [b'1']
    b, r = after_produce_error(t, 59)   # UNKNOWN_PRODUCER_ID: librdkafka begins anew by itself
    r.wait_acked(2)
    assert [row[3] for row in consume(b.servers, 'events', 2)] == [b'1', b'2']


def test_not_about_records(t):
    "rights and timestamps: no record is to blame, so none can be given up"
    for code, name in ((29, 'TOPIC_AUTHORIZATION_FAILED'), (32, 'INVALID_TIMESTAMP')):
        _, r = after_produce_error(t, code)
        kind, text = r.wait_failed()
        assert kind == 'r' and name in text, (code, kind, text)
        assert r.acked == 1, r.acked
        assert code != 29 or 'user WRITE on the topic' in text, text


def test_topic_rights(t):
    "the right on a topic is taken away, and given back"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    if r.wait('H').startswith(b'2.8.'):
        raise Skip('librdkafka 2.8 crashes on its own mock, which names the partitions of a topic '
                   'that must not be seen; t/050_connections.pl has a real broker')
    b.command('topic-error events 29')
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'1'))
    assert '"events": Broker: Topic authorization failed' in r.wait_trouble('.')
    b.command('topic-error events 0')
    r.wait_acked(1)
    r.wait_no_trouble()


def test_first_record_alone(t):
    "the first record of a partition goes alone, until it is acknowledged"
    # A leader that does not know the producer takes any sequence number: had
    # it refused a first batch and taken a second, the first would be lost.
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.wait('H')
    b.command('rtt 1 100')
    b.command(f'push-error {PRODUCE} 29 1')     # TOPIC_AUTHORIZATION_FAILED
    r.topic(0, 'events', 1)
    r.batch(*[r.record(0, b'k', b'%d' % i) for i in range(200)])
    assert ' with 1 message(s) failed' in r.wait_failed()[1]


def test_reports_together(t):
    "acknowledgements of one batch are reported together, and at once when they are all there"
    b = t.broker('--topic', 'events:12')
    r = t.relay(b.servers)
    r.wait('H')
    r.topic(0, 'events', 12)
    r.batch(*[r.record(0, b'%d' % i, b'v') for i in range(100)])
    r.wait_acked(100)                           # each partition has had its first record
    before = len(r.frames)
    rounds = 50
    most = 0
    for n in range(2, rounds + 2):
        start = time.monotonic()
        r.batch(*[r.record(0, b'%d' % i, b'v') for i in range(100)])
        r.wait_acked(100 * n)
        # one at the end, and of a part one each 5 ms (REPORT_INTERVAL), in whole ms
        most += 1 + int((1000 * (time.monotonic() - start) + 1) / 5)
    acked = sum(1 for kind, _ in r.frames[before:] if kind == 'A')
    print(f'# {acked} acknowledgements for {rounds} batches')
    assert acked <= most, (acked, most)


def test_no_broker(t):
    "no broker at the start: the reason is reported"
    port = free_port()
    r = t.relay(f'127.0.0.1:{port}')
    r.wait('H')
    r.topic(0, 'events')
    r.batch(r.record(0, b'k', b'v'))
    text = r.wait_trouble('no broker of')
    assert text.startswith(f'no broker of 127.0.0.1:{port} answers: Connection refused\n'), text


def test_unresolvable(t):
    "a name that does not resolve"
    r = t.relay('no-such-host.invalid:9092')
    r.topic(0, 'events')
    r.batch(r.record(0, b'k', b'v'))
    text = r.wait_trouble('no broker of no-such-host.invalid:9092 answers: .*resolve')
    assert 'no-such-host' in text


def test_broker_returns(t):
    "brokers go and come back: trouble is reported and taken back"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.command('down 1')
    r.batch(r.record(0, b'k', b'w'))
    r.wait_trouble('no broker of .* answers')
    b.command('up 1')
    r.wait_acked(2)
    r.wait_no_trouble()


def test_broker_returns_idle(t):
    "the same while nothing is to be sent"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.command('down 1')
    r.wait_trouble('no broker of')
    b.command('up 1')
    r.wait_trouble('^$')


def closes_at_once(r):
    "without a farewell, which takes 5 s, or a wait for brokers, which has no end"
    start = time.monotonic()
    assert r.close() == 0
    assert time.monotonic() - start < 2


def test_black_hole(t):
    "a frozen broker: stuck records are reported, with the servers' names"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.freeze()
    r.batch(r.record(0, b'k', b'w'))
    text = r.wait_trouble('no acknowledgement')
    assert text == f'no acknowledgement from {b.servers} for 5 s', text
    closes_at_once(r)


def test_replicas(t):
    "brokers that answer and do not acknowledge: the relay waits, and says why"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.command(f'push-error {PRODUCE} 19 80')    # NOT_ENOUGH_REPLICAS
    r.batch(r.record(0, b'k', b'w'))
    text = r.wait_trouble('brokers answer, and have not acknowledged')
    assert re.search(r'partition 0 of topic "events" has 1 of 1 replicas in sync\n.*min\.insync\.replicas', text), text
    r.wait_acked(2)
    r.wait_trouble('^$')


def test_black_hole_at_start(t):
    "a listener that never answers, from the start"
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(8)
        name = '127.0.0.1:%d' % listener.getsockname()[1]
        r = t.relay(name)
        r.topic(0, 'events')
        r.batch(r.record(0, b'k', b'v'))
        assert r.wait_trouble('.').startswith(f'no broker of {name} answers: timed out\n')
        closes_at_once(r)


def fill(r, size):
    """Sends batches until the relay takes no more; the unsent rest is lost."""
    r.socket.setblocking(False)
    batch = b''
    sent = 0
    while True:
        if not batch:
            payload = r.encode_batch([r.record(0, b'tenant-%d' % i, b'x' * size)
                                      for i in range(65536 // (size + 100) + 1)])
            batch = struct.pack('=IBBH', len(payload), ord('B'), VERSION, 0) + payload
        if not select.select([], [r.socket], [], 2)[1]:
            r.socket.setblocking(True)
            return sent, batch
        done = r.socket.send(batch)
        batch = batch[done:]
        sent += done


def test_back_pressure(t):
    "a full queue holds the worker back, memory stays small, all goes on after it"
    for size in (1, 170, 20000):
        b = t.broker('--topic', 'events:3')
        r = t.relay(b.servers)
        r.topic(0, 'events', 3)
        # in each partition: the first record of one goes alone
        r.batch(*[r.record(0, b'tenant-%d' % i, b'v') for i in range(20)])
        r.wait_acked(20)
        b.command('down 1')
        r.wait_trouble('no broker of')
        sent, rest = fill(r, size)
        assert sent > 2000000, sent
        resident = r.resident()
        print(f'# values of {size} bytes: {sent} bytes taken, {resident} kB resident')
        assert resident < 40960 or os.environ.get('EVPUB_TEST_NO_RSS'), resident
        b.command('up 1')
        r.socket.sendall(rest)
        r.wait_acked(r.next - 1)
        assert r.close() == 0
        b.stop()
        t.open = []


def test_no_end_ahead(t):
    "records without end before a partition count do not take the machine's memory"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.pin = False
    r.topic(0, 'events')
    largest = 0
    try:
        for _ in range(400):
            r.batch(r.record(0, b'k', b'x' * 1000000))
            largest = max(largest, r.resident())
    except (OSError, AttributeError):
        pass
    code, text = r.wait_failed()
    assert code == 'r' and 'without end' in text, text
    assert largest < 300000 or os.environ.get('EVPUB_TEST_NO_RSS'), largest


def test_worker_gone(t):
    "the relay ends at once with the worker's socket, also with a full queue"
    r = t.relay(f'127.0.0.1:{free_port()}')
    r.wait('H')
    r.topic(0, 'events', 1)
    fill(r, 1000)
    closes_at_once(r)


def test_signals(t):
    "signals for the worker's process group do nothing"
    r = t.relay(f'127.0.0.1:{free_port()}')
    r.wait('H')
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE,
                   signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        r.process.send_signal(number)
    r.wait('S')
    assert r.process.poll() is None
    assert r.close() == 0


def test_heartbeat(t):
    "it shows that it lives, also while it can take no more"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.wait('h')
    b.freeze()
    fill(r, 1000)
    start = time.monotonic()
    for _ in range(3):
        r.wait('h')
    assert time.monotonic() - start < 14    # where a worker would give it up


def rest(r):
    """All that it still says, and its exit code; and how long that took."""
    start = time.monotonic()
    try:
        while True:
            assert r.receive(start + PATIENCE) is not None, 'it does not end'
    except (Gone, ConnectionResetError):
        pass
    return r.process.wait(PATIENCE), time.monotonic() - start


def test_quiet_end(t):
    "when the worker only stops sending: what is in flight is acknowledged"
    for _ in range(10):
        b = t.broker('--topic', 'events:4')
        r = t.relay(b.servers)
        r.topic(0, 'events', 4)
        n = 5000
        for i in range(n // 100):
            r.batch(*[r.record(0, b'k%d' % (i * 100 + k), b'v', n=i * 100 + k)
                      for k in range(100)])
        r.wait_acked(1)
        r.socket.shutdown(socket.SHUT_WR)
        code, took = rest(r)
        assert code == 0 and took < 2, (code, took)
        # at its deadline (EVPUB_QUIET_MS) it leaves with records in flight
        if took < 0.5:
            break
    else:
        raise AssertionError('it has never left before its deadline')
    # exactly what it said is there
    out = subprocess.run(['kcat', '-C', '-e', '-q', '-b', b.servers, '-t', 'events',
                          '-o', 'beginning', '-f', 'x'], stdout=subprocess.PIPE,
                         timeout=PATIENCE, check=True).stdout
    assert len(out) == r.acked, (len(out), r.acked)


def test_quiet_end_black_hole(t):
    "a quiet end does not wait long for brokers that do not answer"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.freeze()
    r.batch(r.record(0, b'k', b'v'))
    r.socket.shutdown(socket.SHUT_WR)
    code, took = rest(r)
    assert code == 0 and took < 1.5, (code, took)


def test_quiet_end_at_once(t):
    "a quiet end with nothing in flight, before and after the first frame"
    for wait in ('', 'H'):
        r = t.relay(f'127.0.0.1:{free_port()}')
        if wait:
            r.wait(wait)
        r.socket.shutdown(socket.SHUT_WR)
        code, took = rest(r)
        assert code == 0 and took < 1, (code, took)


def test_closed_while_leaving(t):
    "a quiet end becomes an end at once when the worker closes"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    b.freeze()
    r.batch(r.record(0, b'k', b'v'))
    r.socket.shutdown(socket.SHUT_WR)
    start = time.monotonic()
    assert r.close() == 0
    assert time.monotonic() - start < 0.4


def test_no_secrets_in_cores(t):
    "a core of it has no memory"
    r = t.relay(f'127.0.0.1:{free_port()}')
    r.wait('H')
    with open(f'/proc/{r.process.pid}/coredump_filter') as filter:
        assert int(filter.read(), 16) == 0


def test_protocol_errors(t):
    "frames that make no sense end the relay with a text"
    servers = f'127.0.0.1:{free_port()}'

    def broken(kind, payload, announce=True):
        r = t.relay(servers)
        if announce:
            r.topic(0, 'events', 1)
        r.send(kind, payload)
        code, text = r.wait_failed()
        assert code == 'r' and text, (kind, payload)

    broken('X', b'')
    broken('C', b'')
    broken('T', b'abc')
    broken('O', b'abc')
    broken('O', struct.pack('=Iiq', 9, 0, 0))
    broken('B', b'abc')
    broken('B', struct.pack('=QII', 5, 1, 0))


def test_malformed_records(t):
    "records that claim more than there is end the relay"
    b = t.broker('--topic', 'events:1')
    for spoil in (lambda x: x[:-1],
                  lambda x: x + b'z',
                  lambda x: x[:4] + struct.pack('=i', 1 << 30) + x[8:],
                  lambda x: x[:8] + struct.pack('=i', -2) + x[12:],
                  lambda x: x[:12] + struct.pack('=I', 0xffffffff) + x[16:],
                  lambda x: struct.pack('=I', 99) + x[4:],
                  lambda x: x[:12] + struct.pack('=I', 3) + x[16:] + b'abc'):
        r = t.relay(b.servers)
        r.topic(0, 'events', 1)
        good = r.record(0, b'key', b'value')
        r.send('B', struct.pack('=QII', 1, 1, 0) + spoil(good))
        code, text = r.wait_failed()
        assert code == 'r' and r.acked == 0, text


SECRET = 'geheim-4711'


def refused(t, text, mode=0o600, pattern=''):
    path = config_file(text, mode)
    try:
        r = t.relay('127.0.0.1:1', kafka_config_file=path)
        code, message = r.wait_failed()
    finally:
        os.unlink(path)
    assert code == 'c', (code, message)
    assert path in message and re.search(pattern, message), message
    assert SECRET not in message, message
    assert SECRET.encode() not in r.process.stderr.read()


def test_file_keys(t):
    "keys that evpub owns, that run code, or that nobody knows are refused by name"
    for key in ('enable.idempotence', 'enable.gapless.guarantee', 'acks',
                'request.required.acks', 'message.timeout.ms', 'delivery.timeout.ms',
                'bootstrap.servers', 'metadata.broker.list', 'max.in.flight',
                'transactional.id', 'plugin.library.paths', 'sasl.kerberos.kinit.cmd',
                'ssl.engine.location', 'ssl.providers', 'dr_msg_cb', 'opaque',
                'interceptors', 'allow.auto.create.topics', 'retries', 'no.such.key',
                'queue.buffering.max.kbytes', 'partitioner', 'client.id', 'debug',
                'message.max.bytes'):
        refused(t, f'# comment\n\n{key} = {SECRET}\n',
                pattern=f'line 3: .*"{re.escape(key)}"')


def test_file_values(t):
    "values that librdkafka refuses, or a shell would run"
    refused(t, f'compression.codec={SECRET}\n', pattern='line 1: .*"compression.codec"')
    refused(t, f'linger.ms={SECRET}\n', pattern='line 1: .*"linger.ms"')
    refused(t, f'sasl.kerberos.principal=x; echo {SECRET}\n', pattern='line 1: ')
    refused(t, f'{SECRET}\n', pattern='line 1: ')
    refused(t, f'sasl.password {SECRET} = x\n', pattern='line 1: ')


def test_file_access(t):
    "a file that others may read or its group write, that is not there, or not a file"
    for mode in (0o604, 0o644, 0o660, 0o620, 0o610, 0o650, 0o602, 0o601, 0o444):
        refused(t, f'sasl.password={SECRET}\n', mode, 'others, and only readable by its group')
    for path in ('/nonexistent/file', '/dev'):
        r = t.relay('127.0.0.1:1', kafka_config_file=path)
        code, text = r.wait_failed()
        assert code == 'c' and path in text, text


def test_file_of_group(t):
    "the server's own groups may read the file: as its group, and as another one of its user"
    b = t.broker('--topic', 'events:1')
    others = [group for group in os.getgroups() if group != os.getegid()]
    for group, mode in [(os.getegid(), mode) for mode in (0o640, 0o440, 0o400)] + \
            [(group, 0o640) for group in others[:1]]:
        path = config_file(f'sasl.password={SECRET}\n', mode)
        os.chown(path, -1, group)
        r = t.relay(b.servers, kafka_config_file=path)
        r.topic(0, 'events', 1)
        r.batch(r.record(0, b'k', b'v'))
        r.wait_acked(1)
        os.unlink(path)


def test_file_of_another_group(t):
    "a group in which the server's user is not may not read the file"
    others = [group for group in os.getgroups() if group != os.getegid()]
    if not others:
        print('# skipped: this user is in one group only, and can give a file to no other')
        return
    # only root can give a file to a group without being in it: the relay is
    # said to be in no other group instead
    library = tempfile.mkdtemp(prefix='evpub-relay-test')
    source = os.path.join(library, 'groups.c')
    with open(source, 'w', encoding='utf-8') as file:
        file.write('int getgroups(int size, void *list) { (void) size; (void) list; return 0; }\n')
    preload = os.path.join(library, 'groups.so')
    subprocess.run(['gcc', '-shared', '-fPIC', '-o', preload, source], check=True)
    path = config_file(f'sasl.password={SECRET}\n', 0o640)
    os.chown(path, -1, others[0])
    r = t.relay('127.0.0.1:1', kafka_config_file=path, preload=preload)
    code, message = r.wait_failed()
    os.unlink(path)
    shutil.rmtree(library)
    assert code == 'c' and path in message, (code, message)
    assert f'must not be accessible to group {others[0]}' in message, message


def test_file_used(t):
    "allowed keys take effect; secrets do not come out of librdkafka's errors"
    path = config_file('security.protocol=ssl\nssl.key.password=%s\n'
                       'ssl.key.location=/nonexistent/%s\n' % (SECRET, SECRET))
    r = t.relay('127.0.0.1:1', kafka_config_file=path)
    code, text = r.wait_failed()
    os.unlink(path)
    assert code == 'c' and SECRET not in text and 'ssl' in text, text
    b = t.broker('--topic', 'events:1')
    path = config_file('  compression.codec = gzip\r\nlinger.ms=1\n\n#x\n'
                       'sasl.password=%s\n' % SECRET)
    r = t.relay(b.servers, kafka_config_file=path)
    r.topic(0, 'events', 1)
    r.batch(*[r.record(0, b'k', b'v' * 1000) for _ in range(100)])
    r.wait_acked(100)
    os.unlink(path)


def test_tls_refused(t):
    "a listener that does not speak TLS: the reason is reported"
    b = t.broker('--topic', 'events:1')
    path = config_file('security.protocol=ssl\n')
    r = t.relay(b.servers, kafka_config_file=path)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    text = r.wait_trouble('no connection to')
    os.unlink(path)
    assert b.servers in text and 'does not speak TLS' in text, text


def test_descriptors(t):
    "no descriptors are left: at the start it ends and says so"
    b = t.broker('--topic', 'events:1')
    told = set()
    for most in range(6, 40):
        r = t.relay(b.servers, descriptors=most)
        r.topic(0, 'events', 1)
        r.batch(r.record(0, b'k', b'v'))
        kind, payload = 'H', b''
        while kind not in 'FSA':
            kind, payload = r.receive(time.monotonic() + PATIENCE)
        if kind != 'F':
            break
        told.add(payload[FAILED.size:].decode())
    assert told and all(text.endswith(': Too many open files') for text in told), told


def test_no_socket(t):
    "... and when it has to connect again, it is not the brokers that are blamed"
    b = t.broker('--topic', 'events:1')
    r = t.relay(b.servers)
    r.topic(0, 'events', 1)
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(1)
    resource.prlimit(r.process.pid, resource.RLIMIT_NOFILE, (3, 256))
    b.command('down 1')
    text = r.wait_trouble('open files')
    assert re.fullmatch('no connection to .*: Failed to create socket: Too many open files\nIt is this machine .*', text), text
    resource.prlimit(r.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    b.command('up 1')
    r.batch(r.record(0, b'k', b'v'))
    r.wait_acked(2)


def test_leader_moves(t):
    "partitions move between brokers under load: all acknowledged, in order"
    b = t.broker('--brokers', '3', '--topic', 'events:2')
    r = t.relay(b.servers)
    r.topic(0, 'events', 2)
    for i in range(30):
        b.command(f'leader events {i % 2} {i % 3 + 1}')
        r.batch(*[r.record(0, b'k%d' % k, b'%d' % (i * 20 + k)) for k in range(20)])
    r.wait_acked(600)


def test_many_topics(t):
    "a hundred topics, announced in any order of their numbers"
    b = t.broker()
    r = t.relay(b.servers)
    numbers = [(i * 37) % 101 for i in range(101)]
    for i in numbers:
        r.topic(i, f'topic-{i}')
    r.batch(*[r.record(i, b'k', b'v') for i in numbers])
    r.wait_acked(101)


def main():
    tests = [(name, function) for name, function in globals().items()
             if name.startswith('test_')
             and (len(sys.argv) < 2 or any(word in name for word in sys.argv[1:]))]
    print(f'1..{len(tests)}')
    bad = 0
    for number, (name, function) in enumerate(tests, 1):
        case = TestCase()
        skipped = ''
        start = time.monotonic()
        try:
            function(case)
            verdict = 'ok'
        except Skip as why:
            verdict = 'ok'
            skipped = f' # SKIP {why}'
        except Exception:
            verdict = 'not ok'
            bad += 1
            for line in traceback.format_exc().splitlines():
                print('# ' + line)
        finally:
            case.end()
        if os.environ.get('EVPUB_TEST_TIMES'):
            print('# %.2f s' % (time.monotonic() - start))
        print(f'{verdict} {number} - {function.__doc__}{skipped}', flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
