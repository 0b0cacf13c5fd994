"""A worker's numbers over a unix socket of its own: who connects gets them all, as one JSON document.

A worker that is gone refuses the connection, so nothing that it counted outlives it. The socket is 0600 in a directory
0700, though it carries nothing secret.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from certs.private_file import check_socket_path, private_directory
from controlplane.app.meter import Meter, Sample

ASK_S = 2.0
"""How long a worker may take to answer: one that is busy for longer is worth knowing of."""
MOST_BYTES = 4 * 1024 * 1024


@asynccontextmanager
async def telling(meter: Meter, path: Path) -> AsyncIterator[None]:
    """Answer whoever connects to `path`, while the block runs.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED`, `SOCKET_PATH_LONG`.
    """

    async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_write(meter))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(tell, sock=_bound(path))
    try:
        yield
    finally:
        server.close()


def _bound(path: Path) -> socket.socket:
    private_directory(check_socket_path(path).parent)
    path.unlink(missing_ok=True)  # of one that was killed
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    return bound


async def ask(path: Path) -> list[Sample] | None:
    """Ask one worker: its numbers, or None where it does not answer."""
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=MOST_BYTES)
            try:
                return _read(await reader.read(MOST_BYTES))
            finally:
                writer.close()
    except (OSError, ValueError, TypeError, TimeoutError):
        return None


def _write(meter: Meter) -> bytes:
    return json.dumps([[s.name, s.labels, s.value, s.buckets] for s in meter.samples()]).encode()


def _read(document: bytes) -> list[Sample]:
    return [Sample(name, tuple(labels), value, tuple(buckets)) for name, labels, value, buckets in json.loads(document)]
