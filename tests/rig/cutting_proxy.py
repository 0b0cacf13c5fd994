"""A loopback proxy in front of a source: it counts what comes back, slows it, and cuts connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PIECE = 16 * 1024


class CuttingProxy:
    """Forwards bytes between a client and one target.

    Attributes:
        received: bytes that came from the target, all connections together.
        cuts: totals of `received` at each of which every open connection is cut, once.
        bytes_per_s: how fast the target's bytes are let through; 0 for no limit.
        loses: asked before each piece of the target's is let through; where it says yes, the piece is lost and every
            connection cut.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.received = 0
        self.cuts: list[int] = []
        self.bytes_per_s = 0
        self.loses: Callable[[], bool] = lambda: False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def close(self) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection now."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as target:
            with self._lock:
                self._open |= {client, target}
            upward = threading.Thread(target=self._pump, args=(client, target), daemon=True)
            upward.start()
            self._pump(target, client, counted=True)
            upward.join()

    def _pump(self, source: socket.socket, sink: socket.socket, *, counted: bool = False) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if counted and self.loses():
                    self.cut()
                    break
                sink.sendall(piece)
                if counted:
                    self._count(len(piece))
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int) -> None:
        with self._lock:
            self.received += size
            is_due = bool(self.cuts) and self.received >= self.cuts[0]
            if is_due:
                self.cuts.pop(0)
        if is_due:
            self.cut()
        if self.bytes_per_s:
            time.sleep(size / self.bytes_per_s)


@contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    """Stand before `http://host:port`."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    proxy = CuttingProxy((host, int(port)))
    try:
        yield proxy
    finally:
        proxy.close()
