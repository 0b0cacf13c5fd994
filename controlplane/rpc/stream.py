"""StreamState's pump: it performs what `domain/session.py` decides, and tells it what happens.

    reader      requests → inbox (bounded: a satellite that talks too much waits)
    pump        inbox, wake-ups → session.step → effects → messages
    board       notAfter, revocation, bundle, supersession, drain → the session ends, or is cut where it cannot

A slow reader holds up its own pump at `write`; meanwhile changes fold into one flag, so it costs no memory of ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from controlplane.app.fleet import Fleet
from controlplane.app.meter import Labels
from controlplane.domain import session as table
from controlplane.domain.entities import Lifecycle
from controlplane.domain.session import Ended
from controlplane.domain.state import Binding, Desired
from controlplane.domain.status import Report, SessionKey, only_progressed
from controlplane.rpc import frames
from controlplane.rpc.board import Board, OpenStream, revocation, stay
from controlplane.rpc.bucket import Bucket
from controlplane.rpc.caller import Caller
from controlplane.rpc.consult import Consultant, SharedParts
from controlplane.rpc.errors import Context
from controlplane.rpc.healths import Healths
from controlplane.rpc.latch import Latch
from controlplane.rpc.reports import Reports
from controlplane.rpc.sessions import Sessions
from controlplane.rpc.stream_meter import GOODBYE, INVENTORY_REQUEST, StreamMeter, kind_of, why_of
from controlplane.rpc.turnstile import Turnstile
from controlplane.rpc.wire_session import read_request, read_subscribe
from controlplane.rpc.wire_status import read_health
from fleet.errors import FleetError, Kind, malformed
from fleet.position import Position
from fleet.protocol import Farewell
from fleet.v1 import state_pb2 as pb

FIRST_MESSAGE_S = 15.0
INBOX = 16
"""Messages of a satellite that wait for the pump."""
BURST = 100.0
"""Messages of a satellite at once: an inventory of ten thousand resources, and what else a start brings."""
MESSAGES_PER_S = 10.0
"""One that works sends a report at each change, and its health every 30 s. What is beyond waits, and so does it."""
STORE_PAUSE_S = 1.0
"""How often a stream asks a store again that does not answer."""
LEAVE_S = 2.0
"""How long an ending stream may take to say goodbye before it is cut."""

_KINDS = {Farewell.REVOKED: Kind.REFUSED, Farewell.SVID_EXPIRED: Kind.UNIDENTIFIED}
Requests = AsyncIterator[pb.StreamStateRequest]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What every stream of a process shares."""

    fleet: Fleet
    board: Board
    turnstile: Turnstile
    sessions: Sessions
    reports: Reports
    healths: Healths
    consultant: Consultant
    shared: SharedParts
    meter: StreamMeter
    now: Callable[[], datetime]


async def serve_stream(parts: StreamParts, caller: Caller, requests: Requests, context: Context) -> None:
    """Serve one stream from its Subscribe to its end.

    Raises:
        FleetError: MALFORMED for what is no Subscribe; REFUSED `NOT_YOURS`; what the store raises.
    """
    first = await _first(requests)
    subscribed = read_subscribe(first)
    if first.satellite and first.satellite != caller.name:
        text = "a satellite speaks for itself alone"
        raise FleetError(Kind.REFUSED, "NOT_YOURS", text, subject=first.satellite[:63])
    key = SessionKey(caller.name, first.boot_id, first.session_number)
    pump = _Pump(parts, OpenStream(caller.verified, key), context)
    try:
        await parts.sessions.open(key, first.agent_version, parts.now())
    except FleetError as error:
        if error.reason != "SESSION_SUPERSEDED":
            raise
        await pump.take(Ended(Farewell.SUPERSEDED, error.text))
        return
    parts.board.add(pump.stream)
    parts.meter.opened()
    try:
        with parts.fleet.tracer.span("stream", satellite=key.satellite, session=key.number) as span:
            try:
                await pump.run(subscribed, requests)
            finally:
                span.note(goodbye=why_of(pump.stream.ended))
    finally:
        parts.board.remove(pump.stream)
        parts.turnstile.arrived(key.satellite)
        parts.meter.ended(pump.stream.ended)
        parts.sessions.close(key, parts.now())


async def _first(requests: Requests) -> pb.Subscribe:
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            message = await anext(requests)
    except TimeoutError as error:
        raise FleetError(Kind.UNAVAILABLE, "SUBSCRIBE_LATE", "no Subscribe came in time") from error
    except StopAsyncIteration as error:
        raise malformed("SUBSCRIBE_MISSING", "the first message is a Subscribe") from error
    if message.WhichOneof("body") != "subscribe":
        raise malformed("SUBSCRIBE_MISSING", "the first message is a Subscribe")
    return message.subscribe


class _CompactedError(Exception):
    """A delta starts from what is not known any more."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class _Pump:
    """One stream at work."""

    def __init__(self, parts: StreamParts, stream: OpenStream, context: Context) -> None:
        self.stream = stream
        self._parts = parts
        self._context = context
        self._session = table.Session()
        self._inbox: list[table.Event | None] = []
        self._room = Latch()
        self._sequence = 0
        self._told: Report | None = None
        self._due: datetime | None = None
        """When the change was written that is being looked at."""

    async def run(self, subscribed: table.Subscribed, requests: Requests) -> None:
        """Pump until the session is closed or the satellite is gone; once it is to end, it has a moment to leave.

        Raises:
            FleetError: why it is to end, where it did not leave in time.
        """
        # Before anything can break off the first write, which has them else: gRPC ends no call while headers go out.
        await self._context.send_initial_metadata(())
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as staying:
                self.stream.leave = lambda: staying.reschedule(clock() + LEAVE_S)
                if self.stream.ended is not None:
                    self.stream.leave()
                try:
                    await self._pump(subscribed, requests)
                finally:
                    self.stream.leave = stay
        except TimeoutError as error:
            why = self.stream.ended.why if self.stream.ended else Farewell.DRAINING
            text = "the stream was cut: its reader is too slow"
            raise FleetError(_KINDS.get(why, Kind.UNAVAILABLE), why.name, text) from error

    async def _pump(self, subscribed: table.Subscribed, requests: Requests) -> None:
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(requests))
            await self.take(subscribed)
            while self._session.phase is not table.Phase.CLOSED:
                event = await self._next()
                if event is None:
                    break
                await self.take(event)
            reader.cancel()

    async def take(self, event: table.Event) -> None:
        """Feed the session one event, and whatever its effects answer."""
        before = self._session
        self._session, effects = table.step(before, event)
        for effect in effects:
            answer = await self._perform(effect, before)
            if answer is not None:
                await self.take(answer)

    async def _next(self) -> table.Event | None:
        """Wait for what happens next: the end first, then the satellite, then the log; None once it hung up."""
        while True:
            if self.stream.ended is not None:
                return self.stream.ended
            if self._inbox:
                self._room.set()
                return self._inbox.pop(0)
            if self.stream.changed:
                self.stream.changed = False
                self._due, self.stream.changed_at = self.stream.changed_at, None
                return table.Changed()
            self.stream.stirred.clear()
            await self.stream.stirred.wait()

    async def _read(self, requests: Requests) -> None:
        allowance = Bucket(BURST, MESSAGES_PER_S)
        async for message in requests:
            if (wait_s := allowance.spend(time.monotonic())) > 0:
                await asyncio.sleep(wait_s)  # meanwhile the satellite's own flow control holds it up
            if message.WhichOneof("body") == "health":
                self._parts.meter.health()
                self._parts.healths.put(self.stream.session.satellite, read_health(message.health))
                continue
            event = read_request(message)
            if event is not None:
                await self._hand_over(event)
        await self._hand_over(None)

    async def _hand_over(self, event: table.Event | None) -> None:
        """Give the pump what came, once there is room for it."""
        while len(self._inbox) >= INBOX:
            self._room.clear()
            await self._room.wait()
        self._inbox.append(event)
        self.stream.stirred.set()

    # Effects ----------------------------------------------------------------------------------------------

    async def _perform(self, effect: table.Effect, before: table.Session) -> table.Event | None:
        match effect:
            case table.Consult():
                return await self._patiently(lambda: self._consult(effect))
            case table.Ask(scopes):
                await self._send(frames.inventory_request(scopes), INVENTORY_REQUEST)
            case table.Update(position, steps):
                try:
                    await self._update(position, steps)
                except _CompactedError as error:
                    return table.Compacted(before, error.scope)
            case table.Record(report):
                await self._patiently(lambda: self._record(report))
            case table.Close(why, text, retry_after):
                await self._close(why, text, retry_after)
        return None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers: a database that is started again ends no stream, and changes wait.

        Raises:
            FleetError: what else the store says, and that it does not answer, once this stream is to end.
        """
        while True:
            try:
                return await ask()
            except FleetError as error:
                if error.reason != "STORE_UNAVAILABLE" or self.stream.ended is not None:
                    raise
            with suppress(TimeoutError):
                async with asyncio.timeout(STORE_PAUSE_S):
                    await self.stream.ending.wait()

    async def _consult(self, consult: table.Consult) -> table.Event:
        with self._parts.fleet.tracer.span("stream.consult") as span:
            event = await self._consulted(consult)
            if isinstance(event, table.Consulted):
                span.note(epoch=event.position.epoch, revision=event.position.revision, scopes=len(event.bindings))
            return event

    async def _consulted(self, consult: table.Consult) -> table.Event:
        desired = await self._parts.fleet.roster.desired(self.stream.session.satellite, consult.after)
        if desired.lifecycle is Lifecycle.REVOKED:
            return revocation()
        self._parts.board.watch_scopes(self.stream, (binding.scope for binding in desired.bindings))
        return table.Consulted(
            position=desired.position,
            pending=desired.lifecycle is Lifecycle.PENDING,
            bindings=desired.bindings,
            state_digest=desired.state_digest,
            unknown=await self._unknown(consult, desired),
        )

    async def _unknown(self, consult: table.Consult, desired: Desired) -> frozenset[str]:
        unknown: set[str] = set()
        for binding in desired.bindings:
            held = consult.held.get(binding.scope)
            if held is not None and held != binding.digest and not await self._has_had(binding.scope, held):
                unknown.add(binding.scope)
        return frozenset(unknown)

    async def _has_had(self, scope: str, digest: bytes) -> bool:
        if not digest:
            return False
        return self._parts.fleet.roster.had(scope, digest) or await self._parts.consultant.knows(scope, digest)

    async def _update(self, position: Position, steps: tuple[table.Step, ...]) -> None:
        with self._parts.fleet.tracer.span("stream.update", revision=position.revision, steps=len(steps)):
            # All of it is there before the first message goes out: a satellite applies an update whole, or not at all.
            made = [(step, await self._patiently(partial(self._bodies, step))) for step in steps]
            for last_step, step, bodies in ((step is steps[-1], step, bodies) for step, bodies in made):
                kind = kind_of(step)
                for index, body in enumerate(bodies):
                    complete = last_step and index == len(bodies) - 1
                    await self._send(body, kind, position=position, complete=complete)
        self._parts.turnstile.arrived(self.stream.session.satellite)
        if self._due is not None:
            self._parts.meter.delivered(self._parts.now() - self._due)
            self._due = None

    async def _bodies(self, step: table.Step) -> tuple[bytes, ...]:
        match step:
            case table.SendUnchanged(state_digest):
                return (frames.unchanged(state_digest),)
            case table.SendBindings(bindings, state_digest):
                return (frames.bindings(bindings, state_digest),)
            case table.SendDelta(binding, from_digest, staged):
                return await self._delta(binding, from_digest, staged)
            case table.SendExact(binding, inventory, staged):
                delta = await self._parts.fleet.exact(binding.scope, inventory, binding.generation)
                return frames.delta_parts(binding, None, delta, offset=frames.resume_at(staged, delta))

    async def _delta(
        self, binding: Binding, from_digest: bytes | None, staged: table.Staged | None
    ) -> tuple[bytes, ...]:
        async def make() -> tuple[bytes, ...]:
            self._parts.meter.made()
            with self._parts.fleet.tracer.span(
                "delta.make", scope=binding.scope, generation=binding.generation
            ) as span:
                delta = await self._known_delta(binding, from_digest)
                span.note(size_bytes=len(delta))
            return frames.delta_parts(binding, from_digest, delta, offset=frames.resume_at(staged, delta))

        self._parts.meter.needed()
        if staged is not None:
            return await make()
        return await self._parts.shared.get((binding.scope, from_digest or b"", binding), make)

    async def _known_delta(self, binding: Binding, from_digest: bytes | None) -> bytes:
        try:
            return await self._parts.fleet.delta(binding.scope, from_digest, binding.generation)
        except FleetError as error:
            if error.reason != "DIGEST_UNKNOWN":
                raise
            self._parts.consultant.forget(binding.scope, from_digest or b"")
            raise _CompactedError(binding.scope) from error

    async def _record(self, report: object) -> None:
        if not isinstance(report, Report):
            return
        if only_progressed(self._told, report):
            self._parts.meter.reported(at_once=False)
            self._parts.reports.put_off(self.stream.session, report)
            return
        self._parts.meter.reported(at_once=True)
        with self._parts.fleet.tracer.span("report.record", sequence=report.sequence):
            await self._parts.reports.record(self.stream.session, report)
        self._told = report

    async def _close(self, why: Farewell, text: str, retry_after: timedelta | None) -> None:
        self.stream.end(Ended(why, text, retry_after))
        if why is Farewell.STORE_BEHIND:
            await self._parts.fleet.mark_behind(self.stream.session.satellite)
        await self._send(frames.goodbye(why, text, retry_after), GOODBYE)

    async def _send(
        self, body: bytes, kind: Labels, *, position: Position | None = None, complete: bool = False
    ) -> None:
        self._sequence += 1
        told = position or self._session.position
        message = frames.head(self._sequence, told, self._parts.now(), complete=complete) + body
        await self._context.write(message)
        self._parts.meter.sent(kind, len(message))
