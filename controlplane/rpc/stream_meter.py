"""What streams count: a few additions for each message, no lock and no lookup by name."""

from __future__ import annotations

from datetime import timedelta

from controlplane.app.catalog import (
    DELIVERY,
    DELTA_REQUESTS,
    DELTAS_MADE,
    HEALTH_REPORTS,
    MESSAGE_BYTES,
    MESSAGES,
    REPORTS,
    REPORTS_WAITING,
    STREAMS,
    STREAMS_ENDED,
    STREAMS_OPENED,
)
from controlplane.app.meter import Labels, Meter
from controlplane.domain import session as table
from controlplane.rpc.board import Board
from controlplane.rpc.reports import Reports

UNCHANGED: Labels = ("unchanged",)
BINDINGS: Labels = ("bindings",)
DELTA: Labels = ("delta",)
SNAPSHOT: Labels = ("snapshot",)
EXACT: Labels = ("exact",)
INVENTORY_REQUEST: Labels = ("inventory_request",)
GOODBYE: Labels = ("goodbye",)


class StreamMeter:
    """The counters that all streams of a process share."""

    def __init__(self, meter: Meter, board: Board, reports: Reports) -> None:
        meter.watch(STREAMS, lambda: len(board))
        meter.watch(REPORTS_WAITING, lambda: len(reports))
        self._opened, self._ended, self._reports = map(meter.counts, (STREAMS_OPENED, STREAMS_ENDED, REPORTS))
        self._messages, self._bytes = meter.counts(MESSAGES), meter.counts(MESSAGE_BYTES)
        self._needed, self._made = meter.counts(DELTA_REQUESTS), meter.counts(DELTAS_MADE)
        self._healths = meter.counts(HEALTH_REPORTS)
        self._delivery = meter.histogram(DELIVERY)

    def opened(self) -> None:
        """Count a stream that counts as its satellite's."""
        self._opened[()] += 1

    def ended(self, ended: table.Ended | None) -> None:
        """Count the end of one."""
        self._ended[why_of(ended),] += 1

    def sent(self, kind: Labels, size_bytes: int) -> None:
        """Count a message that was handed to gRPC."""
        self._messages[kind] += 1
        self._bytes[kind] += size_bytes

    def delivered(self, after: timedelta) -> None:
        """Count a change that is on its way to one satellite; another host's clock may run ahead of ours."""
        self._delivery.observe(max(after.total_seconds(), 0.0))

    def needed(self) -> None:
        """Count a delta that a stream needs."""
        self._needed[()] += 1

    def made(self) -> None:
        """Count one that nobody had made before."""
        self._made[()] += 1

    def reported(self, *, at_once: bool) -> None:
        """Count a report."""
        self._reports["at_once" if at_once else "in_turn",] += 1

    def health(self) -> None:
        """Count a health."""
        self._healths[()] += 1


def why_of(ended: table.Ended | None) -> str:
    """Say why a stream ended; None stands for one that nothing on this side ended."""
    return ended.why.name.lower() if ended else "left"


def kind_of(step: table.Step) -> Labels:
    """Say what a step's messages are counted as."""
    match step:
        case table.SendUnchanged():
            return UNCHANGED
        case table.SendBindings():
            return BINDINGS
        case table.SendExact():
            return EXACT
        case table.SendDelta(from_digest=None):
            return SNAPSHOT
        case table.SendDelta():
            return DELTA
