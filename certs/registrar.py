"""Who gets an identity: the decisions behind `Bootstrap` and `Renew`, free of transport and database.

Ground Control's database implements the two stores, the authority (or SPIRE, later) the signer.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives import serialization

from certs.ca import MAX_SVID_LIFE, read_csr
from certs.proof import (
    bootstrap_claim,
    check_challenge,
    check_device_signature,
    key_fingerprint,
    renew_claim,
)
from certs.signing import IssuedSvid
from fleet.errors import FleetError, Kind


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys that first used a token, as SHA-256 of each SubjectPublicKeyInfo."""

    device: bytes
    csr: bytes


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is stored: its secret only as a hash."""

    token_id: str
    secret_hash: bytes = field(repr=False)
    """`hash_secret` of the secret."""
    spiffe_id: str
    expires_at: datetime
    used_by: KeyPair | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A registered device key and whom it may renew as."""

    fingerprint: bytes
    spiffe_id: str


class TokenStore(Protocol):
    """Join tokens, as Ground Control keeps them."""

    async def token(self, token_id: str) -> JoinToken | None:
        """Find a token by its public identifier."""

    async def redeem(self, token_id: str, keys: KeyPair, *, at: datetime) -> JoinToken:
        """Bind an unused token to `keys` and register the device key for its ID, in one transaction.

        A used token is left as it is; the answer is the token as it then stands, so that of two first uses
        at once exactly one sees its own keys. The ID's former device key, if any, is forgotten.
        """

    async def report_misuse(self, token: JoinToken, keys: KeyPair, *, at: datetime) -> None:
        """Tell the operators that a used token was presented with other keys: it was copied, or stolen."""


class DeviceStore(Protocol):
    """Registered device keys and revocations, as Ground Control keeps them."""

    async def device(self, fingerprint: bytes) -> Device | None:
        """Find a registered device by SHA-256 of its public key's SubjectPublicKeyInfo."""

    async def is_revoked(self, spiffe_id: str) -> bool:
        """Say whether an identity is revoked and not reinstated."""


class Signer(Protocol):
    """What issues SVIDs: `certs.signing.SigningClient`."""

    async def sign(self, csr: bytes, spiffe_id: str, ttl: timedelta, *, dns_names: tuple[str, ...] = ()) -> IssuedSvid:
        """Have an SVID issued for the key of a PKCS #10 request."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What both calls carry: the request for a certificate, and the device key's word for it."""

    csr: bytes
    device_public_key: bytes
    challenge: bytes
    device_signature: bytes


@dataclass(frozen=True, slots=True)
class Issued:
    """An answer: whose identity it is, and its certificates."""

    spiffe_id: str
    svid: IssuedSvid


def hash_secret(secret: bytes) -> bytes:
    """Hash a token's secret for storage; 32 random bytes need no slow hash."""
    return hashlib.sha256(b"fleet.v1.token\0" + secret).digest()


def _token_refused() -> FleetError:
    # One answer for an unknown token and a wrong secret: neither is anyone's business.
    return FleetError(Kind.REFUSED, "TOKEN_INVALID", "this join token is not valid: ask for a new join string")


class Registrar:
    """Decides who joins and who renews, and has the certificates issued."""

    def __init__(
        self,
        *,
        tokens: TokenStore,
        devices: DeviceStore,
        signer: Signer,
        challenge_secret: bytes,
        svid_life: timedelta = MAX_SVID_LIFE,
    ) -> None:
        self._tokens = tokens
        self._devices = devices
        self._signer = signer
        self._challenge_secret = challenge_secret
        self._svid_life = svid_life

    async def bootstrap(self, token_id: str, secret: bytes, proof: Proof, *, at: datetime) -> Issued:
        """Exchange a join token for a first SVID.

        Raises:
            FleetError: UNIDENTIFIED `CHALLENGE_*`, `PROOF_INVALID`; MALFORMED `CSR_*`,
                `DEVICE_KEY_MALFORMED`; REFUSED `TOKEN_INVALID`, `TOKEN_EXPIRED`, `REVOKED`, `TOKEN_USED`
                (other keys used it first).
        """
        keys = self._check(proof, bootstrap_claim(proof.challenge, proof.csr, token_id), at)
        token = await self._valid_token(token_id, secret, at)
        await self._check_not_revoked(token.spiffe_id)
        if token.used_by is None:
            token = await self._tokens.redeem(token_id, keys, at=at)
        if token.used_by != keys or not await self._is_registered(keys, token):
            if token.used_by is None or token.used_by.device != keys.device:
                await self._tokens.report_misuse(token, keys, at=at)  # not of a device that lost the reply and its CSR
            text = "this join token was used already: renew, or ask for a new join string"
            raise FleetError(Kind.REFUSED, "TOKEN_USED", text)
        return await self._issue(token.spiffe_id, proof)

    async def renew(self, proof: Proof, *, at: datetime) -> Issued:
        """Issue a fresh SVID to the holder of a registered device key, after whatever absence.

        Raises:
            FleetError: UNIDENTIFIED `CHALLENGE_*`, `PROOF_INVALID`; MALFORMED `CSR_*`,
                `DEVICE_KEY_MALFORMED`; REFUSED `DEVICE_UNKNOWN`, `REVOKED`.
        """
        keys = self._check(proof, renew_claim(proof.challenge, proof.csr), at)
        device = await self._devices.device(keys.device)
        if device is None:
            text = "this device key is not registered: join with a new join string"
            raise FleetError(Kind.REFUSED, "DEVICE_UNKNOWN", text)
        await self._check_not_revoked(device.spiffe_id)
        return await self._issue(device.spiffe_id, proof)

    def _check(self, proof: Proof, claim: bytes, at: datetime) -> KeyPair:
        check_challenge(self._challenge_secret, proof.challenge, at)
        csr_key = read_csr(proof.csr).public_key()
        check_device_signature(proof.device_public_key, claim, proof.device_signature)
        spki = csr_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return KeyPair(key_fingerprint(proof.device_public_key), key_fingerprint(spki))

    async def _valid_token(self, token_id: str, secret: bytes, at: datetime) -> JoinToken:
        token = await self._tokens.token(token_id)
        expected = token.secret_hash if token else bytes(32)
        if not hmac.compare_digest(expected, hash_secret(secret)) or token is None:
            raise _token_refused()
        if at >= token.expires_at:
            text = "this join token has expired: ask for a new join string"
            raise FleetError(Kind.REFUSED, "TOKEN_EXPIRED", text)
        return token

    async def _is_registered(self, keys: KeyPair, token: JoinToken) -> bool:
        # A later token may have put another device in this one's place.
        return await self._devices.device(keys.device) == Device(keys.device, token.spiffe_id)

    async def _check_not_revoked(self, spiffe_id: str) -> None:
        if await self._devices.is_revoked(spiffe_id):
            text = "this identity is revoked until an operator reinstates it"
            raise FleetError(Kind.REFUSED, "REVOKED", text, subject=spiffe_id)

    async def _issue(self, spiffe_id: str, proof: Proof) -> Issued:
        return Issued(spiffe_id, await self._signer.sign(proof.csr, spiffe_id, self._svid_life))
