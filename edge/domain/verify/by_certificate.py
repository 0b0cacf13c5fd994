"""Signatures with certificates: short-lived ones (keyless), and those of certificate authorities of one's own.

Source: sigstore's client specification, section "Verification"; RFC 5280, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from edge.domain.moment import Moment
from edge.domain.verify.chains import Anchors, Path, find_path, load_certificate, load_certificates, public_key_of
from edge.domain.verify.claims import Claim, Vouch, Vouched
from edge.domain.verify.keys import key_id, load_key
from edge.domain.verify.matching import matches
from edge.domain.verify.sigstore.certificate_logs import promising_logs
from edge.domain.verify.sigstore.proofs import NONE, Proofs, find_proofs
from edge.domain.verify.sigstore.trusted_root import TrustedRoot, read_trusted_root
from fleet.errors import FleetError, malformed
from fleet.policy import CertificateChain, Keyless, LogEvidence, SignerIdentity, TextMatch, TrustRootSpec

_ISSUER_2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UTF8_STRING = 0x0C
_SHORT = 0x80


def vouch_keyless(claim: Claim, by: Keyless, asked: LogEvidence, trust: TrustRootSpec) -> Vouched:
    """Say whether somebody with one of these identities signed, at a time when the certificate was good.

    The present time plays no part: what the log and the timestamps prove, they prove for good.
    """
    if not trust.trusted_root_json:
        return "TRUST_ROOT_MISSING"
    signer = _signer(claim)
    if signer is None:
        return "SIGNATURE_INVALID"
    # 1. When it was signed.
    root = _trusted(trust)
    proofs = find_proofs(claim, public_key_of(claim.certificates[0]), root)
    if reason := proofs.lack(asked) or ("" if proofs.times else "TIME_UNPROVEN"):
        return reason
    # 2. The certificate was good at each of these times.
    path = _path_of_authorities(signer, root, proofs.times)
    if isinstance(path, str):
        return path
    # 3. It was issued in public.
    if len(promising_logs(signer, path[1], root.certificate_logs)) < asked.certificate_timestamps:
        return "CERTIFICATE_TIMESTAMP_MISSING"
    # 4. It is somebody's who may sign.
    return _as_identity(claim, signer, by.identities)


def vouch_chain(
    claim: Claim, by: CertificateChain, asked: LogEvidence, trust: TrustRootSpec, moment: Moment
) -> Vouched:
    """Say whether the holder of a certificate of the trust root's own authorities signed."""
    if not trust.ca_pem:
        return "TRUST_ROOT_MISSING"
    signer = _signer(claim)
    if signer is None:
        return "SIGNATURE_INVALID"
    proofs = proofs_of(claim, public_key_of(claim.certificates[0]), asked, trust)
    if reason := proofs.lack(asked):
        return reason
    if not proofs.times and not moment.is_known:
        return "CLOCK_UNKNOWN"
    anchors = anchors_of(trust.ca_pem, trust.revocation_lists, claim.certificates[1:])
    paths = [find_path(signer, anchors, at) for at in proofs.times or (moment.at,)]
    for path in paths:
        if isinstance(path, str):
            return path
    if asked.certificate_timestamps:
        return "CERTIFICATE_TIMESTAMP_MISSING"  # such logs are the trusted root's, and of its authorities
    return _as_subject(claim, signer, by.subjects)


def proofs_of(claim: Claim, key: bytes, asked: LogEvidence, trust: TrustRootSpec | None) -> Proofs:
    """Check the proofs of a signature where any are asked for."""
    if asked == LogEvidence() or trust is None:
        return NONE
    return find_proofs(claim, key, _trusted(trust))


def _trusted(trust: TrustRootSpec) -> TrustedRoot:
    """Read what proofs are verified by; a timestamp authority that is in both counts once, as the trusted root says."""
    root = read_trusted_root(trust.trusted_root_json) if trust.trusted_root_json else TrustedRoot((), (), (), ())
    known = {certificate for one in root.timestamp_authorities for certificate in one.certificates}
    listed = anchors_of(trust.timestamp_authority_pem, (), ()).roots
    return replace(root, timestamp_certificates=tuple(one for one in listed if one not in known))


def check_trust_root(spec: TrustRootSpec) -> None:
    """Read everything in trust material.

    Raises:
        FleetError: MALFORMED `TRUST_ROOT_MALFORMED`, `CERTIFICATE_MALFORMED`, `REVOCATION_LIST_MALFORMED`.
    """
    if spec.trusted_root_json:
        read_trusted_root(spec.trusted_root_json)
    anchors_of(spec.ca_pem, spec.revocation_lists, ())
    anchors_of(spec.timestamp_authority_pem, (), ())


def _signer(claim: Claim) -> x509.Certificate | None:
    """Take the certificate whose key made the claim's one signature."""
    if not claim.certificates or len(claim.signatures) != 1:
        return None
    try:
        certificate = load_certificate(claim.certificates[0])
        verifies = load_key(public_key_of(claim.certificates[0]))
    except FleetError:
        return None
    return certificate if verifies(claim.signatures[0], claim.signed) else None


def _path_of_authorities(signer: x509.Certificate, root: TrustedRoot, times: Sequence[datetime]) -> Path | str:
    reasons = ["CERTIFICATE_UNTRUSTED"]
    for authority in root.authorities:
        if not authority.valid.holds(times):
            continue
        paths = [find_path(signer, authority.anchors, at) for at in times]
        failures = [one for one in paths if isinstance(one, str)]
        good = [one for one in paths if not isinstance(one, str) and len(one) > 1]
        if good and not failures:
            return good[0]
        reasons += failures
    return max(reasons, key=("CERTIFICATE_UNTRUSTED", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED").index)


def _as_identity(claim: Claim, signer: x509.Certificate, identities: Sequence[SignerIdentity]) -> Vouched:
    names, issuer = _names(signer), _issuer(signer)
    if len(names) != 1 or not issuer:
        return "IDENTITY_OTHER"
    (name,) = names
    if not any(matches(one.issuer, issuer) and matches(one.subject, name) for one in identities):
        return "IDENTITY_OTHER"
    return (Vouch(key_id(public_key_of(claim.certificates[0])), issuer, name),)


def _as_subject(claim: Claim, signer: x509.Certificate, subjects: Sequence[TextMatch]) -> Vouched:
    whole = signer.subject.rfc4514_string()
    found = next(
        (name for name in (*_names(signer), whole) if name and any(matches(one, name) for one in subjects)), None
    )
    if found is None:
        return "IDENTITY_OTHER"
    return (Vouch(key_id(public_key_of(claim.certificates[0])), subject=found),)


def _names(certificate: x509.Certificate) -> list[str]:
    """List the SubjectAlternativeNames; what is of another kind is an empty text, which nothing matches."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [_name(name) for name in found]


def _name(name: x509.GeneralName) -> str:
    match name:
        case x509.RFC822Name() | x509.UniformResourceIdentifier() | x509.DNSName():
            return str(name.value)
        case x509.OtherName() if name.type_id == _OTHER_NAME:
            return _utf8(name.value)
        case _:
            return ""


def _issuer(certificate: x509.Certificate) -> str:
    """Read who vouched for the identity: Fulcio's extension, the older one where there is no other."""
    for oid, read in ((_ISSUER_2, _utf8), (_ISSUER_1, _plain)):
        try:
            value = certificate.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        return read(value.value) if isinstance(value, x509.UnrecognizedExtension) else ""
    return ""


def _utf8(encoded: bytes) -> str:
    """Read a DER UTF8String; empty for anything else."""
    if len(encoded) < 2 or encoded[0] != _UTF8_STRING:  # noqa: PLR2004 -- a tag and a length
        return ""
    length, start = encoded[1], 2
    if length & _SHORT:
        start += length & 0x7F
        length = int.from_bytes(encoded[2:start], "big")
    return _plain(encoded[start:]) if len(encoded) == start + length else ""


def _plain(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return ""


@lru_cache(maxsize=64)
def anchors_of(ca_pem: tuple[str, ...], lists: tuple[bytes, ...], more: tuple[bytes, ...]) -> Anchors:
    """Read authorities: every one that is listed is trusted; what comes with a signature only leads there.

    Raises:
        FleetError: MALFORMED `CERTIFICATE_MALFORMED`, `REVOCATION_LIST_MALFORMED`.
    """
    roots = [load_certificate(der) for pem in ca_pem for der in load_certificates(pem.encode())]
    return Anchors(roots, _readable(more), revocation_lists(lists))


@lru_cache(maxsize=16)
def revocation_lists(lists: tuple[bytes, ...]) -> tuple[x509.CertificateRevocationList, ...]:
    """Read revocation lists, DER.

    Raises:
        FleetError: MALFORMED `REVOCATION_LIST_MALFORMED`.
    """
    return tuple(map(_revocation_list, lists))


def _readable(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for one in certificates:
        try:
            found.append(load_certificate(one))
        except FleetError:
            continue
    return found


def _revocation_list(encoded: bytes) -> x509.CertificateRevocationList:
    load: Callable[[bytes], x509.CertificateRevocationList] = x509.load_der_x509_crl
    try:
        return load(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise malformed("REVOCATION_LIST_MALFORMED", "not a certificate revocation list in DER") from error
