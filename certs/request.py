"""A fresh key and the request for its certificate: the joiner's half of an SVID."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """One new key, in memory only, with the PKCS #10 request that proves its possession."""

    csr: bytes
    key: bytes = field(repr=False)
    """PKCS#8, DER, unencrypted: as the Workload API hands it on."""


def new_key_request() -> KeyRequest:
    """Make an ECDSA P-256 key and its request; the subject is empty, since only the key counts."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return KeyRequest(
        csr=request.public_bytes(serialization.Encoding.DER),
        key=key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
