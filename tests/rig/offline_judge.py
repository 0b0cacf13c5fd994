"""`python -m tests.rig.offline_judge`: judge images of a registry's directory where nobody but loopback can be reached.

Run in a network namespace of its own. It serves the directory by Distribution and judges what standard input lists:
{"content": directory, "rules": {name: as `tests.rig.question`}, "images": [{"repository", "digest", "rules": name}]}.
Meanwhile every address that a socket connects to, and every name that is looked up, is noted: the answer is
{"reasons": [...], "reached": [all but the registry], "asked": how many}.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.domain.admission import Refused
from edge.domain.moment import Moment
from fleet.reference import parse_digest
from tests.rig.distribution import distribution
from tests.rig.judging import wanted
from tests.rig.question import rules_of

_WATCHED = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"})


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    reached: set[str] = set()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in _WATCHED:
            reached.add(str(arguments[1] if event == "socket.connect" else arguments[0]))

    rules = {name: rules_of(one) for name, one in asked["rules"].items()}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "registry"
        directory.mkdir()
        (directory / "content").symlink_to(asked["content"])
        with distribution(directory) as url:
            sys.addaudithook(note)
            upstream = OciUpstream(Client(parse_endpoint(url, plaintext=True), voice=SOURCE))
            verdicts = [
                judge(
                    wanted(parse_digest(one["digest"]), repository=one["repository"]),
                    upstream,
                    rules[one["rules"]],
                    Moment(datetime.now(UTC)),
                )
                for one in asked["images"]
            ]
            host = url.removeprefix("http://").partition(":")
            own = {str((host[0], int(host[2]))), host[0]}
    reasons = [one.reason if isinstance(one, Refused) else "" for one in verdicts]
    print(json.dumps({"reasons": reasons, "reached": sorted(reached - own), "asked": len(reached)}))


if __name__ == "__main__":
    main()
