"""The one door to Ground Control's state: every RPC is a call to `Fleet`, in domain values."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from certs.registrar import hash_secret
from controlplane.app.catalog import LIFECYCLE
from controlplane.app.housekeeping import keep_alive, let_go
from controlplane.app.meter import Meter
from controlplane.app.ports import ChangeFeed, Context, Sealer, Store, TagResolver
from controlplane.app.reading import FleetReading
from controlplane.app.resolution import asks, pin_digests
from controlplane.app.roster import RosterKeeper
from controlplane.app.tracing import NoTracer, Tracer
from controlplane.domain.checks import check_command, check_reason, check_request_id
from controlplane.domain.commands import MAX_COMMANDS, Applied, Command, EntityKind
from controlplane.domain.compaction import KEPT, Dropped
from controlplane.domain.content import content_hash
from controlplane.domain.entities import Attested, Credential, JoinToken, Position, Satellite
from controlplane.domain.lifecycle import Verb
from controlplane.domain.status import Health, Opened, Report, SessionKey
from fleet.errors import FleetError, Kind, malformed
from fleet.identity import OperatorId, SatelliteId, check_name, parse_id

MIN_TOKEN_LIFE = timedelta(minutes=1)
MAX_TOKEN_LIFE = timedelta(days=30)
DEFAULT_TOKEN_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new join token. Its secret (32 bytes) is here and nowhere else."""

    token: JoinToken
    secret: bytes = field(repr=False)
    position: Position


def _now() -> datetime:
    return datetime.now(UTC)


class Fleet(FleetReading):
    """Ground Control's use cases. `actor` is always a verified SPIFFE ID; authorization is the caller's.

    Everything may raise FleetError UNAVAILABLE `STORE_UNAVAILABLE` (the database is away) or UNAVAILABLE `STORE_FULL`.
    """

    def __init__(
        self,
        store: Store,
        *,
        resolver: TagResolver,
        sealer: Sealer,
        feed: ChangeFeed,
        trust_domain: str,
        kept: timedelta = KEPT,
        clock: Callable[[], datetime] = _now,
        meter: Meter | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        super().__init__(store, clock)
        self.meter = meter or Meter()
        self.tracer = tracer or NoTracer()
        self._decided = self.meter.counts(LIFECYCLE)
        self._resolver = resolver
        self._sealer = sealer
        self.feed = feed
        self.roster = RosterKeeper(store, feed, self.tracer)
        self.trust_domain = trust_domain
        self._kept = kept

    async def run(self) -> None:
        """Follow the log, know the fleet, and tell other processes that this one lives, until cancelled.

        The caller owns the task. Without it satellites of this process count as stale after 15 s.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_alive(self._store, self.feed, self._clock))
            tasks.create_task(let_go(self.compact, self._kept))
            tasks.create_task(self.roster.run())

    # Writing ----------------------------------------------------------------------------------------------

    async def apply(
        self,
        actor: str,
        commands: Sequence[Command],
        *,
        request_id: str = "",
        reason: str = "",
        dry_run: bool = False,
    ) -> Applied:
        """Do all commands in one transaction and one revision, or none of them.

        Raises:
            FleetError: MALFORMED for what can never be right; UNKNOWN, EXISTS, PRECONDITION and CONFLICT with the
                reason of the first command that fails; EXHAUSTED `LIMIT_EXCEEDED` past 1,000 commands.
        """
        if len(commands) > MAX_COMMANDS:
            raise FleetError(Kind.EXHAUSTED, "LIMIT_EXCEEDED", "at most 1,000 changes in one request")
        checked = [check_command(command) for command in commands]
        context = self._context(actor, reason, request_id, checked, dry_run)
        # The store sees for itself under its lock, but to ask sources the same again is slow, and may fail.
        if not dry_run and asks(checked) and (first := await self._store.answered(context)):
            return first
        with self.tracer.span("changes.pin", changes=len(checked)):
            pinned = await pin_digests(checked, self._store, self._resolver, self._sealer)
        with self.tracer.span("changes.apply", changes=len(checked), dry_run=dry_run) as span:
            # Resolving tags may have taken seconds; the log says when a change was written.
            applied = await self._store.apply(replace(context, at=self._clock()), pinned, dry_run=dry_run)
            span.note(epoch=applied.position.epoch, revision=applied.position.revision)
            return applied

    async def approve(
        self, actor: str, name: str, *, reason: str = "", request_id: str = ""
    ) -> tuple[Satellite, Position]:
        """End pending: the satellite gets its state."""
        return await self._change_lifecycle(actor, name, Verb.APPROVE, reason, request_id)

    async def revoke(
        self, actor: str, name: str, *, reason: str = "", request_id: str = ""
    ) -> tuple[Satellite, Position]:
        """Turn a satellite away until it is reinstated; its join tokens end."""
        return await self._change_lifecycle(actor, name, Verb.REVOKE, reason, request_id)

    async def reinstate(
        self, actor: str, name: str, *, reason: str = "", request_id: str = ""
    ) -> tuple[Satellite, Position]:
        """Let a revoked satellite join again by a new token: it is pending, its device keys forgotten."""
        return await self._change_lifecycle(actor, name, Verb.REINSTATE, reason, request_id)

    async def _change_lifecycle(
        self, actor: str, name: str, verb: Verb, reason: str, request_id: str
    ) -> tuple[Satellite, Position]:
        context = self._context(actor, reason, request_id, verb.value, name)
        position = await self._store.change_lifecycle(context, name, verb)
        self._decided[verb.value,] += 1
        return await self.get_satellite(name), position

    async def mint_token(
        self,
        actor: str,
        kind: EntityKind,
        name: str,
        *,
        region: str = "",
        ttl: timedelta = DEFAULT_TOKEN_LIFE,
        groups: Sequence[str] = (),
    ) -> Minted:
        """Mint a join token for a satellite (made where unknown, and approved) or for an operator with a role.

        Raises:
            FleetError: MALFORMED `TTL_OUT_OF_RANGE`; PRECONDITION `SATELLITE_REVOKED`; EXISTS `NAME_TAKEN` where the
                satellite is in another region; UNKNOWN `GROUP_UNKNOWN`, `OPERATOR_UNKNOWN`.
        """
        if not MIN_TOKEN_LIFE <= ttl <= MAX_TOKEN_LIFE:
            raise malformed("TTL_OUT_OF_RANGE", "a join token lives from 1 minute to 30 days")
        context = self._context(actor, "", "", ())
        secret = secrets.token_bytes(32)
        check_name(name, what=kind.value)
        if kind is EntityKind.OPERATOR:
            operator = OperatorId(self.trust_domain, name)
            token = _new_token(str(operator), context.at, ttl)
            position = await self._store.mint_operator_token(context, token, hash_secret(secret), operator)
            return Minted(token, secret, position)
        if kind is not EntityKind.SATELLITE:
            raise malformed("SUBJECT_MALFORMED", "a join token is for a satellite or an operator")
        satellite = await self._satellite_id(name, region)
        token = _new_token(str(satellite), context.at, ttl)
        position = await self._store.mint_satellite_token(context, token, hash_secret(secret), satellite, groups)
        return Minted(token, secret, position)

    async def _satellite_id(self, name: str, region: str) -> SatelliteId:
        """Take a known satellite's region where none is given."""
        if region:
            return SatelliteId(self.trust_domain, check_name(region, what="region"), name)
        try:
            known = await self.get_satellite(name)
        except FleetError as error:
            if error.kind is not Kind.UNKNOWN:
                raise
            return SatelliteId(self.trust_domain, "default", name)
        return SatelliteId(self.trust_domain, known.region, name)

    async def delete_token(self, actor: str, token_id: str) -> Position:
        """Make a token useless; identities that it gave stay. UNKNOWN `TOKEN_UNKNOWN`."""
        return await self._store.delete_token(self._context(actor, "", "", ()), token_id)

    async def set_source_credential(self, actor: str, source: str, username: str, password: str) -> Position:
        """Store, sealed, what satellites pull with; an empty username forgets it. UNKNOWN `SOURCE_UNKNOWN`."""
        sealed = self._sealer.seal(source, Credential(username, password)) if username else None
        return await self._store.set_credential(self._context(actor, "", "", ()), source, sealed)

    async def recover(self, actor: str) -> Position:
        """Begin a new epoch, after a restored backup."""
        return await self._store.recover(self._context(actor, "recovered from a backup", "", ()))

    async def compact(self) -> Dropped:
        """Let go of the past that is not kept any more: `run` does so all the while."""
        return await self._store.compact(self._clock(), self._kept)

    async def init(self, operator: str) -> Position:
        """Make the first operator: an admin of this name."""
        identity = OperatorId(self.trust_domain, check_name(operator, what="operator"))
        return await self._store.add_first_operator(self._context(str(identity), "first operator", "", ()), identity)

    # Satellites -------------------------------------------------------------------------------------------

    async def attest(self, spiffe_id: str, boot_id: bytes, agent_version: str, at: datetime | None = None) -> Attested:
        """Say where a proven ID stands; an unknown satellite becomes pending, a revoked one stays so.

        Raises:
            FleetError: REFUSED `NAME_TAKEN` where another ID has the name; REFUSED `NOT_A_SATELLITE`.
        """
        del boot_id  # two live boot ids show when streams open
        identity = parse_id(spiffe_id)
        if not isinstance(identity, SatelliteId) or identity.trust_domain != self.trust_domain:
            text = "this identity is not a satellite of this fleet"
            raise FleetError(Kind.REFUSED, "NOT_A_SATELLITE", text, subject=spiffe_id[:120])
        return await self._store.attest(identity, agent_version[:64], at or self._clock())

    async def credential(self, satellite: str, source: str, repositories: Sequence[str] = ()) -> Credential:
        """Hand out a source's credential for what is in the satellite's own state; an empty one is anonymous.

        Raises:
            FleetError: REFUSED `NOT_IN_STATE` for a source or a repository outside of it, whether it exists or not.
        """
        own = await self._store.repositories(satellite, source)
        if own is None or not own.issuperset(repositories):
            text = "the source or a repository is not in the satellite's own state"
            raise FleetError(Kind.REFUSED, "NOT_IN_STATE", text, subject=source[:80])
        sealed = await self._store.sealed_credential(source)
        return self._sealer.unseal(source, sealed) if sealed else Credential("", "")

    async def open_session(
        self,
        satellite: str,
        boot_id: bytes,
        session_number: int,
        at: datetime | None = None,
        *,
        agent_version: str = "",
    ) -> Opened:
        """Make this the satellite's one session.

        Raises:
            FleetError: PRECONDITION `SESSION_SUPERSEDED` where the same process has opened it already, or a later one.
        """
        session = SessionKey(satellite, boot_id, session_number)
        return await self._store.open_session(session, agent_version[:64], at or self._clock())

    async def close_session(
        self, satellite: str, boot_id: bytes, session_number: int, at: datetime | None = None
    ) -> None:
        """End a session; nothing where a newer one took over."""
        await self._store.close_session(SessionKey(satellite, boot_id, session_number), at or self._clock())

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        """Name this process's sessions that another process took over: end their streams, then forget them."""
        return await self._store.lost_sessions()

    async def forget_lost(self, lost: Sequence[SessionKey]) -> None:
        """Name these no more."""
        await self._store.forget_lost(lost)

    async def record_report(self, satellite: str, boot_id: bytes, session_number: int, report: Report) -> bool:
        """Replace what a satellite says of its state; False where the report came too late."""
        session = SessionKey(satellite, boot_id, session_number)
        return await self._store.record_report(session, report, self._clock())

    async def record_healths(self, healths: Mapping[str, Health]) -> None:
        """Replace what is known of many satellites' health; names that are nobody's are left out."""
        await self._store.record_healths(healths, self._clock())

    async def mark_behind(self, satellite: str) -> None:
        """Remember, for the operators, that a satellite is ahead of the log (STORE_BEHIND)."""
        await self._store.mark_behind(satellite, self._clock())

    async def delta(self, scope: str, from_digest: bytes | None, to_generation: int) -> bytes:
        """Serialize (fleet.v1.Delta, deterministic) what leads from a known digest, or nothing, to a generation."""
        return await self._store.delta(scope, from_digest, to_generation)

    async def exact(self, scope: str, inventory: Mapping[tuple[int, str], bytes], to_generation: int) -> bytes:
        """Serialize what leads from an inventory `{(kind, name): version}` to a generation."""
        return await self._store.exact(scope, inventory, to_generation)

    def _context(self, actor: str, reason: str, request_id: str, *asked: object) -> Context:
        return Context(
            actor=actor,
            at=self._clock(),
            reason=check_reason(reason),
            request_id=check_request_id(request_id),
            content=content_hash(asked, reason),
        )


def _new_token(spiffe_id: str, at: datetime, ttl: timedelta) -> JoinToken:
    return JoinToken(id=secrets.token_hex(8), spiffe_id=spiffe_id, created_at=at, expires_at=at + ttl)
