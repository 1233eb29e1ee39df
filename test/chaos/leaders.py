#!/usr/bin/env python3
"""Moves leaders of partitions, as an operator does who spreads the load.

    leaders.py HOST:PORT TOPIC:PARTITION:REPLICA,REPLICA,... ...

Gives each partition its replicas in this order (AlterPartitionReassignments),
and lets the first one lead it (ElectLeaders).  librdkafka has no function for
either in the versions that Debian 12 and 13 have, and Kafka's tools need two
seconds to start.
"""
import socket
import struct
import sys

ALTER_PARTITION_REASSIGNMENTS = 45
ELECT_LEADERS = 43
TIMEOUT_MS = 10000
NO_TAGS = b'\0'
# all partitions named are led by who was asked for
ELECTION_NOT_NEEDED = 84


def compact(data):
    """The length of a compact string or array: one more, as a varint."""
    number = len(data) + 1
    out = b''
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def string(text):
    data = text.encode()
    return compact(data) + data


def array(elements):
    return compact(elements) + b''.join(elements)


def integers(numbers):
    return array([struct.pack('>i', number) for number in numbers])


def ask(address, api, version, body):
    """The answer to a request, behind its header."""
    host, port = address.rsplit(':', 1)
    head = struct.pack('>hhih', api, version, 1, 5) + b'chaos' + NO_TAGS
    with socket.create_connection((host, int(port)), TIMEOUT_MS / 1000 + 5) as connection:
        connection.sendall(struct.pack('>i', len(head + body)) + head + body)
        answer = b''
        length = 4
        while len(answer) < length:
            data = connection.recv(65536)
            if not data:
                sys.exit('leaders.py: the broker has closed the connection')
            answer += data
            if len(answer) >= 4:
                length = 4 + struct.unpack('>i', answer[:4])[0]
    # length, correlation, no tags
    return answer[9:]


def main():
    address = sys.argv[1]
    topics = {}
    for argument in sys.argv[2:]:
        topic, partition, replicas = argument.rsplit(':', 2)
        topics.setdefault(topic, []).append(
            (int(partition), [int(replica) for replica in replicas.split(',')]))
    body = struct.pack('>i', TIMEOUT_MS) + array([
        string(topic) + array([
            struct.pack('>i', partition) + integers(replicas) + NO_TAGS
            for partition, replicas in partitions]) + NO_TAGS
        for topic, partitions in topics.items()]) + NO_TAGS
    # both answer: throttled for so many ms, error
    code = struct.unpack('>h', ask(address, ALTER_PARTITION_REASSIGNMENTS, 0, body)[4:6])[0]
    if code:
        sys.exit(f'leaders.py: reassignment: error {code}')
    # the preferred ones, 0
    body = b'\0' + array([
        string(topic) + integers([partition for partition, _ in partitions]) + NO_TAGS
        for topic, partitions in topics.items()]) + struct.pack('>i', TIMEOUT_MS) + NO_TAGS
    code = struct.unpack('>h', ask(address, ELECT_LEADERS, 2, body)[4:6])[0]
    if code not in (0, ELECTION_NOT_NEEDED):
        sys.exit(f'leaders.py: election: error {code}')


main()
