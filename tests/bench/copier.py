"""`python -m tests.bench.copier`: the satellite's own data plane in a process, over a site's registry that runs.

It reads where the site is, puts journal, judge, replicator and reconciler together as the satellite does, and says
what its start cost. Then each line on standard input is a desired state; when everything in it is published it says
what that cost, and waits for the next.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.adapters.journal.journal import Journal
from edge.adapters.oci.endpoint import origin_of
from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.registry import distribution, zot
from edge.adapters.registry.shelf import DistributionShelf, ZotShelf
from edge.app.ports import Credential
from edge.app.reconcile import Reconciler
from fleet.log import configure_logging
from fleet.reference import parse_digest
from tests.rig.local_site import artifact, data_plane, policy, source, want

Job = Mapping[str, Any]
SOURCE = "central"
_MEMORY = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class _Key:
    pem: bytes


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_mb(what: str) -> float:
    """Read one line of the kernel's account of this process: VmRSS, or VmHWM for the peak."""
    (line,) = (line for line in _MEMORY.read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024 / 1e6


class _Meter:
    """Measures this process from when it is made."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak
        self._idle_mb = memory_mb("VmRSS")
        self._begun, self._cpu_s = time.monotonic(), _cpu_s()

    def say(self) -> None:
        """Write a `Cost` as one line."""
        cpu_s, wall_s, peak_mb = _cpu_s() - self._cpu_s, time.monotonic() - self._begun, memory_mb("VmHWM")
        cost = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb, "over_idle_mb": peak_mb - self._idle_mb}
        print(json.dumps(cost), flush=True)


def _site(job: Job) -> OciSite:
    writer = Credential(job["username"], job["password"])
    client = NearClient(origin_of(job["site"]), writer)
    data = Path(job["data"])
    if job["kind"] == "zot":
        return OciSite(client, zot.CAPABILITIES, ZotShelf(data))
    return OciSite(client, distribution.CAPABILITIES, DistributionShelf(data))


async def _enforce(journal: Journal, reconciler: Reconciler, changed: asyncio.Event, job: Job) -> None:
    """Make the images of a job desired, and wait until each is published under its tag, by the job's policy."""
    images: Sequence[tuple[str, str, str]] = job["images"]
    parts = [artifact(SOURCE, name, parse_digest(digest), tag) for name, tag, digest in images]
    keys = [_Key(pem.encode()) for pem in job["keys"]]
    parts += [source(SOURCE, job["source"], ca_pem=job["ca"]), policy("signed", *keys)]
    want(journal, reconciler, *parts)
    wanted = {(name, tag): digest for name, tag, digest in images}
    while not (wanted.items() <= reconciler.standing().site.tags.items() and _are_judged(reconciler)):
        changed.clear()
        await changed.wait()
    await _rest(reconciler, changed, even_from_scans=False)


def _are_judged(reconciler: Reconciler) -> bool:
    """Say whether all that is there was judged by the rules in force."""
    standing = reconciler.standing()
    return all(rules == standing.enforced.versions for rules in standing.site.admitted.values())


async def _rest(reconciler: Reconciler, changed: asyncio.Event, *, even_from_scans: bool) -> None:
    """Wait until the loop has planned and found nothing to do: where nothing has to move, planning is the work."""
    await asyncio.sleep(0)
    while reconciler._woken.is_set() or (even_from_scans and reconciler._running):
        if not reconciler._woken.is_set():
            changed.clear()
            await changed.wait()
        await asyncio.sleep(0)


async def _serve(first: Job) -> None:
    started = _Meter()
    journal, site, changed = Journal.open(Path(first["journal"])), _site(first), asyncio.Event()
    reconciler, replicator = data_plane(journal, lambda: site, changed.set, plain_hosts=[first["source"]])
    await reconciler.prepare()
    loop = asyncio.create_task(reconciler.run())
    await _rest(reconciler, changed, even_from_scans=False)
    started.say()
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await _rest(reconciler, changed, even_from_scans=True)
            meter = _Meter()
            await _enforce(journal, reconciler, changed, json.loads(line))
            meter.say()
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        replicator.close()
        journal.close()


if __name__ == "__main__":
    configure_logging(program="satellite", level="warning", terminal=False)
    asyncio.run(_serve(json.loads(sys.stdin.readline())))
