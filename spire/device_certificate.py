"""Device certificates: what a machine proves itself with to spire-server (x509pop).

The machine's place in the fleet is written into the certificate as URI names of x509pop's own scheme, which
spire-server turns into selectors:

    x509pop://<trust domain>/region/<region>     → x509pop:san:region:<region>
    x509pop://<trust domain>/satellite/<name>    → x509pop:san:satellite:<name>

Entries can thus be made before the machine is first switched on, and hold when its certificate is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha1
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs.private_file import create_private, private_directory
from fleet.errors import FleetError, Kind
from fleet.identity import FleetId, GroundControlId, OperatorId, SatelliteId
from spire.configuration import X509Pop
from spire.root import BACKDATE, Root, key_pem

DEVICE_LIFE = timedelta(days=3653)
"""Ten years: a device certificate is ended by banning its agent, not by waiting."""
_CERTIFICATE, _KEY = "device.pem", "device.key"
_COMMON_NAME_CHARACTERS = 64  # X.520's upper bound


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A device's certificate and its key, PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def agent_id(self, trust_domain: str) -> str:
        """Say under what SPIFFE ID spire-server knows the agent that proves itself with this."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        print_ = sha1(der, usedforsecurity=False).hexdigest()  # SPIRE's choice; it names, and protects nothing
        return f"spiffe://{trust_domain}/spire/agent/x509pop/{print_}"

    def save(self, directory: Path) -> X509Pop:
        """Write both into a private directory, where none is yet.

        Raises:
            FleetError: EXISTS `DEVICE_CERTIFICATE_EXISTS`; PRECONDITION `PRIVATE_PATH_EXPOSED`.
        """
        private_directory(directory)
        files = X509Pop(directory / _CERTIFICATE, directory / _KEY)
        pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        if not create_private(files.key, key_pem(self.key)) or not create_private(files.certificate, pem):
            text = "a device certificate is there already: move it away first"
            raise FleetError(Kind.EXISTS, "DEVICE_CERTIFICATE_EXISTS", text, subject=str(directory))
        return files


def place(identity: FleetId) -> dict[str, str]:
    """Say what a device certificate states of the machine that runs this identity: names and values."""
    match identity:
        case SatelliteId():
            return {"region": identity.region, "satellite": identity.name}
        case GroundControlId():
            return {"gc": identity.deployment}
        case OperatorId():
            return {"operator": identity.name}


def make_device_certificate(
    authority: Root, identity: FleetId, *, at: datetime, life: timedelta = DEVICE_LIFE
) -> DeviceCertificate:
    """Make a key and a certificate for the machine that is to run this identity, good from `at`."""
    key = ec.generate_private_key(ec.SECP256R1())
    stated = place(identity)
    common_name = stated.get("satellite") or next(iter(stated.values()))
    uris = [
        x509.UniformResourceIdentifier(f"x509pop://{identity.trust_domain}/{name}/{value}")
        for name, value in stated.items()
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_CHARACTERS])]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - BACKDATE)
        .not_valid_after(at + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNS_ONLY, critical=True)
        .add_extension(x509.SubjectAlternativeName(uris), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return DeviceCertificate(certificate, key)


_SIGNS_ONLY = x509.KeyUsage(
    digital_signature=True,  # x509pop refuses a certificate without it
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
