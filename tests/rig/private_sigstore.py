"""A sigstore in this process, for what no real one would issue: certificates, logs of both versions, their proofs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.domain.verify.bundle import pre_authentication_encoding
from edge.domain.verify.claims import Claim, InclusionProof, LogEntry
from fleet.policy import SignatureFormat, TrustRootSpec
from fleet.reference import Digest

SIGNED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER, SUBJECT = "https://issuer.example", "dev@example.com"
IMAGE = Digest("sha256:" + "a" * 64)
_ISSUER_2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
Key = ec.EllipticCurvePrivateKey
Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed_by(key: Key, content: bytes) -> bytes:
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A certificate authority with one intermediate."""

    root_key: Key = field(default_factory=new_key)
    key: Key = field(default_factory=new_key)

    def __post_init__(self) -> None:
        self.root = self._authority("root", self.root_key, name("root"), self.root_key, length=1)
        self.intermediate = self._authority("intermediate", self.key, name("root"), self.root_key, length=0)

    def _authority(self, text: str, key: Key, issuer: x509.Name, issuer_key: Key, *, length: int) -> x509.Certificate:
        return (
            self._begun(name(text), key, issuer, SIGNED_AT - timedelta(days=400), SIGNED_AT + timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
            .sign(issuer_key, hashes.SHA256())
        )

    @staticmethod
    def _begun(
        subject: x509.Name, key: Key, issuer: x509.Name, start: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    def issue(
        self,
        key: Key,
        *,
        subjects: Sequence[str] = (SUBJECT,),
        issuer: str = ISSUER,
        purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CODE_SIGNING,
        start: datetime = SIGNED_AT - timedelta(minutes=1),
        change: Change = lambda builder: builder,
    ) -> bytes:
        """Issue a certificate for ten minutes: DER."""
        builder = self._begun(x509.Name([]), key, name("intermediate"), start, start + timedelta(minutes=10))
        names = x509.SubjectAlternativeName([x509.RFC822Name(one) for one in subjects])
        builder = builder.add_extension(names, critical=True)
        if purpose:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if issuer:
            encoded = bytes([0x0C, len(issuer)]) + issuer.encode()
            builder = builder.add_extension(x509.UnrecognizedExtension(_ISSUER_2, encoded), critical=False)
        return change(builder).sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass
class Log:
    """A transparency log that holds some entries already."""

    key: Key = field(default_factory=new_key)
    others: int = 5
    origin: str = "log.example"

    @property
    def log_id(self) -> bytes:
        return hashlib.sha256(spki(self.key)).digest()

    def promised(self, kind: str, version: str, body: object, at: datetime) -> LogEntry:
        """Promise to include an entry, as Rekor 1 does."""
        raw = json.dumps(body).encode()
        entry = LogEntry(self.log_id, 7, kind, version, raw, integrated_time=int(at.timestamp()))
        said = {"body": b64(raw), "integratedTime": entry.integrated_time, "logID": self.log_id.hex(), "logIndex": 7}
        canonical = json.dumps(said, separators=(",", ":"), sort_keys=True).encode()
        return replace(entry, promise=signed_by(self.key, canonical))

    def included(self, kind: str, version: str, body: object, *, index: int = 0) -> LogEntry:
        """Include an entry, as Rekor 2 does: it lies at `index` among the others."""
        raw = json.dumps(body).encode()
        leaves = [hashlib.sha256(b"\0" + bytes([number])).digest() for number in range(self.others)]
        leaves.insert(index, hashlib.sha256(b"\0" + raw).digest())
        root, path = _root(leaves), _path(index, leaves)
        text = f"{self.origin}\n{len(leaves)}\n{b64(root)}\n"
        signature = b64(self.log_id[:4] + signed_by(self.key, text.encode()))
        note = f"{text}\n\N{EM DASH} {self.origin} {signature}\n"
        proof = InclusionProof(index, len(leaves), root, tuple(path), note)
        return LogEntry(self.log_id, index, kind, version, raw, proof=proof)


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    """Hash a tree (RFC 6962, section 2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:at]) + _root(leaves[at:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    """List the audit path of a leaf (RFC 6962, section 2.1.1)."""
    if len(leaves) == 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*_path(index, leaves[:at]), _root(leaves[at:])]
    return [*_path(index - at, leaves[at:]), _root(leaves[:at])]


@dataclass
class PrivateSigstore:
    """An authority, a log, and what verifies by them."""

    authority: Authority = field(default_factory=Authority)
    log: Log = field(default_factory=Log)

    def trust(self, **more: object) -> TrustRootSpec:
        """Write the trusted root; `more` replaces parts of it."""
        chain = [self.authority.intermediate, self.authority.root]
        certificates = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in chain]
        log = {"publicKey": {"rawBytes": b64(spki(self.log.key))}, "logId": {"keyId": b64(self.log.log_id)}}
        document: dict[str, object] = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [{"certChain": {"certificates": certificates}}],
            "tlogs": [log],
        }
        return TrustRootSpec(json.dumps(document | more).encode())

    def claim(self, key: Key, certificate: bytes, *, entry: Callable[[Claim], LogEntry | None] | None = None) -> Claim:
        """Sign an image with a certificate, logged as Rekor 1 does unless told otherwise."""
        payload = json.dumps({"_type": "https://in-toto.io/Statement/v1"}).encode()
        signed = pre_authentication_encoding("application/vnd.in-toto+json", payload)
        claim = Claim(
            SignatureFormat.SIGSTORE_BUNDLE,
            signed,
            (signed_by(key, signed),),
            frozenset({IMAGE}),
            payload=payload,
            certificates=(certificate,),
        )
        made = entry(claim) if entry else self.log.promised("dsse", "0.0.1", dsse_1(claim), SIGNED_AT)
        return replace(claim, log_entries=(made,) if made else ())


def _pem(certificate: bytes) -> str:
    return b64(x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM))


def dsse_1(claim: Claim) -> dict[str, object]:
    """Write the body of Rekor 1's entry of an envelope."""
    digest = {"algorithm": "sha256", "value": hashlib.sha256(claim.payload).hexdigest()}
    signatures = [{"signature": b64(claim.signatures[0]), "verifier": _pem(claim.certificates[0])}]
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"payloadHash": digest, "signatures": signatures}}


def intoto_2(claim: Claim) -> dict[str, object]:
    """Write the body of Rekor 1's older entry of an envelope."""
    digest = {"algorithm": "sha256", "value": hashlib.sha256(claim.payload).hexdigest()}
    signature = {"sig": b64(b64(claim.signatures[0]).encode()), "publicKey": _pem(claim.certificates[0])}
    content = {"envelope": {"signatures": [signature]}, "payloadHash": digest}
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}}


def hashedrekord_1(claim: Claim) -> dict[str, object]:
    """Write the body of Rekor 1's entry of a signature."""
    digest = {"algorithm": "sha256", "value": hashlib.sha256(claim.signed).hexdigest()}
    signature = {"content": b64(claim.signatures[0]), "publicKey": {"content": _pem(claim.certificates[0])}}
    spec = {"data": {"hash": digest}, "signature": signature}
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}


def _verifier(claim: Claim) -> dict[str, object]:
    return {"x509Certificate": {"rawBytes": b64(claim.certificates[0])}}


def hashedrekord_2(claim: Claim) -> dict[str, object]:
    """Write the body of Rekor 2's entry of a signature."""
    data = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(claim.signed).digest())}
    signature = {"content": b64(claim.signatures[0]), "verifier": _verifier(claim)}
    spec = {"hashedRekordV002": {"data": data, "signature": signature}}
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}


def dsse_2(claim: Claim) -> dict[str, object]:
    """Write the body of Rekor 2's entry of an envelope."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(claim.payload).digest())}
    signatures = [{"content": b64(claim.signatures[0]), "verifier": _verifier(claim)}]
    spec = {"dsseV002": {"payloadHash": digest, "signatures": signatures}}
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": spec}
