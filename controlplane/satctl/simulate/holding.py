"""What simulated satellites hold: real deltas, real digests, but what many hold alike is kept once.

Each satellite hashes what it receives and compares digests as a real one does. Only the reading of a delta that
another one of this process has read, from the same content, is spared: the answer is the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from google.protobuf.message import DecodeError

from fleet.digests import EMPTY_SCOPE, resource_version, scope_digest, state_digest
from fleet.v1 import resource_pb2, state_pb2

MAX_STEPS = 1000
"""Steps from one content to another that are remembered."""

Key = tuple[int, str]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Content:
    """What a scope holds; never changed, shared by all who hold it."""

    digest: bytes
    versions: dict[Key, bytes]

    @property
    def artifacts(self) -> frozenset[str]:
        """Names of the artifacts in it."""
        return frozenset(name for kind, name in self.versions if kind == resource_pb2.RESOURCE_KIND_ARTIFACT)


NOTHING = Content(EMPTY_SCOPE, {})


class MismatchError(Exception):
    """A delta does not give what it promises."""


@dataclass(frozen=True, slots=True)
class Step:
    """A delta that was read."""

    to: Content
    resources: int
    """Resources that it brings."""
    again: int
    """How many of them were held already, in the same version."""


class Library:
    """All contents that the satellites of one process hold.

    Attributes:
        resources: how many resources satellites were sent, all together.
        again: how many of them they held already.
    """

    def __init__(self) -> None:
        self._contents: WeakValueDictionary[bytes, Content] = WeakValueDictionary({EMPTY_SCOPE: NOTHING})
        self._steps: OrderedDict[tuple[bytes, bytes], Step] = OrderedDict()
        self.resources = 0
        self.again = 0

    def apply(self, held: Content, delta: bytes, *, delta_digest: bytes, to_digest: bytes) -> Content:
        """Apply a serialized Delta: `(content, bytes) → content`.

        Raises:
            MismatchError: bytes or result are not what was promised.
        """
        if hashlib.sha256(delta).digest() != delta_digest:
            raise MismatchError("the bytes are not those that were promised")
        key = (held.digest, delta_digest)
        step = self._steps.get(key) or self._read(held, delta)
        if step.to.digest != to_digest:
            raise MismatchError("the scope is not what was promised")
        self._steps[key] = step
        if len(self._steps) > MAX_STEPS:
            self._steps.popitem(last=False)
        self.resources += step.resources
        self.again += step.again
        return step.to

    def _read(self, held: Content, delta: bytes) -> Step:
        try:
            read = state_pb2.Delta.FromString(delta)
        except DecodeError as error:
            raise MismatchError("not a delta") from error
        versions = dict(held.versions)
        for key in read.deletes:
            versions.pop((key.kind, key.name), None)
        for resource in read.upserts:
            if resource_version(resource.kind, resource.payload) != resource.version:
                raise MismatchError("a resource is not its version")
            versions[resource.kind, resource.name] = resource.version
        digest = scope_digest((kind, name, version) for (kind, name), version in versions.items())
        again = sum(held.versions.get((one.kind, one.name)) == one.version for one in read.upserts)
        made = self._contents.setdefault(digest, Content(digest, versions))
        return Step(made, len(read.upserts), again)


@dataclass(slots=True)
class Scope:
    """One scope as one satellite holds it."""

    content: Content
    precedence: int


@dataclass(slots=True)
class Update:
    """What came of an update that is not complete yet."""

    bindings: state_pb2.Bindings | None = None
    parts: dict[str, tuple[state_pb2.DeltaPart, bytes]] = field(default_factory=dict)
    """The newest part of each scope, and all bytes so far."""

    def take(self, part: state_pb2.DeltaPart) -> None:
        """Take one part.

        Raises:
            MismatchError: it does not follow the one before.
        """
        before = self.parts[part.scope][1] if part.offset and part.scope in self.parts else b""
        if len(before) != part.offset:
            raise MismatchError("a part does not follow the one before")
        self.parts[part.scope] = (part, before + part.chunk)


def applied(held: dict[str, Scope], update: Update, library: Library) -> dict[str, Scope]:
    """Apply a complete update, whole or not at all.

    Raises:
        MismatchError: as `Library.apply`, or the state is not what was promised.
    """
    after = dict(held)
    for scope, (part, delta) in update.parts.items():
        base = held[scope].content if scope in held else NOTHING
        if part.from_digest and part.from_digest != base.digest:
            raise MismatchError("the delta starts from a content that is not held")
        content = library.apply(base, delta, delta_digest=part.delta_digest, to_digest=part.to_digest)
        after[scope] = Scope(content, part.precedence)
    if update.bindings is not None:
        after = {one.scope: _bound(after, one) for one in update.bindings.scopes}
        if digest_of(after) != update.bindings.state_digest:
            raise MismatchError("the state is not what was promised")
    return after


def _bound(held: dict[str, Scope], binding: state_pb2.ScopeBinding) -> Scope:
    scope = held.get(binding.scope)
    if scope is None or scope.content.digest != binding.digest:
        raise MismatchError("bound to a content that never came")
    return Scope(scope.content, binding.precedence)


def digest_of(held: dict[str, Scope]) -> bytes:
    """Compute the state digest."""
    return state_digest({scope: one.content.digest for scope, one in held.items()})
