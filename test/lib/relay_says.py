"""What evpub-relay says of its connection: relay_says.py RELAY < cases.json

cases.json: {name: {"servers": ..., "file": text of the Kafka settings}}.
All are tried at once.  Prints {name: {"kind": "trouble" | "failed" | "answered",
"text": ...}}: the first of these that the relay tells.
"""
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

RELAY = sys.argv[1]
HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../src/frame.h')
with open(HEADER) as header:
    VERSION = int(re.search(r'#define EVPUB_PROTOCOL_VERSION (\d+)', header.read()).group(1))
FAILED = 152                    # bytes of EvpubFrameFailed, before the text
KINDS = {b'S': 'trouble', b'F': 'failed', b'b': 'answered'}


class Case:
    def __init__(self, directory, name, servers, file):
        path = ''
        if file:
            path = os.path.join(directory, name)
            with open(path, 'wb') as out:
                out.write(file.encode('latin-1'))
            os.chmod(path, 0o600)
        self.socket, theirs = socket.socketpair()
        self.buffer = b''
        self.process = subprocess.Popen(
            [RELAY], preexec_fn=lambda: os.dup2(theirs.fileno(), 3),
            pass_fds=(3, theirs.fileno()))
        theirs.close()
        config = {'bootstrap_servers': servers, 'kafka_config_file': path,
                  'create_topics': 'on', 'topic_partitions': '-1',
                  'topic_replication_factor': '-1', 'client_id': 'evpub-test'}
        payload = b''.join(k.encode() + b'\0' + v.encode() + b'\0'
                           for k, v in config.items())
        self.socket.sendall(struct.pack('=IBBH', len(payload), ord('C'), VERSION, 0) + payload)

    def receive(self):
        """The answer, or None when more has to come first."""
        data = self.socket.recv(65536)
        self.buffer += data
        while len(self.buffer) >= 8:
            length, kind = struct.unpack('=Ic', self.buffer[:5])
            if len(self.buffer) < 8 + length:
                break
            payload = self.buffer[8:8 + length]
            self.buffer = self.buffer[8 + length:]
            if kind == b'F':
                payload = payload[FAILED:]
            if kind in KINDS:
                return {'kind': KINDS[kind], 'text': payload.decode('utf-8', 'replace')}
        return None if data else {'kind': 'gone', 'text': ''}


def main():
    answers = {}
    with tempfile.TemporaryDirectory() as directory:
        cases = {name: Case(directory, name, case['servers'], case.get('file', ''))
                 for name, case in json.load(sys.stdin).items()}
        deadline = time.monotonic() + 60
        while len(answers) < len(cases) and time.monotonic() < deadline:
            open_cases = {case.socket: name for name, case in cases.items()
                          if name not in answers}
            for ready in select.select(list(open_cases), [], [], 1)[0]:
                name = open_cases[ready]
                answer = cases[name].receive()
                if answer:
                    answers[name] = answer
        for case in cases.values():
            case.socket.close()
            case.process.wait()
    json.dump(answers, sys.stdout)


main()
