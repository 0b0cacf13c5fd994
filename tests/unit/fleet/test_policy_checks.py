"""What nobody could satisfy is refused with its reason; what somebody could is taken as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.errors import FleetError
from fleet.policy import (
    Authority,
    BlockSpec,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Notation,
    NotationLevel,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    SignerSetSpec,
    StaticVerdict,
    TextMatch,
)
from fleet.policy_checks import check_block, check_policy, check_signer_set
from fleet.signer_checks import is_anchored
from tests.rig.policy_signing import PolicySigner

ONE, TWO = PolicySigner().pem, PolicySigner().pem
BUNDLE, SIMPLE = (SignatureFormat.SIGSTORE_BUNDLE,), (SignatureFormat.COSIGN_SIMPLE_SIGNING,)
JWS = (SignatureFormat.NOTATION_JWS,)
ISSUER, SUBJECT = TextMatch("https://issuer.example"), TextMatch("^a@b[.]c$", is_regexp=True)
KEYED = Authority("a", KeySet((ONE, TWO), 2), BUNDLE)
KEYLESS = Authority("a", Keyless((SignerIdentity(ISSUER, SUBJECT),)), BUNDLE, "root")
CHAIN = Authority("a", CertificateChain((SUBJECT,)), SIMPLE, "root")
NOTATION = Authority("a", Notation(("x509.subject: C=DE, O=Example",)), JWS, "root")
STATIC = Authority("a", StaticVerdict(passes=False, message="no"))
SKIP = Authority("a", Notation((), NotationLevel.SKIP), JWS)
SBOM = RequiredAttestation("sbom", "https://spdx.dev/Document", "predicate.name == 'x'")


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "authority",
    [
        KEYED,
        KEYLESS,
        CHAIN,
        NOTATION,
        STATIC,
        SKIP,
        replace(KEYED, attestations=(SBOM,), signature_repository="signatures/of-hub"),
        replace(KEYED, log_evidence=LogEvidence(1, 1, 2), trust_root="root"),
        replace(KEYLESS, log_evidence=LogEvidence(8, 8, 8, 8)),
        replace(NOTATION, verifier=Notation(("*",), NotationLevel.AUDIT)),
    ],
)
def test_what_somebody_could_satisfy_is_taken(authority: Authority) -> None:
    spec = PolicySpec(("hub/**", "**", "*/library/*"), (authority,))
    assert check_policy(spec) is spec


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        (Authority("a"), "VERIFIER_MISSING"),
        (replace(KEYED, name=""), "AUTHORITY_MALFORMED"),
        (replace(KEYED, name="a\n"), "AUTHORITY_MALFORMED"),
        (replace(KEYED, verifier=KeySet(())), "KEYS_MISSING"),
        (replace(KEYED, verifier=KeySet(("no key",))), "KEY_MALFORMED"),
        (replace(KEYED, verifier=KeySet((pem_of(ec.generate_private_key(ec.SECP256K1())),))), "KEY_UNSUPPORTED"),
        (replace(KEYED, verifier=KeySet((pem_of(rsa.generate_private_key(65537, 1024)),))), "KEY_UNSUPPORTED"),
        (replace(KEYED, verifier=KeySet((ONE, ONE + "\n"))), "KEY_DOUBLE"),
        (replace(KEYED, verifier=KeySet((ONE,), 0)), "THRESHOLD_OUT_OF_RANGE"),
        (replace(KEYED, verifier=KeySet((ONE,), 2)), "THRESHOLD_OUT_OF_RANGE"),
        (replace(KEYED, formats=()), "FORMATS_UNFIT"),
        (replace(KEYED, formats=JWS), "FORMATS_UNFIT"),
        (replace(KEYLESS, formats=(*BUNDLE, *JWS)), "FORMATS_UNFIT"),
        (replace(NOTATION, formats=BUNDLE), "FORMATS_UNFIT"),
        (replace(KEYLESS, verifier=Keyless(())), "IDENTITIES_MISSING"),
        (replace(KEYLESS, verifier=Keyless((SignerIdentity(ISSUER, TextMatch("")),))), "IDENTITY_MALFORMED"),
        (
            replace(KEYLESS, verifier=Keyless((SignerIdentity(ISSUER, TextMatch("(", is_regexp=True)),))),
            "REGEXP_MALFORMED",
        ),
        (replace(CHAIN, verifier=CertificateChain(())), "SUBJECTS_MISSING"),
        (replace(CHAIN, verifier=CertificateChain((TextMatch("(?=x)", is_regexp=True),))), "REGEXP_MALFORMED"),
        (replace(NOTATION, verifier=Notation(())), "IDENTITIES_MISSING"),
        (replace(NOTATION, verifier=Notation(("C=DE",))), "IDENTITY_MALFORMED"),
        (replace(KEYLESS, trust_root=""), "TRUST_ROOT_MISSING"),
        (replace(CHAIN, trust_root=""), "TRUST_ROOT_MISSING"),
        (replace(NOTATION, trust_root=""), "TRUST_ROOT_MISSING"),
        (replace(KEYED, log_evidence=LogEvidence(1)), "TRUST_ROOT_MISSING"),
        (replace(KEYLESS, log_evidence=LogEvidence(9)), "LOG_EVIDENCE_OUT_OF_RANGE"),
        (replace(NOTATION, log_evidence=LogEvidence()), "LOG_EVIDENCE_UNFIT"),
        (replace(KEYED, trust_root="r", log_evidence=LogEvidence(0, 0, 0, 1)), "LOG_EVIDENCE_UNFIT"),
        (replace(CHAIN, log_evidence=LogEvidence(0, 0, 0, 1)), "LOG_EVIDENCE_UNFIT"),
        (replace(NOTATION, attestations=(SBOM,)), "ATTESTATION_UNFIT"),
        (replace(KEYED, attestations=(SBOM, SBOM)), "ATTESTATION_MALFORMED"),
        (
            replace(KEYED, attestations=tuple(replace(SBOM, name=f"{at}") for at in range(17))),
            "ATTESTATION_MALFORMED",
        ),
        (replace(KEYED, attestations=(replace(SBOM, predicate_type=""),)), "ATTESTATION_MALFORMED"),
        (replace(KEYED, attestations=(replace(SBOM, condition="predicate."),)), "CONDITION_MALFORMED"),
        (replace(KEYED, attestations=(replace(SBOM, condition="true" + " " * 4093),)), "CONDITION_MALFORMED"),
        (replace(KEYED, signature_repository="Not/A"), "REPOSITORY_MALFORMED"),
        (replace(STATIC, formats=BUNDLE), "STATIC_MALFORMED"),
        (replace(STATIC, attestations=(SBOM,)), "STATIC_MALFORMED"),
        (replace(STATIC, trust_root="root"), "STATIC_MALFORMED"),
        (replace(SKIP, attestations=(SBOM,)), "STATIC_MALFORMED"),
        (replace(STATIC, verifier=StaticVerdict(passes=True, message="x" * 513)), "TEXT_TOO_LONG"),
    ],
)
def test_what_nobody_could_satisfy_is_refused(authority: Authority, reason: str) -> None:
    with pytest.raises(FleetError) as raised:
        check_policy(PolicySpec(("hub/**",), (authority,)))
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (PolicySpec((), (KEYED,)), "IMAGES_MISSING"),
        (PolicySpec(("hub/**",), ()), "AUTHORITY_MISSING"),
        (PolicySpec(("hub/**",), (KEYED, KEYED)), "AUTHORITY_MALFORMED"),
        (PolicySpec(("hub/x:1",), (KEYED,)), "IMAGE_MALFORMED"),
        (PolicySpec(("HUB/**",), (KEYED,)), "IMAGE_MALFORMED"),
        (PolicySpec(("*",), (KEYED,)), "IMAGE_MALFORMED"),
        (PolicySpec(("",), (KEYED,)), "IMAGE_MALFORMED"),
        (PolicySpec(("**",), (KEYED,), check_reference=True), "REFERENCE_UNSATISFIABLE"),
        (PolicySpec(("**",), (replace(CHAIN, attestations=(SBOM,)),), check_reference=True), "REFERENCE_UNSATISFIABLE"),
    ],
)
def test_a_policy_that_no_image_could_satisfy_is_refused(spec: PolicySpec, reason: str) -> None:
    with pytest.raises(FleetError) as raised:
        check_policy(spec)
    assert raised.value.reason == reason


def test_a_reference_is_checked_where_a_signature_can_name_it() -> None:
    both = replace(KEYED, formats=(*BUNDLE, *SIMPLE))
    check_policy(PolicySpec(("**",), (both, replace(STATIC, name="b")), check_reference=True))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (BlockSpec(), "BLOCK_EMPTY"),
        (BlockSpec(reason="why"), "BLOCK_EMPTY"),
        (BlockSpec(digests=("latest",)), "DIGEST_MALFORMED"),
        (BlockSpec(signers=("a" * 63,)), "SIGNER_MALFORMED"),
        (BlockSpec(signers=("A" * 64,)), "SIGNER_MALFORMED"),
        (BlockSpec(identities=(SignerIdentity(ISSUER, TextMatch("")),)), "IDENTITY_MALFORMED"),
        (BlockSpec(identities=(SignerIdentity(ISSUER, TextMatch(")", is_regexp=True)),)), "REGEXP_MALFORMED"),
        (BlockSpec(signers=("a" * 64,), reason="x" * 513), "TEXT_TOO_LONG"),
        (BlockSpec(signers=("a" * 64,), reason="\x1b[2J"), "TEXT_MALFORMED"),
    ],
)
def test_a_block_of_nothing_or_of_nonsense_is_refused(spec: BlockSpec, reason: str) -> None:
    with pytest.raises(FleetError) as raised:
        check_block(spec)
    assert raised.value.reason == reason


def test_a_signer_set_can_meet_its_threshold() -> None:
    check_signer_set(SignerSetSpec((ONE, TWO), 2))
    for spec in (SignerSetSpec((ONE, TWO), 3), SignerSetSpec((ONE,), 0), SignerSetSpec((), 0)):
        with pytest.raises(FleetError):
            check_signer_set(spec)


@pytest.mark.parametrize(
    ("expression", "anchored"),
    [
        ("^a$", True),
        (r"\Aa\z", True),
        ("^(a|b)$", True),
        ("^((a|b)|c)d$", True),
        ("^[|]$", True),
        (r"^a\|b$", True),
        ("^a|b$", False),
        ("a", False),
        ("^a", False),
        ("a$", False),
    ],
)
def test_an_expression_is_anchored_where_it_must_match_the_whole_text(expression: str, anchored: bool) -> None:
    assert is_anchored(expression) is anchored
