"""Two Ground Controls on one PostgreSQL, with an authority that runs on its own: what several hosts are, on this one.

with replicas(tmp_path, postgres) as (one, other):
    one.kill()
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.ground_control import POLL_S, START_S, TRUST_DOMAIN, GroundControl
from tests.rig.postgres import Postgres


@contextmanager
def own_authority(directory: Path) -> Iterator[Path]:
    """Run the built-in authority as a program of its own: `→ its directory`."""
    command = (sys.executable, "-m", "certs.authority", "--end-with-stdin")
    told = ("--directory", str(directory), "--trust-domain", TRUST_DOMAIN, "--dns-name", "localhost")
    log = directory.with_suffix(".log")
    with (
        log.open("wb") as said,
        subprocess.Popen([*command, *told], stdin=subprocess.PIPE, stdout=said, stderr=said) as process,
    ):
        deadline = time.monotonic() + START_S
        while not (directory / "signing.sock").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the authority is late"
            time.sleep(POLL_S)
        yield directory  # leaving closes its standard input, which ends it
    assert process.returncode == 0, log.read_text()


def replica(directory: Path, name: str, authority: Path, database_url: str, *, workers: int) -> GroundControl:
    """Describe one of several Ground Controls that share database, keys and authority."""
    options = {
        "database_url": database_url,
        "workers": str(workers),
        "authority_dir": str(authority),
        "secrets_dir": str(directory / "secrets"),
    }
    own = directory / name
    own.mkdir()
    return GroundControl(own, options)


@contextmanager
def replicas(directory: Path, postgres: Postgres, *, workers: int = 2) -> Iterator[tuple[GroundControl, GroundControl]]:
    """Run two Ground Controls, each with workers of its own."""
    with own_authority(directory / "authority") as authority:
        url = postgres.make_database()
        one, other = (replica(directory, name, authority, url, workers=workers) for name in ("one", "other"))
        with one, other:
            yield one, other
