"""A real containerd of its own, without systemd or docker, that pulls through a mirror by hosts.toml."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig.programs import require

_START_S = 30.0
_CONFIGURATION = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{directory}/containerd.sock"
[ttrpc]
  address = "{directory}/containerd.sock.ttrpc"
"""
_HOSTS = """\
server = "http://127.0.0.1:1"

[host."{mirror}"]
  capabilities = ["pull", "resolve"]
"""


@dataclass(frozen=True, slots=True)
class Containerd:
    """A running containerd."""

    directory: Path

    def mirror(self, registry: str, url: str) -> None:
        """Let a registry's images come from `url`; the registry itself is nowhere."""
        place = self.directory / "hosts" / registry
        place.mkdir(parents=True, exist_ok=True)
        (place / "hosts.toml").write_text(_HOSTS.format(mirror=url))

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ctr against it."""
        command = [str(require("ctr")), "--address", str(self.directory / "containerd.sock"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def pull(self, reference: str) -> subprocess.CompletedProcess[str]:
        """Pull through the mirrors, as a node does."""
        hosts = str(self.directory / "hosts")
        return self.ctr("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", reference)


@contextmanager
def containerd() -> Iterator[Containerd]:
    """Run one in a directory whose name is short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="ctrd-") as short:
        directory = Path(short)
        (directory / "config.toml").write_text(_CONFIGURATION.format(directory=directory))
        with (directory / "log").open("wb") as log:
            command = [str(require("containerd")), "--config", str(directory / "config.toml")]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        running = Containerd(directory)
        try:
            _await(running, process)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(running: Containerd, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while running.ctr("version").returncode != 0:
        log = (running.directory / "log").read_text(errors="replace")[-2000:]
        assert process.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
