"""Commands to the fleet and what they did: the vocabulary of ApplyChanges and of the log of changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique

from controlplane.domain.entities import Assignment, Entity, Membership, Position

MAX_COMMANDS = 1000
"""Commands in one transaction."""


@unique
class EntityKind(Enum):
    """What a command is about; the values are the contract's words (ChangeResult.entity)."""

    SATELLITE = "satellite"
    GROUP = "group"
    SOURCE = "source"
    ARTIFACT = "artifact"
    POLICY = "policy"
    TRUST_ROOT = "trust_root"
    BLOCK = "block"
    SIGNER_SET = "signer_set"
    MEMBERSHIP = "membership"
    ASSIGNMENT = "assignment"
    OPERATOR = "operator"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Upsert:
    """Make or replace an entity. The entity's etag, where it has one, makes the write conditional.

    `implied`: nobody asked for it by itself (an assignment named an artifact that was not known), so that it has no
    result of its own and gives way to one that exists.
    """

    entity: Entity
    must_create: bool = False
    must_exist: bool = False
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one entity by name. UNKNOWN where there is none."""

    kind: EntityKind
    name: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeletePair:
    """Remove a membership or an assignment; one that is not there is UNCHANGED."""

    pair: Membership | Assignment


Command = Upsert | Delete | DeletePair
"""One thing to do."""


@unique
class Outcome(Enum):
    """What one command did."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Result:
    """What one command did, and to what.

    `entity` is an EntityKind's word, or one of `lifecycle`, `token`, `credential`, `epoch` in the log alone; `name`
    is the entity's, `<satellite>/<group>` or `<scope> <artifact>` for the pairs; the etag is empty where it is gone
    or has none.
    """

    outcome: Outcome
    entity: str
    name: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """The one position that holds all of it (the current one where nothing changed), and a result per command."""

    position: Position
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom a change concerns: scopes with a new generation, and satellites whose bindings or lifecycle changed."""

    scopes: frozenset[str] = frozenset()
    satellites: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One entry of the log."""

    position: Position
    at: datetime
    actor: str
    request_id: str
    reason: str
    results: tuple[Result, ...]
    concerned: Concerned


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of the log, oldest first."""

    records: tuple[ChangeRecord, ...]
    more: bool
    position: Position
    """The log's end when the page was read."""
