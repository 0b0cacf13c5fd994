"""What streams count: a few additions for each message, no lock and no lookup by name."""

from __future__ import annotations

from controlplane.app.catalog import MESSAGES, STREAMS
from controlplane.app.meter import Labels, Meter
from controlplane.domain import session as table
from controlplane.rpc.board import Board

UNCHANGED: Labels = ("unchanged",)
BINDINGS: Labels = ("bindings",)
DELTA: Labels = ("delta",)
SNAPSHOT: Labels = ("snapshot",)
EXACT: Labels = ("exact",)
INVENTORY_REQUEST: Labels = ("inventory_request",)
GOODBYE: Labels = ("goodbye",)


class StreamMeter:
    """The counters that all streams of a process share."""

    def __init__(self, meter: Meter, board: Board) -> None:
        meter.watch(STREAMS, lambda: len(board))
        self._messages = meter.counts(MESSAGES)

    def sent(self, kind: Labels) -> None:
        """Count a message that was handed to gRPC."""
        self._messages[kind] += 1


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
