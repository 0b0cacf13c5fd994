"""`python -m tests.bench.first_verdict`: what the first verdict costs a satellite, whose code for it is loaded then.

Standard input says what is judged, and by what. The satellite's modules are there, and the source has been asked for
something, before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import edge.bootstrap  # noqa: F401 - what a satellite has loaded when it starts
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.domain.admission import Admission
from edge.domain.moment import Moment
from fleet.reference import parse_digest
from tests.bench.copier import memory_mb
from tests.rig.judging import wanted
from tests.rig.question import rules_of


def main() -> None:
    """Judge one image, and say what it took."""
    asked = json.load(sys.stdin)
    rules, digest = rules_of(asked["asked"]), parse_digest(asked["digest"])
    upstream = OciUpstream(Client(parse_endpoint(asked["url"], plaintext=True), voice=SOURCE))
    upstream.referrers(asked["repository"], digest)
    loaded, idle_mb, cpu_s = len(sys.modules), memory_mb("VmRSS"), time.process_time()
    verdict = judge(wanted(digest, repository=asked["repository"]), upstream, rules, Moment(datetime.now(UTC)))
    taken = {
        "cpu_ms": (time.process_time() - cpu_s) * 1000,
        "memory_mb": memory_mb("VmRSS") - idle_mb,
        "modules": len(sys.modules) - loaded,
    }
    if not isinstance(verdict, Admission):
        sys.exit(f"refused: {verdict.reason}")
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
