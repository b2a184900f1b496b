"""A wire between the roles and a server that can be cut, made slow and made narrow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 16 * 1024


class Wire:
    """A TCP port that passes everything on to another one. Change its ways at any time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = 0
        self.target = target
        self.refusing = False
        """New connections are closed at once."""
        self.delay_s = 0.0
        """How long everything takes in each direction."""
        self.bytes_per_s: int | None = None
        """How much passes in each direction of a connection."""
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> int:
        """Break all connections off, and give their number."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def listen(self) -> asyncio.Server:
        """Begin; the port is known afterwards."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _cut(self) -> int:
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
        return len(writers) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        with suppress(asyncio.CancelledError):  # at the end of everything
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._writers -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one side says, in order; when it ends, the other side hears of it."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        writing = asyncio.create_task(self._write(queue, writer))
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                await queue.put((self._loop.time() + self.delay_s, data))
        await queue.put((0.0, b""))
        await writing

    async def _write(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        broken = False
        while (item := await queue.get())[1]:
            due, data = item
            if broken:
                continue  # nobody listens; what still comes is taken and dropped
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                broken = True
        with suppress(OSError):
            writer.close()


@contextmanager
def wires(*targets: int) -> Iterator[list[Wire]]:
    """A wire to each of these ports of this machine."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wires", daemon=True)
    thread.start()
    made = [Wire(loop, target) for target in targets]
    servers = [asyncio.run_coroutine_threadsafe(wire.listen(), loop).result(10) for wire in made]
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_end(servers, made), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(servers: list[asyncio.Server], made: list[Wire]) -> None:
    for server in servers:
        server.close()
    for wire in made:
        await wire._cut()
    me = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not me]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
