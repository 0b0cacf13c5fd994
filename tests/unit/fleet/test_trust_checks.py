"""Trust material: what is read, what is refused with its reason, and that satellites read what passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.domain.verify.sigstore.trusted_root import read_trusted_root
from fleet.errors import FleetError
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Notation,
    NotationLevel,
    SignatureFormat,
    SignerIdentity,
    TextMatch,
    TrustRootSpec,
)
from fleet.trust_checks import check_trust_root, check_trusted_root, check_use
from tests.rig.trust_material import authority, ca_pem, trusted_root, trusted_root_json

WHO = SignerIdentity(TextMatch("https://issuer.example"), TextMatch("a@b.c"))
BUNDLE = (SignatureFormat.SIGSTORE_BUNDLE,)
ROOT = TrustRootSpec(trusted_root_json=trusted_root_json())
CA = TrustRootSpec(ca_pem=(ca_pem(),))


def reason_of(spec: TrustRootSpec) -> str:
    with pytest.raises(FleetError) as raised:
        check_trust_root(spec)
    return raised.value.reason


def test_material_of_every_kind_is_taken() -> None:
    spec = TrustRootSpec(
        trusted_root_json(), (ca_pem(),), (ca_pem() + ca_pem(),), (ca_pem(),), (authority().revocation_list(),)
    )
    assert check_trust_root(spec) is spec


@pytest.mark.parametrize("version", ["+json;version=0.1", "+json;version=0.2", ".v0.1+json", ".v0.2+json"])
def test_both_versions_are_taken_under_both_names(version: str) -> None:
    raw = trusted_root_json(mediaType=f"application/vnd.dev.sigstore.trustedroot{version}")
    check_trusted_root(raw)
    read_trusted_root(raw)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TrustRootSpec(), "TRUST_ROOT_EMPTY"),
        (TrustRootSpec(revocation_lists=(authority().revocation_list(),)), "TRUST_ROOT_EMPTY"),
        (TrustRootSpec(ca_pem=("no",)), "CA_MALFORMED"),
        (TrustRootSpec(ca_pem=(ca_pem(), "")), "CA_MALFORMED"),
        (TrustRootSpec(signing_authority_pem=("no",)), "CA_MALFORMED"),
        (TrustRootSpec(timestamp_authority_pem=("no",)), "CA_MALFORMED"),
        (TrustRootSpec(ca_pem=(ca_pem() * 17,)), "CA_MALFORMED"),
        (TrustRootSpec(ca_pem=(ca_pem(),), revocation_lists=(b"no",)), "CRL_MALFORMED"),
        (TrustRootSpec(trusted_root_json=b"[]"), "TRUSTED_ROOT_MALFORMED"),
    ],
)
def test_what_cannot_be_read_is_refused(spec: TrustRootSpec, reason: str) -> None:
    assert reason_of(spec) == reason


def without(path: str) -> bytes:
    """A trusted root that lacks one thing."""
    whole: Any = json.loads(trusted_root_json())
    *before, last = path.split("/")
    inside = whole
    for key in before:
        inside = inside[int(key) if key.isdecimal() else key]
    del inside[int(last) if last.isdecimal() else last]
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"mediaType": "x", "mediaType": "y"}',
        trusted_root_json(extra=float("nan")),
        trusted_root_json(mediaType="application/vnd.dev.sigstore.trustedroot+json;version=0.3"),
        trusted_root_json(tlogs={}),
        trusted_root_json(tlogs=[1]),
        trusted_root_json(tlogs=trusted_root()["tlogs"] * 65),
        trusted_root_json(tlogs=[], ctlogs=[], certificateAuthorities=[], timestampAuthorities=[]),
        without("tlogs/0/publicKey"),
        without("tlogs/0/publicKey/rawBytes"),
        without("ctlogs/0/logId"),
        without("ctlogs/0/logId/keyId"),
        without("certificateAuthorities/0/certChain"),
        without("certificateAuthorities/0/certChain/certificates/0"),
        without("timestampAuthorities/0/certChain/certificates/0/rawBytes"),
        trusted_root_json(timestampAuthorities=[{"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}]),
        trusted_root_json(tlogs=[{**trusted_root()["tlogs"][0], "publicKey": {"rawBytes": "AAAA"}}]),
        trusted_root_json(certificateAuthorities=[{**trusted_root()["tlogs"][0], "validFor": {"start": "soon"}}]),
    ],
)
def test_half_a_trusted_root_is_refused(raw: bytes) -> None:
    with pytest.raises(FleetError) as raised:
        check_trusted_root(raw)
    assert raised.value.reason == "TRUSTED_ROOT_MALFORMED"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _paths(one, (*path, key))


_PATHS = st.sampled_from([path for path in _paths(trusted_root()) if path])


@settings(deadline=None)
@given(_PATHS, _JSON)
def test_whatever_takes_a_place_is_refused_or_read_by_a_satellite_too(path: tuple[str | int, ...], value: Any) -> None:
    whole: Any = trusted_root()
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    raw = json.dumps(whole).encode()
    try:
        check_trusted_root(raw)
    except FleetError as error:
        assert error.reason == "TRUSTED_ROOT_MALFORMED"  # noqa: PT017 - either outcome is one
    else:
        read_trusted_root(raw)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_our_error(raw: bytes) -> None:
    with pytest.raises(FleetError):
        check_trusted_root(raw)
    for spec in (
        TrustRootSpec(ca_pem=(raw.decode("latin-1"),)),
        TrustRootSpec(ROOT.trusted_root_json, (), (), (), (raw,)),
    ):
        with pytest.raises(FleetError):
            check_trust_root(spec)


def keyless(evidence: LogEvidence | None = None) -> Authority:
    return Authority("a", Keyless((WHO,)), BUNDLE, "root", evidence)


@pytest.mark.parametrize(
    ("by", "spec"),
    [
        (keyless(), ROOT),
        (keyless(LogEvidence()), TrustRootSpec(trusted_root_json=trusted_root_json(ctlogs=[], tlogs=[]))),
        (keyless(LogEvidence(observed_times=1)), TrustRootSpec(trusted_root_json=trusted_root_json(ctlogs=[]))),
        (Authority("a", CertificateChain((WHO.subject,)), BUNDLE, "root"), CA),
        (Authority("a", KeySet(("key",)), BUNDLE, "root", LogEvidence(log_entries=1)), ROOT),
        (Authority("a", Notation(("*",)), (SignatureFormat.NOTATION_JWS,), "root"), CA),
        (
            Authority("a", Notation(("*",)), (SignatureFormat.NOTATION_JWS,), "root"),
            TrustRootSpec(signing_authority_pem=(ca_pem(),)),
        ),
        (Authority("a", Notation((), NotationLevel.SKIP), (), "root"), ROOT),
    ],
)
def test_a_trust_root_with_what_is_asked_for_fits(by: Authority, spec: TrustRootSpec) -> None:
    check_use(by, spec)


@pytest.mark.parametrize(
    ("by", "spec", "lacks"),
    [
        (keyless(), CA, "Fulcio"),
        (keyless(), TrustRootSpec(trusted_root_json=trusted_root_json(certificateAuthorities=[])), "Fulcio"),
        (keyless(), TrustRootSpec(trusted_root_json=trusted_root_json(tlogs=[])), "a transparency log"),
        (keyless(), TrustRootSpec(trusted_root_json=trusted_root_json(ctlogs=[])), "a certificate log"),
        (
            keyless(LogEvidence(timestamps=1)),
            TrustRootSpec(trusted_root_json=trusted_root_json(timestampAuthorities=[])),
            "a timestamp authority",
        ),
        (
            keyless(LogEvidence()),
            TrustRootSpec(trusted_root_json=trusted_root_json(timestampAuthorities=[], tlogs=[])),
            "a timestamp authority or a transparency log",
        ),
        (Authority("a", CertificateChain((WHO.subject,)), BUNDLE, "root"), ROOT, "a certificate authority"),
        (Authority("a", KeySet(("key",)), BUNDLE, "root", LogEvidence(log_entries=1)), CA, "a transparency log"),
        (Authority("a", Notation(("*",)), (SignatureFormat.NOTATION_JWS,), "root"), ROOT, "a certificate authority"),
    ],
)
def test_a_trust_root_that_lacks_what_is_asked_for_is_named(by: Authority, spec: TrustRootSpec, lacks: str) -> None:
    with pytest.raises(FleetError) as raised:
        check_use(by, spec)
    assert raised.value.reason == "TRUST_ROOT_LACKS"
    assert lacks in raised.value.public
