"""Join tokens and device keys for the registrar (certs.registrar's TokenStore and DeviceStore)."""

from __future__ import annotations

from datetime import datetime

import structlog

from certs.registrar import Device, JoinToken, KeyPair
from controlplane.adapters.sql import identities
from controlplane.adapters.sql.engine import Database
from controlplane.adapters.sql.tables import TokenRow

_log = structlog.get_logger()


def _token(row: TokenRow) -> JoinToken:
    used_by = KeyPair(row.device_key, row.csr_key) if row.device_key and row.csr_key else None
    return JoinToken(row.id, row.secret_hash, row.spiffe_id, row.expires_at, used_by)


class Enrollment:
    """Both of the registrar's stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def token(self, token_id: str) -> JoinToken | None:
        """Find a token by its public identifier."""
        row = await self._database.read(lambda session: identities.find_token(session, token_id))
        return _token(row) if row else None

    async def redeem(self, token_id: str, keys: KeyPair, *, at: datetime) -> JoinToken:
        """Bind an unused token to keys and register the device; of two first uses at once one wins."""
        row = await self._database.write(
            lambda session: identities.redeem(session, token_id, keys.device, keys.csr, at)
        )
        return _token(row)

    async def report_misuse(self, token: JoinToken, keys: KeyPair, *, at: datetime) -> None:
        """Count the attempt where operators see it, and tell the log: the token was copied, or stolen."""
        del at
        _log.error("token.misused", token=token.token_id, spiffe_id=token.spiffe_id, device=keys.device.hex())
        await self._database.write(lambda session: identities.report_misuse(session, token.token_id))

    async def device(self, fingerprint: bytes) -> Device | None:
        """Find a registered device by SHA-256 of its public key's SubjectPublicKeyInfo."""
        row = await self._database.read(lambda session: identities.find_device(session, fingerprint))
        return Device(row.fingerprint, row.spiffe_id) if row else None

    async def is_revoked(self, spiffe_id: str) -> bool:
        """Say whether an identity is revoked and not reinstated."""
        return await self._database.read(lambda session: identities.is_revoked(session, spiffe_id))
