"""A real HTTP proxy on loopback that wants a user and a password."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edge.app.ports import Credential
from tests.rig import programs
from tests.rig.ports import keep_port
from tests.rig.registries import await_line

LOGIN = Credential("site", "s3cret-of_the.proxy")
_READY = re.compile(r"(Initializing main loop|Accepting connections|Starting main loop)")


@dataclass(frozen=True)
class Tinyproxy:
    """A running proxy."""

    directory: Path
    port: int

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def url(self, login: Credential | None = LOGIN) -> str:
        """Its address with a user and a password in it, or without."""
        user = f"{login.username}:{quote(login.password, safe='')}@" if login else ""
        return f"http://{user}127.0.0.1:{self.port}"

    @contextmanager
    def up(self, *, tunnels: tuple[int, ...] = ()) -> Iterator[None]:
        """Run it; CONNECT goes to these ports alone, where some are named."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = [
            f"Port {self.port}",
            "Listen 127.0.0.1",
            "LogLevel Info",
            f"BasicAuth {LOGIN.username} {LOGIN.password}",
            *(f"ConnectPort {port}" for port in tunnels),
        ]
        (self.directory / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
        command: list[str | Path] = [programs.require("tinyproxy"), "-d", "-c", self.directory / "tinyproxy.conf"]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            await_line(self.directory / "log", _READY, process)
            yield
        finally:
            process.kill()
            process.wait()


def make_tinyproxy(directory: Path) -> Tinyproxy:
    """Choose a port: it takes no port 0, and is to come back where it was."""
    return Tinyproxy(directory, keep_port())
