"""Who the satellites are and what each should hold, as of one position of the log: kept current by what changes.

A change names the scopes and satellites whom it concerns. Whoever has the fleet as of one position needs to read no
more than those to have it as of the next, whatever the size of the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.domain.commands import Concerned
from controlplane.domain.entities import Lifecycle, Role
from controlplane.domain.lifecycle import Standing
from controlplane.domain.state import FLEET_SCOPE, Binding, Desired, group_scope, satellite_scope
from fleet.digests import EMPTY_SCOPE, state_digest
from fleet.position import Position

MAX_KNOWN = 50_000
"""Satellites that one process remembers; others are read again when they come."""
LAST = 8
"""Generations before the newest that are remembered of a scope: what those hold whom a change wakes."""
_NOWHERE = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What is known of one satellite: whose its name is, where it stands, and its scopes by name."""

    spiffe_id: str
    standing: Standing
    scopes: tuple[str, ...]


def scopes_of(satellite: str, groups: Iterable[str]) -> tuple[str, ...]:
    """Name the scopes of a satellite, in the order of their names' bytes."""
    return tuple(sorted((FLEET_SCOPE, *map(group_scope, groups), satellite_scope(satellite))))


@dataclass(frozen=True, slots=True)
class Moved:
    """One change of the log: where, when it was written, and whom it concerns."""

    position: Position
    at: datetime
    concerned: Concerned


@dataclass(frozen=True, slots=True)
class Survey:
    """What was read in one snapshot.

    Attributes:
        position: the log's end in it.
        moved: the changes since the position that was asked for; None where they are too many or the log is another
            one, so that all that was known counts no more.
        satellites: what was asked for or has changed; those that nobody has the name of are left out.
        gone: names among those that nobody has.
        bindings: scopes that were not known or have changed. A scope that is missing has never been written to.
        operators: all roles, by SPIFFE ID; None where none has changed.
    """

    position: Position
    moved: tuple[Moved, ...] | None
    satellites: Mapping[str, Enrolled]
    gone: frozenset[str]
    bindings: Mapping[str, Binding]
    operators: Mapping[str, Role] | None = None


@dataclass(slots=True)
class Roster:
    """The fleet as one process knows it."""

    position: Position = _NOWHERE
    at: datetime | None = None
    """When the change at that position was written; None where that was not read. Of another log, it is another."""
    satellites: dict[str, Enrolled] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    """The newest generation of each scope that is some known satellite's; satellites' own only where written to."""

    operators: Mapping[str, Role] = field(default_factory=dict)
    """Every operator's role, by SPIFFE ID."""
    before: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """The digests of the last few generations before that, of scopes that have changed meanwhile."""

    def take(self, survey: Survey) -> None:
        """Become what the fleet is at the survey's position."""
        if survey.moved is None:
            self.satellites.clear()
            self.bindings.clear()
            self.before.clear()
        for scope, binding in survey.bindings.items():
            known = self.bindings.get(scope)
            if known is not None and known.digest != binding.digest:
                self.before[scope] = (known.digest, *self.before.get(scope, ()))[:LAST]
        self.position = survey.position
        if survey.moved is None or survey.moved:
            self.at = survey.moved[-1].at if survey.moved else None
        self.operators = self.operators if survey.operators is None else survey.operators
        for name in survey.gone:
            self.satellites.pop(name, None)
        self.bindings.update(survey.bindings)
        for name, enrolled in survey.satellites.items():
            self.satellites.pop(name, None)  # the newest are last
            # Scopes that many share are one text here, not one for each satellite.
            shared = (self.bindings[scope].scope if scope in self.bindings else scope for scope in enrolled.scopes)
            self.satellites[name] = Enrolled(enrolled.spiffe_id, enrolled.standing, tuple(shared))
        while len(self.satellites) > MAX_KNOWN:
            del self.satellites[next(iter(self.satellites))]

    def had(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope had this digest a short while ago; False where it is not remembered."""
        return digest in self.before.get(scope, ())

    def desired(self, name: str) -> Desired | None:
        """Say what a satellite should hold at the roster's position; None for one that is not known."""
        enrolled = self.satellites.get(name)
        if enrolled is None:
            return None
        if enrolled.standing is not Standing.APPROVED:
            lifecycle = Lifecycle.PENDING if enrolled.standing is Standing.PENDING else Lifecycle.REVOKED
            return Desired(self.position, lifecycle, (), state_digest({}))
        bound = tuple(self.bindings.get(scope) or Binding(scope, 0, EMPTY_SCOPE) for scope in enrolled.scopes)
        return Desired(
            self.position, Lifecycle.ONLINE, bound, state_digest({each.scope: each.digest for each in bound})
        )


def steps_from(known: Roster, survey: Survey) -> tuple[tuple[str, bytes, int], ...]:
    """Say which steps those take who hold what was known: `→ (scope, digest before, generation now)`."""
    return tuple(
        (scope, known.bindings[scope].digest, binding.generation)
        for scope, binding in survey.bindings.items()
        if scope in known.bindings and known.bindings[scope].digest != binding.digest
    )


def concerned_by(moved: Sequence[Moved]) -> Concerned:
    """Unite whom changes concern."""
    return Concerned(
        frozenset().union(*(each.concerned.scopes for each in moved)),
        frozenset().union(*(each.concerned.satellites for each in moved)),
    )
