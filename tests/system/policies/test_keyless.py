"""Short-lived certificates of a private sigstore: what the real cosign signs is admitted, and nothing like it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.domain.admission import Admission
from edge.domain.verify.bundle import BUNDLE_TYPE
from fleet.policy import (
    Authority,
    CertificateChain,
    LogEvidence,
    RequiredAttestation,
    SignatureFormat,
    TextMatch,
    TrustRootSpec,
)
from fleet.reference import Digest
from tests.rig import cosign
from tests.rig.certificates import loopback_certificate
from tests.rig.images import add_referrer, make_image
from tests.rig.judging import key_authority, policy_of
from tests.rig.sigstore import Sigstore
from tests.system.policies.conftest import DEVELOPER, ROOT, V2, V3, Source, keyless, keyless_policy, reason, without

pytestmark = [
    pytest.mark.needs_cosign,
    pytest.mark.needs_registry,
    pytest.mark.needs_sigstore,
]
SLSA = "https://slsa.dev/provenance/v1"
PREDICATES: dict[str, tuple[str, dict[str, object]]] = {
    "slsaprovenance1": (
        SLSA,
        {"buildDefinition": {"buildType": "b", "externalParameters": {}}, "runDetails": {"builder": {"id": "b"}}},
    ),
    "spdxjson": ("https://spdx.dev/Document", {"spdxVersion": "SPDX-2.3", "packages": []}),
    "cyclonedx": ("https://cyclonedx.org/bom", {"bomFormat": "CycloneDX", "specVersion": "1.6"}),
    "vuln": (
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        {"scanner": {"uri": "s", "result": {"high": 0}}, "metadata": {}},
    ),
}
Bundle = dict[str, Any]


@pytest.fixture(scope="module")
def signed(source: Source, private: Sigstore) -> Digest:
    """An image that a developer signed, in the repository `keyless/signed`."""
    digest = source.push("keyless/signed")
    private.sign(source.reference("keyless/signed", digest), DEVELOPER)
    return digest


@pytest.fixture(scope="module")
def bundles(source: Source, private: Sigstore) -> tuple[Digest, Bundle, Bundle]:
    """The digest of an image, and two bundles over it."""
    digest = source.push("keyless/twice")
    for _ in range(2):
        private.sign(source.reference("keyless/twice", digest), DEVELOPER)
    first, second = (json.loads(content) for content in source.bundles("keyless/twice", digest))
    return digest, first, second


def push_with(source: Source, name: str, root: Digest, *contents: bytes) -> None:
    """Push the image `keyless/twice` anew, with these bundles and no others."""
    image = make_image("keyless/twice")
    assert image.tags["1.0"] == root
    for content in contents:
        add_referrer(image, root, BUNDLE_TYPE, content)
    source.push(name, image)


# What cosign signs --------------------------------------------------------------------------------------


def test_what_was_signed_by_whom_the_policy_names_is_admitted(
    source: Source, signed: Digest, private: Sigstore, trust: TrustRootSpec
) -> None:
    verdict = source.judged("keyless/signed", signed, keyless_policy(private.issuer.url), trust=trust)
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1


def test_neither_another_person_nor_another_issuer_counts(
    source: Source, signed: Digest, private: Sigstore, trust: TrustRootSpec
) -> None:
    for rule in (keyless_policy(private.issuer.url, "other@example.com"), keyless_policy("https://other.example")):
        assert reason(source.judged("keyless/signed", signed, rule, trust=trust)) == "IDENTITY_OTHER"


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        ("certificateAuthorities", "CERTIFICATE_UNTRUSTED"),
        ("tlogs", "LOG_ENTRY_MISSING"),
        ("timestampAuthorities", "TIME_UNPROVEN"),
        ("ctlogs", "CERTIFICATE_TIMESTAMP_MISSING"),
    ],
)
def test_who_is_not_in_the_trusted_root_proves_nothing(  # noqa: PLR0917 -- fixtures
    source: Source, signed: Digest, private: Sigstore, trust: TrustRootSpec, part: str, refused: str
) -> None:
    rule = keyless_policy(private.issuer.url)
    assert reason(source.judged("keyless/signed", signed, rule, trust=without(trust, part))) == refused


def test_without_its_trust_root_nothing_is_admitted(source: Source, signed: Digest, private: Sigstore) -> None:
    assert reason(source.judged("keyless/signed", signed, keyless_policy(private.issuer.url))) == "TRUST_ROOT_MISSING"


@pytest.mark.parametrize("kind", sorted(PREDICATES))
def test_attestations_count_for_their_own_type(
    source: Source, private: Sigstore, trust: TrustRootSpec, tmp_path: Path, kind: str
) -> None:
    predicate_type, predicate = PREDICATES[kind]
    name = f"keyless/attested-{kind}"
    digest, file = source.push(name), tmp_path / "predicate.json"
    file.write_text(json.dumps(predicate))
    private.attest(source.reference(name, digest), DEVELOPER, file, kind)
    by = keyless(private.issuer.url)
    right, other = (
        policy_of(replace(by, attestations=(RequiredAttestation("a", each),))) for each in (predicate_type, "urn:other")
    )
    assert not reason(source.judged(name, digest, right, trust=trust))
    assert reason(source.judged(name, digest, other, trust=trust)) == "ATTESTATION_MISSING"
    assert reason(source.judged(name, digest, policy_of(by), trust=trust)) == "NOT_A_SIGNATURE"


def test_cosign_2_s_format_counts_where_the_policy_says_so(
    source: Source, private: Sigstore, trust: TrustRootSpec
) -> None:
    digest = source.push("keyless/old")
    private.sign_as_cosign_2(source.reference("keyless/old", digest), DEVELOPER)
    stamped = LogEvidence(timestamps=1, certificate_timestamps=1)
    old, new = (policy_of(keyless(private.issuer.url, formats=(form,), log=stamped)) for form in (V2, V3))
    assert not reason(source.judged("keyless/old", digest, old, trust=trust))
    assert reason(source.judged("keyless/old", digest, new, trust=trust)) == "FORMAT_NOT_ALLOWED"
    logged = policy_of(keyless(private.issuer.url, formats=(V2,)))
    assert reason(source.judged("keyless/old", digest, logged, trust=trust)) == "LOG_ENTRY_MISSING"


# Certificates of one's own authority -------------------------------------------------------------------


def test_a_timestamp_of_a_listed_authority_says_when_a_certificate_of_one_s_own_was_used(
    source: Source, signed: Digest, private: Sigstore, trust: TrustRootSpec, tmp_path: Path
) -> None:
    ca, stamps = ((private.directory / name).read_text() for name in ("fulcio.pem", "tsa.pem"))
    by = Authority(
        "own", CertificateChain((TextMatch(DEVELOPER),)), (V3,), ROOT, log_evidence=LogEvidence(timestamps=1)
    )
    stranger = loopback_certificate(tmp_path).authority.read_text()
    own = TrustRootSpec(ca_pem=(ca,), timestamp_authority_pem=(stamps,))

    def judged(trust: TrustRootSpec, by: Authority = by) -> str:
        return reason(source.judged("keyless/signed", signed, policy_of(by), trust=trust))  # the time is unknown there

    assert not judged(own)
    assert judged(replace(own, timestamp_authority_pem=())) == "TIMESTAMP_MISSING"
    assert judged(replace(own, timestamp_authority_pem=(stranger,))) == "TIMESTAMP_MISSING"
    both = replace(own, trusted_root_json=trust.trusted_root_json)
    assert not judged(both)
    two = replace(by, log_evidence=LogEvidence(timestamps=2))
    assert judged(both, two) == "TIMESTAMP_MISSING", "who is listed twice counts once"


# Keys, with a log and without ---------------------------------------------------------------------------


def test_a_key_s_signature_must_be_logged_where_the_policy_asks_for_it(
    source: Source, private: Sigstore, trust: TrustRootSpec, tmp_path: Path
) -> None:
    key = cosign.generate_key(tmp_path, "release")
    plain, logged = source.push("keyed/plain"), source.push("keyed/logged")
    cosign.sign(source.reference("keyed/plain", plain), key)
    private.sign_with_key(source.reference("keyed/logged", logged), key)
    asked = LogEvidence(log_entries=1, timestamps=1)
    by = replace(key_authority("release", key.pem, formats=(V3,)), trust_root=ROOT, log_evidence=asked)
    assert not reason(source.judged("keyed/logged", logged, policy_of(by), trust=trust))
    assert reason(source.judged("keyed/plain", plain, policy_of(by), trust=trust)) == "LOG_ENTRY_MISSING"
    assert reason(source.judged("keyed/logged", logged, policy_of(by))) == "TRUST_ROOT_MISSING"
    anyhow = policy_of(replace(by, log_evidence=None, trust_root=""))
    assert not reason(source.judged("keyed/plain", plain, anyhow))


@pytest.mark.parametrize("form", [V2, V3])
def test_a_key_s_attestation_counts_in_both_formats(source: Source, tmp_path: Path, form: SignatureFormat) -> None:
    key, name = cosign.generate_key(tmp_path, "ci"), f"keyed/attested-{form}"
    digest, file = source.push(name), tmp_path / "predicate.json"
    file.write_text(json.dumps(PREDICATES["slsaprovenance1"][1]))
    cosign.attest(source.reference(name, digest), key, file, "slsaprovenance1", form)
    by = replace(key_authority("ci", key.pem, formats=(form,)), attestations=(RequiredAttestation("p", SLSA),))
    verdict = source.judged(name, digest, policy_of(by))
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1, "it comes along"
    for condition, refused in (('predicate.runDetails.builder.id == "b"', ""), ("predicate.n == 1", "CONDITION_FALSE")):
        asks = replace(by, attestations=(RequiredAttestation("p", SLSA, condition),))
        assert reason(source.judged(name, digest, policy_of(asks))) == refused
    other = replace(by, formats=(V3 if form is V2 else V2,))
    expected = "ATTESTATION_MISSING" if form is V2 else "FORMAT_NOT_ALLOWED"
    assert reason(source.judged(name, digest, policy_of(other))) == expected


# What nobody signed so ----------------------------------------------------------------------------------


def _material(bundle: Bundle) -> Bundle:
    return bundle["verificationMaterial"]  # type: ignore[no-any-return]


def _entry(bundle: Bundle) -> Bundle:
    return _material(bundle)["tlogEntries"][0]  # type: ignore[no-any-return]


def _retold(bundle: Bundle, _: Bundle) -> None:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"] = {"said": "more"}
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


def _another_certificate(bundle: Bundle, other: Bundle) -> None:
    _material(bundle)["certificate"] = _material(other)["certificate"]


def _another_entry(bundle: Bundle, other: Bundle) -> None:
    _material(bundle)["tlogEntries"] = _material(other)["tlogEntries"]


def _no_entry(bundle: Bundle, _: Bundle) -> None:
    _material(bundle)["tlogEntries"] = []


def _no_proof(bundle: Bundle, _: Bundle) -> None:
    del _entry(bundle)["inclusionProof"]


def _another_origin(bundle: Bundle, _: Bundle) -> None:
    checkpoint = _entry(bundle)["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].replace("rekor.test", "rekor.evil")


def _short_proof(bundle: Bundle, _: Bundle) -> None:
    proof = _entry(bundle)["inclusionProof"]
    proof["hashes"] = [*proof.get("hashes", []), base64.b64encode(bytes(32)).decode()]


def _no_timestamp(bundle: Bundle, _: Bundle) -> None:
    _material(bundle)["timestampVerificationData"] = {}


def _another_timestamp(bundle: Bundle, other: Bundle) -> None:
    _material(bundle)["timestampVerificationData"] = _material(other)["timestampVerificationData"]


def _a_key_instead(bundle: Bundle, _: Bundle) -> None:
    del _material(bundle)["certificate"]
    _material(bundle)["publicKey"] = {"hint": "none"}


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (_retold, "SIGNATURE_INVALID"),
        (_another_certificate, "SIGNATURE_INVALID"),
        (_a_key_instead, "SIGNATURE_INVALID"),
        (_another_entry, "LOG_ENTRY_MISSING"),
        (_no_entry, "LOG_ENTRY_MISSING"),
        (_no_proof, "LOG_ENTRY_MISSING"),
        (_another_origin, "LOG_ENTRY_MISSING"),
        (_short_proof, "LOG_ENTRY_MISSING"),
        (_no_timestamp, "TIME_UNPROVEN"),
        (_another_timestamp, "TIME_UNPROVEN"),
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused_for_what_was_changed(  # noqa: PLR0917 -- fixtures
    source: Source,
    bundles: tuple[Digest, Bundle, Bundle],
    private: Sigstore,
    trust: TrustRootSpec,
    change: Callable[[Bundle, Bundle], None],
    refused: str,
) -> None:
    root, bundle, other = bundles
    changed = json.loads(json.dumps(bundle))
    change(changed, other)
    name = f"tampered/{change.__name__.strip('_').replace('_', '-')}"
    push_with(source, name, root, json.dumps(changed).encode())
    assert reason(source.judged(name, root, keyless_policy(private.issuer.url), trust=trust)) == refused


def test_a_truncated_bundle_is_no_evidence_and_hides_none(
    source: Source, bundles: tuple[Digest, Bundle, Bundle], private: Sigstore, trust: TrustRootSpec
) -> None:
    root, bundle, other = bundles
    half = json.dumps(other).encode()[:1500]
    rule = keyless_policy(private.issuer.url)
    push_with(source, "tampered/half", root, half)
    assert reason(source.judged("tampered/half", root, rule, trust=trust)) == "EVIDENCE_MALFORMED"
    push_with(source, "tampered/half-and-whole", root, half, json.dumps(bundle).encode())
    assert not reason(source.judged("tampered/half-and-whole", root, rule, trust=trust))


def test_of_many_bundles_one_good_one_is_enough(
    source: Source, bundles: tuple[Digest, Bundle, Bundle], private: Sigstore, trust: TrustRootSpec
) -> None:
    root, bundle, other = bundles
    bad = []
    for number in range(40):
        changed = json.loads(json.dumps(other))
        changed["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(bytes([number] * 70)).decode()
        bad.append(json.dumps(changed).encode())
    push_with(source, "tampered/many", root, *bad, json.dumps(bundle).encode())
    verdict = source.judged("tampered/many", root, keyless_policy(private.issuer.url), trust=trust)
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1, "only the good one comes along"


def test_a_signature_is_not_another_image_s(
    source: Source, bundles: tuple[Digest, Bundle, Bundle], private: Sigstore, trust: TrustRootSpec
) -> None:
    image = make_image("keyless/unsigned")
    root = image.tags["1.0"]
    add_referrer(image, root, BUNDLE_TYPE, json.dumps(bundles[1]).encode())
    source.push("tampered/replayed", image)
    rule = keyless_policy(private.issuer.url)
    assert reason(source.judged("tampered/replayed", root, rule, trust=trust)) == "DIGEST_NOT_SIGNED"
