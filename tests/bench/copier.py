"""`python -m tests.bench.copier`: bring one image to a site's registry exactly as the satellite does.

Judged by its signature, journaled on disk, replicated with the satellite's own data plane. It says `ready` when its
modules are there, as in a satellite that runs, waits for its job on standard input, and says what that cost.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from edge.adapters.journal.journal import Journal
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import origin_of, parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.oci.upstream import OciUpstream
from edge.adapters.registry import distribution, zot
from edge.adapters.registry.shelf import DistributionShelf, ZotShelf
from edge.app.judge import WantedArtifact, judge
from edge.app.ports import Credential
from edge.app.replicate import Replicator
from edge.domain.admission import Admission
from edge.domain.policy import KeyAuthority, Policy, Rules, SignatureFormat
from fleet.reference import parse_digest


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _site(job: Mapping[str, str]) -> OciSite:
    writer = Credential(job["username"], job["password"])
    client = NearClient(origin_of(job["site"]), writer)
    data = Path(job["data"])
    if job["kind"] == "zot":
        return OciSite(client, zot.CAPABILITIES, ZotShelf(data))
    return OciSite(client, distribution.CAPABILITIES, DistributionShelf(data))


def _rules(job: Mapping[str, str]) -> Rules:
    key = KeyAuthority("bench", (job["key"].encode(),), frozenset(SignatureFormat))
    return Rules((Policy("signed", ("central/**",), (key,)),))


def copy(job: Mapping[str, str]) -> None:
    """Judge and replicate the image that the job names."""
    upstream = OciUpstream(Client(parse_endpoint(job["source"], plaintext=True), voice=SOURCE))
    name = job["repository"]
    wanted = WantedArtifact(
        f"central/{name}:{job['tag']}", "central", name, parse_digest(job["digest"]), name, tag=job["tag"]
    )
    journal = Journal.open(Path(job["journal"]))
    replicator = Replicator(_site(job), journal.intents, journal.transfers, staging=journal.staging)
    try:
        verdict = judge(wanted, upstream, _rules(job))
        if not isinstance(verdict, Admission):
            raise SystemExit(f"refused: {verdict.reason}")
        replicator.replicate(verdict, upstream, lambda same: same)
    finally:
        replicator.close()
        journal.close()


def main() -> None:
    """Say `ready`, take a job, do it, say what it cost."""
    print("ready", flush=True)
    job = json.loads(sys.stdin.readline())
    begun, cpu_s = time.monotonic(), _cpu_s()
    copy(job)
    print(json.dumps({"wall_s": time.monotonic() - begun, "cpu_s": _cpu_s() - cpu_s}), flush=True)


if __name__ == "__main__":
    main()
