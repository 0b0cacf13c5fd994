"""The server's end of StreamState as a pure table: (session, event, time) → (session, effects).

    phase        event             next         effects
    NEW          Subscribed        LIVE         Consult
    NEW, LIVE    Consulted         LIVE         Update, or nothing where nothing differs
    LIVE         Consulted         COLLECTING   Ask, where a held digest is not one of ours
    COLLECTING   InventoryPart     COLLECTING   -
    COLLECTING   InventoryPart     LIVE         Consult, once all that was asked for is there
    LIVE         Changed           LIVE         Consult
    LIVE         ResyncAsked       COLLECTING   Ask
    LIVE         Compacted         COLLECTING   Ask: the Update did not happen
    any          Reported          same         Record
    any          Ended             CLOSED       Close

`rpc/stream.py` pumps it: it performs the effects in order and feeds back what they answer. A session assumes that
the satellite holds what it was sent; where that is wrong (a cut), the next Subscribe says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from controlplane.domain.state import Binding, Key
from fleet.position import Position
from fleet.protocol import PROTOCOL_VERSION, Farewell

MAX_INVENTORY = 200_000
"""Entries in one inventory: 64 MiB of state cannot hold more."""
MAX_RESYNCS = 3
"""Resyncs of one scope in one session; after that something is broken that resending does not mend."""


class Phase(Enum):
    """Where a session stands."""

    NEW = "new"
    LIVE = "live"
    COLLECTING = "collecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Held:
    """One scope as the satellite holds it."""

    digest: bytes
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class Staged:
    """The part of a delta that the satellite kept over a cut."""

    delta_digest: bytes
    received_bytes: int


# Events


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The satellite opened the session."""

    protocol_version: int
    held: Mapping[str, Held]
    position: Position | None = None
    staged: Mapping[str, Staged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Consulted:
    """The store answered a Consult."""

    position: Position
    pending: bool
    bindings: tuple[Binding, ...]
    state_digest: bytes
    unknown: frozenset[str]
    """Scopes whose held digest is none of the store's generations."""


@dataclass(frozen=True, slots=True)
class InventoryPart:
    """The satellite listed some of what it holds."""

    scope: str
    entries: Mapping[Key, bytes]
    complete: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """The log moved."""


@dataclass(frozen=True, slots=True)
class ResyncAsked:
    """The satellite could not reach the digest that it was promised."""

    scope: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reported:
    """The satellite told where it stands."""

    report: object


@dataclass(frozen=True, slots=True)
class Compacted:
    """An Update could not begin: what one of its deltas starts from was known a moment ago, and is not any more."""

    before: Session
    """The session without that Update."""
    scope: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Something outside ends the stream: the peer's expiry, a revocation, a newer session, a drain."""

    why: Farewell
    text: str = ""
    retry_after: timedelta | None = None


Event = Subscribed | Consulted | InventoryPart | Changed | ResyncAsked | Reported | Compacted | Ended

# Effects


@dataclass(frozen=True, slots=True)
class Consult:
    """Read what the satellite should hold, at `after` or later, and which of `held` are known generations."""

    after: Position | None
    held: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Ask:
    """Send an InventoryRequest."""

    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendUnchanged:
    """Say that all is as it should be."""

    state_digest: bytes


@dataclass(frozen=True, slots=True)
class SendBindings:
    """Send the complete list of scopes."""

    bindings: tuple[Binding, ...]
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class SendDelta:
    """Send what leads from a known digest (None: nothing) to the binding, less what the satellite has staged of it."""

    binding: Binding
    from_digest: bytes | None
    staged: Staged | None = None


@dataclass(frozen=True, slots=True)
class SendExact:
    """Send the exact difference between an inventory and the binding."""

    binding: Binding
    inventory: Mapping[Key, bytes]
    staged: Staged | None = None


Step = SendUnchanged | SendBindings | SendDelta | SendExact


@dataclass(frozen=True, slots=True)
class Update:
    """Send the steps; the last message of the last one completes the update."""

    position: Position
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Store the report."""

    report: object


@dataclass(frozen=True, slots=True)
class Close:
    """Send a Goodbye and end the stream."""

    why: Farewell
    text: str = ""
    retry_after: timedelta | None = None


Effect = Consult | Ask | Update | Record | Close
Result = tuple["Session", tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Session:
    """One stream, as the server knows it. Start with `Session()`."""

    phase: Phase = Phase.NEW
    held: Mapping[str, Held] = field(default_factory=dict)
    position: Position | None = None
    """The last position that the satellite was told, or claimed."""
    staged: Mapping[str, Staged] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    """Scopes whose inventory is still incomplete."""
    inventories: Mapping[str, Mapping[Key, bytes]] = field(default_factory=dict)
    resyncs: Mapping[str, int] = field(default_factory=dict)
    answered: bool = False
    """The first answer was given: from now on silence says that nothing changed."""
    waits: bool = False
    """It is pending with something held, and was told to wait; its approval is answered whatever it holds."""


def step(session: Session, event: Event) -> Result:  # noqa: C901 - one case an event
    """Take one event: `(session, event) → (session, effects)`."""
    if session.phase is Phase.CLOSED:
        return session, ()
    match event:
        case Ended(why, text, retry_after):
            return _close(session, why, text, retry_after)
        case Subscribed():
            return _subscribed(session, event)
        case _ if session.phase is Phase.NEW and not isinstance(event, Consulted):
            return _violation(session, "the first message is a Subscribe")
        case Consulted():
            return _consulted(session, event)
        case InventoryPart():
            return _inventory(session, event)
        case ResyncAsked(scope, _):
            return _resync(session, scope)
        case Compacted(before, scope):
            asking = replace(before, phase=Phase.COLLECTING, awaited=before.awaited | {scope})
            return asking, (Ask((scope,)),)
        case Reported(report):
            return session, (Record(report),)
        case Changed():
            # Whoever is collecting consults anyway once the inventories are there.
            return session, (_consult(session),) if session.phase is Phase.LIVE else ()


def _close(session: Session, why: Farewell, text: str, retry_after: timedelta | None = None) -> Result:
    return replace(session, phase=Phase.CLOSED), (Close(why, text, retry_after),)


def _violation(session: Session, text: str) -> Result:
    return _close(session, Farewell.PROTOCOL_VIOLATION, text, timedelta(minutes=1))


def _consult(session: Session) -> Consult:
    unsure = {scope: held.digest for scope, held in session.held.items() if scope not in session.inventories}
    return Consult(session.position, unsure)


def _subscribed(session: Session, event: Subscribed) -> Result:
    if session.phase is not Phase.NEW:
        return _violation(session, "a stream carries one Subscribe")
    if event.protocol_version != PROTOCOL_VERSION:
        return _close(session, Farewell.UPGRADE_REQUIRED, f"this server speaks protocol version {PROTOCOL_VERSION}")
    opened = replace(
        session, phase=Phase.LIVE, held=dict(event.held), position=event.position, staged=dict(event.staged)
    )
    return opened, (_consult(opened),)


def _consulted(session: Session, event: Consulted) -> Result:
    if session.position is not None and session.position > event.position:
        text = f"the satellite has seen {session.position}, the database ends at {event.position}"
        return _close(session, Farewell.STORE_BEHIND, text, timedelta(minutes=1))
    if event.pending and session.held:
        # A satellite that the store has forgotten keeps what it has until an operator decides; taking it all away
        # from a running site is what nobody meant. It is asked for nothing, so that it knows that it was heard.
        return replace(session, waits=True), () if session.waits else (Ask(()),)
    missing = _to_ask(session, event)
    if missing:
        collecting = replace(session, phase=Phase.COLLECTING, awaited=frozenset(missing))
        return collecting, (Ask(missing),)
    return _update(session, event)


def _to_ask(session: Session, event: Consulted) -> tuple[str, ...]:
    return tuple(
        binding.scope
        for binding in event.bindings
        if binding.scope in event.unknown
        and binding.scope in session.held
        and binding.scope not in session.inventories
        and session.held[binding.scope].digest != binding.digest
    )


def _update(session: Session, event: Consulted) -> Result:
    deltas = tuple(
        _difference(session, binding)
        for binding in event.bindings
        if binding.scope not in session.held or session.held[binding.scope].digest != binding.digest
    )
    rebound = {b.scope: b.precedence for b in event.bindings} != {s: h.precedence for s, h in session.held.items()}
    steps: tuple[Step, ...] = deltas
    if rebound or (deltas and not session.answered):
        steps = (SendBindings(event.bindings, event.state_digest), *deltas)
    elif not deltas and not session.answered:
        steps = (SendUnchanged(event.state_digest),)
    told = replace(
        session,
        phase=Phase.LIVE,
        held={b.scope: Held(b.digest, b.precedence) for b in event.bindings},
        position=event.position if steps else session.position,
        staged={},
        inventories={},
        answered=True,
    )
    return told, (Update(event.position, steps),) if steps else ()


def _difference(session: Session, binding: Binding) -> Step:
    staged = session.staged.get(binding.scope)
    if binding.scope in session.inventories:
        return SendExact(binding, session.inventories[binding.scope], staged)
    held = session.held.get(binding.scope)
    return SendDelta(binding, held.digest if held else None, staged)


def _inventory(session: Session, event: InventoryPart) -> Result:
    if event.scope not in session.awaited:
        return _violation(session, "an inventory that nobody asked for")
    entries = {**session.inventories.get(event.scope, {}), **event.entries}
    if len(entries) > MAX_INVENTORY:
        return _violation(session, f"an inventory has at most {MAX_INVENTORY} entries")
    awaited = session.awaited - {event.scope} if event.complete else session.awaited
    filled = replace(session, inventories={**session.inventories, event.scope: entries}, awaited=awaited)
    if awaited:
        return filled, ()
    live = replace(filled, phase=Phase.LIVE)
    return live, (_consult(live),)


def _resync(session: Session, scope: str) -> Result:
    count = session.resyncs.get(scope, 0) + 1
    if scope not in session.held or count > MAX_RESYNCS:
        return _violation(session, "the scope does not converge")
    asking = replace(
        session,
        phase=Phase.COLLECTING,
        awaited=session.awaited | {scope},
        inventories={name: entries for name, entries in session.inventories.items() if name != scope},
        resyncs={**session.resyncs, scope: count},
        # Not what it holds, whatever that is: an inventory will tell.
        held={**session.held, scope: Held(b"", session.held[scope].precedence)},
    )
    return asking, (Ask((scope,)),)
