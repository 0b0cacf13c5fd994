"""A puller that never rests: it asks a registry for the same things again and again and remembers each answer."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import urllib3
from urllib3.exceptions import HTTPError

from edge.adapters.oci.descriptors import ACCEPT

_ENOUGH = 5
"""Rounds after which what would ever be served in between was likely asked for."""
_DEADLINE_S = 30.0
_BREATH_S = 0.005
"""Between rounds: without it the puller and the registry leave the satellite no processor to be watched on."""


@dataclass
class Hammer:
    """Asks as anybody.

    Attributes:
        seen: how often which answer came to which path: a digest of the body, or the status in words.
    """

    url: str
    paths: tuple[str, ...]
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    rounds: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until told to stop."""
        with urllib3.PoolManager(retries=False, timeout=5.0) as pool:
            while not self._stop.is_set():
                for path in self.paths:
                    self.seen.setdefault(path, Counter())[self._ask(pool, path)] += 1
                self.rounds += 1
                self._stop.wait(_BREATH_S)

    def _ask(self, pool: urllib3.PoolManager, path: str) -> str:
        try:
            answer = pool.request("GET", self.url + path, headers={"Accept": ACCEPT})
        except HTTPError:
            return "unreachable"
        return f"sha256:{hashlib.sha256(answer.data).hexdigest()}" if answer.status == 200 else str(answer.status)

    def go_on(self) -> None:
        """Let it ask everything a few times more."""
        until, deadline = self.rounds + _ENOUGH, time.monotonic() + _DEADLINE_S
        while self.rounds < until:
            assert time.monotonic() < deadline, "the puller is stuck"
            self._stop.wait(0.01)

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()

    @property
    def answers(self) -> set[str]:
        """Every answer that ever came."""
        return {answer for counted in self.seen.values() for answer in counted}

    def told(self, path: str) -> set[str]:
        """Every answer that came to one path."""
        return set(self.seen.get(path, ()))


def manifest_path(repository: str, reference: str) -> str:
    """Where a manifest is asked for."""
    return f"/v2/{repository}/manifests/{reference}"


def blob_path(repository: str, digest: str) -> str:
    """Where a blob is asked for."""
    return f"/v2/{repository}/blobs/{digest}"


@contextmanager
def hammering(url: str, paths: Iterable[str]) -> Iterator[Hammer]:
    """Ask from here to the end of the block, and a few times more."""
    hammer = Hammer(url, tuple(paths))
    thread = threading.Thread(target=hammer.run, name="hammer")
    thread.start()
    try:
        hammer.go_on()
        yield hammer
        hammer.go_on()
    finally:
        hammer.stop()
        thread.join()
