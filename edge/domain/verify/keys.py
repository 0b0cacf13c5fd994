"""Public keys of every type that cosign makes or takes, and the one question they answer.

The hash is the key's, as sigstore's algorithm registry pairs them: SHA-256 for P-256 and RSA, SHA-384 for
P-384, SHA-512 for P-521. cosign 2 hashed with SHA-256 whatever the curve, so the larger curves admit that:
which of two sound hashes was signed changes nothing about who signed. Ed25519 is pure in cosign 2, pre-hashed
(Ed25519ph) in cosign 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from edge.domain.verify import ed25519ph
from fleet.public_keys import key_id as key_id  # noqa: PLC0414 a word of this vocabulary, too
from fleet.public_keys import read_signing_key

Verifier = Callable[[bytes, bytes], bool]
"""`(signature, message) → whether the key made it`."""

_CURVES: dict[str, tuple[hashes.HashAlgorithm, ...]] = {
    "secp256r1": (hashes.SHA256(),),
    "secp384r1": (hashes.SHA384(), hashes.SHA256()),
    "secp521r1": (hashes.SHA512(), hashes.SHA256()),
}


def _ecdsa(key: ec.EllipticCurvePublicKey, algorithms: tuple[hashes.HashAlgorithm, ...]) -> Verifier:
    def verifies(signature: bytes, message: bytes) -> bool:
        schemes = [ec.ECDSA(algorithm) for algorithm in algorithms]
        return any(_passes(partial(key.verify, signature, message, scheme)) for scheme in schemes)

    return verifies


def _rsa(key: rsa.RSAPublicKey) -> Verifier:
    def verifies(signature: bytes, message: bytes) -> bool:
        return _passes(partial(key.verify, signature, message, padding.PKCS1v15(), hashes.SHA256()))

    return verifies


def _ed25519(key: ed25519.Ed25519PublicKey) -> Verifier:
    def verifies(signature: bytes, message: bytes) -> bool:
        pure = _passes(partial(key.verify, signature, message))
        return pure or ed25519ph.verifies(key.public_bytes_raw(), signature, message)

    return verifies


def _passes(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=256)
def load_key(encoded: bytes) -> Verifier:
    """Read a public key: SubjectPublicKeyInfo, PEM or DER.

    Raises:
        FleetError: MALFORMED `KEY_MALFORMED`; `KEY_UNSUPPORTED` for another type, another curve, or RSA
            outside 2048 to 8192 bits.
    """
    match read_signing_key(encoded):
        case ec.EllipticCurvePublicKey() as key:
            return _ecdsa(key, _CURVES[key.curve.name])
        case rsa.RSAPublicKey() as key:
            return _rsa(key)
        case key:
            return _ed25519(key)
