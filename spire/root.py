"""A small certificate authority in two files: the root above SPIRE, or the one that signs device certificates.

For demonstrations, tests and small sites. A site with a PKI of its own points SPIRE at that instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs.private_file import create_private, private_directory, read_private
from fleet.errors import FleetError, Kind

ROOT_LIFE = timedelta(days=3653)
"""Ten years: the one thing that a satellite which comes back from a long absence still trusts."""
BACKDATE = timedelta(minutes=5)
"""What a peer's clock may be behind."""
_CERTIFICATE, _KEY = "root.pem", "root.key"


@dataclass(frozen=True, slots=True)
class Root:
    """A self-signed authority and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, public."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, PKCS #8, unencrypted: keep it 0600."""
        return key_pem(self.key)


@dataclass(frozen=True, slots=True)
class RootFiles:
    """Where a root lies."""

    certificate: Path
    key: Path


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a key as PKCS #8 without a password."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def make_root(name: str, *, at: datetime, trust_domain: str = "", life: timedelta = ROOT_LIFE) -> Root:
    """Make a root of the given common name, good from `at`.

    Args:
        name: its common name, 64 characters at most.
        at: now.
        trust_domain: its SPIFFE trust domain, for a root that stands above SPIRE; empty for a device authority.
        life: how long it is good for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - BACKDATE)
        .not_valid_after(at + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(signer, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if trust_domain:  # X.509-SVID, section 4.1: a signing certificate may bear its trust domain's ID
        uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return Root(builder.sign(key, hashes.SHA256()), key)


def keep_root(directory: Path, name: str, *, at: datetime, trust_domain: str = "") -> RootFiles:
    """Find the root in a private directory, or make one there.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others can read it; CORRUPT `SPIRE_ROOT_CORRUPT` where
            one of the two files is gone.
    """
    private_directory(directory)
    files = RootFiles(directory / _CERTIFICATE, directory / _KEY)
    if files.key.exists() != files.certificate.exists():
        raise FleetError(Kind.CORRUPT, "SPIRE_ROOT_CORRUPT", "half of a root", subject=str(directory))
    if not files.key.exists():
        root = make_root(name, at=at, trust_domain=trust_domain)
        create_private(files.key, root.key_pem)
        create_private(files.certificate, root.certificate_pem)
    return files


def load_root(files: RootFiles) -> Root:
    """Read a root that `keep_root` keeps.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED`; CORRUPT `SPIRE_ROOT_CORRUPT` where it is not one.
    """
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(read_private(files.key) or b"", None)
    except (OSError, ValueError) as error:
        text = "not a root"
        raise FleetError(Kind.CORRUPT, "SPIRE_ROOT_CORRUPT", text, subject=str(files.key), detail=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FleetError(
            Kind.CORRUPT, "SPIRE_ROOT_CORRUPT", "a root's key is of the P-256 kind", subject=str(files.key)
        )
    return Root(certificate, key)
