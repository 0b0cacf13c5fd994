"""Identities of simulated satellites, got as real ones get theirs: a join token once, then the device key.

All device keys come from one secret, so that nothing is kept of each of ten thousand: device key of a name =
P-256 key of HKDF-SHA256(secret, name). Certificates are in memory only.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certs.device_key import DeviceKey, FileDeviceKey
from certs.enrollment import CALL_S
from certs.private_file import create_private, private_directory, read_private
from certs.proof import bootstrap_claim, renew_claim
from certs.request import KeyRequest, new_key_request
from controlplane.satctl.options import now
from controlplane.satctl.simulate.connection import expires_at, pem_of
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString
from fleet.rpc_errors import from_rpc_error
from fleet.svid import FixedRoots, X509Material
from fleet.v1 import attestation_pb2 as pb
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub

SECRET_FILE = "simulate.key"  # noqa: S105 - a file's name
AT_ONCE = 32
"""Enrollments of one process at a time."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries where Ground Control, or its authority, is away."""
Answer = pb.BootstrapResponse | pb.RenewResponse
_BYTES = 32
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256 (SEC 2, section 2.4.2)."""


def load_or_make_secret(directory: Path) -> bytes:
    """Read the secret that device keys come from, or make it: a 0600 file in a profile's directory."""
    private_directory(directory)
    path = directory / SECRET_FILE
    if read_private(path) is None:
        create_private(path, secrets.token_bytes(_BYTES))
    found = read_private(path)
    if found is None or len(found) != _BYTES:
        text = "the secret of simulated satellites is damaged: `satctl simulate --clean` removes it"
        raise FleetError(Kind.CORRUPT, "SIMULATION_UNREADABLE", text, subject=str(path))
    return found


def device_key(secret: bytes, name: str) -> DeviceKey:
    """Make the device key of one simulated satellite, always the same."""
    derive = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=b"satctl simulate " + name.encode())
    number = int.from_bytes(derive.derive(secret), "big") % (_ORDER - 1) + 1
    return FileDeviceKey(ec.derive_private_key(number, ec.SECP256R1()))


@dataclass(frozen=True, slots=True)
class Svid:
    """An identity ready for OpenSSL."""

    pem: bytes
    until: float
    """When to replace it, Unix seconds: at half of its life, spread by a tenth."""


class Enroller:
    """Gets identities over one connection to the bootstrap listener."""

    def __init__(self, stub: AttestationServiceStub, bridge: Bridge, secret: bytes) -> None:
        self._stub = stub
        self._bridge = bridge
        self._secret = secret
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def renew(self, name: str) -> X509Material:
        """Get an identity by the device key.

        Raises:
            FleetError: REFUSED `DEVICE_UNKNOWN` where it has never joined, `REVOKED`; UNAVAILABLE.
        """
        key, request = device_key(self._secret, name), new_key_request()

        async def ask(challenge: bytes) -> Answer:
            return await self._stub.Renew(
                pb.RenewRequest(
                    csr=request.csr,
                    device_public_key=key.public_der,
                    challenge=challenge,
                    device_signature=key.sign(renew_claim(challenge, request.csr)),
                ),
                timeout=CALL_S,
            )

        return _material(await self._answered(ask), request)

    async def join(self, name: str, token_id: str, token_secret: bytes) -> X509Material:
        """Get a first identity by a join token.

        Raises:
            FleetError: as `certs.enrollment`.
        """
        key, request = device_key(self._secret, name), new_key_request()  # a token knows both keys that it was used by

        async def ask(challenge: bytes) -> Answer:
            return await self._stub.Bootstrap(
                pb.BootstrapRequest(
                    token_id=token_id,
                    token_secret=token_secret,
                    csr=request.csr,
                    device_public_key=key.public_der,
                    challenge=challenge,
                    device_signature=key.sign(bootstrap_claim(challenge, request.csr, token_id)),
                ),
                timeout=CALL_S,
            )

        return _material(await self._answered(ask), request)

    async def _answered(self, ask: Callable[[bytes], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer, as a real one does: one call that fails is not to end ten thousand."""
        for pause_s in (*PAUSES_S, None):
            try:
                async with self._turns:
                    return await ask(await self._challenge())
            except grpc.aio.AioRpcError as error:
                told = self._bridge.last_error or from_rpc_error(error)
                if told.kind is not Kind.UNAVAILABLE or pause_s is None:
                    raise told from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spread
        raise AssertionError("the last try returns or raises")

    async def _challenge(self) -> bytes:
        return (await self._stub.GetChallenge(pb.GetChallengeRequest(), timeout=CALL_S)).challenge


def _material(answer: Answer, request: KeyRequest) -> X509Material:
    return X509Material(answer.spiffe_id, tuple(answer.svid_chain), request.key, tuple(answer.bundle))


@asynccontextmanager
async def enrolling(place: JoinString, secret: bytes) -> AsyncIterator[Enroller]:
    """Open the connection; Ground Control's exact ID is checked before a byte is sent."""
    roots = FixedRoots(place.trust_domain, place.roots)
    bridge = Bridge(place.bootstrap, expected=place.ground_control, source=roots, now=now)
    async with bridge, bridge.channel() as channel:
        yield Enroller(AttestationServiceStub(channel), bridge, secret)


class Identities:
    """The identities of one process's satellites."""

    def __init__(self, enroller: Enroller) -> None:
        self._enroller = enroller
        self._held: dict[str, Svid] = {}

    async def find(self, names: list[str]) -> list[str]:
        """Get identities for who has joined before: `→ who has not`."""
        answers = await asyncio.gather(*(self._find(name) for name in names))
        return [name for name, found in zip(names, answers, strict=True) if not found]

    async def join(self, tokens: Mapping[str, tuple[str, str]]) -> None:
        """Have satellites join: `{name: (token id, secret in hexadecimal)}`."""

        async def one(name: str, token_id: str, token_secret: str) -> None:
            self._keep(name, await self._enroller.join(name, token_id, bytes.fromhex(token_secret)))

        await asyncio.gather(*(one(name, *token) for name, token in tokens.items()))

    async def current(self, name: str, moment: float) -> tuple[bytes, float]:
        """Answer a satellite's identity, renewed where that is due: `→ PEM, seconds until it is to be replaced`."""
        if self._held[name].until <= moment:
            self._keep(name, await self._enroller.renew(name))
        return self._held[name].pem, self._held[name].until - moment

    async def _find(self, name: str) -> bool:
        try:
            self._keep(name, await self._enroller.renew(name))
        except FleetError as error:
            if error.reason != "DEVICE_UNKNOWN":
                raise
            return False
        return True

    def _keep(self, name: str, material: X509Material) -> None:
        begin = now().timestamp()
        life_s = expires_at(material).timestamp() - begin
        self._held[name] = Svid(pem_of(material), begin + life_s / 2 * random.uniform(0.9, 1.1))  # noqa: S311 - spread
