"""Proof of the device key: what is signed, over which challenge, and how both ends check it.

    signed = u32be(len) domain  u32be(len) challenge  u32be(len) csr  [u32be(len) token id]
    challenge = 16 random bytes  u64be(expiry, Unix seconds)  HMAC-SHA256(secret, domain, the 24 bytes before)

Challenges are stateless: any worker that shares the secret checks what another issued. One can be used again
until it expires, to no avail: the signature also covers the request, whose key the thief does not have.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.errors import FleetError, Kind, malformed

CHALLENGE_LIFE = timedelta(minutes=2)
MAX_DEVICE_KEY_BYTES = 1024

_BOOTSTRAP = b"fleet.v1.bootstrap"
_RENEW = b"fleet.v1.renew"
_CHALLENGE = b"fleet.v1.challenge"
_NONCE, _EXPIRY, _MAC = 16, 8, 32


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def bootstrap_claim(challenge: bytes, csr: bytes, token_id: str) -> bytes:
    """Say what the device key signs for `Bootstrap`."""
    return _joined((_BOOTSTRAP, challenge, csr, token_id.encode()))


def renew_claim(challenge: bytes, csr: bytes) -> bytes:
    """Say what the device key signs for `Renew`."""
    return _joined((_RENEW, challenge, csr))


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, _joined((_CHALLENGE, body)), hashlib.sha256).digest()


def issue_challenge(secret: bytes, at: datetime) -> tuple[bytes, datetime]:
    """Make a challenge: `secret, time → challenge and when it expires`."""
    expires_at = (at + CHALLENGE_LIFE).replace(microsecond=0)
    body = secrets.token_bytes(_NONCE) + int(expires_at.timestamp()).to_bytes(_EXPIRY, "big")
    return body + _mac(secret, body), expires_at


def check_challenge(secret: bytes, challenge: bytes, at: datetime) -> None:
    """Check that a challenge is ours and still good.

    Raises:
        FleetError: UNIDENTIFIED `CHALLENGE_INVALID` or `CHALLENGE_EXPIRED`: ask for another one.
    """
    body, mac = challenge[:-_MAC], challenge[-_MAC:]
    if len(body) != _NONCE + _EXPIRY or not hmac.compare_digest(mac, _mac(secret, body)):
        raise FleetError(Kind.UNIDENTIFIED, "CHALLENGE_INVALID", "the challenge is none of ours: ask for a new one")
    if at >= datetime.fromtimestamp(int.from_bytes(body[_NONCE:], "big"), UTC):
        raise FleetError(Kind.UNIDENTIFIED, "CHALLENGE_EXPIRED", "the challenge has expired: ask for a new one")


def check_device_signature(public_der: bytes, claim: bytes, signature: bytes) -> None:
    """Check that a device key signed a claim.

    Raises:
        FleetError: MALFORMED `DEVICE_KEY_MALFORMED` unless it is ECDSA P-256; UNIDENTIFIED `PROOF_INVALID`.
    """
    try:
        key = serialization.load_der_public_key(public_der) if len(public_der) <= MAX_DEVICE_KEY_BYTES else None
    except Exception:  # noqa: BLE001 - the parser's errors are of many kinds, all of them the sender's
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise malformed("DEVICE_KEY_MALFORMED", "a device key is ECDSA P-256, as SubjectPublicKeyInfo")
    try:
        key.verify(signature, claim, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise FleetError(Kind.UNIDENTIFIED, "PROOF_INVALID", "the device key did not sign this request") from error


def key_fingerprint(public_der: bytes) -> bytes:
    """Name a public key: SHA-256 of its SubjectPublicKeyInfo, 32 bytes."""
    return hashlib.sha256(public_der).digest()
