"""Notary Project signatures by a foreign signer (a small Go program on notation-go), with certificates of our own."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.domain.content import OCI_MANIFEST
from edge.domain.verify.evidence import NOTATION_TYPE
from fleet.reference import Digest
from tests.rig.cosign import new_private_key
from tests.rig.images import describe, encode
from tests.rig.programs import require
from tests.rig.repository import Repository

JWS, COSE = "application/jose+json", "application/cose"
SOURCE = Path(__file__).parents[1] / "system" / "policies" / "notation_signer"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _name(common: str, organization: str = "Example") -> x509.Name:
    attributes = [
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _usage(*, signs: bool) -> x509.KeyUsage:
    off = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs, decipher_only=False, **off
    )


@dataclass
class NotationAuthority:
    """A root that issues certificates for signing."""

    directory: Path
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        builder = self._begun(_name("Root"), self.key, datetime.now(UTC) - timedelta(days=30), timedelta(days=400))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        self.root = builder.add_extension(_usage(signs=False), critical=True).sign(self.key, hashes.SHA384())

    @property
    def pem(self) -> str:
        return self.root.public_bytes(Encoding.PEM).decode()

    def _begun(self, subject: x509.Name, key: Key, start: datetime, life: timedelta) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name("Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + life)
        )

    def issue(
        self,
        common: str,
        kind: str = "p256",
        *,
        organization: str = "Example",
        life: timedelta = timedelta(days=90),
        revocable: bool = False,
    ) -> Holder:
        """Issue a certificate for signing code, valid since yesterday."""
        key = new_private_key(kind)
        assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        builder = (
            self._begun(_name(common, organization), key, datetime.now(UTC) - timedelta(days=1), life)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        )
        if revocable:
            where = x509.UniformResourceIdentifier("http://crl.invalid/root.crl")
            point = x509.DistributionPoint([where], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA384())
        place = self.directory / f"{common}-{certificate.serial_number:x}"
        place.mkdir()
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (place / "key.pem").write_bytes(encoded)
        (place / "chain.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + self.pem.encode())
        return Holder(place / "key.pem", place / "chain.pem", certificate)

    def revocations(self, *holders: Holder, current: bool = True) -> bytes:
        """List revoked certificates: DER."""
        now = datetime.now(UTC)
        end = now + timedelta(days=1) if current else now - timedelta(minutes=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name("Root"))
            .last_update(now - timedelta(days=2))
            .next_update(end)
        )
        for holder in holders:
            one = x509.RevokedCertificateBuilder().serial_number(holder.certificate.serial_number)
            builder = builder.add_revoked_certificate(one.revocation_date(now - timedelta(hours=1)).build())
        return builder.sign(self.key, hashes.SHA384()).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with a key and a certificate chain, as files."""

    key: Path
    chain: Path
    certificate: x509.Certificate


@dataclass
class NotationSigner:
    """The foreign program, which answers line by line."""

    process: subprocess.Popen[str]

    def sign(
        self,
        holder: Holder,
        image: Repository,
        root: Digest,
        *,
        media_type: str = JWS,
        expiry_s: int = 0,
        tsa: tuple[str, Path] | None = None,
    ) -> bytes:
        """Sign an image: `→ the envelope`."""
        manifest = image.manifests[root]
        target = {"mediaType": manifest.media_type, "digest": root, "size": len(manifest.raw)}
        question = {"key": str(holder.key), "chain": str(holder.chain), "media_type": media_type, "expiry_s": expiry_s}
        if tsa:
            question |= {"tsa": tsa[0], "tsa_roots": str(tsa[1])}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({**question, "target": target}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.process.stderr.read() if self.process.stderr else ""
        return base64.b64decode(answer)


@contextmanager
def notation_signer(directory: Path) -> Iterator[NotationSigner]:
    """Build the program, and run it."""
    program = directory / "notation_signer"
    subprocess.run([require("go"), "build", "-o", program, "."], cwd=SOURCE, check=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        yield NotationSigner(process)
        assert process.stdin
        process.stdin.close()
        process.wait(10)


def attach(into: Repository, root: Digest, envelope: bytes, *, media_type: str = JWS) -> None:
    """Hang a signature on an image, as notation does."""
    target = into.manifests[root]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": NOTATION_TYPE,
        "config": describe(into, b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [describe(into, envelope, media_type)],
        "subject": {"mediaType": target.media_type, "digest": root, "size": len(target.raw)},
    }
    into.add_manifest(encode(manifest), OCI_MANIFEST)
