"""One simulated satellite: the protocol of a real one, without a registry behind it.

It holds what it is told by the real digests, reports as a real one whose images come at once (or as its fault says),
comes back after a cut at the pace of a real one, and replaces its stream before its certificate ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from controlplane.satctl.simulate.connection import Call, Connection, Dialer
from controlplane.satctl.simulate.holding import Library, MismatchError, Scope, Update, applied, digest_of
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.tally import Tally
from fleet.errors import FleetError, Kind
from fleet.protocol import PROTOCOL_VERSION
from fleet.v1 import attestation_pb2, health_pb2, resource_pb2, state_pb2

ATTEST = "/fleet.v1.AttestationService/Attest"
STREAM = "/fleet.v1.StateService/StreamState"
HEALTH = "/fleet.v1.HealthService/ReportHealth"
AGENT = "simulate"

FIRST_ANSWER_S = 30.0
LONGEST_PAUSE_S = 60.0
HOUR_S = 3600.0
INVENTORY = 400
"""Entries in one message: 400 names of 100 bytes are well below 64 KiB."""
_REPORT_S, _REPORT_SPREAD = 0.1, 0.05
"""As real satellites: changes within 0.1 s are one report, spread over a twentieth of the reconnect window."""

_TROUBLES = {
    "failing": (state_pb2.ARTIFACT_STATE_FAILED, "failed", "SOURCE_UNREACHABLE"),
    "refusing": (state_pb2.ARTIFACT_STATE_REFUSED, "refused", "UNSIGNED"),
    "waiting": (state_pb2.ARTIFACT_STATE_WAITING, "waiting", "TRANSFERRING"),
}


@dataclass(slots=True)
class World:
    """What the satellites of one process share."""

    dialer: Dialer
    plan: Plan
    identity: Callable[[str], Awaitable[tuple[bytes, float]]]
    """A satellite's identity, PEM, and for how many seconds to use it."""
    tally: Tally = field(default_factory=Tally)
    library: Library = field(default_factory=Library)
    link: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: there is a link."""
    linked_at: float = 0.0
    """When the link came back, by the loop's clock."""


def _chance() -> float:
    return random.random()  # noqa: S311 - spreads load


class Satellite:
    """One of many."""

    __slots__ = (
        "boot_id", "converged", "current", "held", "is_slow", "name", "number", "position", "trouble", "was_cut",
        "window_s", "world",
    )  # fmt: skip

    def __init__(self, name: str, world: World, *, trouble: str = "", is_slow: bool = False) -> None:
        self.name = name
        self.world = world
        self.trouble = trouble
        self.is_slow = is_slow
        self.boot_id = os.urandom(16)
        self.number = 0
        self.held: dict[str, Scope] = {}
        self.position: state_pb2.Position | None = None
        self.window_s = 5.0
        self.current: Stream | None = None
        self.converged = False
        self.was_cut = False

    async def run(self, delay_s: float) -> None:
        """Live until cancelled."""
        await asyncio.sleep(delay_s)
        failures = 0
        while True:
            try:
                pause_s = await self._once()
                failures = 0
            except FleetError as error:
                self.world.tally.errors[error.reason] += 1
                pause_s = self._retry_s(failures)
                if error.retry_after is not None:
                    pause_s += error.retry_after.total_seconds()
                failures += 1
            if pause_s is not None:
                await asyncio.sleep(pause_s)

    def _retry_s(self, failures: int) -> float:
        """As a real satellite: spread over the window, doubled with each failure up to a minute."""
        return min(self.window_s * _chance() * (1 << min(failures, 8)), LONGEST_PAUSE_S) + 0.05

    async def _once(self) -> float | None:
        """Open a stream in place of the one before, and wait for its end: `→ how long to pause`.

        None where the next stream is due already: the certificate of this one will end.
        """
        before = self.current
        coming = Stream(self)
        try:
            due_s = await coming.open()
        except BaseException:
            coming.drop()
            raise
        if before is not None:
            before.drop()
        self.current = coming
        try:
            async with asyncio.timeout(due_s):
                goodbye = await asyncio.shield(coming.over)
        except TimeoutError:
            return None
        finally:
            if coming.over.done() or asyncio.current_task().cancelling():  # type: ignore[union-attr] # we are one
                coming.drop()
                self.current = None
        return self._left_s(goodbye)

    def _left_s(self, goodbye: state_pb2.Goodbye | None) -> float:
        if goodbye is None:
            self.world.tally.errors["LINK_LOST"] += 1
            return self._retry_s(0)
        self.world.tally.errors[state_pb2.GoodbyeReason.Name(goodbye.reason)] += 1
        if goodbye.reason == state_pb2.GOODBYE_REASON_SVID_EXPIRED:
            return 0.05
        if goodbye.reason in (state_pb2.GOODBYE_REASON_REVOKED, state_pb2.GOODBYE_REASON_UPGRADE_REQUIRED):
            return HOUR_S
        return goodbye.retry_after.seconds + self.window_s * _chance()

    def cut(self) -> None:
        """Lose the connection, as a link that breaks does it."""
        if self.current is not None:
            self.was_cut = True
            self.current.connection_lost()

    # What it says -----------------------------------------------------------------------------------------

    def subscribe(self) -> state_pb2.Subscribe:
        """Say what is held."""
        held = [
            state_pb2.HeldScope(scope=name, digest=scope.content.digest, precedence=scope.precedence)
            for name, scope in self.held.items()
        ]
        self.number += 1
        return state_pb2.Subscribe(
            protocol_version=PROTOCOL_VERSION,
            boot_id=self.boot_id,
            session_number=self.number,
            held=held,
            position=self.position,
            agent_version=AGENT,
        )

    def report(self, sequence: int) -> state_pb2.StateReport:
        """Say how the site is: everything is there, but for what its fault says."""
        digest, artifacts = digest_of(self.held), self._artifacts()
        report = state_pb2.StateReport(
            sequence=sequence,
            position=self.position,
            held_digest=digest,
            desired=len(artifacts),
            published=len(artifacts),
            registry_kind="zot",
            registry_exclusive=True,
        )
        trouble = _TROUBLES.get(self.trouble) if artifacts else None
        if trouble is None or self.trouble == "refusing":
            report.enforced_digest = digest
        if trouble is not None:
            state, counter, reason = trouble
            setattr(report, counter, 1)
            report.published -= 1
            exception = report.exceptions.add(
                kind=resource_pb2.RESOURCE_KIND_ARTIFACT,
                name=artifacts[0],
                state=state,
                reason=reason,
                text="simulated",
            )
            exception.since.FromDatetime(datetime.now(UTC))
        return report

    def _artifacts(self) -> list[str]:
        names: set[str] = set()
        for scope in self.held.values():
            names |= scope.content.artifacts
        return sorted(names)

    def health(self) -> health_pb2.Health:
        """Say how the machine is."""
        health = health_pb2.Health(
            cpu_fraction=0.1,
            memory_used_bytes=1 << 30,
            memory_total_bytes=4 << 30,
            satellite_rss_bytes=64 << 20,
            disk_free_bytes=32 << 30,
            disk_total_bytes=64 << 30,
            registry_healthy=True,
        )
        health.measured_at.FromDatetime(datetime.now(UTC))
        return health

    def settle(self, *, converged: bool) -> None:
        """Take note of whether it holds what it was last told, and has said so."""
        if self.converged != converged:
            self.converged = converged
            self.world.tally.gauges["converged"] += 1 if converged else -1


class Stream:
    """One connection of a satellite, and the stream on it."""

    __slots__ = (
        "_beating", "_call", "_connection", "_is_current", "_is_live", "_live", "_reporting", "_reports", "_resynced",
        "_satellite", "_sequence", "_update", "over",
    )  # fmt: skip

    def __init__(self, satellite: Satellite) -> None:
        loop = asyncio.get_running_loop()
        self._satellite = satellite
        self._connection: Connection | None = None
        self._call = Call(self._message, self._ended)
        self._live: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[state_pb2.Goodbye | None] = loop.create_future()
        self._is_live = False
        self._is_current = False
        self._update = Update()
        self._sequence = 0
        self._reports = 0
        self._resynced: set[str] = set()
        self._reporting: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | asyncio.Task[None] | None = None

    async def open(self) -> float:
        """Connect, attest, subscribe, and wait for the first answer: `→ seconds until the next stream is due`.

        Raises:
            FleetError: why it did not come to be.
        """
        satellite, world = self._satellite, self._satellite.world
        if not world.link.is_set():
            raise FleetError(Kind.UNAVAILABLE, "LINK_DOWN", "the link is cut, as the simulation wants it")
        pem, good_s = await world.identity(satellite.name)
        begun = time.perf_counter()
        world.tally.counts["attempts"] += 1
        self._connection = connection = await world.dialer.connect(pem)
        world.tally.time("handshake", time.perf_counter() - begun)
        world.tally.counts["handshakes"] += 1
        interval_s = await self._attest(connection)
        connection.open(STREAM, self._call)
        self._send(state_pb2.StreamStateRequest(subscribe=satellite.subscribe()))
        try:
            async with asyncio.timeout(FIRST_ANSWER_S):
                await self._live
        except TimeoutError as error:
            raise FleetError(Kind.UNAVAILABLE, "ANSWER_LATE", "no answer to Subscribe came in time") from error
        self._beat_after(interval_s, interval_s * _chance())
        return good_s

    async def _attest(self, connection: Connection) -> float:
        satellite = self._satellite
        request = attestation_pb2.AttestRequest(boot_id=satellite.boot_id, agent_version=AGENT)
        answer = attestation_pb2.AttestResponse.FromString(await connection.unary(ATTEST, request.SerializeToString()))
        if answer.HasField("reconnect_window"):
            satellite.window_s = answer.reconnect_window.ToTimedelta().total_seconds()
        told_s = answer.health_interval.ToTimedelta().total_seconds()
        wanted_s = satellite.world.plan.heartbeat_s
        return told_s if wanted_s is None else wanted_s

    def drop(self) -> None:
        """End it, without a word."""
        if self._is_live:
            self._is_live = False
            self._satellite.world.tally.gauges["connected"] -= 1
        for timer in (self._reporting, self._beating):
            if timer is not None:
                timer.cancel()
        if self._connection is not None:
            self._connection.cut()
            self._connection = None

    def connection_lost(self) -> None:
        """Lose the connection."""
        if self._connection is not None:
            self._connection.cut()

    def _send(self, message: state_pb2.StreamStateRequest) -> None:
        if self._connection is not None:
            self._connection.send(self._call, message.SerializeToString())

    # What comes -------------------------------------------------------------------------------------------

    def _ended(self, error: FleetError | None) -> None:
        if not self._live.done():
            self._live.set_exception(error or FleetError(Kind.UNAVAILABLE, "STREAM_ENDED", "the stream ended"))
            self._live.exception()  # seen, even where nobody waits any more
        if not self.over.done():
            self.over.set_result(None)

    def _message(self, content: bytes) -> None:
        tally = self._satellite.world.tally
        tally.counts["messages"] += 1
        try:
            message = state_pb2.StreamStateResponse.FromString(content)
            self._take(message)
        except DecodeError:
            tally.errors["MESSAGE_MALFORMED"] += 1
            self._ended(None)
        except MismatchError as error:
            self._mismatched(str(error))

    def _take(self, message: state_pb2.StreamStateResponse) -> None:
        self._sequence += 1
        if message.sequence != self._sequence:
            raise MismatchError("a message is missing")
        body = message.WhichOneof("body")
        if body == "goodbye":
            self._goodbye(message.goodbye)
            return
        self._lives()
        match body:
            case "unchanged":
                if digest_of(self._satellite.held) != message.unchanged.state_digest:
                    raise MismatchError("the state is not what it should be")
                self._adopt(message.position)
            case "bindings":
                self._update.bindings = message.bindings
            case "delta_part":
                self._part(message.delta_part)
            case "inventory_request":
                self._inventory(message.inventory_request.scopes)
        if message.update_complete:
            self._complete(message.position)

    def _lives(self) -> None:
        if self._is_live or self._live.done():
            return
        satellite, tally = self._satellite, self._satellite.world.tally
        self._is_live = True
        self._live.set_result(None)
        tally.gauges["connected"] += 1
        tally.counts["streams"] += 1
        if satellite.was_cut:
            satellite.was_cut = False
            tally.time("back", asyncio.get_running_loop().time() - satellite.world.linked_at)
        if satellite.is_slow and self._connection is not None:
            self._connection.stop_reading()

    def _goodbye(self, goodbye: state_pb2.Goodbye) -> None:
        if not self._live.done():
            text = f"{state_pb2.GoodbyeReason.Name(goodbye.reason)}: {goodbye.text}"
            self._live.set_exception(FleetError(Kind.UNAVAILABLE, "GOODBYE", text))
            self._live.exception()  # as above
        if not self.over.done():
            self.over.set_result(goodbye)

    def _part(self, part: state_pb2.DeltaPart) -> None:
        if part.offset == 0:
            counts = self._satellite.world.tally.counts
            counts["deltas" if part.from_digest else "snapshots"] += 1
        self._update.take(part)

    def _complete(self, position: state_pb2.Position) -> None:
        update, self._update = self._update, Update()
        if update.bindings is None and not update.parts:
            return
        satellite = self._satellite
        satellite.held = applied(satellite.held, update, satellite.world.library)
        self._resynced.clear()
        tally = satellite.world.tally
        tally.counts["updates"] += 1
        if self._is_current:  # what a stream is told first may have been so for long
            tally.received.setdefault(f"{position.epoch}.{position.revision}", []).append(time.time())
        self._adopt(position)

    def _adopt(self, position: state_pb2.Position) -> None:
        satellite = self._satellite
        self._is_current = True
        satellite.position = position
        satellite.settle(converged=False)
        if self._reporting is None:
            pause_s = _REPORT_S + satellite.window_s * _REPORT_SPREAD * _chance()
            self._reporting = asyncio.get_running_loop().call_later(pause_s, self._report)

    def _report(self) -> None:
        self._reporting = None
        self._reports += 1
        self._send(state_pb2.StreamStateRequest(report=self._satellite.report(self._reports)))
        self._satellite.world.tally.counts["reports"] += 1
        self._satellite.settle(converged=self._satellite.trouble not in ("failing", "waiting"))

    def _inventory(self, scopes: Iterable[str]) -> None:
        for scope in scopes:
            held = self._satellite.held.get(scope)
            entries = [
                state_pb2.InventoryEntry(kind=resource_pb2.ResourceKind.ValueType(kind), name=name, version=version)
                for (kind, name), version in (held.content.versions.items() if held else ())
            ]
            for at in range(0, max(len(entries), 1), INVENTORY):
                piece, complete = entries[at : at + INVENTORY], at + INVENTORY >= len(entries)
                inventory = state_pb2.Inventory(scope=scope, entries=piece, complete=complete)
                self._send(state_pb2.StreamStateRequest(inventory=inventory))
            self._satellite.world.tally.counts["inventories"] += 1

    def _mismatched(self, _text: str) -> None:
        """Ask for the exact difference, once; then give the stream up."""
        satellite, parts = self._satellite, set(self._update.parts)
        self._update = Update()
        satellite.world.tally.errors["MISMATCH"] += 1
        if not parts or parts & self._resynced:
            self._ended(None)
            return
        self._resynced |= parts
        for scope in parts:
            held = satellite.held.get(scope)
            resync = state_pb2.Resync(scope=scope, digest=held.content.digest if held else b"")
            self._send(state_pb2.StreamStateRequest(resync=resync))

    # Heartbeats -------------------------------------------------------------------------------------------

    def _beat_after(self, interval_s: float, pause_s: float) -> None:
        if interval_s > 0:
            self._beating = asyncio.get_running_loop().call_later(pause_s, self._begin_beat)

    def _begin_beat(self) -> None:
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        satellite, connection = self._satellite, self._connection
        if connection is None or not self._is_live:
            return
        tally, begun = satellite.world.tally, time.perf_counter()
        request = health_pb2.ReportHealthRequest(health=satellite.health())
        wanted_s = satellite.world.plan.heartbeat_s
        interval_s = LONGEST_PAUSE_S if wanted_s is None else wanted_s
        try:
            raw = await connection.unary(HEALTH, request.SerializeToString())
        except FleetError as error:
            tally.errors[f"HEALTH_{error.reason}"] += 1
        else:
            tally.counts["heartbeats"] += 1
            tally.time("heartbeat", time.perf_counter() - begun)
            if wanted_s is None:
                answer = health_pb2.ReportHealthResponse.FromString(raw)
                interval_s = answer.next_after.ToTimedelta().total_seconds()
        if self._is_live:
            self._beat_after(interval_s, interval_s * (0.9 + _chance() / 5))
