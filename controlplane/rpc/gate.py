"""Who may come in at all: the certificate, the bundle, the tombstones and the roles, judged anew for every RPC."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime

from controlplane.app.fleet import Fleet
from controlplane.domain.entities import Role
from controlplane.domain.lifecycle import Standing
from controlplane.rpc.caller import Caller, Party, Peer, PeerReader, name_of
from controlplane.rpc.errors import Context
from controlplane.rpc.turnstile import Turnstile
from fleet.errors import FleetError, Kind
from fleet.identity import OperatorId, SatelliteId

MAX_ANCHORED = 50_000
"""Chains, with the roots of their time, whose signatures have been checked: that takes 0.2 ms."""
_PARTIES = {Role.VIEWER: Party.VIEWER, Role.EDITOR: Party.EDITOR, Role.ADMIN: Party.ADMIN}


async def identify_anyone(_context: Context) -> Caller:
    """Answer for the bootstrap listener, whose callers prove themselves by token or device key."""
    return Caller(Party.ANYONE)


class Gate:
    """Identifies the fleet listener's callers."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        trust_domain: str,
        roots: Callable[[], Sequence[bytes]],
        now: Callable[[], datetime],
        turnstile: Turnstile,
    ) -> None:
        self._fleet = fleet
        self._turnstile = turnstile
        self._peers = PeerReader(trust_domain, now)
        self._roots = roots
        self.now = now
        self._anchored: OrderedDict[tuple[bytes, tuple[bytes, ...]], None] = OrderedDict()

    async def identify(self, context: Context) -> Caller:
        """Say who calls.

        Raises:
            FleetError: UNIDENTIFIED as `PeerReader.read`, or `ISSUER_UNTRUSTED` where the root has left the bundle;
                REFUSED `REVOKED`, `NAME_TAKEN` for a satellite whose name is another's, `ROLE_MISSING` for an
                operator without a role; EXHAUSTED `TOO_MANY_CALLS` for a satellite.
        """
        peer = self._peers.read(context.auth_context())
        self.check_anchor(peer)
        spiffe_id = peer.spiffe_id
        match peer.identity:
            case SatelliteId(name=name):
                self._turnstile.call(name)
                await self._check_registered(name, spiffe_id)
                return Caller(Party.SATELLITE, spiffe_id, name, peer)
            case OperatorId():
                return Caller(await self.party_of(spiffe_id), spiffe_id, name_of(peer.identity), peer)
            case _:
                text = "Ground Control's own identity makes no calls"
                raise FleetError(Kind.REFUSED, "ROLE_MISSING", text, subject=spiffe_id)

    def check_anchor(self, peer: Peer) -> None:
        """Check that the peer's root is still in the bundle.

        Raises:
            FleetError: UNIDENTIFIED `ISSUER_UNTRUSTED`.
        """
        proven = (peer.fingerprint, tuple(self._roots()))
        if proven in self._anchored:
            self._anchored.move_to_end(proven)
            return
        if not peer.is_anchored_in(proven[1]):
            text = "the certificate's issuer is not trusted any more"
            raise FleetError(Kind.UNIDENTIFIED, "ISSUER_UNTRUSTED", text, subject=peer.spiffe_id)
        self._anchored[proven] = None
        if len(self._anchored) > MAX_ANCHORED:
            self._anchored.popitem(last=False)

    async def party_of(self, spiffe_id: str) -> Party:
        """Find an operator's role.

        Raises:
            FleetError: REFUSED `ROLE_MISSING`.
        """
        role = await self._fleet.roster.role_of(spiffe_id)
        if role is None:
            text = "this operator has no role: an admin gives it one"
            raise FleetError(Kind.REFUSED, "ROLE_MISSING", text, subject=spiffe_id)
        return _PARTIES[role]

    async def _check_registered(self, name: str, spiffe_id: str) -> None:
        known = await self._fleet.roster.find(name)
        if known is None:
            return
        # A name is unique in the fleet, an ID also says the region: one certificate must not pass for another's.
        if known.spiffe_id != spiffe_id:
            text = "a satellite of this name stands in another region"
            raise FleetError(Kind.REFUSED, "NAME_TAKEN", text, subject=name)
        if known.standing is Standing.REVOKED:
            text = "this identity is revoked until an operator reinstates it"
            raise FleetError(Kind.REFUSED, "REVOKED", text, subject=spiffe_id)
