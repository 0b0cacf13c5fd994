"""The store on SQL: each method of the port is one transaction, run off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from controlplane.adapters.delta_cache import DeltaCache, Step
from controlplane.adapters.sql import compacting, desired, generations, identities, log, presence, rows
from controlplane.adapters.sql.applying import apply
from controlplane.adapters.sql.batch import Batch
from controlplane.adapters.sql.engine import Database
from controlplane.adapters.sql.generations import KNOWN, STEP, delta_of, step_of
from controlplane.adapters.sql.grouping import BulkWriter, GroupWriter
from controlplane.adapters.sql.reading_store import ReadingStore
from controlplane.adapters.sql.survey import MOVED, moves_in, read_survey
from controlplane.app.ports import Context
from controlplane.domain.commands import Applied, Command
from controlplane.domain.compaction import Dropped
from controlplane.domain.entities import Attested, JoinToken, Position
from controlplane.domain.lifecycle import Verb
from controlplane.domain.roster import Roster, Survey, steps_from
from controlplane.domain.state import Desired, Key, WholeState
from controlplane.domain.status import Health, Opened, Report, SessionKey
from fleet.digests import EMPTY_SCOPE
from fleet.errors import FleetError
from fleet.identity import OperatorId, SatelliteId

P = ParamSpec("P")
T = TypeVar("T")

AHEAD = 4
"""Scopes that change together whose deltas are read before somebody asks."""
FEW = 200
"""Rows of a delta that are serialized in the event loop: a millisecond's work."""
BREATH_S = 0.02
"""Between two small transactions of a long work: others write meanwhile."""


class SqlStore(ReadingStore):
    """Everything that Ground Control remembers, on SQLite or PostgreSQL.

    Args:
        database: where it is.
        trust_domain: whose SPIFFE IDs its satellites and operators get.
        worker: this process's name in the `worker` table.
        on_change: hears, in the event loop, of each position that this process wrote.
    """

    def __init__(
        self,
        database: Database,
        *,
        trust_domain: str,
        worker: str,
        on_change: Callable[[Position], None] = lambda _: None,
    ) -> None:
        super().__init__(database)
        self._trust_domain = trust_domain
        self._worker = worker
        self.on_change = on_change
        self._deltas = DeltaCache()
        self._group = GroupWriter(database, presence.load)
        self._opening = BulkWriter(database, partial(presence.open_sessions, worker=worker))
        self._closing = BulkWriter(database, presence.close_sessions)
        self._reports = BulkWriter(database, presence.record_reports)
        self._own: Sequence[Any] | None = None
        """The last change that this process wrote, as `MOVED` reads it, until it is taken."""
        self._alive = False

    async def _write_log(
        self,
        context: Context,
        work: Callable[Concatenate[Batch, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a transaction that writes the log."""

        def transaction(session: Session) -> tuple[T, Batch]:
            batch = Batch(session, log.lock_end(session), context, self._trust_domain)
            return work(batch, *args, **kwargs), batch

        done, batch = await self._database.write(transaction)
        self._keep(batch)
        self.on_change(batch.end)
        return done

    def _keep(self, batch: Batch) -> None:
        """Keep what was written, as this process need not read it: the next change, and the steps that it made."""
        self._own = None
        if batch.written is not None:
            end, diff = (batch.end.epoch, batch.end.revision), batch.written.diff
            self._own = (*end, *end, batch.context.at, diff, None)
            for step, delta in batch.deltas() if len(diff["scopes"]) <= AHEAD else ():
                self._deltas.put(step, delta)

    async def recover(self, context: Context) -> Position:
        """Begin a new epoch."""
        return await self._write_log(context, identities.recover)

    async def answered(self, context: Context) -> Applied | None:
        """Find the first answer to this request id."""
        if not context.request_id:
            return None
        return await self._database.read(lambda session: log.find_answer(session, context))

    async def apply(self, context: Context, commands: Sequence[Command], *, dry_run: bool) -> Applied:
        """Do all commands in one revision, or none."""
        attempts = count()
        return await self._write_log(
            context, lambda batch: apply(batch, commands, dry_run=dry_run, is_first=next(attempts) == 0)
        )

    async def change_lifecycle(self, context: Context, name: str, verb: Verb) -> Position:
        """Approve, revoke or reinstate a satellite."""
        return await self._write_log(context, identities.change_lifecycle, name, verb)

    async def set_credential(self, context: Context, source: str, sealed: bytes | None) -> Position:
        """Store or forget a source's sealed credential."""
        return await self._write_log(context, identities.set_credential, source, sealed)

    async def mint_satellite_token(
        self,
        context: Context,
        token: JoinToken,
        secret_hash: bytes,
        satellite: SatelliteId,
        groups: Sequence[str],
    ) -> Position:
        """Store a token; the satellite is made, approved and put into groups."""
        mint = partial(identities.mint_satellite_token, satellite=satellite, groups=groups)
        return await self._write_log(context, mint, token, secret_hash)

    async def mint_operator_token(
        self, context: Context, token: JoinToken, secret_hash: bytes, operator: OperatorId
    ) -> Position:
        """Store a token for an operator."""
        return await self._write_log(context, identities.mint_operator_token, token, secret_hash, operator)

    async def delete_token(self, context: Context, token_id: str) -> Position:
        """Make a token useless."""
        return await self._write_log(context, identities.delete_token, token_id)

    async def add_first_operator(self, context: Context, operator: OperatorId) -> Position:
        """Make an admin."""
        return await self._write_log(context, identities.add_first_operator, operator)

    async def attest(self, satellite: SatelliteId, agent_version: str, at: datetime) -> Attested:
        """Find a satellite by its proven ID, or make it pending."""
        found = await self._database.read(lambda session: identities.find_attested(session, satellite, at))
        if found is not None:
            await self._group.write(
                satellite.name, lambda session: presence.note_version(session, satellite.name, agent_version, at)
            )
            return found
        context = Context(actor=str(satellite), at=at, reason="attested")
        return await self._write_log(context, identities.attest, satellite, agent_version)

    # Desired state ----------------------------------------------------------------------------------------

    async def desired(self, satellites: Sequence[str]) -> Mapping[str, Desired]:
        """Compute what satellites should hold."""
        return await self._database.read(lambda session: desired.read_desired(session, satellites))

    async def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        """Read what makes a roster current, and what is asked for beside it."""
        if known.position.epoch and not asked:
            own, self._own = self._own, None
            if own is not None and Position(*own[:2]) == known.position.following():
                rows: Sequence[Sequence[Any]] = [own]
            else:
                rows = await self._database.glance(MOVED, log.at(known.position))
            moves = moves_in(rows, known)
            if moves is not None:
                await self._read_ahead(steps_from(known, moves))
                return moves
        survey = await self._database.read(lambda session: read_survey(session, known, asked, roles=True))
        if survey.moved is None:
            self._deltas.clear()
        return survey

    async def _read_ahead(self, steps: Sequence[Step]) -> None:
        """Read the deltas that most who hold a scope will ask for, at once."""
        with suppress(FleetError):  # whoever asks is told why not
            for step in steps if len(steps) <= AHEAD else ():
                await self.delta(*step)

    async def knows(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope is known to have had this digest."""
        known = digest == EMPTY_SCOPE or await self._database.glance(KNOWN, {"scope": scope, "digest": digest})
        return bool(known)

    async def delta(self, scope: str, from_digest: bytes | None, to_generation: int) -> bytes:
        """Serialize what leads from a known digest to a generation, or take it from the cache."""
        if not to_generation and from_digest in (None, EMPTY_SCOPE):
            return b""  # a scope that was never written to, as most satellites' own are
        step = (scope, from_digest, to_generation)
        held = self._deltas.get(step)
        if held is None:
            rows = await self._database.glance(STEP, step_of(*step))
            if len(rows) > FEW:
                held = await asyncio.to_thread(delta_of, rows, *step)
            else:
                held = delta_of(rows, *step)
            self._deltas.put(step, held)
        return held

    async def exact(self, scope: str, inventory: Mapping[Key, bytes], to_generation: int) -> bytes:
        """Serialize what leads from an inventory to a generation."""
        return await self._database.read(
            lambda session: generations.delta_from(session, scope, inventory, to_generation)
        )

    async def whole_state(self, satellite: str) -> WholeState:
        """Read a satellite's whole desired state."""
        return await self._database.read(lambda session: desired.read_whole_state(session, satellite))

    # Sessions ---------------------------------------------------------------------------------------------

    async def beat(self, at: datetime) -> None:
        """Say that this process lives; forget what is too old to matter."""
        await self._database.write(lambda session: presence.beat(session, self._worker, at))
        await self._database.write(lambda session: log.forget_answers(session, at))
        self._alive = True

    async def compact(self, at: datetime, kept: timedelta) -> Dropped:
        """Let go of the past, unless another of the processes alive does so."""
        first = await self._database.read(lambda session: min(rows.live_workers(session, at), default=self._worker))
        if first != self._worker:
            return Dropped()
        return await compacting.compact(self._database, at - kept, partial(asyncio.sleep, BREATH_S))

    async def open_session(self, session: SessionKey, agent_version: str, at: datetime) -> Opened:
        """Make this the satellite's one session."""
        if not self._alive:
            await self.beat(at)
        opened = await self._opening.put(session.satellite, presence.Opening(session, agent_version, at))
        if isinstance(opened, FleetError):
            raise opened
        return opened

    async def close_session(self, session: SessionKey, at: datetime) -> None:
        """End a session, unless a newer one took over."""
        await self._closing.put(session.satellite, (session, at))

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        """Name the sessions that another process took over."""
        if self._database.is_sqlite:
            return ()  # one process: it sees for itself
        found = await self._database.glance(presence.LOST, {"worker": self._worker})
        return tuple(SessionKey(*row) for row in found)

    async def forget_lost(self, lost: Sequence[SessionKey]) -> None:
        """Name these no more."""
        if lost:
            await self._database.write(lambda session: presence.forget_lost(session, self._worker, lost))

    async def record_report(self, session: SessionKey, report: Report, at: datetime) -> bool:
        """Replace the satellite's report, unless it comes too late."""
        return await self._reports.put(session.satellite, presence.Told(session, report, at))

    async def record_healths(self, healths: Mapping[str, Health], at: datetime) -> None:
        """Replace the health of many satellites."""
        await self._database.write(lambda session: presence.record_healths(session, healths, at))

    async def mark_behind(self, satellite: str, at: datetime) -> None:
        """Remember that a satellite is ahead of the log."""
        await self._group.write(satellite, lambda session: presence.mark_behind(session, satellite, at))
