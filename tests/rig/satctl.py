"""The real `satctl`, as a process, with a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Satctl:
    """One person's satctl: its profiles are in `home`."""

    home: Path
    options: tuple[str, ...] = ()
    """What every call says before the command."""
    passphrase: str = field(default="", repr=False)
    """Of private keys."""

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("SATCTL_", "SPIFFE_"))}
        own = {"SATCTL_HOME": str(self.home), "NO_COLOR": "1"}
        return clean | own | ({"SATCTL_KEY_PASSPHRASE": self.passphrase} if self.passphrase else {})

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "controlplane.satctl.cli", *self.options, *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed: the answer is its standard output."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"satctl {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed: the answer is its one JSON document."""
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run a command that must fail: the answer is its exit code and what it said; nothing is on standard output."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        assert not done.stdout
        return done.returncode, done.stderr


@dataclass
class Watching:
    """A `satctl watch --json` under way."""

    satctl: Satctl
    arguments: tuple[str, ...] = ()
    seen: list[dict[str, Any]] = field(default_factory=list)
    lines: Queue[str] = field(default_factory=Queue)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.satctl.command("watch", "--json", *self.arguments),
            env=self.satctl.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code, said = self.stop()
        assert code == 0 or kind is not None, said

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to an event that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = json.loads(self.lines.get(timeout=left))
            except Empty:
                break
            self.seen.append(event)
            if wanted(event):
                return dict(event)
        raise AssertionError(f"not seen in time: {self.seen}")

    def stop(self) -> tuple[int, str]:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
        said = self.process.stderr.read() if self.process.stderr and not self.process.stderr.closed else ""
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return code, said
