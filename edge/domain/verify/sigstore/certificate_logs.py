"""Certificate timestamps: a log's promise to publish the certificate, embedded in it.

Source: RFC 6962, sections 3.2 (what is signed) and 3.3 (the extension).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from datetime import UTC

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

from edge.domain.verify.sigstore.trusted_root import Log

_PRECERTIFICATE = 1


def promising_logs(leaf: x509.Certificate, issuer: x509.Certificate, logs: Iterable[Log]) -> set[bytes]:
    """Name the logs, of these, whose promise in the certificate holds: `→ their key ids`."""
    try:
        promises = list(leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value)
        body = leaf.tbs_precertificate_bytes
    except (x509.ExtensionNotFound, ValueError):
        return set()
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    issued_by = hashlib.sha256(spki).digest()
    known = list(logs)
    return {log.key_id for promise in promises for log in known if _holds(promise, log, issued_by, body)}


def _holds(promise: SignedCertificateTimestamp, log: Log, issued_by: bytes, body: bytes) -> bool:
    moment = promise.timestamp.replace(tzinfo=UTC)
    if promise.log_id != log.key_id or not log.valid.holds([moment]):
        return False
    milliseconds = int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    extensions = promise.extension_bytes
    signed = (
        struct.pack(">BBQH", 0, 0, milliseconds, _PRECERTIFICATE)
        + issued_by
        + len(body).to_bytes(3, "big")
        + body
        + struct.pack(">H", len(extensions))
        + extensions
    )
    return log.verifies(promise.signature, signed)
