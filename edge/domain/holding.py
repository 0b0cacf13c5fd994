"""What a satellite holds of desired state, and how an update changes it: whole, or not at all.

Held is not enforced: resources are opaque here. Only hashes are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fleet.digests import resource_version, scope_digest, state_digest

Key = tuple[int, str]
"""A resource within a scope: (kind, name)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it was streamed."""

    kind: int
    name: str
    payload: bytes
    version: bytes
    signatures: tuple[tuple[bytes, bytes], ...] = ()
    """(key id, signature), for sites that pin their policy signers."""

    @property
    def key(self) -> Key:
        """What names it within its scope."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True)
class HeldScope:
    """One scope as it is held."""

    digest: bytes
    generation: int = 0
    precedence: int = 0
    resources: Mapping[Key, Resource] = field(default_factory=dict)


Holding = Mapping[str, HeldScope]
"""All scopes held, by name."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One scope to hold."""

    scope: str
    generation: int
    digest: bytes
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class ScopeDelta:
    """What turns one content of a scope into another."""

    binding: Binding
    from_digest: bytes
    """The content it starts from; empty where it was computed from an inventory, or from nothing."""
    upserts: tuple[Resource, ...]
    deletes: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Applying an update did not give what it promised; nothing was changed."""

    scope: str
    digest: bytes
    """What is held of the scope, as before; empty where nothing is."""
    text: str


def holding_digest(holding: Holding) -> bytes:
    """Hash all that is held: the state digest."""
    return state_digest({name: scope.digest for name, scope in holding.items()})


def apply(holding: Holding, bindings: Iterable[Binding] | None, deltas: Iterable[ScopeDelta]) -> Holding | Mismatch:
    """Apply one update: `(holding, complete bindings or None, deltas) → new holding, or why not`.

    Without bindings the set of scopes stays and deltas rebind their own. With them, a scope that is not listed goes.
    """
    changed: dict[str, HeldScope] = dict(holding)
    for delta in deltas:
        outcome = _apply_delta(changed.get(delta.binding.scope), delta)
        if isinstance(outcome, Mismatch):
            return replace(outcome, digest=_held_digest(holding, delta.binding.scope))
        changed[delta.binding.scope] = outcome
    if bindings is None:
        return changed
    bound: dict[str, HeldScope] = {}
    for binding in bindings:
        scope = changed.get(binding.scope)
        if scope is None or scope.digest != binding.digest:
            return Mismatch(binding.scope, _held_digest(holding, binding.scope), "bound to a content that never came")
        bound[binding.scope] = replace(scope, generation=binding.generation, precedence=binding.precedence)
    return bound


def _held_digest(holding: Holding, scope: str) -> bytes:
    return holding[scope].digest if scope in holding else b""


def _apply_delta(held: HeldScope | None, delta: ScopeDelta) -> HeldScope | Mismatch:
    scope = delta.binding.scope
    if delta.from_digest and (held is None or held.digest != delta.from_digest):
        return Mismatch(scope, b"", "the delta starts from a content that is not held")
    resources = dict(held.resources) if held else {}
    for key in delta.deletes:
        resources.pop(key, None)
    for resource in delta.upserts:
        if resource_version(resource.kind, resource.payload) != resource.version:
            return Mismatch(scope, b"", f"{resource.name}: the payload is not what its version says")
        resources[resource.key] = resource
    digest = scope_digest((r.kind, r.name, r.version) for r in resources.values())
    if digest != delta.binding.digest:
        return Mismatch(scope, b"", "the result is not what the delta promised")
    return HeldScope(digest, delta.binding.generation, delta.binding.precedence, resources)
