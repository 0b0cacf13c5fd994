"""A satellite that connects now to one replica, now to another, and judges all that it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from edge.adapters.wire import read_delta, read_response
from edge.domain import holding as hold
from edge.domain import session as client
from fleet.errors import FleetError
from fleet.position import Position
from fleet.protocol import PROTOCOL_VERSION
from fleet.v1 import resource_pb2, state_pb2
from tests.laws.replica_world import LoggedStore, Replica
from tests.laws.stream_world import Journal

WINDOW = timedelta(seconds=1)
TRAVEL_S = 0.05
"""How long a message is on its way at most."""


@dataclass
class Told:
    """What it was told over all its streams."""

    positions: list[Position] = field(default_factory=list)
    held_again: int = 0
    goodbyes: set[str] = field(default_factory=set)
    streams: int = 0


class Link:
    """One stream's wire: what the server writes, arrives later, in order, or never."""

    def __init__(self, chance: Random) -> None:
        self.down: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.up: asyncio.Queue[state_pb2.StreamStateRequest | None] = asyncio.Queue()
        self._chance = chance

    async def send_initial_metadata(self, _metadata: object) -> None:
        """Send headers, of which the model has none."""

    async def write(self, message: bytes) -> None:
        """Send to the satellite."""
        await asyncio.sleep(self._chance.random() * TRAVEL_S)
        self.down.put_nowait(message)

    async def requests(self) -> AsyncIterator[state_pb2.StreamStateRequest]:
        """Hear the satellite."""
        while (message := await self.up.get()) is not None:
            await asyncio.sleep(self._chance.random() * TRAVEL_S)
            yield message


class Wanderer:
    """One satellite, by the product's session and holding."""

    def __init__(self, name: str, replicas: Sequence[Replica], store: LoggedStore, chance: Random) -> None:
        self.name = name
        self.journal = Journal()
        self.told = Told()
        self._replicas = replicas
        self._store = store
        self._chance = chance
        self._session = client.Session()
        self._link = Link(chance)
        self._left: client.Leave | None = None
        self._serving: asyncio.Task[None] | None = None
        self.left_behind: set[asyncio.Task[None]] = set()
        """Streams that it is gone from without a word: a server sees nothing amiss with them."""

    async def run(self) -> None:
        """Live until cancelled."""
        failures = 0
        while True:
            alive = [replica for replica in self._replicas if replica.is_alive]
            if alive:
                await self._once(self._chance.choice(alive))
            left = self._left or client.Leave(None, "the link broke")
            failures = 0 if left.goodbye else min(failures + 1, 3)
            wait = client.retry(left, failures=failures, window=WINDOW, chance=self._chance.random())
            await asyncio.sleep(wait.total_seconds())

    def cut(self) -> None:
        """Lose the link: what is under way is lost, and the server hears of it."""
        if self._serving is not None:
            self._serving.cancel()

    def vanish(self) -> None:
        """Lose the link, of which the server hears nothing."""
        if self._serving is not None and not self._serving.done():
            self.left_behind.add(self._serving)
            self._link.down.put_nowait(None)

    def see_left_behind(self) -> None:
        """See that the streams that it is gone from have ended, and ended well."""
        for serving in self.left_behind:
            assert serving.done(), f"two streams of {self.name} go on"
            self._see_defects(serving)

    async def _once(self, replica: Replica) -> None:
        self._link, self._session, self._left = Link(self._chance), client.Session(), None
        self.told.streams += 1
        link, serving = self._link, replica.serve(self.name, self._link.requests(), self._link)
        self._serving = serving
        serving.add_done_callback(lambda _: link.down.put_nowait(None))
        try:
            self._event(client.Opened({scope: staged for scope, (staged, _) in self.journal.staged.items()}))
            while self._left is None and (message := await link.down.get()) is not None:
                if serving.cancelled():
                    break  # the link broke before this had come
                self._event(read_response(state_pb2.StreamStateResponse.FromString(message)))
        finally:
            if serving not in self.left_behind:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                self._see_defects(serving)

    @staticmethod
    def _see_defects(serving: asyncio.Task[None]) -> None:
        """Let nothing pass but what a server says to clients: an end, or an error of ours."""
        if serving.cancelled():
            return
        match serving.exception():
            case None | FleetError():
                return
            case ExceptionGroup() as group if group.split(FleetError)[1] is None:
                return
            case defect:
                raise defect

    def _event(self, event: client.Event) -> None:
        self._session, effects = client.step(self._session, event)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: client.Effect) -> None:  # noqa: C901 - one case an effect
        journal = self.journal
        match effect:
            case client.Subscribe():
                self._say(subscribe=self._subscribe())
            case client.Stage():
                journal.stage(effect)
            case client.Apply(bindings, deltas, position):
                self._apply(bindings, deltas, position)
            case client.Adopt(position, digest):
                assert hold.holding_digest(journal.holding) == digest
                self._adopt(position)
            case client.SendInventory(scopes):
                for scope in scopes:
                    self._say(inventory=self._inventory(scope))
            case client.SendResync(scope, digest):
                raise AssertionError(f"{self.name} does not hold what it was told of {scope}: {digest.hex()}")
            case client.SendReport():
                pass
            case client.Leave(goodbye):
                self._left = effect
                if goodbye is not None:
                    self.told.goodbyes.add(goodbye.why.name)

    def _say(self, **body: object) -> None:
        self._link.up.put_nowait(state_pb2.StreamStateRequest(**body))  # type: ignore[arg-type] # a oneof's name

    def _subscribe(self) -> state_pb2.Subscribe:
        journal = self.journal
        position = journal.position
        return state_pb2.Subscribe(
            protocol_version=PROTOCOL_VERSION,
            boot_id=self.name.encode().ljust(16),
            session_number=self.told.streams,
            held=[
                state_pb2.HeldScope(scope=name, digest=held.digest, precedence=held.precedence)
                for name, held in journal.holding.items()
            ],
            position=state_pb2.Position(epoch=position.epoch, revision=position.revision) if position else None,
            staged=[
                state_pb2.StagedDelta(scope=name, delta_digest=one.delta_digest, received_bytes=one.received_bytes)
                for name, (one, _) in journal.staged.items()
            ],
        )

    def _inventory(self, scope: str) -> state_pb2.Inventory:
        held = self.journal.holding.get(scope)
        entries = [
            state_pb2.InventoryEntry(
                kind=resource_pb2.ResourceKind.ValueType(one.kind), name=one.name, version=one.version
            )
            for one in (held.resources.values() if held else ())
        ]
        return state_pb2.Inventory(scope=scope, entries=entries, complete=True)

    def _apply(
        self, bindings: tuple[hold.Binding, ...] | None, deltas: tuple[client.Staged, ...], position: Position
    ) -> None:
        journal = self.journal
        whole = [read_delta(staged, journal.staged.pop(staged.binding.scope)[1]) for staged in deltas]
        for delta in whole:
            held = journal.holding.get(delta.binding.scope)
            self.told.held_again += sum(
                held is not None and one.key in held.resources and held.resources[one.key].version == one.version
                for one in delta.upserts
            )
        outcome = hold.apply(journal.holding, bindings, whole)
        assert not isinstance(outcome, hold.Mismatch), outcome
        journal.holding, journal.staged = dict(outcome), {}
        self._adopt(position)

    def _adopt(self, position: Position) -> None:
        """Judge what is held now against what the store was at that very revision."""
        before = self.journal.position
        assert before is None or position >= before, f"{self.name} was led back from {before} to {position}"
        assert hold.holding_digest(self.journal.holding) == self._store.history[position.revision, self.name]
        self.journal.position = position
        self.told.positions.append(position)
        self._event(client.Applied())
