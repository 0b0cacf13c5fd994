"""Whatever bytes come as a bundle, annotation, log entry or trusted root: parsed, or our error; never admitted."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge.domain.moment import UNKNOWN
from edge.domain.policy import TrustRoot
from edge.domain.verify.annotations import BUNDLE, CERTIFICATE, CHAIN, TIMESTAMP, with_annotations
from edge.domain.verify.bundle import read_bundle
from edge.domain.verify.chains import load_certificate, load_certificates
from edge.domain.verify.claims import Claim, InclusionProof, LogEntry
from edge.domain.verify.sigstore.entries import is_about, is_logged
from edge.domain.verify.sigstore.timestamps import timestamp
from edge.domain.verify.sigstore.trusted_root import read_trusted_root
from edge.domain.verify.vouching import vouch
from fleet.errors import FleetError, Kind
from fleet.policy import Authority, Keyless, LogEvidence, SignatureFormat, SignerIdentity, TextMatch, TrustRootSpec
from tests.rig import private_sigstore as rig

SIGSTORE = rig.PrivateSigstore()
KEY = rig.new_key()
GOOD = SIGSTORE.claim(KEY, SIGSTORE.authority.issue(KEY))
TRUST = SIGSTORE.trust()
WHO = Keyless((SignerIdentity(TextMatch(rig.ISSUER), TextMatch(rig.SUBJECT)),))
BY = Authority("a", WHO, (SignatureFormat.SIGSTORE_BUNDLE,), "root", LogEvidence(log_entries=1))

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def damaged(document: object, draw: st.DrawFn) -> object:
    """Replace one value, somewhere in a document, by anything."""
    if isinstance(document, dict) and document and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(document)))
        return {**document, key: damaged(document[key], draw)}
    if isinstance(document, list) and document and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(document) - 1))
        return [*document[:index], damaged(document[index], draw), *document[index + 1 :]]
    return draw(anything)


@st.composite
def damaged_bundles(draw: st.DrawFn) -> bytes:
    (entry,) = GOOD.log_entries
    material = {
        "certificate": {"rawBytes": rig.b64(GOOD.certificates[0])},
        "tlogEntries": [
            {
                "logIndex": str(entry.log_index),
                "logId": {"keyId": rig.b64(entry.log_id)},
                "kindVersion": {"kind": entry.kind, "version": entry.version},
                "integratedTime": str(entry.integrated_time),
                "inclusionPromise": {"signedEntryTimestamp": rig.b64(entry.promise)},
                "inclusionProof": {"rootHash": "", "treeSize": "1", "hashes": [], "checkpoint": {"envelope": "x"}},
                "canonicalizedBody": rig.b64(entry.body),
            }
        ],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]},
    }
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": "a" * 64}}],
        "predicateType": "p",
    }
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": rig.b64(json.dumps(statement).encode()),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": rig.b64(GOOD.signatures[0])}],
        },
    }
    return json.dumps(damaged(bundle, draw)).encode()


def judged(claim: Claim) -> None:
    """A claim that is not the good one is nobody's, and says why in a word."""
    answer = vouch(claim, BY, TrustRoot("root", TRUST), UNKNOWN)
    assert isinstance(answer, str), answer
    assert answer.isupper()


@given(damaged_bundles())
def test_a_damaged_bundle_is_read_or_malformed_and_nobody_s(raw: bytes) -> None:
    try:
        claim = read_bundle(raw)
    except FleetError as error:
        assert error.kind is Kind.MALFORMED  # noqa: PT017 - either way is right
        return
    judged(claim)


@st.composite
def damaged_roots(draw: st.DrawFn) -> bytes:
    return json.dumps(damaged(json.loads(TRUST.trusted_root_json), draw)).encode()


@given(damaged_roots() | st.binary(max_size=200))
def test_a_damaged_trusted_root_is_read_or_malformed(raw: bytes) -> None:
    try:
        read_trusted_root(raw)
    except FleetError as error:
        assert error.kind is Kind.MALFORMED  # noqa: PT017 - either way is right
    answer = vouch(GOOD, BY, TrustRoot("root", TrustRootSpec(raw)), UNKNOWN)
    assert isinstance(answer, str) or answer[0].subject == rig.SUBJECT


names = st.sampled_from([CERTIFICATE, CHAIN, BUNDLE, TIMESTAMP])
texts = (
    st.text(max_size=200)
    | anything.map(json.dumps)
    | st.just("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
)


@given(st.dictionaries(names, texts, min_size=1))
def test_any_annotation_is_read_or_malformed(found: dict[str, str]) -> None:
    try:
        judged(with_annotations(replace(GOOD, log_entries=()), found))
    except FleetError as error:
        assert error.kind is Kind.MALFORMED  # noqa: PT017 - either way is right


proofs = st.builds(
    InclusionProof,
    st.integers(-1, 1 << 63),
    st.integers(-1, 1 << 63),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=40), max_size=70).map(tuple),
    st.text(max_size=60) | st.sampled_from(["o\n1\n\n\n\N{EM DASH} o AAAA\n", "\n\n", "a\nb\nc\n\n\N{EM DASH}"]),
)
kinds = st.sampled_from(
    [("dsse", "0.0.1"), ("intoto", "0.0.2"), ("hashedrekord", "0.0.1"), ("hashedrekord", "0.0.2"), ("x", "")]
)


@given(
    kinds,
    st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=80),
    proofs,
)
def test_any_log_entry_is_about_nothing_and_not_logged(
    kind: tuple[str, str], body: bytes, promise: bytes, proof: InclusionProof
) -> None:
    entry = LogEntry(SIGSTORE.log.log_id, 0, *kind, body, 1, promise, proof)
    log = read_trusted_root(TRUST.trusted_root_json).logs[0]
    assert not is_about(entry, GOOD, rig.spki(KEY))
    assert not is_logged(entry, log)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_certificate_and_no_timestamp(raw: bytes) -> None:
    assert timestamp(raw, b"signature", []) is None
    for read in (load_certificate, load_certificates):
        try:
            read(raw)
        except FleetError as error:
            assert error.kind is Kind.MALFORMED  # noqa: PT017 - either way is right
