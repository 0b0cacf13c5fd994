"""A real CNCF Distribution on loopback, for as long as a block runs."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.certificates import KeyAndCertificate
from tests.rig.ports import keep_port
from tests.rig.programs import require

_CONFIGURATION = """\
version: 0.1
log: {{level: info, formatter: json, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: rig, tls: {tls}}}
validation: {{manifests: {{indexes: {{platforms: none}}}}}}
"""
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_START_S = 20.0


class NotStartedError(Exception):
    """The registry ended, or did not say in time where it listens."""


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _LISTENING.search(log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise NotStartedError(log.read_text()[-2000:])


@contextmanager
def distribution(directory: Path, *, port: int = 0, pair: KeyAndCertificate | None = None) -> Iterator[str]:
    """Run a registry whose content is in `directory`: yields `http://127.0.0.1:<port>`; https with a certificate."""
    directory.mkdir(parents=True, exist_ok=True)
    configuration, log = directory / "config.yml", directory / "registry.log"
    tls = f"{{certificate: {pair.certificate}, key: {pair.key}}}" if pair else "{}"
    configuration.write_text(_CONFIGURATION.format(root=directory / "content", port=port or keep_port(), tls=tls))
    with log.open("wb") as output:
        command = [str(require("registry")), "serve", str(configuration)]
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"OTEL_TRACES_EXPORTER": "none"})
    try:
        yield f"{'https' if pair else 'http'}://{_address(process, log)}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
