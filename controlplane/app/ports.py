"""What Ground Control's use cases need from the world; adapters implement it, tests run one suite on each.

Every method of `Store` is one transaction. Times are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.domain.commands import Applied, Changes, Command
from controlplane.domain.compaction import Dropped
from controlplane.domain.entities import (
    Artifact,
    Attested,
    Block,
    Configuration,
    Credential,
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
from controlplane.domain.lifecycle import Verb
from controlplane.domain.roster import Roster, Survey
from controlplane.domain.specs import SourceSpec
from controlplane.domain.state import Desired, Key, WholeState
from controlplane.domain.status import (
    ArtifactStatus,
    ChangedStatuses,
    FleetStatus,
    Health,
    Opened,
    Report,
    SatelliteStatus,
    SessionKey,
)
from fleet.identity import OperatorId, SatelliteId
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag stands for now; a size of zero is not known."""

    digest: Digest
    size_bytes: int = 0


class TagResolver(Protocol):
    """Asks a source what a tag stands for."""

    async def resolve(self, source: SourceSpec, credential: Credential | None, repository: str, tag: str) -> Resolved:
        """Resolve `repository:tag` once, now.

        Raises:
            FleetError: PRECONDITION `TAG_UNRESOLVED` where the source has no such tag; UNAVAILABLE
                `SOURCE_UNREACHABLE`; PRECONDITION `SOURCE_REFUSED` where it wants another credential.
        """


class Sealer(Protocol):
    """Keeps source credentials unreadable in the database and its backups."""

    def seal(self, source: str, credential: Credential) -> bytes:
        """Encrypt a credential so that it opens for this source's name only."""

    def unseal(self, source: str, sealed: bytes) -> Credential:
        """Decrypt it again.

        Raises:
            FleetError: CORRUPT `CREDENTIAL_UNREADABLE`: another key or another source.
        """


class ChangeFeed(Protocol):
    """Tells that the log has grown. It only wakes: the truth is the log."""

    async def wait_beyond(self, position: Position, timeout: timedelta) -> Position:  # noqa: ASYNC109 part of the port: a poll's length
        """Return the log's end as soon as it lies beyond `position`, or after `timeout` as it is then."""

    def ends_at(self, position: Position, *, within: timedelta) -> bool:
        """Say that no later position is known of, and that this was looked at no longer ago than `within`."""

    async def run(self) -> None:
        """Follow the log until cancelled; the caller owns the task."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who writes, when, why, and under which id, so that a repeated call is answered with the first answer."""

    actor: str
    at: datetime
    reason: str = ""
    request_id: str = ""
    content: bytes = b""
    """SHA-256 of what was asked; compared where the request id was seen before."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows: those after the token's, at most `size`."""

    size: int = 100
    token: str = ""


class Store(Protocol):
    """Everything that Ground Control remembers."""

    async def position(self) -> Position:
        """Read the log's end."""

    async def recover(self, context: Context) -> Position:
        """Begin a new epoch: what satellites saw of a lost future no longer counts."""

    async def answered(self, context: Context) -> Applied | None:
        """Find the first answer to this request id, not older than a day.

        Raises:
            FleetError: EXISTS `REQUEST_ID_REUSED` where it was given to other content.
        """

    async def apply(self, context: Context, commands: Sequence[Command], *, dry_run: bool) -> Applied:
        """Do all commands in one revision, or none. Artifacts come with their digests."""

    async def change_lifecycle(self, context: Context, name: str, verb: Verb) -> Position:
        """Approve, revoke or reinstate a satellite."""

    async def set_credential(self, context: Context, source: str, sealed: bytes | None) -> Position:
        """Store or forget a source's sealed credential."""

    async def mint_satellite_token(
        self, context: Context, token: JoinToken, secret_hash: bytes, satellite: SatelliteId, groups: Sequence[str]
    ) -> Position:
        """Store a token; the satellite is made where it is unknown, approved, and put into the groups."""

    async def mint_operator_token(
        self, context: Context, token: JoinToken, secret_hash: bytes, operator: OperatorId
    ) -> Position:
        """Store a token for an operator that has a role."""

    async def delete_token(self, context: Context, token_id: str) -> Position:
        """Make a token useless."""

    async def attest(self, satellite: SatelliteId, agent_version: str, at: datetime) -> Attested:
        """Find a satellite by its proven ID, or make it pending."""

    # Reading entities -------------------------------------------------------------------------------------

    async def satellite(self, name: str, at: datetime) -> Satellite:
        """Read one; UNKNOWN `SATELLITE_UNKNOWN`."""

    async def group(self, name: str) -> Group:
        """Read one; UNKNOWN `GROUP_UNKNOWN`."""

    async def source(self, name: str) -> Source:
        """Read one; UNKNOWN `SOURCE_UNKNOWN`."""

    async def artifact(self, name: str) -> Artifact:
        """Read one; UNKNOWN `ARTIFACT_UNKNOWN`."""

    async def policy(self, name: str) -> Policy:
        """Read one; UNKNOWN `POLICY_UNKNOWN`."""

    async def trust_root(self, name: str) -> TrustRoot:
        """Read one; UNKNOWN `TRUST_ROOT_UNKNOWN`."""

    async def block(self, name: str) -> Block:
        """Read one; UNKNOWN `BLOCK_UNKNOWN`."""

    async def configuration(self, name: str) -> Configuration:
        """Read one scope's; UNKNOWN `CONFIGURATION_UNKNOWN`."""

    async def operator(self, name: str) -> Operator:
        """Read one; UNKNOWN `OPERATOR_UNKNOWN`."""

    async def satellites(self, page: PageRequest, group: str, at: datetime) -> Page[Satellite]:
        """Read satellites by name; of one group where it is not empty."""

    async def groups(self, page: PageRequest) -> Page[Group]:
        """Read groups by name."""

    async def sources(self, page: PageRequest) -> Page[Source]:
        """Read sources by name."""

    async def artifacts(self, page: PageRequest, scope: str) -> Page[Artifact]:
        """Read artifacts by name; of one scope where it is not empty."""

    async def policies(self, page: PageRequest) -> Page[Policy]:
        """Read policies by name."""

    async def trust_roots(self, page: PageRequest) -> Page[TrustRoot]:
        """Read trust roots by name."""

    async def blocks(self, page: PageRequest) -> Page[Block]:
        """Read blocks by name."""

    async def signer_sets(self, page: PageRequest) -> Page[SignerSet]:
        """Read signer sets by name."""

    async def configurations(self, page: PageRequest) -> Page[Configuration]:
        """Read scopes' settings by scope."""

    async def operators(self, page: PageRequest) -> Page[Operator]:
        """Read operators by name."""

    async def tokens(self, page: PageRequest) -> Page[JoinToken]:
        """Read join tokens by identifier."""

    async def changes(self, after: Position | None, size: int) -> Changes:
        """Read the log from a position on (None: from the oldest change that is kept), oldest first.

        Raises:
            FleetError: PRECONDITION `POSITION_COMPACTED` where the log begins later than just after the position.
        """

    async def compact(self, at: datetime, kept: timedelta) -> Dropped:
        """Let go of the past but for so much of it, in many small transactions; one process of those alive does.

        What a satellite that left within that time holds stays known. Another's digest is not any more.
        """

    # Desired state ----------------------------------------------------------------------------------------

    async def desired(self, satellites: Sequence[str]) -> Mapping[str, Desired]:
        """Compute what satellites should hold, all at one position; unknown names are left out."""

    async def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        """Read, in one snapshot, what makes a roster current, and the satellites that are asked for beside it."""

    async def knows(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope has had this digest, as far as the past is kept."""

    async def delta(self, scope: str, from_digest: bytes | None, to_generation: int) -> bytes:
        """Serialize what leads from a known digest (None: from nothing) to a generation.

        Raises:
            FleetError: PRECONDITION `DIGEST_UNKNOWN` for a digest that the scope never had, or has no more.
        """

    async def exact(self, scope: str, inventory: Mapping[Key, bytes], to_generation: int) -> bytes:
        """Serialize what leads from an inventory to a generation."""

    async def whole_state(self, satellite: str) -> WholeState:
        """Read a satellite's whole desired state."""

    async def sealed_credential(self, source: str) -> bytes | None:
        """Read a source's sealed credential."""

    async def repositories(self, satellite: str, source: str) -> frozenset[str] | None:
        """List the repositories of a source in a satellite's own state; None where the source is not in it."""

    # Sessions and status ----------------------------------------------------------------------------------

    async def beat(self, at: datetime) -> None:
        """Say that this process lives: sessions of a process that does not count as closed."""

    async def open_session(self, session: SessionKey, agent_version: str, at: datetime) -> Opened:
        """Make this the satellite's one session."""

    async def close_session(self, session: SessionKey, at: datetime) -> None:
        """End a session, unless a newer one took over."""

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        """Name this process's sessions that another process took over, until they are forgotten."""

    async def forget_lost(self, lost: Sequence[SessionKey]) -> None:
        """Name these no more: their streams have been ended."""

    async def record_report(self, session: SessionKey, report: Report, at: datetime) -> bool:
        """Replace the satellite's report, unless it is older than what is there."""

    async def record_healths(self, healths: Mapping[str, Health], at: datetime) -> None:
        """Replace the health of many satellites; names that are nobody's are left out."""

    async def mark_behind(self, satellite: str, at: datetime) -> None:
        """Remember that a satellite has seen a later position than the log has."""

    async def fleet_status(self, at: datetime) -> FleetStatus:
        """Count the fleet."""

    async def statuses(self, page: PageRequest, group: str, at: datetime) -> Page[SatelliteStatus]:
        """Read where satellites stand, without exceptions."""

    async def statuses_since(self, since: datetime, at: datetime) -> ChangedStatuses:
        """Read the statuses that changed at or after a time, at most 1,000, the oldest change first."""

    async def live_workers(self, at: datetime) -> frozenset[str]:
        """Name the processes whose sessions count as open."""

    async def status(self, name: str, at: datetime) -> tuple[SatelliteStatus, tuple[ArtifactStatus, ...]]:
        """Read where one satellite stands, with each artifact."""

    # Authorization ----------------------------------------------------------------------------------------

    async def add_first_operator(self, context: Context, operator: OperatorId) -> Position:
        """Make an admin; nothing where it is one already."""
