"""A bad network between programs and a server: a proxy, for this kernel may have no netem. For a cable that is pulled, see
Network in tests/hosts_test.py."""

import asyncio
import random
import socket
import struct
import threading
import time

PIECE = 65536


class Proxy(threading.Thread):
    """Listens on 127.0.0.1:`port`, and hands everything on to 127.0.0.1:`target`; until told otherwise, at once."""

    def __init__(self, target, seed=0):
        super().__init__(daemon=True)
        self.target, self.chance = target, random.Random(seed)
        self.delay = 0.0  # seconds, each way
        self.rate = None  # bytes a second, each way of each connection
        self.black_hole = False  # nothing is handed on, and nobody is told: half-open connections, also new ones
        self.deaf_to_answers = False  # requests arrive, answers are lost
        self.carried = 0  # bytes
        self._pairs, self._server = set(), None
        self._loop, self._ready = asyncio.new_event_loop(), threading.Event()
        self._healed = None
        self.start()
        self._ready.wait()

    def run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()

    async def _open(self):
        self._healed = asyncio.Event()
        port = getattr(self, "port", 0)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, backlog=200)
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _accept(self, reader, writer):
        try:
            if self.black_hole:
                await self._healed.wait()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(writer)
            return
        pair = (writer, there_writer)
        self._pairs.add(pair)
        await asyncio.gather(self._pump(reader, there_writer, False), self._pump(there_reader, writer, True))
        self._pairs.discard(pair)
        for end in pair:
            end.close()

    async def _pump(self, reader, writer, answers):
        """Reads on while what was read is on its way."""
        pieces = asyncio.Queue(64)

        async def hand_on():
            free = 0.0  # when the line is free again
            while True:
                due, piece = await pieces.get()
                if not piece:
                    break
                now = time.monotonic()
                if self.rate:
                    free = max(free, now) + len(piece) / self.rate
                    due = max(due, free)
                if due > now:
                    await asyncio.sleep(due - now)
                while self.black_hole:
                    await self._healed.wait()
                if answers and self.deaf_to_answers:
                    continue
                writer.write(piece)
                await writer.drain()
                self.carried += len(piece)
            if writer.can_write_eof():
                writer.write_eof()

        handing = asyncio.ensure_future(hand_on())
        try:
            while True:
                piece = await reader.read(PIECE)
                await pieces.put((time.monotonic() + self.delay, piece))
                if not piece:
                    break
            await handing
        except OSError:
            handing.cancel()
            reset(writer)

    async def _reset(self):
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                reset(end)

    async def _cancel(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heal(self):
        self.black_hole = self.deaf_to_answers = False
        self._healed.set()
        self._healed = asyncio.Event()

    async def _refuse(self):
        self._server.close()
        await self._reset()

    def reset(self):
        """Each connection ends with RST; new ones are served."""
        self._call(self._reset())

    def refuse(self):
        """Nobody listens any more."""
        self._call(self._refuse())

    def listen(self):
        self._call(self._open())

    def heal(self):
        self._call(self._heal())

    def close(self):
        self._call(self._refuse())
        self._call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(10)


def reset(writer):
    try:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()
