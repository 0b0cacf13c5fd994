"""A world in virtual time for several Ground Controls on one store: replicas that lag and die, satellites that wander.

What decides is the product's own: the stream's pump, board, roster and feed on the one side, session and holding on
the other. The store, the wire and the journal are the simplest things that can be right; every wait is by chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast

from controlplane.adapters.feed import PolledFeed
from controlplane.app.meter import Meter
from controlplane.app.roster import RosterKeeper
from controlplane.app.tracing import NoTracer
from controlplane.domain.commands import Concerned
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import Enrolled, Moved, Roster, Survey, concerned_by
from controlplane.domain.state import Binding, Key
from controlplane.domain.status import SessionKey
from controlplane.rpc.board import Board
from controlplane.rpc.caller import Caller, Party, Peer
from controlplane.rpc.consult import Consultant, SharedParts
from controlplane.rpc.healths import Healths
from controlplane.rpc.reports import Reports
from controlplane.rpc.sessions import Sessions
from controlplane.rpc.stream import StreamParts, serve_stream
from controlplane.rpc.stream_meter import StreamMeter
from controlplane.rpc.turnstile import Turnstile
from fleet.digests import EMPTY_SCOPE, state_digest
from fleet.errors import FleetError, Kind
from fleet.identity import SatelliteId
from fleet.position import Position
from fleet.v1 import resource_pb2, state_pb2
from tests.laws.stream_world import EPOCH_START, Content, Store, digest_of, versions_of

TRUST_DOMAIN = "example.org"
LATE_S = 8.0
"""How late a hint is at most that is not lost."""
ANSWER_S = 0.1
"""How long the store takes to answer at most."""


def now() -> datetime:
    """Tell the virtual time."""
    return EPOCH_START + timedelta(seconds=asyncio.get_running_loop().time())


class LoggedStore(Store):
    """The store with a log that says whom each change concerns, and what it made of every satellite's state."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(approved=set(names))
        self.names = tuple(names)
        self.log: list[Moved] = []
        self.history: dict[tuple[int, str], bytes] = {}
        self.sessions: dict[str, tuple[bytes, int]] = {}
        self.is_up = True
        self._remember()

    def write(self, scope: str, content: Content) -> None:
        if content == self.content(scope):
            return
        self.revision += 1
        self.latest[scope] = self.latest.get(scope, 0) + 1  # 0 is a scope that was never written to
        self.generations.setdefault(scope, {})[self.latest[scope]] = dict(content)
        self._append(Concerned(frozenset({scope})))

    def move(self, satellite: str, group: str, *, joins: bool) -> None:
        """Put a satellite into a group, or take it out."""
        members = self.groups.setdefault(satellite, set())
        (members.add if joins else members.discard)(group)
        self.revision += 1
        self._append(Concerned(frozenset(), frozenset({satellite})))

    def precede(self, group: str, precedence: int) -> None:
        """Give a group another precedence."""
        self.precedence[f"group/{group}"] = precedence
        self.revision += 1
        self._append(
            Concerned(frozenset(), frozenset(name for name in self.names if group in self.groups.get(name, ())))
        )

    def _append(self, concerned: Concerned) -> None:
        self.log.append(Moved(self.position, now(), concerned))
        self._remember()

    def _remember(self) -> None:
        for name in self.names:
            self.history[self.revision, name] = self.state_digest(name)

    def state_digest(self, name: str) -> bytes:
        """Say what a satellite should hold now."""
        return state_digest({binding.scope: binding.digest for binding in self.bindings(name)})

    def binding(self, scope: str) -> Binding:
        """Say what a scope is now."""
        digest = digest_of(self.content(scope)) if scope in self.latest else EMPTY_SCOPE
        return Binding(scope, self.latest.get(scope, 0), digest, self.precedence.get(scope, 0))

    def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        """Answer a roster that is to become current."""
        moved = tuple(one for one in self.log if one.position > known.position) if known.position.revision else None
        concerned = concerned_by(moved or ())
        names = {*asked, *(known.satellites if moved is None else concerned.satellites & set(known.satellites))}
        enrolled = {
            name: Enrolled(spiffe_id(name), Standing.APPROVED, tuple(b.scope for b in self.bindings(name)))
            for name in sorted(names)
        }
        scopes = {scope for one in enrolled.values() for scope in one.scopes} | set(concerned.scopes)
        return Survey(self.position, moved, enrolled, frozenset(), {scope: self.binding(scope) for scope in scopes})


def spiffe_id(name: str) -> str:
    """Make a satellite's identity."""
    return str(SatelliteId(TRUST_DOMAIN, "north", name))


def write_delta(store: Store, scope: str, held: dict[Key, bytes], generation: int) -> bytes:
    """Write what turns what is held into a generation."""
    wanted = store.generations[scope][generation] if generation else {}
    versions = versions_of(wanted)
    upserts = [
        resource_pb2.Resource(
            kind=resource_pb2.ResourceKind.ValueType(key[0]), name=key[1], payload=payload, version=versions[key]
        )
        for key, payload in sorted(wanted.items())
        if held.get(key) != versions[key]
    ]
    deletes = [
        resource_pb2.ResourceKey(kind=resource_pb2.ResourceKind.ValueType(kind), name=name)
        for kind, name in sorted(held)
        if (kind, name) not in wanted
    ]
    return state_pb2.Delta(upserts=upserts, deletes=deletes).SerializeToString(deterministic=True)


@dataclass
class Replica:
    """One Ground Control: what it knows of the store comes late, and it may be gone at any time.

    It is the `Fleet` that rpc code asks, as far as streams need it.
    """

    store: LoggedStore
    chance: Random
    is_alive: bool = False
    own: dict[str, SessionKey] = field(default_factory=dict)
    tracer: NoTracer = field(default_factory=NoTracer)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def start(self) -> None:
        """Begin, knowing nothing."""
        self.is_alive = True
        self.own = {}
        self.feed = PolledFeed(self._position)
        self.roster = RosterKeeper(cast("Any", self), self.feed)
        fleet, gate = cast("Any", self), cast("Any", self)
        self.board, self.reports = Board(fleet, gate), Reports(cast("Any", self))
        consultant, meter = Consultant(fleet), StreamMeter(Meter(), self.board, self.reports)
        sessions = Sessions(fleet, self.board)
        self.parts = StreamParts(
            fleet=fleet,
            board=self.board,
            turnstile=Turnstile(asyncio.get_running_loop().time),
            sessions=sessions,
            reports=self.reports,
            healths=Healths(fleet),
            consultant=consultant,
            shared=SharedParts(),
            meter=meter,
            now=now,
        )
        for work in (self.feed, self.roster, self.board, consultant, self.reports, sessions):
            self._spawn(work.run())

    def kill(self) -> None:
        """Go without a word, as by SIGKILL."""
        self.is_alive = False
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End for good, at the end of the story."""
        self.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def serve(
        self, name: str, requests: AsyncIterator[state_pb2.StreamStateRequest], context: object
    ) -> asyncio.Task[Any]:
        """Serve a satellite's stream."""
        identity, at = SatelliteId(TRUST_DOMAIN, "north", name), now()
        far = at + timedelta(days=1)
        peer = Peer(identity, str(identity), not_before=at, not_after=far, chain=(), fingerprint=b"")
        caller = Caller(Party.SATELLITE, str(identity), name, peer)
        return self._spawn(serve_stream(self.parts, caller, requests, cast("Any", context)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def hear(self, *, is_own: bool) -> None:
        """Learn that something was written: at once of what was written here, else late, out of order or never."""
        if is_own:
            self.feed.publish(self.store.position)
        elif self.chance.random() < 0.5:
            asyncio.get_running_loop().call_later(self.chance.random() * LATE_S, self.feed.hint)

    # What rpc code asks the fleet and its gate

    async def _answer(self) -> None:
        await asyncio.sleep(self.chance.random() * ANSWER_S)
        if not self.store.is_up:
            raise FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "the store is away")

    async def _position(self) -> Position:
        await self._answer()
        read = self.store.position
        await self._answer()  # it is older than it was when it comes
        return read

    async def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        await self._answer()
        read = self.store.survey(known, asked)
        await self._answer()
        return read

    async def open_session(self, name: str, boot_id: bytes, number: int, at: datetime, *, agent_version: str) -> None:
        # What was begun is done, whether or not somebody waits for it any more.
        await asyncio.shield(asyncio.ensure_future(self._open(SessionKey(name, boot_id, number), self.own)))

    async def _open(self, key: SessionKey, own: dict[str, SessionKey]) -> None:
        await self._answer()
        if self.store.sessions.get(key.satellite, (key.boot_id, 0)) >= (key.boot_id, key.number):
            raise FleetError(Kind.PRECONDITION, "SESSION_SUPERSEDED", "a newer stream took over")
        self.store.sessions[key.satellite] = (key.boot_id, key.number)
        own[key.satellite] = key
        await self._answer()  # it is written, whether or not that is heard of

    async def close_session(self, name: str, boot_id: bytes, number: int, at: datetime) -> None:
        await self._answer()
        if self.own.get(name) == SessionKey(name, boot_id, number):
            del self.own[name]

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        await self._answer()
        held = self.store.sessions
        return tuple(key for key in self.own.values() if held[key.satellite] != (key.boot_id, key.number))

    async def forget_lost(self, lost: Collection[SessionKey]) -> None:
        await self._answer()
        for key in lost:
            if self.own.get(key.satellite) == key:
                del self.own[key.satellite]
        await self._answer()  # they are forgotten, whether or not that is heard of

    async def record_report(self, *_: object) -> bool:
        await self._answer()
        return True

    async def mark_behind(self, satellite: str) -> None:
        raise AssertionError(f"{satellite} was told that the store is behind, which it never was")

    async def knows(self, scope: str, digest: bytes) -> bool:
        await self._answer()
        return self.store.find(scope, digest) is not None

    async def delta(self, scope: str, from_digest: bytes | None, generation: int) -> bytes:
        await self._answer()
        held = self.store.find(scope, from_digest) if from_digest else {}
        assert held is not None
        return write_delta(self.store, scope, versions_of(held), generation)

    async def exact(self, scope: str, inventory: dict[Key, bytes], generation: int) -> bytes:
        await self._answer()
        return write_delta(self.store, scope, dict(inventory), generation)

    def now(self) -> datetime:
        return now()
