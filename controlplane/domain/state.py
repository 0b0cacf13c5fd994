"""Desired state as values: scopes, generations, bindings, and the difference between two contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.domain.entities import Lifecycle, Position, Signature
from fleet.errors import malformed
from fleet.identity import check_name

FLEET_SCOPE = "fleet"
"""The scope that every approved satellite holds."""

Key = tuple[int, str]
"""(kind, name): what identifies a resource within a scope."""
Versions = Mapping[Key, bytes]
"""A scope's content: the version of each resource."""


def group_scope(name: str) -> str:
    """Name a group's scope."""
    return f"group/{name}"


def satellite_scope(name: str) -> str:
    """Name a satellite's own scope."""
    return f"satellite/{name}"


def split_scope(scope: str) -> tuple[str, str]:
    """Read a scope's name: `fleet → ("fleet", "")`, `group/a → ("group", "a")`.

    Raises:
        FleetError: MALFORMED `SCOPE_MALFORMED` or `NAME_MALFORMED`.
    """
    if scope == FLEET_SCOPE:
        return scope, ""
    kind, _, name = scope.partition("/")
    if kind not in {"group", "satellite"}:
        raise malformed("SCOPE_MALFORMED", "a scope is fleet, group/<name> or satellite/<name>", subject=scope[:80])
    return kind, check_name(name, what=kind)


@dataclass(frozen=True, slots=True)
class Binding:
    """One scope that a satellite should hold, at which generation; 0 for a scope never written to."""

    scope: str
    generation: int
    digest: bytes
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class Desired:
    """What one satellite should hold, and where in the log that was computed.

    A pending or revoked satellite holds no scope at all.
    """

    position: Position
    lifecycle: Lifecycle
    bindings: tuple[Binding, ...]
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class Resource:
    """One named piece of desired state; the payload is opaque."""

    kind: int
    name: str
    payload: bytes
    version: bytes
    signatures: tuple[Signature, ...] = ()
    """Of policy signers; no part of any digest."""


@dataclass(frozen=True, slots=True)
class ScopeContent:
    """One scope's whole content, sorted by (kind, name)."""

    binding: Binding
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class WholeState:
    """A whole desired state, scopes sorted by name."""

    satellite: str
    desired: Desired
    scopes: tuple[ScopeContent, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What turns one content into another: versions to put in place and keys to drop, both sorted."""

    upserts: tuple[tuple[Key, bytes], ...]
    deletes: tuple[Key, ...]


def sort_key(key: Key) -> tuple[int, bytes]:
    """Order keys as the contract does: kind, then the name's UTF-8 bytes."""
    return key[0], key[1].encode()


def difference(held: Versions, wanted: Versions) -> Difference:
    """Compute what a holder of `held` needs, to hold `wanted`, and nothing more."""
    upserts = [(key, version) for key, version in wanted.items() if held.get(key) != version]
    return Difference(
        upserts=tuple(sorted(upserts, key=lambda item: sort_key(item[0]))),
        deletes=tuple(sorted((key for key in held if key not in wanted), key=sort_key)),
    )
