"""Joining for tests: token and device stores in memory, and a bootstrap listener over `certs.registrar`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import grpc
import grpc.aio

from certs.proof import issue_challenge
from certs.registrar import Device, Issued, JoinToken, KeyPair, Proof, Registrar, hash_secret
from certs.signing import IssuedSvid
from fleet.errors import FleetError
from fleet.joinstring import JoinKind, JoinString
from fleet.rpc_errors import CODES, STATUS_KEY, to_status
from fleet.v1 import attestation_pb2 as messages
from fleet.v1 import attestation_pb2_grpc as services
from tests.rig.identity import GROUND_CONTROL, SATELLITE, Realm, server_configuration, utc_now

CHALLENGE_SECRET = b"c" * 32


@dataclass
class MemoryStore:
    """A `TokenStore` and a `DeviceStore`."""

    tokens: dict[str, JoinToken] = field(default_factory=dict)
    devices: dict[bytes, Device] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    misuses: list[str] = field(default_factory=list)

    def mint(self, spiffe_id: str = SATELLITE, *, at: datetime | None = None) -> tuple[str, bytes]:
        """Make a token good for an hour: `→ token id, secret`."""
        token_id, secret = secrets.token_urlsafe(9), secrets.token_bytes(32)
        expires_at = (at or utc_now()) + timedelta(hours=1)
        self.tokens[token_id] = JoinToken(token_id, hash_secret(secret), spiffe_id, expires_at)
        return token_id, secret

    async def token(self, token_id: str) -> JoinToken | None:
        return self.tokens.get(token_id)

    async def redeem(self, token_id: str, keys: KeyPair, *, at: datetime) -> JoinToken:
        token = self.tokens[token_id]
        if token.used_by is None:
            token = self.tokens[token_id] = replace(token, used_by=keys)
            others = {key: held for key, held in self.devices.items() if held.spiffe_id != token.spiffe_id}
            self.devices = {**others, keys.device: Device(keys.device, token.spiffe_id)}
        return token

    async def report_misuse(self, token: JoinToken, keys: KeyPair, *, at: datetime) -> None:
        self.misuses.append(token.token_id)

    async def device(self, fingerprint: bytes) -> Device | None:
        return self.devices.get(fingerprint)

    async def is_revoked(self, spiffe_id: str) -> bool:
        return spiffe_id in self.revoked


@dataclass
class RealmSigner:
    """A `Signer` over a realm's authority in this process."""

    realm: Realm
    now: Callable[[], datetime] = utc_now

    async def sign(self, csr: bytes, spiffe_id: str, ttl: timedelta, *, dns_names: tuple[str, ...] = ()) -> IssuedSvid:
        chain = self.realm.authority.issue(csr, spiffe_id, ttl, at=self.now(), dns_names=dns_names)
        return IssuedSvid(chain, self.realm.bundle)


class _Servicer(services.AttestationServiceServicer):
    def __init__(self, listener: BootstrapListener) -> None:
        self._listener = listener

    async def Attest(  # noqa: N802
        self, request: messages.AttestRequest, context: Any
    ) -> messages.AttestResponse:
        raise NotImplementedError

    async def GetChallenge(  # noqa: N802
        self, request: messages.GetChallengeRequest, context: Any
    ) -> messages.GetChallengeResponse:
        challenge, expires_at = issue_challenge(CHALLENGE_SECRET, utc_now())
        answer = messages.GetChallengeResponse(challenge=challenge)
        answer.expires_at.FromDatetime(expires_at)
        return answer

    async def Bootstrap(  # noqa: N802
        self, request: messages.BootstrapRequest, context: Any
    ) -> messages.BootstrapResponse:
        self._listener.secrets_heard.append(request.token_secret)
        issued = await self._answer(
            self._listener.registrar.bootstrap(request.token_id, request.token_secret, _proof(request), at=utc_now()),
            context,
        )
        if self._listener.lose_replies > 0:
            self._listener.lose_replies -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the reply was lost")
        return messages.BootstrapResponse(
            spiffe_id=issued.spiffe_id, svid_chain=issued.svid.chain, bundle=issued.svid.bundle
        )

    async def Renew(  # noqa: N802
        self, request: messages.RenewRequest, context: Any
    ) -> messages.RenewResponse:
        issued = await self._answer(self._listener.registrar.renew(_proof(request), at=utc_now()), context)
        return messages.RenewResponse(
            spiffe_id=issued.spiffe_id, svid_chain=issued.svid.chain, bundle=issued.svid.bundle
        )

    async def _answer(self, decision: object, context: Any) -> Issued:
        try:
            return await decision  # type: ignore[misc, no-any-return]
        except FleetError as error:
            metadata = ((STATUS_KEY, to_status(error).SerializeToString()),)
            await context.abort(CODES[error.kind], error.public, trailing_metadata=metadata)
            raise


def _proof(request: messages.BootstrapRequest | messages.RenewRequest) -> Proof:
    return Proof(request.csr, request.device_public_key, request.challenge, request.device_signature)


@dataclass
class BootstrapListener:
    """A Ground Control's bootstrap listener: server-authenticated TLS, open to callers without a certificate."""

    realm: Realm
    store: MemoryStore
    registrar: Registrar
    port: int = 0
    lose_replies: int = 0
    """How many replies to `Bootstrap` still get lost after the work is done."""
    secrets_heard: list[bytes] = field(default_factory=list)

    def join_string(self, spiffe_id: str = SATELLITE) -> JoinString:
        token_id, secret = self.store.mint(spiffe_id)
        return JoinString(
            kind=JoinKind.OPERATOR if "/operator/" in spiffe_id else JoinKind.SATELLITE,
            spiffe_id=spiffe_id,
            bootstrap=f"127.0.0.1:{self.port}",
            address=f"127.0.0.1:{self.port}",
            ground_control=GROUND_CONTROL,
            roots=self.realm.bundle,
            token_id=token_id,
            secret=secret,
        )


@asynccontextmanager
async def bootstrap_listener(
    realm: Realm,
    *,
    svid_life: timedelta = timedelta(minutes=10),
    own_id: str = GROUND_CONTROL,
) -> AsyncIterator[BootstrapListener]:
    """Serve GetChallenge, Bootstrap and Renew."""
    store = MemoryStore()
    registrar = Registrar(
        tokens=store,
        devices=store,
        signer=RealmSigner(realm),
        challenge_secret=CHALLENGE_SECRET,
        svid_life=svid_life,
    )
    listener = BootstrapListener(realm, store, registrar)
    material = realm.material(own_id)
    server = grpc.aio.server()
    services.add_AttestationServiceServicer_to_server(_Servicer(listener), server)
    credentials = grpc.dynamic_ssl_server_credentials(
        server_configuration(material), lambda: server_configuration(material), require_client_authentication=False
    )
    listener.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield listener
    finally:
        await server.stop(grace=0)
