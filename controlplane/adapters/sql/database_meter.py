"""What transactions cost, counted in the threads that run them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.app.catalog import DATABASE_ERRORS, DATABASE_RETRIES, DATABASE_WAITS, TRANSACTIONS
from controlplane.app.meter import Meter
from fleet.errors import FleetError

READ, WRITE = "read", "write"
_REASONS = frozenset({"STORE_UNAVAILABLE", "STORE_FULL"})


class DatabaseMeter:
    """The database's numbers. A transaction costs a hundred times what the lock does."""

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._waits = {way: meter.histogram(DATABASE_WAITS, way) for way in (READ, WRITE)}
        self._took = {way: meter.histogram(TRANSACTIONS, way) for way in (READ, WRITE)}
        self._errors = meter.counts(DATABASE_ERRORS)
        self._retries = meter.counts(DATABASE_RETRIES)

    def waited(self, way: str, since: float) -> None:
        """Note how long a transaction waited for its thread, whose connection it gets: since `perf_counter`."""
        with self._lock:
            self._waits[way].observe(time.perf_counter() - since)

    @contextmanager
    def timed(self, way: str) -> Iterator[None]:
        """Note how long a transaction takes, and whether the database refuses it. What its work raises is no error."""
        since = time.perf_counter()
        try:
            yield
        except FleetError as error:
            if error.reason in _REASONS:
                self._failed(error.reason.lower())
            raise
        except Exception:
            self._failed("other")
            raise
        finally:
            with self._lock:
                self._took[way].observe(time.perf_counter() - since)

    def retried(self) -> None:
        """Note that a transaction is run again."""
        with self._lock:
            self._retries[()] += 1

    def _failed(self, reason: str) -> None:
        with self._lock:
            self._errors[reason,] += 1
