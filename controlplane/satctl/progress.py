"""How far an artifact is, in words and as a bar: what a satellite said in its last report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from controlplane.satctl.render import size
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2 as state

_DAY = timedelta(days=1)
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TO_COME = frozenset({state.ARTIFACT_STATE_WAITING, state.ARTIFACT_STATE_FAILED})


Progressing = state.ResourceException | pb.ArtifactStatus
"""An artifact as a report tells of it, and as a status does."""


def left_bytes(found: Progressing) -> int:
    """Say how much is still to come, of what is known."""
    return max(found.total_bytes - found.done_bytes, 0)


def time_left(left: int, rate_bytes_per_s: int) -> str:
    """Say how long the rest takes: `4m20s`, `1d3h`; nothing where nothing comes."""
    if not rate_bytes_per_s:
        return ""
    seconds = -(-left // rate_bytes_per_s)
    for (unit, size_s), (part, part_s) in pairwise(_UNITS):
        if seconds >= size_s:
            return f"{seconds // size_s}{unit}{seconds % size_s // part_s}{part}"
    return f"{seconds}s"


def progress_words(found: Progressing) -> str:
    """Say how far it is: `1.0 of 4.0 MiB, 512.0 KiB/s, 6s left`; nothing where nothing is known."""
    if not found.total_bytes:
        return ""
    rate, left = found.rate_bytes_per_s, time_left(left_bytes(found), found.rate_bytes_per_s)
    pace = f", {size(rate)}/s, {left} left" if rate else ""
    return f"{size(found.total_bytes, found.done_bytes)}{pace}"


def sum_words(found: Iterable[Progressing]) -> str:
    """Say how much is still to come of all, and how fast: `3.0 MiB, 512.0 KiB/s, 6s`."""
    known = [one for one in found if one.state in _TO_COME and left_bytes(one)]
    left, rate = sum(map(left_bytes, known)), sum(one.rate_bytes_per_s for one in known)
    words = (size(left) if left else "", f"{size(rate)}/s" if rate else "", time_left(left, rate))
    return ", ".join(filter(None, words))


def reason_words(found: Progressing, at: datetime) -> str:
    """Say why it is not there, and until when it waits: `SOURCE_BUSY until 22:00:00: the source asks for time`."""
    return ": ".join(filter(None, (" ".join(filter(None, (found.reason, _until_words(found, at)))), found.text)))


def _until_words(found: Progressing, at: datetime) -> str:
    moment = found.retry_at.ToDatetime(tzinfo=at.tzinfo)
    if moment <= at or not found.HasField("retry_at"):
        return ""  # it has come: the next report says what came of it
    return "until " + moment.astimezone().strftime("%H:%M:%S" if moment - at < _DAY else "%Y-%m-%d %H:%M")
