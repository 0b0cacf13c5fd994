"""The reading half of the store on SQL: entities, pages, the log, statuses, roles."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, SQLModel, select

from controlplane.adapters.sql import desired, listing, log, rows, rule_rows, statuses
from controlplane.adapters.sql.artifact_statuses import read_artifact_statuses
from controlplane.adapters.sql.engine import Database
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    GroupRow,
    OperatorRow,
    RuleRow,
    SatelliteRow,
    SourceRow,
    TokenRow,
)
from controlplane.app.ports import PageRequest
from controlplane.domain.commands import Changes, EntityKind
from controlplane.domain.entities import (
    Artifact,
    Block,
    Configuration,
    Group,
    JoinToken,
    Operator,
    Page,
    Policy,
    Position,
    Satellite,
    SignerSet,
    Source,
    TrustRoot,
)
from controlplane.domain.rules import unknown
from controlplane.domain.specs import ResourceKind
from controlplane.domain.status import ArtifactStatus, ChangedStatuses, FleetStatus, SatelliteStatus

Row = TypeVar("Row", bound=SQLModel)


def _need(session: Session, table: type[Row], kind: EntityKind, name: str, key: object = None) -> list[Row]:
    row = session.get(table, key or name)
    if row is None:
        raise unknown(kind, name)
    return [row]


class ReadingStore:
    """What can be asked of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position(self) -> Position:
        """Read the log's end."""
        return Position(*(await self._database.glance(log.END, {}))[0])

    async def satellite(self, name: str, at: datetime) -> Satellite:
        """Read one satellite."""
        return await self._database.read(
            lambda s: rows.satellites(s, _need(s, SatelliteRow, EntityKind.SATELLITE, name), at)[0]
        )

    async def group(self, name: str) -> Group:
        """Read one group."""
        return await self._database.read(lambda s: rows.groups(s, _need(s, GroupRow, EntityKind.GROUP, name))[0])

    async def source(self, name: str) -> Source:
        """Read one source."""
        return await self._database.read(lambda s: rows.sources(s, _need(s, SourceRow, EntityKind.SOURCE, name))[0])

    async def artifact(self, name: str) -> Artifact:
        """Read one artifact."""
        return await self._database.read(
            lambda s: rows.artifacts(s, _need(s, ArtifactRow, EntityKind.ARTIFACT, name))[0]
        )

    async def policy(self, name: str) -> Policy:
        """Read one policy."""
        key = (ResourceKind.POLICY, name)
        return await self._database.read(
            lambda s: rule_rows.policies(s, _need(s, RuleRow, EntityKind.POLICY, name, key))[0]
        )

    async def trust_root(self, name: str) -> TrustRoot:
        """Read one trust root."""
        kind, key = EntityKind.TRUST_ROOT, (ResourceKind.TRUST_ROOT, name)
        return await self._database.read(lambda s: rule_rows.trust_roots(s, _need(s, RuleRow, kind, name, key))[0])

    async def block(self, name: str) -> Block:
        """Read one block."""
        key = (ResourceKind.BLOCK, name)
        return await self._database.read(
            lambda s: rule_rows.blocks(s, _need(s, RuleRow, EntityKind.BLOCK, name, key))[0]
        )

    async def configuration(self, name: str) -> Configuration:
        """Read one scope's settings."""
        kind, key = EntityKind.CONFIGURATION, (ResourceKind.CONFIGURATION, name)
        return await self._database.read(lambda s: rule_rows.configurations(s, _need(s, RuleRow, kind, name, key))[0])

    async def operator(self, name: str) -> Operator:
        """Read one operator."""
        return await self._database.read(
            lambda s: rows.operators(s, _need(s, OperatorRow, EntityKind.OPERATOR, name))[0]
        )

    async def satellites(self, page: PageRequest, group: str, at: datetime) -> Page[Satellite]:
        """Read a page of satellites."""
        statement = listing.in_group(select(SatelliteRow), SatelliteRow.name, group)
        return await self._database.read(
            lambda s: listing.page_of(s, statement, page, lambda s, found: rows.satellites(s, found, at))
        )

    async def groups(self, page: PageRequest) -> Page[Group]:
        """Read a page of groups."""
        return await self._database.read(lambda s: listing.page_of(s, select(GroupRow), page, rows.groups))

    async def sources(self, page: PageRequest) -> Page[Source]:
        """Read a page of sources."""
        return await self._database.read(lambda s: listing.page_of(s, select(SourceRow), page, rows.sources))

    async def artifacts(self, page: PageRequest, scope: str) -> Page[Artifact]:
        """Read a page of artifacts."""
        statement = listing.in_scope(select(ArtifactRow), ArtifactRow.name, scope)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rows.artifacts))

    async def policies(self, page: PageRequest) -> Page[Policy]:
        """Read a page of policies."""
        statement = select(RuleRow).where(RuleRow.kind == ResourceKind.POLICY)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rule_rows.policies))

    async def trust_roots(self, page: PageRequest) -> Page[TrustRoot]:
        """Read a page of trust roots."""
        statement = select(RuleRow).where(RuleRow.kind == ResourceKind.TRUST_ROOT)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rule_rows.trust_roots))

    async def blocks(self, page: PageRequest) -> Page[Block]:
        """Read a page of blocks."""
        statement = select(RuleRow).where(RuleRow.kind == ResourceKind.BLOCK)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rule_rows.blocks))

    async def signer_sets(self, page: PageRequest) -> Page[SignerSet]:
        """Read a page of signer sets."""
        statement = select(RuleRow).where(RuleRow.kind == ResourceKind.SIGNER_SET)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rule_rows.signer_sets))

    async def configurations(self, page: PageRequest) -> Page[Configuration]:
        """Read a page of scopes' settings."""
        statement = select(RuleRow).where(RuleRow.kind == ResourceKind.CONFIGURATION)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rule_rows.configurations))

    async def operators(self, page: PageRequest) -> Page[Operator]:
        """Read a page of operators."""
        statement = select(OperatorRow)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rows.operators))

    async def tokens(self, page: PageRequest) -> Page[JoinToken]:
        """Read a page of join tokens."""
        statement = select(TokenRow)
        return await self._database.read(lambda s: listing.page_of(s, statement, page, rows.tokens, key="id"))

    async def changes(self, after: Position | None, size: int) -> Changes:
        """Read the log from a position on."""
        return await self._database.read(lambda session: log.read_changes(session, after, size))

    async def sealed_credential(self, source: str) -> bytes | None:
        """Read a source's sealed credential."""
        return await self._database.read(lambda session: desired.read_sealed(session, source))

    async def repositories(self, satellite: str, source: str) -> frozenset[str] | None:
        """List a source's repositories in a satellite's own state."""
        return await self._database.read(lambda session: desired.read_repositories(session, satellite, source))

    async def fleet_status(self, at: datetime) -> FleetStatus:
        """Count the fleet."""
        return await self._database.read(lambda session: statuses.read_fleet_status(session, at))

    async def statuses(self, page: PageRequest, group: str, at: datetime) -> Page[SatelliteStatus]:
        """Read a page of statuses."""
        statement = listing.in_group(select(SatelliteRow), SatelliteRow.name, group)
        return await self._database.read(
            lambda s: listing.page_of(s, statement, page, lambda s, found: statuses.read_statuses(s, found, at))
        )

    async def statuses_since(self, since: datetime, at: datetime) -> ChangedStatuses:
        """Read the statuses that changed at or after a time."""
        return await self._database.read(lambda session: statuses.read_changed(session, since, at))

    async def live_workers(self, at: datetime) -> frozenset[str]:
        """Name the processes whose sessions count as open."""
        return await self._database.read(lambda session: rows.live_workers(session, at))

    async def status(self, name: str, at: datetime) -> tuple[SatelliteStatus, tuple[ArtifactStatus, ...]]:
        """Read where one satellite stands, with each artifact."""

        def work(session: Session) -> tuple[SatelliteStatus, tuple[ArtifactStatus, ...]]:
            status = statuses.read_status(session, name, at)
            whole = desired.read_whole_state(session, name)
            return status, read_artifact_statuses(whole, status.report)

        return await self._database.read(work)
