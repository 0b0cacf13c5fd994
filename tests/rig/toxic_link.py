"""A bad link made by the real toxiproxy on loopback: slow, late, and cut after so many bytes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from edge.adapters.registry.child import listening_port
from tests.rig.programs import require

START_S = 20.0
POLL_S = 0.02


class ToxicLink:
    """One proxied address.

    Attributes:
        host: `host:port` to connect to.
    """

    def __init__(self, api: str, upstream: str) -> None:
        self._api = api
        made = self._ask("POST", "/proxies", {"name": "link", "listen": "127.0.0.1:0", "upstream": upstream})
        self.host = str(made["listen"])

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def poison(self, toxic: str, attributes: Mapping[str, int]) -> None:
        """Let what comes back on each connection suffer from a toxic, as toxiproxy's documentation describes them."""
        body = {"name": toxic, "type": toxic, "stream": "downstream", "attributes": dict(attributes)}
        self._ask("POST", "/proxies/link/toxics", body)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = urllib3.request(method, self._api + path, json=body, retries=False, timeout=5.0)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data.decode(errors='replace')}"
        found: dict[str, Any] = json.loads(answer.data or b"{}")
        return found


@contextmanager
def toxic_link(upstream: str, directory: Path) -> Iterator[ToxicLink]:
    """Run toxiproxy before `host:port`, healthy at first."""
    log_path = directory / "toxiproxy.log"
    with log_path.open("wb") as log:
        command = [str(require("toxiproxy")), "-host", "127.0.0.1", "-port", "0"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while not (port := listening_port(process.pid)):
            assert process.poll() is None, log_path.read_text()
            assert time.monotonic() < deadline, "toxiproxy does not listen"
            time.sleep(POLL_S)
        yield ToxicLink(f"http://127.0.0.1:{port}", upstream)
    finally:
        process.terminate()
        process.wait()
