"""Whatever bytes come as an envelope of a Notary Project signature: read, or our error, and nobody's either way."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.domain.moment import Moment
from edge.domain.policy import TrustRoot
from edge.domain.verify.claims import Claim
from edge.domain.verify.notation.cose import read_cose
from edge.domain.verify.notation.envelope import Envelope
from edge.domain.verify.notation.jws import read_jws
from edge.domain.verify.notation.verifying import timestamped
from edge.domain.verify.vouching import vouch
from fleet.errors import FleetError, Kind
from fleet.policy import Authority, Notation, NotationLevel, SignatureFormat, TrustRootSpec
from tests.rig import private_sigstore as rig

AUTHORITY = rig.Authority()
CERTIFICATE = AUTHORITY.issue(rig.new_key())
TRUST = TrustRootSpec(ca_pem=(rig.b64(b"no certificate"),))
PAYLOAD = json.dumps({"targetArtifact": {"mediaType": "m", "digest": rig.IMAGE, "size": 1}}).encode()
TYPE = "application/vnd.cncf.notary.payload.v1+json"
SCHEME, TIME = "io.cncf.notary.signingScheme", "io.cncf.notary.signingTime"
TOO_EARLY = "0001-01-01T00:00:00+10:00"
"""In UTC it lies in no year."""

moments = st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(max_size=20) | moments


def nested(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Generate a leaf, or lists and maps of them."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=10,
    )


jsons = nested(scalars)
values = nested(scalars | st.binary(max_size=20))


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@st.composite
def jws_envelopes(draw: st.DrawFn) -> bytes:
    header: dict[str, object] = {"alg": "ES256", "cty": TYPE, "crit": [SCHEME], SCHEME: "notary.x509"}
    header[TIME] = "2026-03-01T12:00:00Z"
    loose: dict[str, object] = {"x5c": [rig.b64(CERTIFICATE)], "io.cncf.notary.timestampSignature": "AAAA"}
    for part in (header, loose):
        if draw(st.booleans()):
            part[draw(st.sampled_from(sorted(part)))] = draw(jsons)
    document: dict[str, object] = {
        "payload": b64url(PAYLOAD),
        "protected": b64url(json.dumps(header).encode()),
        "header": loose,
        "signature": b64url(draw(st.binary(max_size=80))),
    }
    if draw(st.booleans()):
        document[draw(st.sampled_from(sorted(document)))] = draw(jsons)
    return json.dumps(document).encode()


@st.composite
def cose_envelopes(draw: st.DrawFn) -> bytes:
    moment = cbor2.CBORTag(1, 1_772_366_400)
    header: dict[object, object] = {1: -7, 2: [SCHEME], 3: TYPE, SCHEME: "notary.x509", TIME: moment}
    loose: dict[object, object] = {33: [CERTIFICATE], "io.cncf.notary.timestampSignature": b"\0"}
    for part in (header, loose):
        if draw(st.booleans()):
            part[draw(st.sampled_from(sorted(part, key=str)))] = draw(values)
    parts: list[object] = [cbor2.dumps(header), loose, PAYLOAD, draw(st.binary(max_size=80))]
    if draw(st.booleans()):
        parts[draw(st.integers(0, 3))] = draw(values)
    raw = cbor2.dumps(cbor2.CBORTag(draw(st.sampled_from([18, 18, 18, 1, 98])), parts))
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw


def judged(form: SignatureFormat, raw: bytes) -> None:
    read = read_cose if form is SignatureFormat.NOTATION_COSE else read_jws
    try:
        envelope = read(raw)
    except FleetError as error:
        assert error.kind is Kind.MALFORMED  # noqa: PT017 - either way is right
        return
    claim = Claim(form, raw, (), frozenset({envelope.target}), certificates=envelope.certificates)
    by = Authority("a", Notation(("*",), NotationLevel.AUDIT), (form,), "root")
    answer = vouch(claim, by, TrustRoot("root", TRUST), Moment(datetime(2026, 3, 1, tzinfo=UTC)))
    assert isinstance(answer, str), "nobody has signed it"


@given(jws_envelopes() | st.binary(max_size=200) | jsons.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_jws_envelope_or_malformed(raw: bytes) -> None:
    judged(SignatureFormat.NOTATION_JWS, raw)


@given(cose_envelopes() | st.binary(max_size=200) | values.map(cbor2.dumps))
def test_any_bytes_are_a_cose_envelope_or_malformed(raw: bytes) -> None:
    judged(SignatureFormat.NOTATION_COSE, raw)


def jws(**other: object) -> bytes:
    header = {"alg": "ES256", "cty": TYPE, "crit": [SCHEME], SCHEME: "notary.x509", TIME: "2026-03-01T12:00:00Z"}
    document = {
        "payload": b64url(PAYLOAD),
        "protected": b64url(json.dumps({**header, **other}).encode()),
        "header": {"x5c": [rig.b64(CERTIFICATE)]},
        "signature": b64url(b"x"),
    }
    return json.dumps(document).encode()


def cose(time: object) -> bytes:
    marks: dict[object, object] = {1: -7, 2: [SCHEME], 3: TYPE, SCHEME: "notary.x509", TIME: time}
    return cbor2.dumps(cbor2.CBORTag(18, [cbor2.dumps(marks), {33: [CERTIFICATE]}, PAYLOAD, b"x"]))


def test_the_unchanged_envelopes_are_read() -> None:
    assert read_jws(jws()).target == rig.IMAGE
    assert read_cose(cose(cbor2.CBORTag(1, 1_772_366_400))).signing_time == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("read", "raw"),
    [
        (read_jws, jws(crit=[SCHEME, []])),
        (read_jws, jws(**{TIME: TOO_EARLY})),
        (read_cose, cose(cbor2.CBORTag(0, TOO_EARLY))),
    ],
)
def test_a_criticality_that_is_no_name_and_a_time_before_all_others_are_malformed(
    read: Callable[[bytes], Envelope], raw: bytes
) -> None:
    with pytest.raises(FleetError) as caught:
        read(raw)
    assert caught.value.reason == "EVIDENCE_MALFORMED"


@given(st.binary(max_size=300))
def test_any_bytes_are_no_timestamp(raw: bytes) -> None:
    assert timestamped(raw, b"signature", ()) is None
