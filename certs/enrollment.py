"""The client of the bootstrap listener: joining with a token once, renewing by the device key ever after.

Ground Control is verified against the roots and the exact ID of the join string before a byte is sent: there is no
trust on first use, and a man in the middle sees no secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import grpc.aio

from certs.device_key import DeviceKey
from certs.proof import bootstrap_claim, renew_claim
from certs.request import KeyRequest, new_key_request
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString
from fleet.rpc_errors import from_rpc_error
from fleet.svid import FixedRoots, X509Material, read_leaf
from fleet.v1 import attestation_pb2 as messages
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub

CALL_S = 20.0

Answer = messages.BootstrapResponse | messages.RenewResponse
Exchange = Callable[[AttestationServiceStub, KeyRequest], Awaitable[Answer]]


class Enrollment:
    """Gets identities for one device from one Ground Control.

    It begins with a join string; after that `place` is all that needs to be kept.
    """

    def __init__(self, place: JoinString, device_key: DeviceKey, *, now: Callable[[], datetime]) -> None:
        self._place = place
        self._device_key = device_key
        self._now = now
        # The key to join with is kept over attempts, because the token is bound to it by the first.
        self._request = new_key_request()

    @property
    def place(self) -> JoinString:
        """Where Ground Control is, with the newest roots and no token: keep this on disk."""
        return self._place.spent()

    async def join(self) -> X509Material:
        """Exchange the join string's token for a first identity; safe to repeat after a lost reply.

        Raises:
            FleetError: REFUSED `TOKEN_INVALID`, `TOKEN_EXPIRED`, `TOKEN_USED`, `REVOKED`; MALFORMED
                `JOIN_STRING_SPENT`; UNIDENTIFIED or UNAVAILABLE as `Bridge.last_error`.
        """
        if not self._place.token_id:
            raise FleetError(Kind.MALFORMED, "JOIN_STRING_SPENT", "this join string has no token in it")
        try:
            return await self._call(self._bootstrap, self._request)
        except FleetError as error:
            if error.reason != "TOKEN_USED":
                raise
            return await self._join_again(error)

    async def renew(self) -> X509Material:
        """Get a fresh identity, with a fresh key, by proof of the device key.

        Raises:
            FleetError: REFUSED `DEVICE_UNKNOWN`, `REVOKED`; UNIDENTIFIED or UNAVAILABLE as `Bridge.last_error`.
        """
        return await self._call(self._renew, new_key_request())

    async def _join_again(self, used: FleetError) -> X509Material:
        """Come back from a crash between the reply and its arrival: our device key may be registered already."""
        try:
            return await self.renew()
        except FleetError as error:
            raise (used if error.reason == "DEVICE_UNKNOWN" else error) from used

    async def _call(self, exchange: Exchange, request: KeyRequest) -> X509Material:
        place = self._place
        roots = FixedRoots(place.trust_domain, place.roots)
        async with (
            Bridge(place.bootstrap, expected=place.ground_control, source=roots, now=self._now) as bridge,
            bridge.channel() as channel,
        ):
            try:
                answer = await exchange(AttestationServiceStub(channel), request)
            except grpc.aio.AioRpcError as error:
                raise bridge.last_error or from_rpc_error(error) from error
        return self._material(answer, request)

    async def _bootstrap(self, stub: AttestationServiceStub, request: KeyRequest) -> Answer:
        challenge = await _challenge(stub)
        claim = bootstrap_claim(challenge, request.csr, self._place.token_id)
        return await stub.Bootstrap(
            messages.BootstrapRequest(
                token_id=self._place.token_id,
                token_secret=self._place.secret,
                csr=request.csr,
                device_public_key=self._device_key.public_der,
                challenge=challenge,
                device_signature=self._device_key.sign(claim),
            ),
            timeout=CALL_S,
        )

    async def _renew(self, stub: AttestationServiceStub, request: KeyRequest) -> Answer:
        challenge = await _challenge(stub)
        return await stub.Renew(
            messages.RenewRequest(
                csr=request.csr,
                device_public_key=self._device_key.public_der,
                challenge=challenge,
                device_signature=self._device_key.sign(renew_claim(challenge, request.csr)),
            ),
            timeout=CALL_S,
        )

    def _material(self, answer: Answer, request: KeyRequest) -> X509Material:
        chain, bundle = tuple(answer.svid_chain), tuple(answer.bundle)
        named = read_leaf(chain[0]).spiffe_id if chain else ""
        if not bundle or not named == answer.spiffe_id == self._place.spiffe_id:
            text = "Ground Control answered with another identity than the join string is for"
            raise FleetError(Kind.REFUSED, "IDENTITY_UNEXPECTED", text, subject=named[:200])
        self._place = replace(self._place, roots=bundle)  # it came from whom the old roots vouch for
        return X509Material(spiffe_id=named, chain=chain, key=request.key, bundle=bundle)


async def _challenge(stub: AttestationServiceStub) -> bytes:
    answer = await stub.GetChallenge(messages.GetChallengeRequest(), timeout=CALL_S)
    return answer.challenge
