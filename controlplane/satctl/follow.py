"""Following the fleet's events over cut connections: each time from where it was, so that nothing is missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc.aio

from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from controlplane.satctl.watch_view import View
from fleet.errors import FleetError, Kind
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.state_pb2 import Position

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
_PASSING = {"SVID_EXPIRED", "SVID_REFUSED", "GC_EXPIRED"}
"""What a fresh certificate cures, ours or theirs."""


class Follower:
    """Reads the stream of events again and again, each time from where it was."""

    def __init__(self, options: Options, after: Position | None, *, statuses: bool) -> None:
        self._options = options
        self._after = after
        self._statuses = statuses
        self._connected = False
        self._pause = FIRST_PAUSE

    async def follow(self, view: View) -> None:
        """Feed a view until cancelled.

        Raises:
            FleetError: what trying again does not cure, or any failure to connect the first time.
        """
        while True:
            try:
                async with connect(self._options) as client:
                    await self._read(client, view)
            except FleetError as error:
                if not self._connected or not _passes(error):
                    raise
                view.cut(error)
                await asyncio.sleep((error.retry_after or self._pause).total_seconds())
                self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _read(self, client: FleetClient, view: View) -> None:
        request = pb.WatchFleetRequest(after=self._after, statuses=self._statuses)
        try:
            async for event in client.fleet.WatchFleet(request):
                self._connected, self._pause = True, FIRST_PAUSE
                self._remember(event)
                view.show(event)
        except grpc.aio.AioRpcError as error:
            raise client.reason_of(error) from error
        raise FleetError(Kind.UNAVAILABLE, "WATCH_ENDED", "Ground Control ended the watch")

    def _remember(self, event: pb.WatchFleetResponse) -> None:
        match event.WhichOneof("event"):
            case "change":
                self._after = event.change.position
            case "caught_up":
                self._after = event.caught_up


def _passes(error: FleetError) -> bool:
    return error.kind is Kind.UNAVAILABLE or error.reason in _PASSING
