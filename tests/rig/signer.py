"""Signs as cosign does, and as it never would: for the evidence that an attacker makes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.domain.content import OCI_MANIFEST
from edge.domain.verify.bundle import BUNDLE_TYPE, pre_authentication_encoding
from edge.domain.verify.claims import SIGN_PREDICATE
from edge.domain.verify.simple_signing import PAYLOAD_TYPE, SIGNATURE, signature_tag
from fleet.reference import Digest
from tests.rig.images import add_referrer, describe, encode
from tests.rig.repository import Repository

_IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Signer:
    """An ECDSA P-256 key."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> str:
        return base64.b64encode(self.key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


def payload(digest: str, reference: str = "registry.example/demo/app") -> bytes:
    """Write a simple-signing payload."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return encode({"critical": critical, "optional": None})


def add_signatures(into: Repository, root: Digest, signed: Sequence[tuple[bytes, str]]) -> Digest:
    """Put a cosign 2 manifest at the image's tag: one layer for each payload and signature."""
    layers = []
    for content, signature in signed:
        layers.append({**describe(into, content, PAYLOAD_TYPE), "annotations": {SIGNATURE: signature}})
    config = describe(into, encode({"os": ""}), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    return into.add_manifest(encode(manifest), OCI_MANIFEST, tag=signature_tag(root)).digest


def sign_v2(into: Repository, root: Digest, signer: Signer, *, digest: str = "", **claim: str) -> Digest:
    """Sign as cosign 2; `digest` says another one than the image's."""
    content = payload(digest or root, **claim)
    return add_signatures(into, root, [(content, signer.sign(content))])


def bundle(signer: Signer, digest: str, *, predicate: str = SIGN_PREDICATE) -> bytes:
    """Write a sigstore bundle."""
    subject = [{"digest": {"sha256": digest.removeprefix("sha256:")}}]
    statement = encode(
        {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate, "predicate": {}}
    )
    envelope = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": _IN_TOTO,
        "signatures": [{"sig": signer.sign(pre_authentication_encoding(_IN_TOTO, statement))}],
    }
    material = {"publicKey": {"hint": "none"}}
    return encode({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def sign_v3(
    into: Repository, root: Digest, signer: Signer, *, digest: str = "", predicate: str = SIGN_PREDICATE
) -> Digest:
    """Sign as cosign 3; `digest` says another one than the image's."""
    return add_referrer(into, root, BUNDLE_TYPE, bundle(signer, digest or root, predicate=predicate))
