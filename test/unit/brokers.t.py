#!/usr/bin/env python3
"""evpub-relay, and clusters that tell strange things of their brokers.

Between relay and mock cluster stands a Way: an address that passes requests on,
and says of brokers in answers about metadata what the test wants.  Whatever
librdkafka makes of that, records are acknowledged again soon after the cluster
tells the truth: by the same relay, or by one that begins with the servers of the
settings, after the first has ended since no broker answered for long.  Versions
2.13 to 2.15 of librdkafka need the second.

The relay is the one built with sanitizers, which gives up after 6 s instead of
30.  The tests run at the same time, since that is most of their time.
"""
import importlib.machinery
import importlib.util
import os
import socket
import struct
import sys
import threading
import time
import traceback

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

METADATA = 3

# when no broker answers for so long, the relay ends (Makefile)
GIVE_UP = 6
# to notice that, and to connect again; machines are slow
NOTICE = 25


class Metadata:
    """A MetadataResponse from its correlation id on: its brokers, and the rest."""

    def __init__(self, data, version):
        self.flexible = version >= 9
        self.racks = version >= 1
        self.data = data
        self.at = 4 + self.flexible + 4 * (version >= 3)     # id, tags, throttle time
        self.front = data[:self.at]
        self.brokers = [self.broker() for _ in range(self.length('>i'))]
        self.rest = data[self.at:]

    def take(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def length(self, form):
        if not self.flexible:
            return struct.unpack(form, self.take(struct.calcsize(form)))[0]
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value - 1

    def broker(self):
        number, = struct.unpack('>i', self.take(4))
        self.take(self.length('>h'))
        port, = struct.unpack('>i', self.take(4))
        if self.racks:
            self.take(max(self.length('>h'), 0))
        if self.flexible:
            assert self.take(1) == b'\0', 'tags of a broker'
        return number, port

    def encode_length(self, form, length):
        return bytes([length + 1]) if self.flexible else struct.pack(form, length)

    def with_brokers(self, brokers):
        """The same with other brokers, all of them at 127.0.0.1."""
        host = b'127.0.0.1'
        data = self.front + self.encode_length('>i', len(brokers))
        for number, port in brokers:
            data += struct.pack('>i', number) + self.encode_length('>h', len(host)) + host
            data += struct.pack('>i', port)
            if self.racks:
                data += self.encode_length('>h', -1)
            if self.flexible:
                data += b'\0'
        return data + self.rest


def read_message(connection):
    def exactly(length):
        data = b''
        while len(data) < length:
            more = connection.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data
    return exactly(struct.unpack('>i', exactly(4))[0])


class Way:
    """An address of the cluster."""

    def __init__(self, to):
        self.to = to                    # port of a mock broker
        self.tells = None               # brokers: pairs of number and port; None: all
                                        # that the cluster has, at this address
        self.told = 0                   # answers about metadata
        self.connections = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.servers = f'127.0.0.1:{self.port}'
        self.closed = False
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        """Nobody is here any more."""
        self.closed = True
        with self.lock:
            for connection in self.connections:
                self.end(connection)
            self.connections = []

    def open(self):
        self.closed = False

    def stop(self):
        self.close()
        self.listener.close()

    @staticmethod
    def end(connection):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                broker = socket.create_connection(('127.0.0.1', self.to))
            except OSError:
                return
            with self.lock:
                self.connections += [client, broker]
            if self.closed:
                self.end(client)
            versions = {}
            for work in self.pass_requests, self.pass_answers:
                threading.Thread(target=self.run, args=(work, client, broker, versions),
                                 daemon=True).start()

    def run(self, work, client, broker, versions):
        try:
            while True:
                work(client, broker, versions)
        except (EOFError, OSError):
            self.end(client)
            self.end(broker)

    def pass_requests(self, client, broker, versions):
        data = read_message(client)
        kind, version, number = struct.unpack_from('>hhi', data)
        if kind == METADATA:
            versions[number] = version
        broker.sendall(struct.pack('>i', len(data)) + data)

    def pass_answers(self, client, broker, versions):
        data = read_message(broker)
        version = versions.pop(struct.unpack_from('>i', data)[0], None)
        if version is not None:
            metadata = Metadata(data, version)
            tells = self.tells
            if tells is None:
                tells = [(number, self.port) for number, _ in metadata.brokers]
            data = metadata.with_brokers(tells)
            self.told += 1
        client.sendall(struct.pack('>i', len(data)) + data)


class Case(relay.TestCase):
    def way(self, to):
        way = Way(to)
        self.open.append(way)
        return way

    def cluster(self, *args):
        """A mock cluster with one topic, and the ports of its brokers."""
        broker = self.broker('--topic', 'topic-0:1', *args)
        return broker, [int(server.split(':')[1]) for server in broker.servers.split(',')]


class Worker:
    """Sends one record after the other, and starts another relay when one ends."""

    def __init__(self, case, servers):
        self.case = case
        self.servers = servers
        self.ended = []                 # reasons
        self.start()

    def start(self):
        self.relay = self.case.relay(self.servers)
        self.relay.topic(0, 'topic-0', 1)

    def send(self):
        self.relay.batch(self.relay.record(0, b'k', b'v'))

    def done(self):
        return self.relay.acked == self.relay.next - 1

    def says(self, text):
        return self.relay.trouble and text in self.relay.trouble[-1]

    def published(self, seconds):
        """Sends a record; when it is acknowledged: None.  Else what was wrong."""
        deadline = time.monotonic() + seconds
        self.send()
        while not self.done():
            frame = self.relay.receive(deadline)
            if frame is None:
                return f'no acknowledgement in {seconds} s: {self.relay.trouble}'
            if frame[0] == 'F':
                self.again(frame[1])
        return None

    def again(self, payload):
        self.ended.append(payload[relay.FAILED.size:].decode())
        self.relay.process.wait(relay.PATIENCE)
        self.start()
        self.send()

    def wait(self, what, condition, seconds):
        """Until the condition holds.  Relays may end and begin meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            frame = self.relay.receive(min(deadline, time.monotonic() + 0.1))
            if frame is not None and frame[0] == 'F':
                self.again(frame[1])
            assert time.monotonic() < deadline, f'{what}: {self.relay.trouble}'


def publishes(worker, seconds=relay.PATIENCE):
    wrong = worker.published(seconds)
    assert wrong is None, wrong
    for reason in worker.ended:
        assert reason.startswith('no broker '), reason


def goes_on(worker):
    """The cluster tells the truth again."""
    publishes(worker, GIVE_UP + NOTICE)


def hears(worker, way, brokers):
    """The cluster tells of other brokers.  What makes librdkafka ask is that its
    connection is lost."""
    way.tells = brokers
    told = way.told
    way.close()
    way.open()
    worker.send()
    worker.wait('nobody has asked', lambda: way.told > told, relay.PATIENCE)
    # the one before may have gone before that was heard
    worker.send()


def test_none_told_once(t):
    "a cluster that tells once of no brokers"
    _, ports = t.cluster()
    way = t.way(ports[0])
    worker = Worker(t, way.servers)
    publishes(worker)
    hears(worker, way, [])
    way.tells = None
    goes_on(worker)


def test_none_told(t):
    "... until the relay has ended, or gone on with those that it knows"
    _, ports = t.cluster()
    way = t.way(ports[0])
    worker = Worker(t, way.servers)
    publishes(worker)
    hears(worker, way, [])
    worker.wait('neither', lambda: worker.ended or worker.done(), GIVE_UP + NOTICE)
    way.tells = None
    goes_on(worker)


def test_none_told_at_start(t):
    "... from the start"
    _, ports = t.cluster()
    way = t.way(ports[0])
    way.tells = []
    worker = Worker(t, way.servers)
    worker.send()
    worker.wait('it is not said', lambda: worker.ended or worker.says('it has no brokers'),
                relay.PATIENCE)
    way.tells = None
    goes_on(worker)


def test_dead_address(t):
    "an address where nobody is, told by a broker that goes on answering"
    _, ports = t.cluster()
    way = t.way(ports[0])
    worker = Worker(t, way.servers)
    publishes(worker)
    hears(worker, way, [(1, relay.free_port())])
    worker.wait('it is not said', lambda: worker.ended or worker.says('no acknowledgement'),
                relay.PATIENCE)
    if not worker.ended:
        # versions that ask the servers of the settings again are answered each time
        told = way.told
        worker.wait('librdkafka does not ask', lambda: worker.ended or way.told > told + 5,
                    relay.PATIENCE)
        texts = worker.relay.trouble
        assert len(texts) < 8, texts
    way.tells = None
    goes_on(worker)


def test_numbers_change(t):
    "a broker that gets another number at the same address"
    b, ports = t.cluster('--brokers', '2')
    b.command('leader topic-0 0 1')
    way = t.way(ports[0])
    way.tells = [(1, way.port)]
    worker = Worker(t, way.servers)
    publishes(worker)
    b.command('leader topic-0 0 2')
    way.to = ports[1]
    hears(worker, way, [(2, way.port)])
    goes_on(worker)


def test_first_server_gone(t):
    "the server of the settings goes for good, and others of the cluster do not"
    b, ports = t.cluster('--brokers', '2')
    b.command('leader topic-0 0 1')
    first, second = t.way(ports[0]), t.way(ports[1])
    first.tells = second.tells = [(1, first.port), (2, second.port)]
    worker = Worker(t, first.servers)
    publishes(worker)
    second.tells = [(2, second.port)]
    b.command('leader topic-0 0 2')
    first.close()
    goes_on(worker)


def test_only_settings_know(t):
    "all addresses that the cluster gave are dead, and those of the settings are not"
    b, ports = t.cluster('--brokers', '2')
    b.command('leader topic-0 0 2')
    first, second = t.way(ports[0]), t.way(ports[1])
    first.tells = second.tells = [(2, second.port)]
    worker = Worker(t, first.servers)
    publishes(worker)
    first.close()
    second.close()
    b.command('leader topic-0 0 1')
    first.tells = [(1, first.port)]
    first.open()
    goes_on(worker)


def run(function, results):
    case = Case()
    start = time.monotonic()
    try:
        function(case)
        problem = ''
    except Exception:
        problem = traceback.format_exc()
    finally:
        case.end()
    results[function] = problem, time.monotonic() - start


def main():
    tests = [function for name, function in globals().items()
             if name.startswith('test_')
             and (len(sys.argv) < 2 or any(word in name for word in sys.argv[1:]))]
    print(f'1..{len(tests)}')
    results = {}
    threads = [threading.Thread(target=run, args=(function, results)) for function in tests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bad = 0
    for number, function in enumerate(tests, 1):
        problem, seconds = results[function]
        bad += problem != ''
        for line in problem.splitlines():
            print('# ' + line)
        print('# %.1f s' % seconds)
        print(f'{"not " if problem else ""}ok {number} - {function.__doc__}', flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
