"""Policies, trust roots, blocks and signer sets, signed as policy signers do: by keys that Ground Control lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.digests import resource_version
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec
from fleet.policy_wire import write_block, write_policy, write_signer_set, write_trust_root
from fleet.v1 import resource_pb2 as pb

_DOMAIN = b"fleet.v1.resource-signature"
Spec = PolicySpec | TrustRootSpec | BlockSpec | SignerSetSpec


@dataclass(frozen=True, slots=True)
class PolicySigner:
    """One person's key."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        """The public half."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    @property
    def key_id(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(self.key.public_key().public_bytes(serialization.Encoding.DER, form)).digest()

    def sign(self, version: bytes) -> pb.ResourceSignature:
        """Sign a resource's version, as the comment of ResourceSignature says."""
        said = b"".join(len(part).to_bytes(4, "big") + part for part in (_DOMAIN, version))
        return pb.ResourceSignature(key_id=self.key_id, signature=self.key.sign(said, ec.ECDSA(hashes.SHA256())))


def payload_of(spec: Spec, name: str, *, serial: int, scopes: Sequence[str] = ("fleet",)) -> pb.ResourcePayload:
    """Write what is to be signed."""
    payload = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD, serial=serial, name=name, scopes=scopes)
    match spec:
        case PolicySpec():
            payload.policy.CopyFrom(write_policy(spec))
        case TrustRootSpec():
            payload.trust_root.CopyFrom(write_trust_root(spec))
        case BlockSpec():
            payload.block.CopyFrom(write_block(spec))
        case SignerSetSpec():
            payload.signer_set.CopyFrom(write_signer_set(spec))
    return payload


def kind_of(payload: pb.ResourcePayload) -> pb.ResourceKind.ValueType:
    """Name the kind of a payload by its body."""
    return pb.ResourceKind.Value(f"RESOURCE_KIND_{str(payload.WhichOneof('body')).upper()}")


def signed_version(payload: pb.ResourcePayload) -> bytes:
    """Hash the payload as it is serialized here, which is what is signed and sent."""
    return resource_version(kind_of(payload), payload.SerializeToString())
