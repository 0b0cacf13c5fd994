"""The streams that this process has open, and what wakes or ends them.

What moves in the log wakes the streams whom it concerns, and ends those whose identity is no longer good, also when
another process was told so. The streams themselves never poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from controlplane.app.defects import presentable
from controlplane.app.fleet import Fleet
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import Moved
from controlplane.domain.session import Ended
from controlplane.domain.status import SessionKey
from controlplane.rpc.caller import Peer
from controlplane.rpc.gate import Gate
from controlplane.rpc.latch import Latch
from fleet.errors import FleetError
from fleet.protocol import Farewell

_log = structlog.get_logger(__name__)

PATROL_S = 1.0
"""How often lost sessions are read, and the certificates' ends: a stream may outlive its certificate by so much."""
REVOKED_RETRY = timedelta(hours=1)
ARRIVALS_PER_S = 300.0
"""Satellites that may come to one process in a second, while it also does something else."""


def stay() -> None:
    """Begin nothing: the stream has no pump yet, or none any more."""


class OpenStream:
    """One open stream, as the board sees it: something to wake, and to end."""

    __slots__ = ("changed", "changed_at", "ended", "ending", "leave", "peer", "scopes", "session", "stirred")

    def __init__(self, peer: Peer, session: SessionKey) -> None:
        self.peer = peer
        self.session = session
        self.scopes: frozenset[str] = frozenset()
        self.stirred = Latch()
        """Something happened: the log moved, or the stream is to end."""
        self.ending = Latch()
        self.ended: Ended | None = None
        self.leave: Callable[[], object] = stay
        """Called when the stream is to end: from then on it has so long to say goodbye."""
        self.changed = False
        self.changed_at: datetime | None = None
        """When the first of the changes was written that the pump has not looked at yet."""

    def change(self, at: datetime | None = None) -> None:
        """Say that the log moved. Many changes are one: only the newest state counts."""
        self.changed = True
        self.changed_at = self.changed_at or at
        self.stirred.set()

    def end(self, ended: Ended) -> None:
        """Say that the stream is to end; the first reason stays."""
        if self.ended is None:
            self.ended = ended
            self.ending.set()
            self.stirred.set()
            self.leave()


class Board:
    """All open streams of this process."""

    def __init__(self, fleet: Fleet, gate: Gate) -> None:
        self._fleet = fleet
        self._gate = gate
        fleet.roster.listen(self._moved)
        self._streams: dict[str, OpenStream] = {}
        self._by_scope: dict[str, set[OpenStream]] = {}
        self._lost: frozenset[SessionKey] = frozenset()
        """The sessions that were lost when last looked at."""
        self.draining = asyncio.Event()
        """Set when this process is told to stop; every stream ends by itself."""

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, satellite: object) -> bool:
        return satellite in self._streams

    def find(self, satellite: str) -> OpenStream | None:
        """Find a satellite's newest stream here."""
        return self._streams.get(satellite)

    def add(self, stream: OpenStream) -> None:
        """Take in a stream; an older one of the same satellite is superseded."""
        older = self._streams.get(stream.session.satellite)
        if older is not None:
            older.end(supersession())
        self._streams[stream.session.satellite] = stream
        if self.draining.is_set():
            stream.end(_drained())

    def remove(self, stream: OpenStream) -> None:
        """Forget a stream."""
        self.watch_scopes(stream, ())
        if self._streams.get(stream.session.satellite) is stream:
            del self._streams[stream.session.satellite]

    def watch_scopes(self, stream: OpenStream, scopes: Iterable[str]) -> None:
        """Wake `stream` when one of these scopes changes, and no longer for others."""
        wanted = frozenset(scopes)
        for scope in stream.scopes - wanted:
            self._by_scope.get(scope, set()).discard(stream)
            if not self._by_scope.get(scope):
                self._by_scope.pop(scope, None)
        for scope in wanted - stream.scopes:
            self._by_scope.setdefault(scope, set()).add(stream)
        stream.scopes = wanted

    async def drain(self, within: timedelta) -> None:
        """End all streams, one after the other: another process answers next, and takes only so many at once.

        Args:
            within: all have been told to go by then, however many there are.
        """
        self.draining.set()
        streams = tuple(self._streams.values())
        apart_s = min(1 / ARRIVALS_PER_S, within.total_seconds() / max(len(streams), 1))
        clock, begun = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
        for number, stream in enumerate(streams):
            if (wait_s := begun + number * apart_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            stream.end(_drained())

    def check_anchors(self) -> None:
        """End the streams whose root has left the bundle; to be called when the bundle changes."""
        for stream in tuple(self._streams.values()):
            try:
                self._gate.check_anchor(stream.peer)
            except FleetError as error:
                stream.end(Ended(Farewell.SVID_EXPIRED, error.text))

    def _moved(self, moved: tuple[Moved, ...] | None) -> None:
        """Wake whom changes concern, and end whom they turn away, also where its reader stands still."""
        if moved is None:
            # Recovered, or restored under us: what was read before says nothing of what is there now.
            for stream in tuple(self._streams.values()):
                self._stir(stream, None)
            return
        for each in moved:
            for scope in each.concerned.scopes:
                for stream in self._by_scope.get(scope, ()):
                    stream.change(each.at)
            for stream in filter(None, map(self._streams.get, each.concerned.satellites)):
                self._stir(stream, each.at)

    def _stir(self, stream: OpenStream, at: datetime | None) -> None:
        known = self._fleet.roster.known(stream.session.satellite)
        if known is not None and known.standing is Standing.REVOKED:
            stream.end(revocation())
        stream.change(at)

    async def run(self) -> None:
        """End the streams whose time is over, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._expire())
            tasks.create_task(self._patrol())

    async def _expire(self) -> None:
        """End the streams whose certificates do, whether or not a database answers.

        One look at all of them a second costs less than a timer for each, and sees where the wall clock was set.
        """
        while True:
            at = self._gate.now()
            for stream in tuple(self._streams.values()):
                if stream.peer.not_after <= at:
                    stream.end(expiry())
            await asyncio.sleep(PATROL_S)

    async def _patrol(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATROL_S):
                    await self.draining.wait()
                    return
            if not self._streams:
                continue
            try:
                await self._look_around()
            except Exception as caught:  # noqa: BLE001 - a defect ends no process
                error = presentable(caught, "patrol.defect")
                _log.warning("patrol.failed", reason=error.reason, detail=error.detail)

    async def _look_around(self) -> None:
        lost = await self._fleet.lost_sessions()
        for session in lost:
            stream = self._streams.get(session.satellite)
            if stream is not None and stream.session == session:
                stream.end(supersession())
        known, self._lost = self._lost, frozenset(lost)
        # Whichever answer is lost, it is told again; and once more at least, as a stream comes here after its session.
        if acted_on := [session for session in lost if session in known]:
            await self._fleet.forget_lost(acted_on)


def expiry() -> Ended:
    """End a stream because what it was opened with has expired."""
    return Ended(Farewell.SVID_EXPIRED, "the certificate of this stream has expired")


def supersession() -> Ended:
    """End a stream because there is a newer one of its satellite."""
    return Ended(Farewell.SUPERSEDED, "a newer stream of this satellite took over")


def revocation() -> Ended:
    """End a stream because its identity is revoked."""
    return Ended(Farewell.REVOKED, "this identity is revoked until an operator reinstates it", REVOKED_RETRY)


def _drained() -> Ended:
    return Ended(Farewell.DRAINING, "the server is going down: another will answer", timedelta(0))
