"""Certificates, logs and times that no real sigstore would issue, and those of its former formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.domain.moment import UNKNOWN, Moment
from edge.domain.policy import TrustRoot
from edge.domain.verify.claims import Claim, Vouched
from edge.domain.verify.vouching import vouch
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    LogEvidence,
    SignatureFormat,
    SignerIdentity,
    TextMatch,
    TrustRootSpec,
)
from tests.rig import private_sigstore as rig
from tests.rig.private_sigstore import ISSUER, SIGNED_AT, SUBJECT, PrivateSigstore, new_key

LOGGED = LogEvidence(log_entries=1)
WHO = Keyless((SignerIdentity(TextMatch(ISSUER), TextMatch(SUBJECT)),))


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore()


def said(
    claim: Claim, trust: TrustRootSpec, *, by: Keyless | CertificateChain = WHO, asked: LogEvidence = LOGGED
) -> Vouched:
    authority = Authority("a", by, (SignatureFormat.SIGSTORE_BUNDLE,), "root", asked)
    return vouch(claim, authority, TrustRoot("root", trust), UNKNOWN)


def signed(sigstore: PrivateSigstore, **issued: object) -> Claim:
    key = new_key()
    return sigstore.claim(key, sigstore.authority.issue(key, **issued))  # type: ignore[arg-type]


def test_a_promise_of_the_log_proves_when_it_was_signed(sigstore: PrivateSigstore) -> None:
    by = said(signed(sigstore), sigstore.trust())
    assert not isinstance(by, str)
    assert [(one.issuer, one.subject) for one in by] == [(ISSUER, SUBJECT)]


Body = Callable[[Claim], dict[str, object]]


@pytest.mark.parametrize(
    ("kind", "version", "body"),
    [
        ("dsse", "0.0.1", rig.dsse_1),
        ("intoto", "0.0.2", rig.intoto_2),
        ("hashedrekord", "0.0.1", rig.hashedrekord_1),
        ("hashedrekord", "0.0.2", rig.hashedrekord_2),
        ("dsse", "0.0.2", rig.dsse_2),
    ],
)
def test_every_kind_of_entry_is_about_one_signature_and_no_other(
    sigstore: PrivateSigstore, kind: str, version: str, body: Body
) -> None:
    key = new_key()
    certificate = sigstore.authority.issue(key)
    good = sigstore.claim(
        key, certificate, entry=lambda claim: sigstore.log.promised(kind, version, body(claim), SIGNED_AT)
    )
    assert not isinstance(said(good, sigstore.trust()), str)
    other = signed(sigstore)
    strange = sigstore.log.promised(kind, version, body(other), SIGNED_AT)
    assert said(replace(good, log_entries=(strange,)), sigstore.trust()) == "LOG_ENTRY_MISSING"
    renamed = sigstore.log.promised(kind, "9.9.9", body(good), SIGNED_AT)
    assert said(replace(good, log_entries=(renamed,)), sigstore.trust()) == "LOG_ENTRY_MISSING"


@pytest.mark.parametrize("index", range(6))
def test_a_proof_of_inclusion_holds_wherever_the_entry_lies(sigstore: PrivateSigstore, index: int) -> None:
    key = new_key()
    promise = sigstore.log.promised
    claim = sigstore.claim(key, sigstore.authority.issue(key))
    entry = sigstore.log.included("dsse", "0.0.2", rig.dsse_2(claim), index=index)
    timed = promise("dsse", "0.0.1", rig.dsse_1(claim), SIGNED_AT)
    assert not isinstance(said(replace(claim, log_entries=(entry, timed)), sigstore.trust()), str)
    assert said(replace(claim, log_entries=(entry,)), sigstore.trust()) == "TIME_UNPROVEN"
    assert entry.proof
    for proof in (
        replace(entry.proof, log_index=(index + 1) % 6),
        replace(entry.proof, tree_size=entry.proof.tree_size + 1),
        replace(entry.proof, hashes=entry.proof.hashes[:-1]),
        replace(entry.proof, hashes=(*entry.proof.hashes, bytes(32))),
        replace(entry.proof, root_hash=bytes(32)),
        replace(entry.proof, checkpoint=entry.proof.checkpoint.replace("log.example", "log.evil")),
        replace(entry.proof, checkpoint=""),
    ):
        forged = replace(claim, log_entries=(replace(entry, proof=proof),))
        assert said(forged, sigstore.trust()) == "LOG_ENTRY_MISSING"


@pytest.mark.parametrize("late", [timedelta(minutes=-5), timedelta(minutes=30), timedelta(days=365)])
def test_a_certificate_counts_only_while_it_was_valid_by_the_log(sigstore: PrivateSigstore, late: timedelta) -> None:
    key = new_key()
    certificate = sigstore.authority.issue(key)
    at = SIGNED_AT + late
    claim = sigstore.claim(
        key, certificate, entry=lambda claim: sigstore.log.promised("dsse", "0.0.1", rig.dsse_1(claim), at)
    )
    assert said(claim, sigstore.trust()) == "CERTIFICATE_EXPIRED"


def test_a_log_or_an_authority_counts_only_for_its_time(sigstore: PrivateSigstore) -> None:
    claim = signed(sigstore)
    ended = {"end": (SIGNED_AT - timedelta(days=1)).isoformat()}
    log = {
        "publicKey": {"rawBytes": rig.b64(rig.spki(sigstore.log.key)), "validFor": ended},
        "logId": {"keyId": rig.b64(sigstore.log.log_id)},
    }
    assert said(claim, sigstore.trust(tlogs=[log])) == "LOG_ENTRY_MISSING"
    chain = [
        {"rawBytes": rig.b64(one.public_bytes(Encoding.DER))}
        for one in (sigstore.authority.intermediate, sigstore.authority.root)
    ]
    authority = {"certChain": {"certificates": chain}, "validFor": ended}
    assert said(claim, sigstore.trust(certificateAuthorities=[authority])) == "CERTIFICATE_UNTRUSTED"


def test_a_forged_promise_proves_nothing(sigstore: PrivateSigstore) -> None:
    claim = signed(sigstore)
    (entry,) = claim.log_entries
    for forged in (
        replace(entry, integrated_time=entry.integrated_time + 1),
        replace(entry, log_index=8),
        replace(entry, promise=rig.signed_by(new_key(), b"anything")),
        replace(entry, promise=b""),
    ):
        assert said(replace(claim, log_entries=(forged,)), sigstore.trust()) == "LOG_ENTRY_MISSING"


def test_one_log_that_is_asked_twice_is_one_log(sigstore: PrivateSigstore) -> None:
    claim = signed(sigstore)
    twice = replace(claim, log_entries=claim.log_entries * 2)
    assert said(twice, sigstore.trust(), asked=LogEvidence(log_entries=2)) == "LOG_ENTRY_MISSING"


def _add(extension: x509.ExtensionType, *, critical: bool) -> rig.Change:
    return lambda builder: builder.add_extension(extension, critical=critical)


@pytest.mark.parametrize(
    ("issued", "refused"),
    [
        ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, "CERTIFICATE_UNTRUSTED"),
        ({"purpose": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}, "CERTIFICATE_UNTRUSTED"),
        ({"purpose": None}, "CERTIFICATE_UNTRUSTED"),
        ({"change": _add(x509.BasicConstraints(ca=True, path_length=None), critical=True)}, "CERTIFICATE_UNTRUSTED"),
        (
            {"change": _add(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), critical=True)},
            "CERTIFICATE_UNTRUSTED",
        ),
        ({"issuer": ""}, "IDENTITY_OTHER"),
        ({"issuer": "https://issuer.example.evil"}, "IDENTITY_OTHER"),
        ({"subjects": ("other@example.com",)}, "IDENTITY_OTHER"),
        ({"subjects": (SUBJECT, "other@example.com")}, "IDENTITY_OTHER"),
    ],
)
def test_a_certificate_that_is_not_as_it_should_be_is_nobody_s(
    sigstore: PrivateSigstore, issued: dict[str, object], refused: str
) -> None:
    assert said(signed(sigstore, **issued), sigstore.trust()) == refused


def test_neither_another_authority_nor_a_certificate_that_issues_is_trusted(sigstore: PrivateSigstore) -> None:
    stranger = PrivateSigstore(log=sigstore.log)
    assert said(signed(stranger), sigstore.trust()) == "CERTIFICATE_UNTRUSTED"
    key = new_key()
    parent = x509.load_der_x509_certificate(sigstore.authority.issue(key))
    child_key = new_key()
    forged = (
        rig.Authority._begun(
            x509.Name([]), child_key, parent.subject, SIGNED_AT - timedelta(minutes=1), SIGNED_AT + timedelta(minutes=9)
        )
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(SUBJECT)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    claim = sigstore.claim(child_key, forged)
    chained = replace(claim, certificates=(forged, parent.public_bytes(Encoding.DER)))
    assert said(chained, sigstore.trust()) == "CERTIFICATE_UNTRUSTED"


# Certificate authorities of one's own -------------------------------------------------------------------


def _own(sigstore: PrivateSigstore, **more: object) -> TrustRootSpec:
    pem = sigstore.authority.root.public_bytes(Encoding.PEM).decode()
    return TrustRootSpec(ca_pem=(pem,), **more)  # type: ignore[arg-type]


def chained(sigstore: PrivateSigstore) -> Claim:
    key = new_key()
    claim = sigstore.claim(key, sigstore.authority.issue(key), entry=lambda _: None)
    intermediate = sigstore.authority.intermediate.public_bytes(Encoding.DER)
    return replace(claim, certificates=(*claim.certificates, intermediate))


def by_chain(claim: Claim, trust: TrustRootSpec, moment: Moment, subject: str = SUBJECT) -> Vouched:
    by = CertificateChain((TextMatch(subject),))
    authority = Authority("ca", by, (SignatureFormat.SIGSTORE_BUNDLE,), "root")
    return vouch(claim, authority, TrustRoot("root", trust), moment)


def test_a_chain_to_an_authority_of_one_s_own_is_judged_at_the_present_time(sigstore: PrivateSigstore) -> None:
    claim, trust = chained(sigstore), _own(sigstore)
    assert not isinstance(by_chain(claim, trust, Moment(SIGNED_AT)), str)
    assert by_chain(claim, trust, Moment(SIGNED_AT + timedelta(days=1))) == "CERTIFICATE_EXPIRED"
    assert by_chain(claim, trust, Moment(SIGNED_AT, is_known=False)) == "CLOCK_UNKNOWN"
    assert by_chain(claim, trust, Moment(SIGNED_AT), "other@example.com") == "IDENTITY_OTHER"
    alone = replace(claim, certificates=claim.certificates[:1])
    assert by_chain(alone, trust, Moment(SIGNED_AT)) == "CERTIFICATE_UNTRUSTED"
    assert by_chain(claim, _own(PrivateSigstore()), Moment(SIGNED_AT)) == "CERTIFICATE_UNTRUSTED"


def test_a_revoked_certificate_counts_no_more_from_then_on(sigstore: PrivateSigstore) -> None:
    claim = chained(sigstore)
    leaf = x509.load_der_x509_certificate(claim.certificates[0])
    revoked = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number).revocation_date(SIGNED_AT).build()
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(sigstore.authority.intermediate.subject)
        .last_update(SIGNED_AT)
        .next_update(SIGNED_AT + timedelta(days=7))
        .add_revoked_certificate(revoked)
    )
    good = listed.sign(sigstore.authority.key, hashes.SHA256()).public_bytes(Encoding.DER)
    forged = listed.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.DER)
    before, after = Moment(SIGNED_AT - timedelta(seconds=30)), Moment(SIGNED_AT + timedelta(minutes=1))
    assert by_chain(claim, _own(sigstore, revocation_lists=(good,)), after) == "CERTIFICATE_REVOKED"
    assert not isinstance(by_chain(claim, _own(sigstore, revocation_lists=(good,)), before), str)
    assert not isinstance(by_chain(claim, _own(sigstore, revocation_lists=(forged,)), after), str)
    assert by_chain(claim, _own(sigstore, revocation_lists=(b"no list",)), after) == "TRUST_ROOT_MALFORMED"
