"""Trust material of the smallest kind: an authority's certificate, its revocation list, a `trusted_root.json`."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A certificate authority that has issued nothing yet."""

    name: str = "corporate"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def certificate(self) -> x509.Certificate:
        """Make its own certificate."""
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.subject)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def revocation_list(self) -> bytes:
        """Make a list that revokes serial number 7, DER."""
        now = datetime.now(UTC)
        revoked = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(now).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject).last_update(now)
        made = builder.next_update(now + timedelta(days=30)).add_revoked_certificate(revoked)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


@cache
def authority() -> CertificateAuthority:
    """Make one for all tests of a process."""
    return CertificateAuthority()


@cache
def _certificate() -> x509.Certificate:
    return authority().certificate()


def ca_pem() -> str:
    """Write its certificate."""
    return _certificate().public_bytes(Encoding.PEM).decode()


def trusted_root(**changed: Any) -> dict[str, Any]:
    """Make a trusted root with one of everything; what is named takes the place of what would be there."""
    certificate = base64.b64encode(_certificate().public_bytes(Encoding.DER)).decode()
    spki = authority().key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    chain = {"certChain": {"certificates": [{"rawBytes": certificate}]}, "uri": "https://ca.test"}
    log = {
        "baseUrl": "https://log.test",
        "publicKey": {
            "rawBytes": base64.b64encode(spki).decode(),
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": base64.b64encode(hashlib.sha256(spki).digest()).decode()},
    }
    whole: dict[str, Any] = {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log],
        "certificateAuthorities": [chain],
        "ctlogs": [log],
        "timestampAuthorities": [chain],
    }
    return whole | changed


def trusted_root_json(**changed: Any) -> bytes:
    """Write it."""
    return json.dumps(trusted_root(**changed)).encode()
