"""`satellite scrub`: ask the satellite that runs here to read all that it serves, and follow what comes of it.

There is no socket to talk through: the request is a file in the data directory, the answer is in the status file.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge.home import Home
from fleet.errors import FleetError, Kind

POLL_S = 0.2
_LOST = frozenset({"failed", "refused"})

Scrub = Mapping[str, Any]


def follow(
    home: Home, *, bytes_per_s: int, pause: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Scrub, list[str]]]:
    """Ask, and yield how it stands from time to time: `(the scrub's part of status.json, artifacts lost for now)`.

    It ends when everything is read and whole again, or when all that is not has failed to come.

    Raises:
        FleetError: UNAVAILABLE `NOT_RUNNING`.
    """
    request = secrets.token_hex(8)
    _must_run(home)
    home.request_scrub({"id": request, "bytes_per_s": bytes_per_s})
    while True:
        document = home.read_status() or {}
        scrub = document.get("scrub") or {}
        if scrub.get("id") == request:
            lost = _lost(document, scrub["repairing"])
            yield scrub, lost
            if scrub["ended"] and len(lost) == len(scrub["repairing"]):
                return
        _must_run(home)
        pause(POLL_S)


def is_well(scrub: Scrub, lost: list[str]) -> bool:
    """Say whether all of it is sound now."""
    return not lost and not scrub["reason"]


def _lost(document: Mapping[str, Any], names: list[str]) -> list[str]:
    """List those of the artifacts to be repaired that could not be, with the reason."""
    rows = {row["name"]: row for row in document["artifacts"]}
    return [f"{name}: {rows[name]['reason']}" for name in names if name in rows and rows[name]["state"] in _LOST]


def _must_run(home: Home) -> None:
    if not home.is_running():
        text = "no satellite runs on this data directory: start it, it reads what it serves while it runs"
        raise FleetError(Kind.UNAVAILABLE, "NOT_RUNNING", text, subject=str(home.directory))
