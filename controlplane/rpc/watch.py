"""WatchFleet: the log from a position on, and satellites' statuses as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controlplane.app.fleet import Fleet
from controlplane.domain.entities import Position
from controlplane.domain.status import SatelliteStatus
from controlplane.rpc.board import Board
from controlplane.rpc.caller import Caller
from controlplane.rpc.errors import Context
from controlplane.rpc.gate import Gate
from controlplane.rpc.wire import write_position
from controlplane.rpc.wire_changes import write_record
from controlplane.rpc.wire_status import write_status
from fleet.errors import FleetError, Kind
from fleet.v1 import fleet_pb2 as pb

PACE = timedelta(seconds=1)
"""How often statuses and the caller's own standing are looked at; changes wake at once."""
OVERLAP = timedelta(seconds=2)
"""Statuses are read from a little before the last look: another process's clock may lag. Repeats are left out."""
BEGINNING = datetime.min.replace(tzinfo=UTC)
_PAGE = 500


@dataclass(slots=True)
class _Told:
    """What one watch has told of satellites, and from where it goes on."""

    since: datetime
    """Statuses that changed from then on are yet to be told."""
    again: datetime | None = None
    """Those that changed from then on are to be told again; None: none are."""
    live: frozenset[str] = frozenset()
    """The processes whose sessions counted as open."""
    statuses: dict[str, SatelliteStatus] = field(default_factory=dict)


class Watcher:
    """Serves every WatchFleet of this process."""

    def __init__(self, fleet: Fleet, board: Board, gate: Gate, *, now: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._board = board
        self._gate = gate
        self._now = now

    async def watch(self, caller: Caller, context: Context, *, after: Position | None, statuses: bool) -> None:
        """Send events until the caller leaves.

        Raises:
            FleetError: PRECONDITION `STORE_BEHIND` where `after` is ahead of the log, `POSITION_COMPACTED` where it is
                too old; UNIDENTIFIED `SVID_EXPIRED` when the caller's certificate ends; REFUSED `ROLE_MISSING` when
                its role is taken; UNAVAILABLE `DRAINING`.
        """
        cursor = await self._begin(after)
        told = _Told(since=self._now() - OVERLAP)
        if statuses:
            told.live = await self._fleet.live_workers()
            await self._send_all(context, told, cursor)
        while True:
            await self._check(caller)
            cursor = await self._send_changes(context, cursor)
            if statuses:
                await self._send_statuses(context, told)
                await self._send_again(context, told)
            await self._wait(cursor)

    async def _begin(self, after: Position | None) -> Position:
        end = await self._fleet.position()
        if after is not None and after > end:
            text = "the log ends before this position: the database was restored from a backup"
            raise FleetError(Kind.PRECONDITION, "STORE_BEHIND", text, subject=f"{end.epoch}.{end.revision}")
        if after is not None:
            await self._fleet.changes(after, 1)  # refused before the first status is sent
        return after or end

    async def _check(self, caller: Caller) -> None:
        peer = caller.verified
        if self._board.draining.is_set():
            raise FleetError(Kind.UNAVAILABLE, "DRAINING", "the server is going down: another will answer")
        if self._now() >= peer.not_after:
            raise FleetError(Kind.UNIDENTIFIED, "SVID_EXPIRED", "the certificate of this stream has expired")
        self._gate.check_anchor(peer)
        await self._gate.party_of(caller.spiffe_id)

    async def _send_changes(self, context: Context, cursor: Position) -> Position:
        more, sent = True, False
        while more:
            page = await self._fleet.changes(cursor, _PAGE)
            for record in page.records:
                await context.write(pb.WatchFleetResponse(change=write_record(record)))
                cursor, sent = record.position, True
            more = page.more
        if sent:
            await context.write(pb.WatchFleetResponse(caught_up=write_position(cursor)))
        return cursor

    async def _send_all(self, context: Context, told: _Told, cursor: Position) -> None:
        token, more = "", True
        while more:
            page = await self._fleet.satellite_statuses(_PAGE, token)
            await self._tell(context, told, page.items)
            token, more = page.next_page_token, bool(page.next_page_token)
        # Not the log's end: a client that is cut now goes on from here, and the changes up to there are yet to come.
        await context.write(pb.WatchFleetResponse(caught_up=write_position(cursor)))

    async def _send_statuses(self, context: Context, told: _Told) -> None:
        """Send what changed. In a busy fleet the next look begins where a page ended."""
        begun = self._now()
        more_after = await self._send_page(context, told, told.since)
        told.since = more_after or begun - OVERLAP

    async def _send_again(self, context: Context, told: _Told) -> None:
        """Send all statuses again, a page at each look, when processes come or go: no satellite's row says so."""
        live = await self._fleet.live_workers()
        if live != told.live:
            told.live, told.again = live, BEGINNING
        if told.again is not None:
            told.again = await self._send_page(context, told, told.again)

    async def _send_page(self, context: Context, told: _Told, since: datetime) -> datetime | None:
        """Send what changed from a time on: `→ where the next page begins`."""
        found = await self._fleet.statuses_since(since)
        await self._tell(context, told, found.statuses)
        is_further = found.more_after is not None and found.more_after > since
        return found.more_after if is_further else None

    async def _tell(self, context: Context, told: _Told, statuses: tuple[SatelliteStatus, ...]) -> None:
        for status in statuses:
            if told.statuses.get(status.satellite) != status:
                told.statuses[status.satellite] = status
                await context.write(pb.WatchFleetResponse(status=write_status(status)))

    async def _wait(self, cursor: Position) -> None:
        drained = asyncio.ensure_future(self._board.draining.wait())
        moved = asyncio.ensure_future(self._fleet.feed.wait_beyond(cursor, PACE))
        try:
            await asyncio.wait((drained, moved), return_when=asyncio.FIRST_COMPLETED)
        finally:
            drained.cancel()
            moved.cancel()
            await asyncio.gather(drained, moved, return_exceptions=True)
