"""Certificate paths for code signing, from a signer's certificate to a trusted root, at one moment.

What is not understood is refused: a critical extension that is not listed here, and name constraints, which would have
to be honoured. Source: RFC 5280, sections 4.2 (extensions), 6.1 (path validation), 6.3 (revocation lists).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from fleet.errors import malformed

MAX_LENGTH = 6
_MAX_CERTIFICATE_BYTES = 32 << 10
_HONOURED = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
Path = tuple[x509.Certificate, ...]
"""The signer's certificate first, the root last."""


@lru_cache(maxsize=512)
def load_certificate(encoded: bytes) -> x509.Certificate:
    """Read one certificate, DER.

    Raises:
        FleetError: MALFORMED `CERTIFICATE_MALFORMED`.
    """
    if len(encoded) > _MAX_CERTIFICATE_BYTES:
        raise malformed("CERTIFICATE_MALFORMED", "a certificate has at most 32 KiB")
    try:
        certificate = x509.load_der_x509_certificate(encoded)
        _ = certificate.extensions, certificate.public_key()  # both are read late, and may be damaged
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise malformed("CERTIFICATE_MALFORMED", "not a certificate in DER") from error
    return certificate


def load_certificates(pem: bytes, *, most: int = 16) -> list[bytes]:
    """Read PEM certificates: `→ DER each`.

    Raises:
        FleetError: MALFORMED `CERTIFICATE_MALFORMED`.
    """
    if len(pem) > _MAX_CERTIFICATE_BYTES * most:
        raise malformed("CERTIFICATE_MALFORMED", "too many certificates")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise malformed("CERTIFICATE_MALFORMED", "not certificates in PEM") from error
    if len(found) > most:
        raise malformed("CERTIFICATE_MALFORMED", f"at most {most} certificates")
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


def public_key_of(encoded: bytes) -> bytes:
    """Take a certificate's key: `DER → SubjectPublicKeyInfo, DER`.

    Raises:
        FleetError: MALFORMED `CERTIFICATE_MALFORMED`.
    """
    key = load_certificate(encoded).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a path may end at and lead over, and what has been revoked."""

    roots: Sequence[x509.Certificate]
    intermediates: Sequence[x509.Certificate] = ()
    revocation_lists: Sequence[x509.CertificateRevocationList] = ()


def find_path(
    leaf: x509.Certificate,
    anchors: Anchors,
    at: datetime,
    purpose: ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
    *,
    must_say: bool = True,
) -> Path | str:
    """Find a path that is valid at a moment: the path, or why there is none.

    Args:
        leaf: the signer's certificate.
        anchors: where a path may end and lead over.
        at: the moment.
        purpose: what the signer's certificate must be for.
        must_say: one that does not say what it is for is refused.

    Returns:
        The path; or `CERTIFICATE_UNTRUSTED`, `CERTIFICATE_EXPIRED` where only the moment stands against it,
        `CERTIFICATE_REVOKED`.
    """
    if not _is_signer(leaf, purpose, must_say=must_say):
        return "CERTIFICATE_UNTRUSTED"
    reason = "CERTIFICATE_UNTRUSTED"
    for path in _paths((leaf,), anchors, purpose):
        if not all(_is_valid_at(one, at) for one in path):
            reason = "CERTIFICATE_EXPIRED"
        elif any(_is_revoked(one, issuer, anchors.revocation_lists, at) for one, issuer in pairwise(path)):
            return "CERTIFICATE_REVOKED"
        else:
            return path
    return reason


def _paths(begun: Path, anchors: Anchors, purpose: ObjectIdentifier) -> Iterator[Path]:
    """Walk all paths up to a root, depth first."""
    last = begun[-1]
    if last in anchors.roots:
        yield begun
        return
    if len(begun) == MAX_LENGTH:
        return
    for issuer in (*anchors.roots, *anchors.intermediates):
        if issuer not in begun and _is_issuer(issuer, below=len(begun) - 1, purpose=purpose) and _issued(issuer, last):
            yield from _paths((*begun, issuer), anchors, purpose)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extension(certificate: x509.Certificate, oid: ObjectIdentifier) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None


def _is_understood(certificate: x509.Certificate) -> bool:
    return all(
        one.oid in _HONOURED if one.critical else one.oid != ExtensionOID.NAME_CONSTRAINTS
        for one in certificate.extensions
    )


def _serves(certificate: x509.Certificate, purpose: ObjectIdentifier, *, must_say: bool, is_leaf: bool = False) -> bool:
    usage = _extension(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
    if not isinstance(usage, x509.ExtendedKeyUsage):
        return not must_say
    return purpose in usage or (not is_leaf and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage)


def _is_signer(certificate: x509.Certificate, purpose: ObjectIdentifier, *, must_say: bool) -> bool:
    """Say whether a certificate is an end entity's that may sign for the purpose."""
    constraints = _extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    usage = _extension(certificate, ExtensionOID.KEY_USAGE)
    is_authority = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    signs = not isinstance(usage, x509.KeyUsage) or usage.digital_signature
    serves = _serves(certificate, purpose, must_say=must_say, is_leaf=True)
    return not is_authority and signs and serves and _is_understood(certificate)


def _is_issuer(certificate: x509.Certificate, *, below: int, purpose: ObjectIdentifier) -> bool:
    """Say whether a certificate may issue, with so many authorities below it."""
    constraints = _extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    usage = _extension(certificate, ExtensionOID.KEY_USAGE)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    may_sign = not isinstance(usage, x509.KeyUsage) or usage.key_cert_sign
    return may_sign and _is_understood(certificate) and _serves(certificate, purpose, must_say=False)


def _is_valid_at(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _is_revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    at: datetime,
) -> bool:
    """Say whether a list of the issuer's names the certificate, revoked by then; one without a date counts always."""
    for one in lists:
        if one.issuer != issuer.subject:
            continue
        entry = one.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and entry.revocation_date_utc <= at and _signed(one, issuer):
            return True
    return False


def _signed(revocations: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return revocations.is_signature_valid(key)  # type: ignore[arg-type]  # other kinds of key raise TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
