"""A real Zot on loopback, open to all, for as long as a block runs: a source, not a site's registry."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.rig.distribution import NotStartedError
from tests.rig.programs import require

_PORT = re.compile(r'"port":"?(\d+)')
_START_S = 20.0


def _port(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        ports: list[str] = [port for port in _PORT.findall(log.read_text()) if port != "0"]
        if ports:
            return ports[-1]
        time.sleep(0.02)
    raise NotStartedError(log.read_text()[-2000:])


@contextmanager
def zot(directory: Path, extensions: Mapping[str, object] | None = None) -> Iterator[str]:
    """Run a registry whose content is in `directory`: yields `http://127.0.0.1:<port>`."""
    directory.mkdir(parents=True, exist_ok=True)
    configuration, log = directory / "config.json", directory / "zot.log"
    settings = {
        "storage": {"rootDirectory": str(directory / "content"), "gc": False},
        "http": {"address": "127.0.0.1", "port": "0", "compat": ["docker2s2"]},
        "log": {"level": "info"},
        "extensions": extensions or {},
    }
    configuration.write_text(json.dumps(settings))
    with log.open("wb") as output:
        command = [str(require("zot")), "serve", str(configuration)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield f"http://127.0.0.1:{_port(process, log)}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
