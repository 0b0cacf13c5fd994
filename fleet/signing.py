"""Policy signers: who may sign policies, trust roots, blocks and the next signer set, and whether they have.

What is signed is a resource's version, under a domain of its own: see `ResourceSignature` and `SignerSetSpec` in
proto/fleet/v1/resource.proto. A signer set counts where enough signers of the one before it and enough of its own have
signed it. Source: The Update Framework's specification, section 5.3 (root rotation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from fleet.errors import FleetError, malformed
from fleet.policy import SignerSetSpec

_DOMAIN = b"fleet.v1.resource-signature"
_MAX_SIGNATURES = 16
_LEAST_RSA_BITS = 2048

Signature = tuple[bytes, bytes]
"""Key id, and the signature by that key."""


def message(version: bytes) -> bytes:
    """Say what a signature over a resource's version is over."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (_DOMAIN, version))


def key_id(key: PublicKeyTypes) -> bytes:
    """Name a key: SHA-256 of its SubjectPublicKeyInfo."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).digest()


def sign(version: bytes, key: PrivateKeyTypes) -> Signature:
    """Sign a resource's version: with ECDSA by SHA-256, Ed25519, or RSA (PKCS #1 1.5) by SHA-256.

    Raises:
        FleetError: MALFORMED `KEY_UNSUPPORTED`.
    """
    match key:
        case ec.EllipticCurvePrivateKey():
            made = key.sign(message(version), ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            made = key.sign(message(version))
        case rsa.RSAPrivateKey() if key.key_size >= _LEAST_RSA_BITS:
            made = key.sign(message(version), padding.PKCS1v15(), hashes.SHA256())
        case _:
            raise malformed("KEY_UNSUPPORTED", "a policy signer's key is ECDSA, Ed25519, or RSA of 2048 bits or more")
    return key_id(key.public_key()), made


def _is_by(key: PublicKeyTypes, signature: bytes, signed: bytes) -> bool:
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
            case rsa.RSAPublicKey() if key.key_size >= _LEAST_RSA_BITS:
                key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            case _:
                return False
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Signers:
    """Who may sign, and how many different ones must."""

    keys_pem: tuple[str, ...]
    threshold: int
    serial: int = 0

    def have_signed(self, version: bytes, signatures: Iterable[Signature]) -> bool:
        """Say whether enough of them have signed a version."""
        known = {key_id(key): key for key in _keys(self.keys_pem)}
        signed = message(version)
        by = {
            name
            for name, signature in list(signatures)[:_MAX_SIGNATURES]
            if name in known and _is_by(known[name], signature, signed)
        }
        return self.threshold >= 1 and len(by) >= self.threshold


@lru_cache(maxsize=32)
def _keys(keys_pem: tuple[str, ...]) -> tuple[PublicKeyTypes, ...]:
    """Read keys; one that cannot be read signs nothing."""
    found: list[PublicKeyTypes] = []
    for pem in keys_pem:
        try:
            found.append(serialization.load_pem_public_key(pem.encode()))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return tuple(found)


def check_signers(keys_pem: tuple[str, ...], threshold: int) -> Signers:
    """Return signers of whom enough could sign.

    Raises:
        FleetError: MALFORMED `POLICY_SIGNERS_MALFORMED`.
    """
    if len({key_id(key) for key in _keys(keys_pem)}) != len(keys_pem):
        text = "policy signers are different public keys in PEM"
        raise malformed("POLICY_SIGNERS_MALFORMED", text)
    if not 1 <= threshold <= len(keys_pem):
        text = f"of {len(keys_pem)} policy signers, 1 to {len(keys_pem)} must sign"
        raise malformed("POLICY_SIGNERS_MALFORMED", text, subject=str(threshold))
    return Signers(keys_pem, threshold)


def succeeded(
    before: Signers, spec: SignerSetSpec, serial: int, version: bytes, signatures: Iterable[Signature]
) -> Signers | None:
    """Take the next signer set over: None where it is not the next, or not signed by enough of both."""
    listed = tuple(signatures)
    try:
        after = check_signers(spec.public_keys_pem, spec.threshold)
    except FleetError:
        return None
    if serial != before.serial + 1 or not before.have_signed(version, listed) or not after.have_signed(version, listed):
        return None
    return Signers(after.keys_pem, after.threshold, serial)
