"""Public keys as policies name them: read, judged by their kind, and named by their hash."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from fleet.errors import malformed

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
RSA_BITS = range(2048, 8192 + 1)
MAX_KEY_BYTES = 16 << 10


def read_key(encoded: bytes) -> PublicKeyTypes:
    """Read SubjectPublicKeyInfo, PEM or DER, of whatever kind.

    Raises:
        FleetError: MALFORMED `KEY_MALFORMED`.
    """
    if len(encoded) > MAX_KEY_BYTES:
        raise malformed("KEY_MALFORMED", "a public key has at most 16 KiB")
    pem = encoded.lstrip().startswith(b"-----BEGIN")
    load = serialization.load_pem_public_key if pem else serialization.load_der_public_key
    try:
        return load(encoded)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise malformed("KEY_MALFORMED", "not a public key in PEM or DER") from error


def read_signing_key(encoded: bytes) -> PublicKey:
    """Read a key of a kind that signatures count by.

    Raises:
        FleetError: MALFORMED `KEY_MALFORMED`; `KEY_UNSUPPORTED` for another type, another curve, or RSA outside of 2048
            to 8192 bits.
    """
    key = read_key(encoded)
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in CURVES:
            return key
        case rsa.RSAPublicKey() if key.key_size in RSA_BITS:
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            raise malformed("KEY_UNSUPPORTED", "a key is ECDSA P-256, P-384, P-521, RSA 2048 to 8192 or Ed25519")


@lru_cache(maxsize=256)
def key_id(encoded: bytes) -> str:
    """Name a key as blocks and signatures do: SHA-256 of its SubjectPublicKeyInfo, hexadecimal.

    Raises:
        FleetError: MALFORMED `KEY_MALFORMED`.
    """
    spki = read_key(encoded).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
