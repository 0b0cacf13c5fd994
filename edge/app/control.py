"""Keeps the site's desired state current: the pump of `edge.domain.session` over links to Ground Control.

    connect → Attest → StreamState → ... → at half the SVID's life: the next connection and stream, then drop this one

A link that breaks costs nothing but time: what is held stays enforced, and the next stream goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from edge.app.ground_control import Attested, GroundControl, Lifecycle, Link, Opening, Stream
from edge.app.journal import StateStore
from edge.app.occasions import Occasions
from edge.app.stream import Run
from edge.domain import session as table
from edge.domain.clock import Reading
from edge.domain.desired import Enforced, enforce
from edge.domain.holding import Holding, Mismatch, apply, holding_digest
from edge.domain.report import Report
from edge.domain.session import Leave
from fleet.chance import chance
from fleet.errors import FleetError, Kind
from fleet.protocol import Farewell
from fleet.signing import Signers

_log = structlog.get_logger(__name__)

IDENTITY_POLL_S = 0.2
_SHORTEST = timedelta(milliseconds=200)
_HALF = 0.5
"""Of our SVID's remaining life, after which the next stream opens: it has been renewed by then."""
_MOST = 0.7
"""Of Ground Control's, which renews on its own time: a new connection sees the new one."""
_WINDOW = timedelta(seconds=5)


class Clock(Protocol):
    """The site's clock, and what an authenticated server says of it."""

    def read(self) -> Reading:
        """Say what time it is and who vouches for it."""

    def now(self) -> datetime:
        """Say what time it is."""

    def told(self, server_time: datetime) -> None:
        """Take over a time that Ground Control told."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link stands, for people."""

    state: str = "CONNECTING"
    """CONNECTING, CONNECTED, PENDING, DISCONNECTED, or a reason: REVOKED, STORE_BEHIND, UPGRADE_REQUIRED, ..."""
    text: str = ""
    since: datetime | None = None
    session_number: int = 0
    satellite: str = ""
    retry_at: datetime | None = None


class Control:
    """Owns what is held, and the streams that change it.

    Args:
        ground_control: where links come from.
        state: the journal.
        clock: the site's clock.
        enforce: told what to enforce, at each change.
        report: makes the report of the moment.
        revoked: told each time Ground Control says whether we are revoked.
        connected: told when a link is there again.
        is_moving: asked whether an artifact is under way.
        is_identity_revoked: asked, while there is no SVID, whether that is because we are revoked.
        pinned: the site's own policy signers; None where it goes by what Ground Control says.

    Attributes:
        changing: held while what is held, or staged, is changed or read for a stream to open with.
    """

    def __init__(
        self,
        ground_control: GroundControl,
        state: StateStore,
        clock: Clock,
        *,
        enforce: Callable[[Enforced], None],
        report: Callable[[], Report],
        revoked: Callable[[bool], None] = lambda _: None,
        connected: Callable[[], None] = lambda: None,
        is_moving: Callable[[], bool] = lambda: False,
        is_identity_revoked: Callable[[], bool] = lambda: False,
        pinned: Signers | None = None,
    ) -> None:
        self._pinned = pinned
        self._ground_control = ground_control
        self._state = state
        self.clock = clock
        self._enforce = enforce
        self.report = report
        self._revoked = revoked
        self._connected = connected
        self.reports = Occasions(window=lambda: self.window, is_moving=is_moving)
        self._is_identity_revoked = is_identity_revoked
        self._holding: Holding = state.holding()
        self.changing = asyncio.Lock()
        self._numbers = 0
        self._failures = 0
        self.window = _WINDOW
        self.status = LinkStatus()
        self.link: Link | None = None
        self.stream: Stream | None = None
        self.linked = asyncio.Event()
        self.attested: Attested | None = None

    @property
    def holding(self) -> Holding:
        """What is held."""
        return self._holding

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        self._set_status("CONNECTING")
        current: Run | None = None
        valid_until: tuple[datetime | None, datetime | None] = (None, None)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._identity()
                self._numbers += 1
                not_after = self._ground_control.svid_not_after
                coming = Run(self, self._numbers, tasks)
                left = await coming.until_live(current)
                if left is None:
                    current, valid_until = coming, (not_after, self._ground_control.peer_not_after)
                elif current is not None and current.goes_on:
                    _log.warning("rotation.failed", detail=left.text)
                    left = None  # the stream before is as good as it was: try again in half of what it has left
                if left is None and current is not None:
                    left = await current.until_left_or_due(self._due_in(*valid_until))
                if left is not None:
                    current = None
                    await self._pause(left)

    # For the runs -----------------------------------------------------------------------------------------

    def opening(self, number: int) -> Opening:
        """Say what a stream opens with."""
        return Opening(number, self._holding, self._state.position(), self._state.staged(), self.clock.read())

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Open a connection."""
        return self._ground_control.connect()

    def took(self, attested: Attested) -> None:
        """Take note of what Ground Control says of us."""
        self.attested, self.window = attested, attested.reconnect_window
        if attested.server_time:
            self.clock.told(attested.server_time)
        self._revoked(attested.lifecycle is Lifecycle.REVOKED)
        if attested.lifecycle is Lifecycle.REVOKED:
            text = "Ground Control has revoked this satellite: an operator must reinstate it and mint a new token"
            raise FleetError(Kind.REFUSED, "REVOKED", text)

    def live(self, number: int, link: Link, stream: Stream) -> None:
        """Take note that a stream has its first answer."""
        self.link, self.stream = link, stream
        if not self.linked.is_set():
            self.linked.set()
            self._connected()
        pending = self.attested is not None and self.attested.lifecycle is Lifecycle.PENDING
        self._set_status("PENDING" if pending else "CONNECTED", number=number)

    async def stage(self, effect: table.Stage) -> None:
        """Journal a chunk; under `changing`."""
        await asyncio.to_thread(self._state.stage, effect.staged, effect.chunk, restart=effect.restart)

    async def apply(self, effect: table.Apply, stream: Stream) -> table.Event:
        """Apply an update in one transaction, and enforce it; under `changing`."""
        outcome = await asyncio.to_thread(self._apply, effect, stream)
        if isinstance(outcome, Mismatch):
            _log.warning("state.mismatched", scope=outcome.scope, detail=outcome.text)
            return table.Mismatched(outcome)
        self._failures = 0
        _log.info("state.applied", position=str(effect.position), artifacts=len(outcome.wanted))
        self._note_approval()
        self._enforce(outcome)
        self.reports.changed()
        return table.Applied()

    def _apply(self, effect: table.Apply, stream: Stream) -> Enforced | Mismatch:
        try:
            deltas = [stream.read_delta(one, self._state.staged_bytes(one.binding.scope)) for one in effect.deltas]
        except FleetError as error:
            self._state.drop_staged()
            held = self._holding.get(error.subject)
            return Mismatch(error.subject, held.digest if held else b"", error.text)
        after = apply(self._holding, effect.bindings, deltas)
        if isinstance(after, Mismatch):
            self._state.drop_staged()
            return after
        enforced, good = enforce(after, self._state.good(), self._pinned)
        self._state.hold(self._holding, after, good, effect.position)
        self._holding = after
        return enforced

    def adopt(self, effect: table.Adopt) -> table.Event | None:
        """Compare what is held with what the server says is right."""
        held = holding_digest(self._holding)
        if held != effect.state_digest:
            return table.Mismatched(Mismatch("", b"", "it is not what Ground Control says it is"))
        try:
            self._state.adopt(effect.position)
            self._failures = 0
        except FleetError as error:  # the next stream is answered by more than it needs, and this one is as good
            _log.warning("position.unwritten", reason=error.reason, detail=error.detail)
        self._note_approval()
        self.reports.changed()
        return None

    def _note_approval(self) -> None:
        """Take note that somebody approved us: who is pending is given no scope, nor told that its scopes are right."""
        if self._holding and self.status.state == "PENDING":
            self._set_status("CONNECTED")

    # Waiting ----------------------------------------------------------------------------------------------

    async def _identity(self) -> None:
        """Wait until there is an SVID that has not expired."""
        while True:
            not_after = self._ground_control.svid_not_after
            if not_after is not None and not_after > self.clock.now():
                return
            reason = "SVID_EXPIRED" if not_after else "SVID_ABSENT"
            if self._is_identity_revoked():
                reason = "REVOKED"
            if self.status.state != reason:
                self._set_status(reason, text="waiting for an identity from the Workload API")
                if reason == "REVOKED":
                    self._revoked(True)
            await asyncio.sleep(IDENTITY_POLL_S)

    def _due_in(self, not_after: datetime | None, peer: datetime | None) -> timedelta:
        """Say in how long the next stream is due: before either certificate of this one ends, spread by a tenth."""
        now = self.clock.now()
        ours = ((not_after or now) - now) * _HALF
        theirs = (peer - now) * _MOST if peer else ours
        return max(min(ours, theirs) * (0.9 + chance() / 5), _SHORTEST)

    async def _pause(self, left: Leave) -> None:
        if left.goodbye and left.goodbye.why is Farewell.REVOKED:
            self._revoked(True)
        wait = table.retry(left, failures=self._failures, window=self.window, chance=chance())
        self._failures += 1
        self.link = self.stream = None
        self.linked.clear()
        why = left.goodbye.why.name if left.goodbye else "DISCONNECTED"
        self._set_status(why, text=left.text, retry_at=self.clock.now() + wait)
        _log.warning("stream.ended", reason=why, detail=left.text, again_s=round(wait.total_seconds(), 2))
        await asyncio.sleep(wait.total_seconds())

    def _set_status(self, state: str, *, text: str = "", number: int = 0, retry_at: datetime | None = None) -> None:
        since = self.status.since if self.status.state == state else self.clock.now()
        name = self.attested.satellite if self.attested else self.status.satellite
        self.status = replace(
            LinkStatus(state, text, since, number or self.status.session_number, name), retry_at=retry_at
        )
