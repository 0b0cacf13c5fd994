"""A link as bad ones are, on loopback: so many bytes a second in all, so late, and cut every so many bytes.

toxiproxy bounds the rate of each connection; a modem bounds that of all together, or whoever opens more of them would
have more of a link. What is counted is what came out at the client's end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PIECE = 8 * 1024
_IN_FLIGHT = 64
"""The most pieces on their way in one connection: more than the link holds."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How bad a link is; 10 Mbit/s with 100 ms and a cut every 2 MiB unless told otherwise."""

    bytes_per_s: int = 1_250_000
    round_trip_s: float = 0.1
    cut_every_bytes: int = 2 << 20
    """Of what has come; 0 for never. Every connection is reset then."""


class BadLink:
    """Stands before one server; runs in an event loop of its own.

    Attributes:
        delivered: bytes that came out at clients.
        cuts: how often it was cut.
    """

    def __init__(self, target: tuple[str, int], quality: Quality) -> None:
        self._target = target
        self._quality = quality
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._free_at = 0.0
        self._due = quality.cut_every_bytes
        self.delivered = 0
        self.cuts = 0
        self.port = 0

    async def serve(self, opened: threading.Event) -> None:
        """Let clients in until `close`."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_PIECE)
        self.port = server.sockets[0].getsockname()[1]
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        opened.set()
        await self._closed.wait()
        server.close()
        self._cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def close(self) -> None:
        """Let nobody through any more; called from another thread."""
        self._loop.call_soon_threadsafe(self._closed.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_PIECE)
        self._open |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_up(reader, far_writer))
                tasks.create_task(self._bring_down(far_reader, writer))
        except* OSError:
            pass  # a cut
        finally:
            self._open -= {writer, far_writer}
            for end in (writer, far_writer):
                end.transport.abort()

    async def _send_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass requests on late; the first a round trip later still, which is what a connection takes to open."""
        late_s = self._quality.round_trip_s * 1.5
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(late_s)
            late_s = self._quality.round_trip_s / 2
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def _bring_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take pieces in as the link has room for them, and let each out when it has crossed."""
        crossing: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._let_out(crossing, writer))
            while piece := await reader.read(_PIECE):
                begins = max(clock(), self._free_at)
                self._free_at = begins + len(piece) / self._quality.bytes_per_s
                await crossing.put((self._free_at + self._quality.round_trip_s / 2, piece))
                await asyncio.sleep(begins - clock())
            await crossing.put((clock(), b""))

    async def _let_out(self, crossing: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            arrives, piece = await crossing.get()
            if not piece:
                writer.write_eof()
                return
            await asyncio.sleep(arrives - asyncio.get_running_loop().time())
            writer.write(piece)
            await writer.drain()
            self._count(len(piece))

    def _count(self, size_bytes: int) -> None:
        self.delivered += size_bytes
        if self._due and self.delivered >= self._due:
            self._due += self._quality.cut_every_bytes
            self.cuts += 1
            self._cut()

    def _cut(self) -> None:
        for end in self._open:
            end.transport.abort()


@contextmanager
def bad_link(url: str, quality: Quality) -> Iterator[tuple[BadLink, str]]:
    """Put a bad link before `scheme://host:port`: yields it and its own URL."""
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    link, opened = BadLink((host, int(port)), quality), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(link.serve(opened)), name="bad-link")
    thread.start()
    try:
        assert opened.wait(10), "the link did not open"
        yield link, f"{scheme}://127.0.0.1:{link.port}"
    finally:
        link.close()
        thread.join()
