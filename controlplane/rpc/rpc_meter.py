"""What calls and connections count."""

from __future__ import annotations

import threading
from collections.abc import Callable

from controlplane.app.catalog import HANDSHAKES, RPC_REFUSALS, RPC_SECONDS, RPCS
from controlplane.app.meter import Meter


class RpcMeter:
    """The numbers of every call that reached a handler of ours: a method that nobody serves is counted nowhere."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._calls = meter.counts(RPCS)
        self._refusals = meter.counts(RPC_REFUSALS)

    def ended(self, path: str, code: str, reason: str, took_s: float | None) -> None:
        """Count a call: `/package.Service/Method`; `took_s` is None for one that streams."""
        method = path.lstrip("/")
        self._calls[method, code] += 1
        if reason:
            self._refusals[method, reason] += 1
        if took_s is not None:
            self._meter.histogram(RPC_SECONDS, method).observe(took_s)


def handshake_counter(meter: Meter, listener: str) -> Callable[[], None]:
    """Make what gRPC's threads call at each handshake, several at once."""
    counts, lock = meter.counts(HANDSHAKES), threading.Lock()

    def count() -> None:
        with lock:
            counts[listener,] += 1

    return count
