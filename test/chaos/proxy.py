#!/usr/bin/env python3
"""A bad network between the relay and its brokers.

    proxy.py LISTEN:TARGET [LISTEN:TARGET ...]

Each pair of ports of 127.0.0.1 is a link.  Orders come on stdin, one a line,
and each is answered by a line "ok", once it is in force:

    LINK|all pass            bytes go through; what was held back goes on
    LINK|all delay MS        each byte takes MS milliseconds, in both directions
    LINK|all trickle BYTES   so many bytes a second, in both directions
    LINK|all blackhole       nothing goes through, and nobody is told
    LINK|all requests        what the relay sends is held back, answers go through
    LINK|all answers         what the broker sends is held back, requests go through
    LINK|all late            what the relay sends is held back on the connections
                             that there are; new ones work
    LINK|all cut             connections are reset, what was on its way is lost
    LINK|all refuse          the same, for new connections, too

A link is its place in the arguments, from 0.  Bytes that were held back reach
the broker also when the client is gone by then, as from a network with long
queues: that is how a request of a dead relay comes late.  The program ends with
its stdin.
"""
import asyncio
import os
import socket
import struct
import sys
import time

CHUNK = 65536
# A direction keeps no more than this; the client notices that, as by a full window.
LIMIT = 64 * 1024 * 1024

HELD = {'pass': (), 'delay': (), 'trickle': (), 'cut': (), 'refuse': (), 'late': (),
        'blackhole': ('requests', 'answers'),
        'requests': ('requests',), 'answers': ('answers',)}


class Link:
    def __init__(self, listen, target):
        self.listen = listen
        self.target = target
        self.mode = 'pass'
        self.value = 0.0
        self.changed = asyncio.Event()
        self.connections = set()

    def order(self, mode, value):
        self.mode = mode
        self.value = value
        for connection in self.connections:
            connection.late = mode == 'late'
        # those who wait look again
        self.changed.set()
        self.changed = asyncio.Event()
        if mode in ('cut', 'refuse'):
            for connection in list(self.connections):
                connection.reset()

    async def accept(self, reader, writer):
        if self.mode == 'refuse':
            reset(writer)
            return
        try:
            broker = await asyncio.open_connection('127.0.0.1', self.target)
        except OSError:
            reset(writer)
            return
        connection = Connection(self, (reader, writer), broker)
        self.connections.add(connection)
        await connection.run()
        self.connections.discard(connection)


def reset(writer):
    """Close by RST."""
    sock = writer.get_extra_info('socket')
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


class Connection:
    def __init__(self, link, client, broker):
        self.link = link
        self.client = client
        self.broker = broker
        self.late = False
        self.tasks = []

    def reset(self):
        for task in self.tasks:
            task.cancel()
        reset(self.client[1])
        reset(self.broker[1])

    async def run(self):
        requests = asyncio.ensure_future(
            self.carry('requests', self.client[0], self.broker[1]))
        answers = asyncio.ensure_future(
            self.carry('answers', self.broker[0], self.client[1]))
        self.tasks = [requests, answers]
        try:
            # Requests of a client that is gone still go to the broker, and it
            # takes what stands before the end; it is closed when it has closed.
            await asyncio.gather(requests, answers, return_exceptions=True)
        except asyncio.CancelledError:
            pass
        reset(self.client[1])
        reset(self.broker[1])

    async def carry(self, direction, reader, writer):
        """One direction, by two tasks, so that what is held back is out of the
        client's hands: a client that is killed does not take it back."""
        queue = asyncio.Queue()
        room = [LIMIT, asyncio.Event()]
        fill = asyncio.ensure_future(self.fill(reader, queue, room))
        # cancelled with this one
        self.tasks.append(fill)
        try:
            while True:
                came, data = await queue.get()
                if not data:
                    break
                await self.gate(direction, came, len(data))
                room[0] += len(data)
                room[1].set()
                writer.write(data)
                await writer.drain()
            await self.gate(direction, came, 0)
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # The other side is gone.  A broker that is gone ends the client's
            # connection; a client that is gone leaves its requests.
            if direction == 'requests':
                reset(self.client[1])
        finally:
            fill.cancel()

    async def fill(self, reader, queue, room):
        data = b' '
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b''
            queue.put_nowait((time.monotonic(), data))
            room[0] -= len(data)
            while room[0] <= 0:
                room[1].clear()
                await room[1].wait()

    async def gate(self, direction, came, length):
        """Until bytes that came then may pass."""
        link = self.link
        while direction in HELD[link.mode] or (self.late and direction == 'requests'):
            await link.changed.wait()
        wait = 0.0
        if link.mode == 'delay':
            wait = came + link.value / 1000 - time.monotonic()
        elif link.mode == 'trickle':
            wait = length / link.value
        if wait > 0:
            changed = link.changed
            try:
                await asyncio.wait_for(changed.wait(), wait)
                # another order: it may hold these bytes, too
                await self.gate(direction, came, length)
            except asyncio.TimeoutError:
                pass


async def main():
    links = [Link(*map(int, pair.split(':'))) for pair in sys.argv[1:]]
    for link in links:
        await asyncio.start_server(link.accept, '127.0.0.1', link.listen)
    print('ok', flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := (await orders.readline()).decode():
        which, mode, *value = line.split()
        if mode not in HELD:
            sys.exit(f'proxy.py: unknown order: {line}')
        for link in links if which == 'all' else [links[int(which)]]:
            link.order(mode, float(value[0]) if value else 0.0)
        # resets go out in the next turn of the loop
        await asyncio.sleep(0)
        print('ok', flush=True)
    # connections that are held would keep the loop
    os._exit(0)


asyncio.run(main())
