"""Our contender: the satellite's data plane in a process of its own, spoken to line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edge.process import ENVIRONMENT
from tests.bench.costs import Cost, FailedError
from tests.bench.ends import Name, Site, Source

_PATIENCE_S = 600.0


@dataclass(slots=True)
class Copier:
    """A data plane that has been started over a site's registry."""

    process: subprocess.Popen[bytes]
    source: Source
    started: Cost = field(default_factory=lambda: Cost(0))
    """What its start cost, from when its modules were there until it had nothing to do."""
    desired: list[Name] = field(default_factory=list)

    def bring(self, names: Sequence[Name], *, also: Sequence[str] = ()) -> Cost:
        """Make images desired beside those that are, and wait until all are published: `→ what that cost`.

        Args:
            names: the images.
            also: keys (PEM) that may have signed, beside the source's own.

        Raises:
            FailedError: it ended, or was ended, before that.
        """
        self.desired += [name for name in names if name not in self.desired]
        self._tell(
            {
                "images": [(name.repository, name.tag, self.source.images[name]) for name in self.desired],
                "source": self.source.host,
                "ca": self.source.tls.authority.read_text() if self.source.tls else "",
                "keys": [self.source.signer.pem.decode(), *also],
            }
        )
        return self._cost()

    def _cost(self) -> Cost:
        return Cost(**json.loads(self._told()))

    def _tell(self, document: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(document).encode() + b"\n")
        self.process.stdin.flush()

    def _told(self) -> bytes:
        assert self.process.stdout
        watchdog = threading.Timer(_PATIENCE_S, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise FailedError(f"our copier ended with {self.process.wait()}")
        return line


@contextmanager
def running_copier(source: Source, site: Site) -> Iterator[Copier]:
    """Run a copier as a satellite's process is run; it is ready, and at its end when the block is left."""
    command = [sys.executable, "-OO", "-m", "tests.bench.copier"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ENVIRONMENT, **os.environ}
    ) as process:
        copier = Copier(process, source)
        try:
            copier._tell(
                {
                    "source": source.host,
                    "site": site.url,
                    "kind": site.kind,
                    "username": site.username,
                    "password": site.password,
                    "data": str(site.directory / site.kind / "data"),
                    "journal": str(site.directory / "journal.db"),
                }
            )
            copier.started = copier._cost()
            yield copier
            assert process.stdin
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()
