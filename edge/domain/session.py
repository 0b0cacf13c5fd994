"""The satellite's end of StreamState as a pure table: (session, event) → (session, effects).

    phase     event                          next      effects
    NEW       Opened                         LIVE      Subscribe
    LIVE      Received(Unchanged)            LIVE      Adopt, or Leave where the digest is not ours
    LIVE      Received(BindingsTold)         LIVE      -
    LIVE      Received(Part)                 LIVE      Stage
    LIVE      Received(..., complete)        LIVE      Apply
    LIVE      Received(InventoryAsked)       LIVE      SendInventory
    LIVE      Received(GoodbyeTold)          CLOSED    Leave
    LIVE      Applied                        LIVE      -
    LIVE      Mismatched                     LIVE      SendResync the first time, then Leave
    LIVE      ReportReady                    LIVE      SendReport
    any       Lost                           CLOSED    Leave

One session is one stream; the next stream starts a new one. `app/control.py` pumps it. `retry` decides when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from edge.domain.holding import Binding, Mismatch
from fleet import reconnect
from fleet.position import Position
from fleet.protocol import Farewell

MAX_DELTA_BYTES = 64 << 20
MAX_CHUNK_BYTES = 256 << 10


class Phase(Enum):
    """Where a stream stands."""

    NEW = "new"
    LIVE = "live"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Staged:
    """A delta under way: what came so far is in the journal."""

    binding: Binding
    from_digest: bytes
    delta_digest: bytes
    size_bytes: int
    received_bytes: int = 0

    @property
    def whole(self) -> bool:
        """All of it is there."""
        return self.received_bytes == self.size_bytes


# Messages of the server


@dataclass(frozen=True, slots=True)
class Unchanged:
    """All is as it should be."""

    state_digest: bytes


@dataclass(frozen=True, slots=True)
class BindingsTold:
    """The complete list of scopes to hold."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a scope's delta."""

    binding: Binding
    from_digest: bytes
    delta_digest: bytes
    size_bytes: int
    offset: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class InventoryAsked:
    """The server wants to know what is held of some scopes."""

    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoodbyeTold:
    """The server ends the stream."""

    why: Farewell
    text: str = ""
    retry_after: timedelta | None = None


Body = Unchanged | BindingsTold | Part | InventoryAsked | GoodbyeTold | None

# Events


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is open; what was staged before may go on."""

    staged: Mapping[str, Staged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A message came."""

    sequence: int
    position: Position
    server_time: datetime
    complete: bool
    body: Body


@dataclass(frozen=True, slots=True)
class Applied:
    """The update is held."""


@dataclass(frozen=True, slots=True)
class Mismatched:
    """The update was not what it promised; nothing changed."""

    mismatch: Mismatch


@dataclass(frozen=True, slots=True)
class ReportReady:
    """There is something to tell."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke."""

    text: str


Event = Opened | Received | Applied | Mismatched | ReportReady | Lost

# Effects


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send a Subscribe from the journal's state, with what is staged."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Store a chunk; `restart` drops what was staged for the scope before."""

    staged: Staged
    chunk: bytes
    restart: bool


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply the update in one transaction: answer Applied or Mismatched. Staged deltas are used up either way."""

    bindings: tuple[Binding, ...] | None
    deltas: tuple[Staged, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Adopt:
    """What is held is right: remember the position."""

    position: Position
    state_digest: bytes
    """To be compared with what is held; answer Mismatched with an empty scope where it differs."""


@dataclass(frozen=True, slots=True)
class SendInventory:
    """Send the inventory of some scopes."""

    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendResync:
    """Ask for a scope's exact difference."""

    scope: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class SendReport:
    """Send a report under this sequence number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Leave:
    """End the stream; `retry` says when the next may be opened."""

    goodbye: GoodbyeTold | None
    text: str


Effect = Subscribe | Stage | Apply | Adopt | SendInventory | SendResync | SendReport | Leave
Result = tuple["Session", tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Session:
    """One stream, as the satellite knows it. Start with `Session()`."""

    phase: Phase = Phase.NEW
    sequence: int = 0
    """Of the last message received."""
    bindings: tuple[Binding, ...] | None = None
    """Told in the update under way."""
    staged: Mapping[str, Staged] = field(default_factory=dict)
    updating: frozenset[str] = frozenset()
    """Scopes with a delta in the update under way."""
    resynced: frozenset[str] = frozenset()
    """Scopes whose exact difference was asked for in this session and has not yet been applied."""
    reports: int = 0


def step(session: Session, event: Event) -> Result:
    """Take one event: `(session, event) → (session, effects)`."""
    if session.phase is Phase.CLOSED:
        return session, ()
    match event:
        case Lost(text):
            return _leave(session, text)
        case Opened(staged) if session.phase is Phase.NEW:
            return replace(session, phase=Phase.LIVE, staged=dict(staged)), (Subscribe(),)
        case Received() if session.phase is Phase.LIVE:
            return _received(session, event)
        case Applied():
            return replace(session, resynced=frozenset()), ()
        case Mismatched(mismatch):
            return _mismatched(session, mismatch)
        case ReportReady() if session.phase is Phase.LIVE:
            return replace(session, reports=session.reports + 1), (SendReport(session.reports + 1),)
        case _:
            return session, ()


def _leave(session: Session, text: str, goodbye: GoodbyeTold | None = None) -> Result:
    return replace(session, phase=Phase.CLOSED), (Leave(goodbye, text),)


def _received(session: Session, event: Received) -> Result:
    if event.sequence != session.sequence + 1:
        return _leave(session, f"message {event.sequence} came after {session.sequence}")
    session = replace(session, sequence=event.sequence)
    match event.body:
        case GoodbyeTold() as goodbye:
            return _leave(session, goodbye.text, goodbye)
        case Unchanged(state_digest):
            return session, (Adopt(event.position, state_digest),)
        case InventoryAsked(scopes):
            return session, (SendInventory(scopes),)
        case BindingsTold(bindings):
            return _completed(replace(session, bindings=bindings), event, ())
        case Part() as part:
            return _part(session, event, part)
        case None:
            return _completed(session, event, ())


def _part(session: Session, event: Received, part: Part) -> Result:
    before = session.staged.get(part.binding.scope)
    goes_on = before is not None and before.delta_digest == part.delta_digest and before.received_bytes == part.offset
    if not goes_on and part.offset:
        return _leave(session, f"a part of {part.binding.scope} came that does not follow the one before")
    received = part.offset + len(part.chunk)
    if len(part.chunk) > MAX_CHUNK_BYTES or part.size_bytes > MAX_DELTA_BYTES or received > part.size_bytes:
        return _leave(session, f"a part of {part.binding.scope} is larger than the contract allows")
    staged = Staged(part.binding, part.from_digest, part.delta_digest, part.size_bytes, received)
    staging = replace(
        session,
        staged={**session.staged, part.binding.scope: staged},
        updating=session.updating | {part.binding.scope},
    )
    return _completed(staging, event, (Stage(staged, part.chunk, restart=not goes_on),))


def _completed(session: Session, event: Received, effects: tuple[Effect, ...]) -> Result:
    if not event.complete:
        return session, effects
    deltas = tuple(session.staged[scope] for scope in sorted(session.updating))
    if not all(delta.whole for delta in deltas):
        return _leave(session, "an update was said to be complete and is not")
    if not deltas and session.bindings is None:
        return session, effects
    done = replace(session, bindings=None, staged={}, updating=frozenset())
    return done, (*effects, Apply(session.bindings, deltas, event.position))


def _mismatched(session: Session, mismatch: Mismatch) -> Result:
    if not mismatch.scope or mismatch.scope in session.resynced:
        return _leave(session, f"{mismatch.scope or 'the state'} does not converge: {mismatch.text}")
    asked = replace(session, resynced=session.resynced | {mismatch.scope})
    return asked, (SendResync(mismatch.scope, mismatch.digest),)


def retry(left: Leave, *, failures: int, window: timedelta, chance: float) -> timedelta:
    """Decide how long to wait before the next stream.

    Args:
        left: how the last one ended.
        failures: streams in a row that ended without a useful answer.
        window: the reconnect window that the server asked for.
        chance: a random number in [0, 1).

    Returns:
        The wait: by `fleet.reconnect`, or as the goodbye says.
    """
    goodbye = left.goodbye
    spread = window * chance
    if goodbye is None:
        return reconnect.pause(window, failures=failures, chance=chance)
    if goodbye.why is Farewell.REVOKED or goodbye.why is Farewell.UPGRADE_REQUIRED:
        return max(goodbye.retry_after or timedelta(), timedelta(hours=1)) * (1 + chance / 10)
    if goodbye.why is Farewell.SVID_EXPIRED:
        return timedelta(milliseconds=50)
    return (goodbye.retry_after or timedelta()) + spread
