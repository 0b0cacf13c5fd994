"""AttestationService: who a caller is to the fleet, and, on the bootstrap listener, how it becomes somebody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from certs.proof import issue_challenge
from certs.registrar import Issued, Proof, Registrar
from controlplane.app.catalog import ATTESTATIONS, SVIDS
from controlplane.app.fleet import Fleet
from controlplane.app.meter import Meter
from controlplane.domain.entities import Attested, Lifecycle
from controlplane.domain.lifecycle import Standing
from controlplane.rpc.board import ARRIVALS_PER_S, Board
from controlplane.rpc.caller import Caller, current_caller
from controlplane.rpc.errors import Context
from controlplane.rpc.turnstile import Turnstile
from controlplane.rpc.wire import clean, write_duration, write_lifecycle, write_time
from controlplane.rpc.wire_session import check_boot_id
from fleet.errors import FleetError, Kind
from fleet.v1 import attestation_pb2 as pb
from fleet.v1.attestation_pb2_grpc import AttestationServiceServicer

PENDING_RETRY = timedelta(seconds=30)
_MAX_VERSION = 64


class _Elsewhere(AttestationServiceServicer):
    """All four calls, none served: each listener's half replaces its own; the table turns the rest away before."""

    async def Attest(self, request: pb.AttestRequest, context: Context) -> pb.AttestResponse:
        raise _not_here()

    async def GetChallenge(self, request: pb.GetChallengeRequest, context: Context) -> pb.GetChallengeResponse:
        raise _not_here()

    async def Bootstrap(self, request: pb.BootstrapRequest, context: Context) -> pb.BootstrapResponse:
        raise _not_here()

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        raise _not_here()


HEALTHS_PER_S = 250.0
"""Health reports that one process takes gladly: a tenth of a core."""


class AttestService(_Elsewhere):
    """The fleet listener's half."""

    def __init__(
        self,
        fleet: Fleet,
        board: Board,
        turnstile: Turnstile,
        *,
        deployment: str,
        health_interval: timedelta,
        reconnect_window: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._fleet = fleet
        self._board = board
        self._turnstile = turnstile
        self._deployment = deployment
        self._health_interval = health_interval
        self._reconnect_window = reconnect_window
        self._now = now
        self._attested = fleet.meter.counts(ATTESTATIONS)

    async def Attest(self, request: pb.AttestRequest, context: Context) -> pb.AttestResponse:
        """Say where the caller stands, and at what pace it is to speak.

        Raises:
            FleetError: MALFORMED `BOOT_ID_MALFORMED`; EXHAUSTED `BUSY`: the caller is to come back later.
        """
        boot_id = check_boot_id(request.boot_id)
        self._turnstile.arrive(current_caller().name)
        attested = await self._attested_as(current_caller(), boot_id, clean(request.agent_version, _MAX_VERSION))
        self._attested[attested.lifecycle.name.lower(),] += 1
        pending = attested.lifecycle is Lifecycle.PENDING
        return pb.AttestResponse(
            satellite=attested.satellite,
            lifecycle=write_lifecycle(attested.lifecycle),
            health_interval=write_duration(self._paced(self._health_interval, HEALTHS_PER_S)),
            reconnect_window=write_duration(self._paced(self._reconnect_window, ARRIVALS_PER_S)),
            server_time=write_time(self._now()),
            deployment=self._deployment,
            retry_after=write_duration(PENDING_RETRY) if pending else None,
        )

    def _paced(self, interval: timedelta, per_s: float) -> timedelta:
        """Stretch an interval so that all who have a stream here do no more in a second than this process bears."""
        return max(interval, timedelta(seconds=len(self._board) / per_s))

    async def _attested_as(self, caller: Caller, boot_id: bytes, agent_version: str) -> Attested:
        known = await self._fleet.roster.find(caller.name)
        if known is None or known.standing is not Standing.APPROVED:
            return await self._fleet.attest(caller.spiffe_id, boot_id, agent_version, self._now())
        # Nothing to write: its stream, which comes next, says that it is there, and which version it has.
        return Attested(caller.name, Lifecycle.ONLINE if caller.name in self._board else Lifecycle.STALE)


class BootstrapService(_Elsewhere):
    """The bootstrap listener's half."""

    def __init__(
        self, registrar: Registrar, *, challenge_secret: bytes, now: Callable[[], datetime], meter: Meter
    ) -> None:
        self._registrar = registrar
        self._issued = meter.counts(SVIDS)
        self._challenge_secret = challenge_secret
        self._now = now

    async def GetChallenge(self, request: pb.GetChallengeRequest, context: Context) -> pb.GetChallengeResponse:
        """Hand out a nonce."""
        challenge, expires_at = issue_challenge(self._challenge_secret, self._now())
        return pb.GetChallengeResponse(challenge=challenge, expires_at=write_time(expires_at))

    async def Bootstrap(self, request: pb.BootstrapRequest, context: Context) -> pb.BootstrapResponse:
        """Exchange a join token for a first identity."""
        issued = await self._registrar.bootstrap(
            request.token_id, request.token_secret, _proof(request), at=self._now()
        )
        self._issued["bootstrap",] += 1
        return pb.BootstrapResponse(**_fields(issued))

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        """Issue a fresh identity to a registered device key."""
        issued = await self._registrar.renew(_proof(request), at=self._now())
        self._issued["renew",] += 1
        return pb.RenewResponse(**_fields(issued))


def _not_here() -> FleetError:
    return FleetError(Kind.REFUSED, "RPC_NOT_SERVED_HERE", "this listener does not serve this call")


def _proof(request: pb.BootstrapRequest | pb.RenewRequest) -> Proof:
    return Proof(request.csr, request.device_public_key, request.challenge, request.device_signature)


def _fields(issued: Issued) -> dict[str, Any]:
    return {"spiffe_id": issued.spiffe_id, "svid_chain": issued.svid.chain, "bundle": issued.svid.bundle}
