"""One connection of a simulated satellite, and the stream on it: a smaller `edge.domain.session`, without a journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from controlplane.satctl.simulate.connection import Call, Connection
from controlplane.satctl.simulate.holding import MismatchError, Update, applied, digest_of
from controlplane.satctl.simulate.site import AGENT, Site
from fleet.chance import chance
from fleet.errors import FleetError, Kind
from fleet.v1 import attestation_pb2, resource_pb2, state_pb2

ATTEST = "/fleet.v1.AttestationService/Attest"
STREAM = "/fleet.v1.StateService/StreamState"

FIRST_ANSWER_S = 30.0
INVENTORY = 400
"""Entries in one message: 400 names of 100 bytes are well below 64 KiB."""
_REPORT_S, _REPORT_SPREAD = 0.1, 0.05
"""As real satellites: changes within 0.1 s are one report, spread over a twentieth of the reconnect window."""


class Stream:
    """One connection of a site, and the stream on it."""

    __slots__ = (
        "_beating",
        "_call",
        "_connection",
        "_is_current",
        "_is_live",
        "_is_retired",
        "_live",
        "_reporting",
        "_reports",
        "_resynced",
        "_sequence",
        "_site",
        "_told_s",
        "_update",
        "over",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        loop = asyncio.get_running_loop()
        self._site = site
        self._connection: Connection | None = None
        self._call = Call(self._message, self._ended)
        self._live: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[state_pb2.Goodbye | None] = loop.create_future()
        self._is_live = False
        self._is_current = False
        self._is_retired = False
        self._update = Update()
        self._sequence = 0
        self._reports = 0
        self._resynced: set[str] = set()
        self._reporting: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._told_s = 0.0

    async def open(self, before: Stream | None) -> float:
        """Connect, attest, subscribe, and wait for the first answer: `→ seconds until the next stream is due`.

        From Subscribe on, the stream before changes nothing any more: what this one is told starts from what is held.

        Raises:
            FleetError: why it did not come to be.
        """
        site, world = self._site, self._site.world
        if not world.link.is_set():
            raise FleetError(Kind.UNAVAILABLE, "LINK_DOWN", "the link is cut, as the simulation wants it")
        pem, good_s = await world.identity(site.name)
        begun = time.perf_counter()
        world.tally.counts["attempts"] += 1
        self._connection = connection = await world.dialer.connect(pem)
        world.tally.time("handshake", time.perf_counter() - begun)
        world.tally.counts["handshakes"] += 1
        interval_s = await self._attest(connection)
        if before is not None:
            before._is_retired = True  # noqa: SLF001 - one of us
        connection.open(STREAM, self._call)
        self._send(state_pb2.StreamStateRequest(subscribe=site.subscribe()))
        try:
            async with asyncio.timeout(FIRST_ANSWER_S):
                await self._live
        except TimeoutError as error:
            raise FleetError(Kind.UNAVAILABLE, "ANSWER_LATE", "no answer to Subscribe came in time") from error
        self._beat_after(interval_s, interval_s * chance())
        return good_s

    async def _attest(self, connection: Connection) -> float:
        site = self._site
        request = attestation_pb2.AttestRequest(boot_id=site.boot_id, agent_version=AGENT)
        answer = attestation_pb2.AttestResponse.FromString(await connection.unary(ATTEST, request.SerializeToString()))
        if answer.HasField("reconnect_window"):
            site.window_s = answer.reconnect_window.ToTimedelta().total_seconds()
        self._told_s = answer.health_interval.ToTimedelta().total_seconds()
        return self._interval_s

    @property
    def goes_on(self) -> bool:
        """Say whether it is still the stream that counts, and open."""
        return not self._is_retired and not self.over.done()

    def drop(self) -> None:
        """End it, without a word."""
        if self._is_live:
            self._is_live = False
            self._site.world.tally.gauges["connected"] -= 1
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
        if self._is_retired:
            return
        tally = self._site.world.tally
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
                if digest_of(self._site.held) != message.unchanged.state_digest:
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
        site, tally = self._site, self._site.world.tally
        self._is_live = True
        self._live.set_result(None)
        tally.gauges["connected"] += 1
        tally.counts["streams"] += 1
        if site.was_cut:
            site.was_cut = False
            tally.time("back", asyncio.get_running_loop().time() - site.world.linked_at)
        if site.is_slow and self._connection is not None:
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
            counts = self._site.world.tally.counts
            counts["deltas" if part.from_digest else "snapshots"] += 1
        self._update.take(part)

    def _complete(self, position: state_pb2.Position) -> None:
        update, self._update = self._update, Update()
        if update.bindings is None and not update.parts:
            return
        site = self._site
        site.held = applied(site.held, update, site.world.library)
        self._resynced.clear()
        tally = site.world.tally
        tally.counts["updates"] += 1
        if self._is_current:  # what a stream is told first may have been so for long
            tally.received.setdefault(f"{position.epoch}.{position.revision}", []).append(time.time())
        self._adopt(position)

    def _adopt(self, position: state_pb2.Position) -> None:
        site = self._site
        self._is_current = True
        site.position = position
        site.settle(converged=False)
        if self._reporting is None:
            pause_s = _REPORT_S + site.window_s * _REPORT_SPREAD * chance()
            self._reporting = asyncio.get_running_loop().call_later(pause_s, self._report)

    def _report(self) -> None:
        self._reporting = None
        self._reports += 1
        self._send(state_pb2.StreamStateRequest(report=self._site.report(self._reports)))
        self._site.world.tally.counts["reports"] += 1
        self._site.settle(converged=self._site.trouble not in ("failing", "waiting"))

    def _inventory(self, scopes: Iterable[str]) -> None:
        for scope in scopes:
            held = self._site.held.get(scope)
            entries = [
                state_pb2.InventoryEntry(kind=resource_pb2.ResourceKind.ValueType(kind), name=name, version=version)
                for (kind, name), version in (held.content.versions.items() if held else ())
            ]
            for at in range(0, max(len(entries), 1), INVENTORY):
                piece, complete = entries[at : at + INVENTORY], at + INVENTORY >= len(entries)
                inventory = state_pb2.Inventory(scope=scope, entries=piece, complete=complete)
                self._send(state_pb2.StreamStateRequest(inventory=inventory))
            self._site.world.tally.counts["inventories"] += 1

    def _mismatched(self, _text: str) -> None:
        """Ask for the exact difference, once; then give the stream up."""
        site, parts = self._site, set(self._update.parts)
        self._update = Update()
        site.world.tally.errors["MISMATCH"] += 1
        if not parts or parts & self._resynced:
            self._ended(None)
            return
        self._resynced |= parts
        for scope in parts:
            held = site.held.get(scope)
            resync = state_pb2.Resync(scope=scope, digest=held.content.digest if held else b"")
            self._send(state_pb2.StreamStateRequest(resync=resync))

    # Heartbeats -------------------------------------------------------------------------------------------

    @property
    def _interval_s(self) -> float:
        wanted_s = self._site.world.plan.heartbeat_s
        return self._told_s if wanted_s is None else wanted_s

    def _beat_after(self, interval_s: float, pause_s: float) -> None:
        if interval_s > 0:
            self._beating = asyncio.get_running_loop().call_later(pause_s, self._beat)

    def _beat(self) -> None:
        if not self._is_live:
            return
        self._send(state_pb2.StreamStateRequest(health=self._site.health()))
        self._site.world.tally.counts["heartbeats"] += 1
        interval_s = self._interval_s
        self._beat_after(interval_s, interval_s * (0.9 + chance() / 5))
