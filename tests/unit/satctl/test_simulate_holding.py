"""What simulated satellites hold: by the real digests, or not at all."""

from __future__ import annotations

import hashlib

import pytest

from controlplane.satctl.simulate.holding import Library, MismatchError, Scope, Update, applied, digest_of
from fleet.digests import resource_version, scope_digest, state_digest
from fleet.v1 import resource_pb2, state_pb2

ARTIFACT = resource_pb2.RESOURCE_KIND_ARTIFACT


def resource(name: str, payload: bytes) -> resource_pb2.Resource:
    version = resource_version(ARTIFACT, payload)
    return resource_pb2.Resource(kind=ARTIFACT, name=name, payload=payload, version=version)


def update(scope: str, delta: state_pb2.Delta, to_digest: bytes, *, from_digest: bytes = b"") -> Update:
    raw = delta.SerializeToString()
    made = Update()
    middle = len(raw) // 2
    for offset, chunk in ((0, raw[:middle]), (middle, raw[middle:])):
        part = state_pb2.DeltaPart(
            scope=scope, from_digest=from_digest, to_digest=to_digest, offset=offset, chunk=chunk
        )
        part.delta_digest = hashlib.sha256(raw).digest()
        made.take(part)
    return made


def content(*resources: resource_pb2.Resource) -> bytes:
    return scope_digest((one.kind, one.name, one.version) for one in resources)


def test_two_satellites_that_make_the_same_step_share_what_they_hold() -> None:
    library, a = Library(), resource("hub/a:1", b"a")
    step = update("group/shops", state_pb2.Delta(upserts=[a]), content(a))
    first, second = applied({}, step, library), applied({}, step, library)
    assert first["group/shops"].content is second["group/shops"].content
    assert digest_of(first) == state_digest({"group/shops": content(a)})
    assert first["group/shops"].content.artifacts == {"hub/a:1"}


def test_a_delta_starts_from_what_is_held() -> None:
    library, a, b = Library(), resource("hub/a:1", b"a"), resource("hub/b:1", b"b")
    held = applied({}, update("fleet", state_pb2.Delta(upserts=[a]), content(a)), library)
    swap = state_pb2.Delta(upserts=[b], deletes=[resource_pb2.ResourceKey(kind=ARTIFACT, name="hub/a:1")])
    after = applied(held, update("fleet", swap, content(b), from_digest=content(a)), library)
    assert after["fleet"].content.artifacts == {"hub/b:1"}
    with pytest.raises(MismatchError):
        applied({}, update("fleet", swap, content(b), from_digest=content(a)), library)


def test_what_is_sent_is_counted_and_what_was_held_already() -> None:
    library, a, b = Library(), resource("hub/a:1", b"a"), resource("hub/b:1", b"b")
    held = applied({}, update("fleet", state_pb2.Delta(upserts=[a]), content(a)), library)
    more = update("fleet", state_pb2.Delta(upserts=[a, b]), content(a, b), from_digest=content(a))
    for _ in range(3):
        applied(held, more, library)
    assert (library.resources, library.again) == (1 + 3 * 2, 3)


def test_what_is_not_what_it_promises_changes_nothing() -> None:
    library, a = Library(), resource("hub/a:1", b"a")
    forged = resource_pb2.Resource(kind=ARTIFACT, name="hub/a:1", payload=b"other", version=a.version)
    for delta, promised in ((state_pb2.Delta(upserts=[a]), content()), (state_pb2.Delta(upserts=[forged]), content(a))):
        with pytest.raises(MismatchError):
            applied({}, update("fleet", delta, promised), library)


def test_scopes_that_are_not_bound_any_more_are_dropped() -> None:
    library, a = Library(), resource("hub/a:1", b"a")
    held = applied({}, update("fleet", state_pb2.Delta(upserts=[a]), content(a)), library)
    held["group/shops"] = Scope(held["fleet"].content, 7)
    binding = state_pb2.ScopeBinding(scope="fleet", digest=content(a), precedence=1)
    bound = state_pb2.Bindings(scopes=[binding], state_digest=state_digest({"fleet": content(a)}))
    after = applied(held, Update(bindings=bound), library)
    assert {name: scope.precedence for name, scope in after.items()} == {"fleet": 1}
    unknown = state_pb2.Bindings(scopes=[state_pb2.ScopeBinding(scope="group/other", digest=content(a))])
    with pytest.raises(MismatchError):
        applied(held, Update(bindings=unknown), library)


def test_a_part_that_does_not_follow_is_no_update() -> None:
    with pytest.raises(MismatchError):
        Update().take(state_pb2.DeltaPart(scope="fleet", offset=3, chunk=b"x"))
