"""Any bytes: read, or our error; never another exception, and never an admission."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.domain.admission import Evidence
from edge.domain.content import Descriptor, read_manifest
from edge.domain.policy import Rules
from edge.domain.verify.bundle import BUNDLE_TYPE, read_bundle
from edge.domain.verify.evidence import read_evidence
from edge.domain.verify.keys import load_key
from edge.domain.verify.simple_signing import PAYLOAD_TYPE, SIGNATURE, read_payload, signature_tag
from edge.domain.verify.verdict import Passed, Subject, weigh
from fleet.errors import FleetError
from tests.rig.fixtures import IMAGES, OPERATOR
from tests.rig.images import encode
from tests.rig.judging import policy
from tests.rig.oci_layout import read_layout
from tests.rig.repository import Repository, blobs_of

HELD = read_layout(IMAGES / "signed-both")
ROOT = HELD.tags["1.0"]
MANIFESTS = [manifest.raw for manifest in HELD.manifests.values()]
DOCUMENTS = [content for content in HELD.blobs.values() if content.startswith(b"{")]
MANIFEST_REASONS = {"", "MANIFEST_MALFORMED", "DIGEST_MALFORMED", "SCHEMA1_UNSUPPORTED"}
RULES = Rules((policy(OPERATOR.pem, images="**"),))

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def damaged(draw: st.DrawFn, sources: list[bytes]) -> bytes:
    """Cut, change or duplicate a piece of a good document."""
    good = draw(st.sampled_from(sources))
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(len(good), start + 40)))
    return good[:start] + draw(st.binary(max_size=8) | st.just(good[start:end] * 2)) + good[end:]


@st.composite
def regrown(draw: st.DrawFn, sources: list[bytes]) -> bytes:
    """Put any JSON in the place of one value of a good document, at any depth."""
    document = json.loads(draw(st.sampled_from(sources)))
    at = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or draw(st.booleans()):
            at[key] = draw(_values)
            break
        at = at[key]
    return encode(document)


def reason_of(read: Callable[..., object], *arguments: object) -> str:
    """Name our error; empty where it was read."""
    try:
        read(*arguments)
    except FleetError as error:
        return error.reason
    return ""


def any_bytes(sources: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200) | damaged(sources) | regrown(sources)


@given(any_bytes(MANIFESTS), st.sampled_from(["", "application/vnd.oci.image.index.v1+json", ";"]))
def test_any_bytes_are_a_manifest_or_malformed(raw: bytes, media_type: str) -> None:
    assert reason_of(read_manifest, raw, media_type) in MANIFEST_REASONS


@given(any_bytes(DOCUMENTS))
def test_any_bytes_are_a_bundle_or_malformed(raw: bytes) -> None:
    assert reason_of(read_bundle, raw) in {"", "EVIDENCE_MALFORMED", "DIGEST_MALFORMED"}


@given(any_bytes(DOCUMENTS), st.text(max_size=40))
def test_any_bytes_are_a_payload_or_malformed(raw: bytes, signature: str) -> None:
    layer = Descriptor(PAYLOAD_TYPE, ROOT, len(raw), annotations={SIGNATURE: signature})
    assert reason_of(read_payload, layer, raw) in {"", "EVIDENCE_MALFORMED", "DIGEST_MALFORMED"}


@given(st.binary(max_size=300) | damaged([OPERATOR.pem]))
def test_any_bytes_are_a_key_or_malformed(raw: bytes) -> None:
    assert reason_of(load_key, raw) in {"", "KEY_MALFORMED", "KEY_UNSUPPORTED"}


def _evidence_of(raw: bytes, tag: str) -> Evidence:
    """Take a manifest for evidence, with every blob that it could mean."""
    made = Repository()
    manifest = made.add_manifest(raw, "")
    held = {blob.digest: blob for known in HELD.manifests.values() for blob in blobs_of(known)}
    return Evidence((manifest,), tuple((blob, HELD.blobs[blob.digest]) for blob in held.values()), tag)


@given(any_bytes(MANIFESTS), st.sampled_from(["", signature_tag(ROOT), "1.0"]))
def test_any_manifest_is_evidence_or_has_a_reason(raw: bytes, tag: str) -> None:
    read = read_evidence(_evidence_of(raw, tag), ROOT)
    assert read.reason or read.claims or read.artifact_type or tag


@settings(max_examples=200)
@given(st.sampled_from(sorted(HELD.blobs)), st.data())
def test_evidence_whose_signed_bytes_changed_is_never_admitted(digest: str, data: st.DataObject) -> None:
    """Whatever becomes of a signed document, it is admitted only where it is signed as it is."""
    content = HELD.blobs[digest]  # type: ignore[index]  # a Digest is a str
    if b"critical" not in content and BUNDLE_TYPE.encode() not in content:
        return
    changed = data.draw(damaged([content]))
    if changed == content:
        return
    made = Repository()
    other = made.add_blob(changed)
    owner = next(m for m in HELD.manifests.values() if digest.encode() in m.raw)
    raw = owner.raw.replace(digest.encode(), other.encode())
    tag = signature_tag(ROOT) if b"critical" in content else ""
    manifest = made.add_manifest(raw, owner.media_type)
    blobs = tuple((blob, {**HELD.blobs, **made.blobs}[blob.digest]) for blob in blobs_of(manifest))
    verdict = weigh(Subject("central", "demo/app", ROOT), [Evidence((manifest,), blobs, tag)], RULES)
    if isinstance(verdict, Passed):
        assert b"critical" not in content
        assert _envelope(changed) == _envelope(content)


def _envelope(bundle: bytes) -> object:
    """Take the part of a bundle that is signed: the rest of it (a key's hint) proves nothing."""
    claim = read_bundle(bundle)
    return claim.signed, claim.signatures


def test_the_unchanged_evidence_is_admitted() -> None:
    pieces = [Evidence((m,), tuple((b, HELD.blobs[b.digest]) for b in blobs_of(m))) for m in HELD.referrers(ROOT)]
    assert isinstance(weigh(Subject("central", "demo/app", ROOT), pieces, RULES), Passed)


@pytest.mark.parametrize("raw", MANIFESTS)
def test_every_fixture_is_a_manifest(raw: bytes) -> None:
    read_manifest(raw, "")
