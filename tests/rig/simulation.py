"""A `satctl simulate` under way: entered when it is started, its summary is there when it was left."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

from tests.rig.satctl import PATIENCE_S, Satctl


@dataclass
class Simulating:
    """Simulated satellites at work.

    Attributes:
        summary: what it said at its end.
    """

    satctl: Satctl
    arguments: tuple[str, ...]
    summary: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._said: IO[str] = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self.satctl.command("simulate", *self.arguments, "--json"),
            env=self.satctl.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.send_signal(signal.SIGINT)  # as Ctrl-C does
            told, _ = self._process.communicate(timeout=PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._said.seek(0)
            said = self._said.read()
            self._said.close()
        assert self._process.returncode == 0 or kind is not None, said
        self.summary = json.loads(told or "{}")

    def until_status(self, **wanted: int) -> dict[str, Any]:
        """Ask Ground Control until its counts are these."""
        status: dict[str, Any] = {}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "the simulation has ended"
            status = self.satctl.json("status")
            if all(status["fleet"].get(name, 0) == count for name, count in wanted.items()):
                return status
        raise AssertionError(f"not so in time: {wanted}, but {status['fleet']}")
