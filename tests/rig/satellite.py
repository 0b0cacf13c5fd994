"""A real `satellite` in a directory of its own: join, run, kill, read what it says.

site = Satellite(tmp_path / "kiosk-1", registry="zot", plain_hosts=["127.0.0.1:5000"])
site.join(join_string)
with site:  # started; stopped, and its exit code checked, by leaving
    site.await_published("hub/app:1")
    site.pull("app", "1")
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import urllib3

from tests.rig.faketime import living_at
from tests.rig.ports import keep_port

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.05


@dataclass
class Satellite:
    """One satellite.

    Attributes:
        registry: zot, distribution, a URL, or empty for what is at hand.
        plain_hosts: hosts that may be spoken to over plain http.
        options: further settings, by the names of edge.config without the prefix.
        time: what its clock says, as `tests.rig.faketime` takes it; empty for the true time.
        port: where its registry listens, at every start.
    """

    directory: Path
    registry: str = ""
    plain_hosts: Sequence[str] = ()
    options: dict[str, str] = field(default_factory=dict)
    time: str = ""
    port: int = field(default_factory=keep_port)
    facts: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return self.directory / "satellite"

    @property
    def log_path(self) -> Path:
        return self.directory / "satellite.log"

    @property
    def url(self) -> str:
        """Where workloads pull: `http://127.0.0.1:<port>`."""
        return str(self.facts["registry"])

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("SATELLITE_")}
        settings = {
            "data_dir": str(self.data_dir),
            "listen": f"127.0.0.1:{self.port}",
            "registry": self.registry,
            "allow_plain_http": ",".join(self.plain_hosts),
            **self.options,
        }
        clean |= living_at(self.time) if self.time else {}
        return clean | {f"SATELLITE_{name.upper()}": text for name, text in settings.items() if text}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop()
        if kind is None:
            assert code == 0, f"exit code {code}\n{self.log()[-4000:]}"

    def run(self, *arguments: str, timeout_s: float = START_S) -> subprocess.CompletedProcess[str]:
        """Run another `satellite` command on the same settings."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "edge", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def join(self, string: str) -> None:
        """Join with a join string."""
        done = self.run("join", string)
        assert done.returncode == 0, done.stderr

    def launch(self) -> None:
        """Start it and do not wait."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "satellite.ready").unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge", "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        """Start it and wait until its registry serves."""
        self.launch()
        assert self.process is not None
        deadline, ready = time.monotonic() + START_S, self.data_dir / "satellite.ready"
        while not ready.exists():
            code = self.process.poll()
            assert code is None, f"satellite ended with {code}\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"satellite is late\n{self.log()[-4000:]}"
            time.sleep(POLL_S)
        self.facts = json.loads(ready.read_text())

    def stop(self) -> int:
        """Ask it to end: the answer is its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """Kill it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def status(self) -> dict[str, Any]:
        """What `satellite status --json` reads; empty before the first writing."""
        path = self.data_dir / "status.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def states(self) -> dict[str, tuple[str, str]]:
        """Each artifact's (state, reason), by name."""
        artifacts = self.status().get("artifacts", [])
        return {row["name"]: (row["state"], row.get("reason", "")) for row in artifacts}

    def await_that(self, claim: Callable[[], bool], what: str, *, within_s: float = START_S) -> None:
        """Wait until a claim holds."""
        deadline = time.monotonic() + within_s
        while not claim():
            late = f"not within {within_s:.0f} s: {what}\n{json.dumps(self.status())[-1500:]}\n{self.log()[-2500:]}"
            assert time.monotonic() < deadline, late
            assert self.process is None or self.process.poll() is None, f"satellite ended\n{self.log()[-4000:]}"
            time.sleep(POLL_S)

    def await_link(self, state: str = "CONNECTED") -> None:
        """Wait until the link to Ground Control stands so."""
        self.await_that(lambda: self.status().get("link", {}).get("state") == state, f"link {state}")

    def await_published(self, *names: str) -> None:
        """Wait until artifacts are published."""
        self.await_that(
            lambda: all(self.states().get(n, ("", ""))[0] == "published" for n in names), f"{names} published"
        )

    def await_refused(self, name: str, reason: str) -> None:
        """Wait until an artifact is refused for a reason."""
        self.await_that(lambda: self.states().get(name) == ("refused", reason), f"{name} refused: {reason}")

    def pull(self, repository: str, reference: str) -> tuple[int, bytes]:
        """Ask the site's registry for a manifest, as anybody: `(status, bytes)`."""
        kinds = (
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
            "application/vnd.docker.distribution.manifest.list.v2+json, "
            "application/vnd.docker.distribution.manifest.v2+json"
        )
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        response = urllib3.request("GET", url, headers={"Accept": kinds}, retries=False, timeout=5.0)
        return response.status, response.data

    def pull_blob(self, repository: str, digest: str) -> tuple[int, bytes]:
        """Ask the site's registry for a blob, as anybody: `(status, bytes)`."""
        url = f"{self.url}/v2/{repository}/blobs/{digest}"
        response = urllib3.request("GET", url, retries=False, timeout=5.0)
        return response.status, response.data

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the satellite's own process."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""
