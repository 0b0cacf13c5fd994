"""A world in virtual time for the stream's two tables: one store, satellites, links that break.

Everything that decides is the product's own (controlplane/domain/session.py, edge/domain/session.py,
edge/domain/holding.py); the store, the journal and the wire are the simplest things that can be right.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controlplane.domain import session as server
from controlplane.domain.state import Binding, Key
from edge.domain import holding as hold
from edge.domain import session as client
from fleet.digests import EMPTY_SCOPE, resource_version, scope_digest, state_digest
from fleet.position import Position
from fleet.protocol import PROTOCOL_VERSION

CHUNK_BYTES = 48
KIND = 1
EPOCH_START = datetime(2026, 1, 1, tzinfo=UTC)
Content = dict[Key, bytes]
"""A scope's content: payloads by key."""


def digest_of(content: Content) -> bytes:
    return scope_digest((kind, name, resource_version(kind, payload)) for (kind, name), payload in content.items())


def versions_of(content: Content) -> dict[Key, bytes]:
    return {key: resource_version(key[0], payload) for key, payload in content.items()}


@dataclass
class Store:
    """Scopes as lists of generations, memberships, and a log that only counts."""

    epoch: int = 1
    revision: int = 0
    generations: dict[str, dict[int, Content]] = field(default_factory=lambda: {"fleet": {0: {}}})
    latest: dict[str, int] = field(default_factory=lambda: {"fleet": 0})
    groups: dict[str, set[str]] = field(default_factory=dict)
    precedence: dict[str, int] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)

    def content(self, scope: str) -> Content:
        return self.generations[scope][self.latest[scope]] if scope in self.latest else {}

    def write(self, scope: str, content: Content) -> None:
        if content == self.content(scope) and scope in self.latest:
            return
        self.revision += 1
        number = self.latest.get(scope, -1) + 1
        self.generations.setdefault(scope, {})[number] = dict(content)
        self.latest[scope] = number

    def compact(self, scope: str) -> None:
        if scope in self.latest:
            self.generations[scope] = {self.latest[scope]: self.content(scope)}

    def bindings(self, satellite: str) -> tuple[Binding, ...]:
        if satellite not in self.approved:
            return ()
        groups = [f"group/{g}" for g in sorted(self.groups.get(satellite, ()))]
        return tuple(
            Binding(
                scope,
                self.latest.get(scope, 0),
                digest_of(self.content(scope)) if scope in self.latest else EMPTY_SCOPE,
                self.precedence.get(scope, 0),
            )
            for scope in ["fleet", *groups, f"satellite/{satellite}"]
        )

    def find(self, scope: str, digest: bytes) -> Content | None:
        if digest == EMPTY_SCOPE:
            return {}
        return next((c for c in self.generations.get(scope, {}).values() if digest_of(c) == digest), None)


def encode(upserts: Content, deletes: list[Key]) -> bytes:
    rows = [[kind, name, payload.hex()] for (kind, name), payload in sorted(upserts.items())]
    return json.dumps([rows, sorted(deletes)]).encode()


def decode(raw: bytes) -> tuple[tuple[hold.Resource, ...], tuple[hold.Key, ...]]:
    upserts, deletes = json.loads(raw)
    return (
        tuple(hold.Resource(k, n, bytes.fromhex(p), resource_version(k, bytes.fromhex(p))) for k, n, p in upserts),
        tuple((k, n) for k, n in deletes),
    )


@dataclass
class Journal:
    """What survives a kill of the satellite."""

    holding: dict[str, hold.HeldScope] = field(default_factory=dict)
    position: Position | None = None
    staged: dict[str, tuple[client.Staged, bytes]] = field(default_factory=dict)

    def stage(self, effect: client.Stage) -> None:
        before = b"" if effect.restart else self.staged[effect.staged.binding.scope][1]
        self.staged[effect.staged.binding.scope] = (effect.staged, before + effect.chunk)


@dataclass
class Counts:
    """What went over the wire."""

    messages: int = 0
    resources: int = 0
    """Resources in deltas, each counted when its first byte is sent."""
    held_again: int = 0
    """Resources sent that the satellite held in that very version."""
    chunk_bytes: int = 0
    bytes_again: int = 0
    """Bytes of a delta sent that the satellite had staged."""


class World:
    """One Ground Control and its satellites."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.store = Store(approved=set(names))
        self.backup: Store | None = None
        self.remembered: set[tuple[str, bytes]] = set()
        """What the server once found to be known, and may have compacted since."""
        self.satellites = {name: Satellite(name, self) for name in names}

    def take_backup(self) -> None:
        self.backup = deepcopy(self.store)

    def restore(self) -> None:
        if self.backup is not None:
            self.store = deepcopy(self.backup)
            for satellite in self.satellites.values():
                satellite.cut()

    def recover(self) -> None:
        self.store.epoch += 1

    def knows(self, scope: str, digest: bytes) -> bool:
        if digest and self.store.find(scope, digest) is not None:
            self.remembered.add((scope, digest))
        return (scope, digest) in self.remembered

    def find_compacted(self, steps: tuple[server.Step, ...]) -> str | None:
        for step in steps:
            match step:
                case server.SendDelta(binding, bytes(digest), _) if self.store.find(binding.scope, digest) is None:
                    self.remembered.discard((binding.scope, digest))
                    return binding.scope
        return None

    def woken(self) -> None:
        for satellite in self.satellites.values():
            satellite.server_event(server.Changed())

    def settle(self) -> None:
        """Connect everybody and deliver everything."""
        for satellite in self.satellites.values():
            if satellite.server is None:
                satellite.connect()
            satellite.deliver_all()
        self.woken()
        for satellite in self.satellites.values():
            satellite.deliver_all()


class Satellite:
    """One satellite, its link and the server's end of it."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.journal = Journal()
        self.client: client.Session | None = None
        self.server: server.Session | None = None
        self.down: deque[client.Received] = deque()
        self.up: deque[server.Event] = deque()
        self.sequence = 0
        self.counts = Counts()
        self.left: client.Leave | None = None

    def connect(self) -> None:
        self.cut()
        self.left = None
        self.sequence = 0
        self.server = server.Session()
        self.client = client.Session()
        self.client_event(client.Opened({s: staged for s, (staged, _) in self.journal.staged.items()}))

    def cut(self) -> None:
        """Break the link: what is under way is lost."""
        self.client = self.server = None
        self.down.clear()
        self.up.clear()

    def deliver(self, count: int) -> None:
        for _ in range(count):
            if self.up:
                self.server_event(self.up.popleft())
            elif self.down:
                self.client_event(self.down.popleft())

    def deliver_all(self) -> None:
        for _ in range(100_000):
            if not self.up and not self.down:
                return
            self.deliver(1)
        raise AssertionError("the two ends talk without end")

    # The satellite's pump

    def client_event(self, event: client.Event) -> None:
        if self.client is None:
            return
        self.client, effects = client.step(self.client, event)
        for effect in effects:
            self._client_effect(effect)

    def _client_effect(self, effect: client.Effect) -> None:
        journal = self.journal
        match effect:
            case client.Subscribe():
                held = {s: server.Held(h.digest, h.precedence) for s, h in journal.holding.items()}
                staged = {s: server.Staged(st.delta_digest, st.received_bytes) for s, (st, _) in journal.staged.items()}
                self.up.append(server.Subscribed(PROTOCOL_VERSION, held, journal.position, staged))
            case client.Stage():
                journal.stage(effect)
            case client.Apply(bindings, deltas, position):
                self._apply(bindings, deltas, position)
            case client.Adopt(position, digest):
                if hold.holding_digest(journal.holding) != digest:
                    self.client_event(client.Mismatched(hold.Mismatch("", b"", "not what is held")))
                else:
                    journal.position = position
                    self.client_event(client.Applied())
            case client.SendInventory(scopes):
                self._inventory(scopes)
            case client.SendResync(scope, digest):
                self.up.append(server.ResyncAsked(scope, digest))
            case client.SendReport():
                pass
            case client.Leave():
                self.left = effect
                self.cut()

    def _apply(
        self, bindings: tuple[hold.Binding, ...] | None, deltas: tuple[client.Staged, ...], position: Position
    ) -> None:
        journal = self.journal
        whole = []
        for staged in deltas:
            _, raw = journal.staged.pop(staged.binding.scope)
            assert hashlib.sha256(raw).digest() == staged.delta_digest
            whole.append(hold.ScopeDelta(staged.binding, staged.from_digest, *decode(raw)))
        outcome = hold.apply(journal.holding, bindings, whole)
        if isinstance(outcome, hold.Mismatch):
            self.client_event(client.Mismatched(outcome))
            return
        journal.holding, journal.position, journal.staged = dict(outcome), position, {}
        self.client_event(client.Applied())

    def _inventory(self, scopes: tuple[str, ...]) -> None:
        for scope in scopes:
            held = self.journal.holding.get(scope)
            rows = [(r.key, r.version) for r in held.resources.values()] if held else []
            for row in rows:
                self.up.append(server.InventoryPart(scope, dict([row]), complete=False))
            self.up.append(server.InventoryPart(scope, {}, complete=True))

    # The server's pump

    def server_event(self, event: server.Event) -> None:
        if self.server is None:
            return
        before = self.server
        self.server, effects = server.step(before, event)
        for effect in effects:
            self._server_effect(effect, before)

    def _server_effect(self, effect: server.Effect, before: server.Session) -> None:
        store = self.world.store
        match effect:
            case server.Consult(_, held):
                bindings = store.bindings(self.name)
                stale = [b for b in bindings if b.scope in held and held[b.scope] != b.digest]
                unknown = {b.scope for b in stale if not self.world.knows(b.scope, held[b.scope])}
                pending = self.name not in store.approved
                digest = state_digest({b.scope: b.digest for b in bindings})
                self.server_event(server.Consulted(store.position, pending, bindings, digest, frozenset(unknown)))
            case server.Ask(scopes):
                self._send(client.InventoryAsked(scopes))
            case server.Update(position, steps):
                compacted = self.world.find_compacted(steps)
                if compacted is not None:
                    self.server_event(server.Compacted(before, compacted))
                    return
                for step in steps:
                    self._send_step(step, position, last=step is steps[-1])
            case server.Record():
                pass
            case server.Close(why, text, retry_after):
                self._send(client.GoodbyeTold(why, text, retry_after))
                self.server = None

    def _send_step(self, step: server.Step, position: Position, *, last: bool) -> None:
        store = self.world.store
        match step:
            case server.SendUnchanged(digest):
                self._send(client.Unchanged(digest), position, complete=last)
            case server.SendBindings(bindings, _):
                told = tuple(hold.Binding(b.scope, b.generation, b.digest, b.precedence) for b in bindings)
                self._send(client.BindingsTold(told), position, complete=last)
            case server.SendDelta(binding, from_digest, staged):
                origin = store.find(binding.scope, from_digest) if from_digest else {}
                assert origin is not None
                self._send_delta(binding, from_digest or b"", versions_of(origin), staged, position, last=last)
            case server.SendExact(binding, inventory, staged):
                self._send_delta(binding, b"", dict(inventory), staged, position, last=last)

    def _send_delta(
        self,
        binding: Binding,
        from_digest: bytes,
        held: dict[Key, bytes],
        staged: server.Staged | None,
        position: Position,
        *,
        last: bool,
    ) -> None:
        wanted = self.world.store.content(binding.scope)
        upserts = {key: payload for key, payload in wanted.items() if held.get(key) != versions_of({key: payload})[key]}
        raw = encode(upserts, [key for key in held if key not in wanted])
        delta_digest = hashlib.sha256(raw).digest()
        offset = staged.received_bytes if staged and staged.delta_digest == delta_digest else 0
        self._count(binding.scope, upserts, raw, delta_digest, offset)
        bound = hold.Binding(binding.scope, binding.generation, binding.digest, binding.precedence)
        starts = list(range(offset, max(len(raw), offset + 1), CHUNK_BYTES))
        for start in starts:
            part = client.Part(bound, from_digest, delta_digest, len(raw), start, raw[start : start + CHUNK_BYTES])
            self._send(part, position, complete=last and start == starts[-1])

    def _count(self, scope: str, upserts: Content, raw: bytes, delta_digest: bytes, offset: int) -> None:
        counts = self.counts
        counts.chunk_bytes += len(raw) - offset
        if scope in self.journal.staged and not offset:
            staged, kept = self.journal.staged[scope]
            counts.bytes_again += len(kept) if staged.delta_digest == delta_digest else 0
        counts.resources += len(upserts)
        held = None if self._is_on_its_way(scope) else self.journal.holding.get(scope)
        for key, version in versions_of(upserts).items():
            if held and key in held.resources and held.resources[key].version == version:
                counts.held_again += 1

    def _is_on_its_way(self, scope: str) -> bool:
        """Say whether an earlier change of the scope is: what it takes away may have to be sent again."""
        bodies = [message.body for message in self.down]
        if self.client is not None and self.client.bindings is not None:
            bodies.append(client.BindingsTold(self.client.bindings))
        parted = any(
            scope not in {one.scope for one in body.bindings}
            for body in bodies
            if isinstance(body, client.BindingsTold)
        )
        taken = self.client.updating if self.client is not None else frozenset()
        coming = {body.binding.scope for body in bodies if isinstance(body, client.Part)}
        return parted or scope in taken | coming

    def _send(self, body: client.Body, position: Position | None = None, *, complete: bool = False) -> None:
        self.sequence += 1
        self.counts.messages += 1
        told = position or self.world.store.position
        self.down.append(client.Received(self.sequence, told, EPOCH_START, complete, body))

    # What the satellite holds, for the oracle

    def content(self) -> dict[str, Content]:
        return {
            scope: {key: resource.payload for key, resource in held.resources.items()}
            for scope, held in self.journal.holding.items()
        }
