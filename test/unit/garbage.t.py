#!/usr/bin/env python3
"""evpub-relay, given garbage by its worker.

A conversation that is right is damaged at random places: bits, lengths, counts,
numbers, frames that come twice, never, or in the middle of another.  The relay
must be built with sanitizers.  It says why it ends, or goes on and ends when it
is told to; it never crashes, and never hangs.

EVPUB_FUZZ_SECONDS says for how long, EVPUB_FUZZ_SEED where to begin.
"""
import importlib.machinery
import importlib.util
import os
import random
import socket
import struct
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKED = os.path.join(HERE, 'lib', 'evpub-relay')

# what a sanitizer ends the relay with
SANITIZED = 99
os.environ['ASAN_OPTIONS'] = f'exitcode={SANITIZED}:max_allocation_size_mb=512'
os.environ['UBSAN_OPTIONS'] = f'exitcode={SANITIZED}:print_stacktrace=1'

loader = importlib.machinery.SourceFileLoader('relay', os.path.join(HERE, 'relay.t.py'))
relay = importlib.util.module_from_spec(importlib.util.spec_from_loader('relay', loader))
loader.exec_module(relay)
relay.RELAY = os.environ.get('EVPUB_CHECKED_RELAY', CHECKED)

SECONDS = float(os.environ.get('EVPUB_FUZZ_SECONDS', '4'))
SEED = int(os.environ.get('EVPUB_FUZZ_SEED', str(time.time_ns())))
# how long a relay may take to end
PATIENCE = 30

EDGES = (0, 1, 2, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe,
         1 << 20, (1 << 20) - 1, 1000000, 999999, 64 << 20, (64 << 20) + 1, 249, 250)


class Scribe(relay.Relay):
    """Collects the frames instead of sending them."""

    def __init__(self):
        self.sent = []
        self.next = 1
        self.unpinned = {}
        self.open = True

    def send(self, kind, payload):
        self.sent.append((kind, payload))


def record(scribe, rng):
    headers = [(b'h%d' % i, b'v' * rng.randrange(20)) for i in range(rng.randrange(3))]
    return scribe.record(rng.randrange(3), rng.choice((None, b'', b'key', b'k' * 300)),
                         rng.choice((None, b'', b'{"a":1}', b'x' * 3000)), headers)


def conversation(servers, rng):
    s = Scribe()
    settings = {'bootstrap_servers': servers, 'kafka_config_file': '',
                'create_topics': 'on', 'topic_partitions': '-1',
                'topic_replication_factor': '-1', 'client_id': 'evpub-test'}
    s.send('C', b''.join(k.encode() + b'\0' + v.encode() + b'\0'
                         for k, v in settings.items()))
    for number in range(3):
        s.topic(number, f'topic-{number}', rng.choice((4, 4, 4, 0, -1)))
        for partition in range(rng.randrange(3)):
            s.offset(number, partition, -1)
            s.send('L', struct.pack('=Iiq', number, partition, rng.randrange(5000)))
    for _ in range(rng.randrange(1, 6)):
        s.batch(*[record(s, rng) for _ in range(rng.randrange(1, 8))])
        if rng.randrange(2):
            number = rng.randrange(3)
            s.topic(number, f'topic-{number}', 4)
    return s.sent


def change(data, rng):
    """The same bytes with one thing changed."""
    data = bytearray(data)
    if not data:
        return bytes(rng.randrange(20))
    at = rng.randrange(len(data))
    # numbers stand at the beginning, above all
    if rng.randrange(2):
        at = min(len(data) - 1, rng.randrange(0, 40, 4))
    what = rng.randrange(6)
    if what == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        data[at:at + 4] = struct.pack('=I', rng.choice(EDGES))
    elif what == 2:
        data[at:at + 8] = struct.pack('=Q', rng.choice(EDGES) << rng.randrange(0, 33, 8))
    elif what == 3:
        del data[at:]
    elif what == 4:
        data += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 50)))
    else:
        data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
    return bytes(data)


def damaged(frames, rng):
    """What goes over the socket."""
    frames = list(frames)
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(frames))
        kind, payload = frames[at]
        what = rng.randrange(8)
        if what < 5:
            frames[at] = kind, change(payload, rng)
        elif what == 5:
            frames[at] = chr(rng.randrange(1, 128)), payload
        elif what == 6:
            frames.insert(rng.randrange(len(frames)), frames[at])
        elif len(frames) > 1:
            del frames[at]
    data = bytearray()
    for kind, payload in frames:
        header = bytearray(struct.pack('=IBBH', len(payload), ord(kind), relay.VERSION, 0))
        if rng.randrange(60) == 0:
            header[rng.randrange(8)] ^= 1 << rng.randrange(8)
        data += header + payload
    # when it comes to this one, it has taken all before it
    data += struct.pack('=IBBH', 0, ord('Z'), relay.VERSION, 0)
    return bytes(data)


def drain(r, silence):
    """All that the relay says, until it ends, or is silent for so long."""
    end = time.monotonic() + PATIENCE
    try:
        while r.receive(time.monotonic() + silence) is not None:
            if time.monotonic() > end:
                return False
    except (relay.Gone, ConnectionError):
        return True
    return False


def attempt(case, servers, rng):
    data = damaged(conversation(servers, rng), rng)
    # CONFIG is among what is damaged
    r = Listener()
    case.open.append(r)
    r.pin = bool(rng.randrange(2))
    try:
        r.socket.sendall(data)
    except OSError:
        pass
    # now and then it waits for the rest of a frame, or for a topic
    gone = drain(r, 1)
    if not gone:
        r.socket.shutdown(socket.SHUT_WR)
        gone = drain(r, PATIENCE)
    assert gone, f'the relay has not ended in {PATIENCE} s'
    code = r.process.wait(PATIENCE)
    errors = r.process.stderr.read().decode(errors='replace')
    assert code in (0, 1), f'the relay ended with {code}: {errors}'
    failed = [payload for kind, payload in r.frames if kind == 'F']
    # what it could not say to a worker that is gone stands in the log
    assert code == 0 or failed or 'evpub-relay: ' in errors, 'it ended without a reason'
    for payload in failed:
        text = payload[relay.FAILED.size:].decode('utf-8', errors='replace')
        assert text and '\0' not in text, 'a reason that is none'
    case.open.remove(r)
    r.close()
    return code


class Listener(relay.Relay):
    """Sends nothing by itself, and believes what the relay says."""

    def __init__(self):
        super().__init__('')

    def send(self, kind, payload):
        if kind == 'T':
            try:
                super().send(kind, payload)
            except OSError:
                pass

    def note(self, kind, payload):
        self.frames.append((kind, payload))
        return kind, payload


def main():
    print(f'1..1\n# EVPUB_FUZZ_SEED={SEED}', flush=True)
    case = relay.TestCase()
    ends = {0: 0, 1: 0}
    end = time.monotonic() + SECONDS
    seed = SEED
    verdict = 'ok'
    try:
        broker = case.broker('--topic', 'topic-0:4', '--topic', 'topic-1:4',
                             '--topic', 'topic-2:4')
        while time.monotonic() < end:
            ends[attempt(case, broker.servers, random.Random(seed))] += 1
            seed += 1
    except Exception:
        verdict = 'not ok'
        for line in relay.traceback.format_exc().splitlines():
            print('# ' + line)
        print(f'# with EVPUB_FUZZ_SEED={seed}')
    finally:
        case.end()
    print(f'# {ends[1]} ended with a reason, {ends[0]} were ended')
    print(f'{verdict} 1 - garbage from the worker neither crashes nor hangs the relay',
          flush=True)
    return verdict != 'ok'


if __name__ == '__main__':
    relay.sys.exit(main())
