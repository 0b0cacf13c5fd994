"""The tables. What a row means beyond its columns is said here; rules live in the domain and in the writing modules.

Foreign keys are declared where a dangling row would be a defect; what hangs on a deleted entity is removed by the
command itself, so that the log can say whom it concerned.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary
from sqlmodel import Field, SQLModel

from controlplane.adapters.sql.types import NAME, UtcDateTime


def _key(foreign: str | None = None) -> Any:  # noqa: ANN401 what Field itself returns
    return Field(primary_key=True, foreign_key=foreign, sa_type=NAME)


class LogHead(SQLModel, table=True):
    """The one row that every writer of the log locks: revisions have no gaps and commit in order."""

    __tablename__ = "log_head"
    id: int = Field(default=1, primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)


class ChangeRow(SQLModel, table=True):
    """One entry of the log: audit trail, outbox, feed and what WatchFleet resumes from. The oldest are let go."""

    __tablename__ = "change"
    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str
    request_id: str = ""
    reason: str = ""
    diff: dict[str, Any] = Field(sa_type=JSON)
    """`results`, and `scopes` and `satellites` that it concerns."""


class RequestRow(SQLModel, table=True):
    """The first answer to a request id, kept for a day."""

    __tablename__ = "request"
    actor: str = _key()
    request_id: str = _key()
    content: bytes = Field(sa_type=LargeBinary)
    answer: dict[str, Any] = Field(sa_type=JSON)
    at: datetime = Field(sa_type=UtcDateTime, index=True)


class SatelliteRow(SQLModel, table=True):
    """A satellite that an operator made, a token approved, or a proven identity introduced."""

    __tablename__ = "satellite"
    name: str = _key()
    region: str
    description: str = ""
    spiffe_id: str = Field(unique=True)
    standing: str = Field(index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class GroupRow(SQLModel, table=True):
    """A group; `group` alone is SQL's own word."""

    __tablename__ = "fleet_group"
    name: str = _key()
    precedence: int = 0
    description: str = ""


class MembershipRow(SQLModel, table=True):
    """One row per owner; the satellite is in the group while there is any."""

    __tablename__ = "membership"
    satellite: str = _key("satellite.name")
    group: str = Field(primary_key=True, foreign_key="fleet_group.name", sa_type=NAME, index=True)
    owner: str = _key()


class SourceRow(SQLModel, table=True):
    """A source, its resource's version, and its sealed credential."""

    __tablename__ = "source"
    name: str = _key()
    local_prefix: str = Field(unique=True)
    spec: dict[str, Any] = Field(sa_type=JSON)
    version: bytes = Field(sa_type=LargeBinary)
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)


class ArtifactRow(SQLModel, table=True):
    """An artifact with its digest pinned, and its resource's version."""

    __tablename__ = "artifact"
    name: str = _key()
    source: str = Field(foreign_key="source.name", sa_type=NAME, index=True)
    repository: str
    spec: dict[str, Any] = Field(sa_type=JSON)
    version: bytes = Field(sa_type=LargeBinary)


class AssignmentRow(SQLModel, table=True):
    """One row per owner; the scope wants the artifact while there is any."""

    __tablename__ = "assignment"
    scope: str = _key()
    artifact: str = Field(primary_key=True, foreign_key="artifact.name", sa_type=NAME, index=True)
    owner: str = _key()


class RuleRow(SQLModel, table=True):
    """A policy, trust root, block, signer set or a scope's settings, by kind; serials grow with each writing."""

    __tablename__ = "rule"
    kind: int = Field(primary_key=True)
    name: str = _key()
    spec: dict[str, Any] = Field(sa_type=JSON)
    serial: int = Field(sa_type=BigInteger)
    version: bytes = Field(sa_type=LargeBinary)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    signed_by: list[str] = Field(default_factory=list, sa_type=JSON)
    """Key IDs, hexadecimal; empty: written here, not signed."""


class RuleScopeRow(SQLModel, table=True):
    """Which scopes hold a rule."""

    __tablename__ = "rule_scope"
    kind: int = Field(primary_key=True)
    name: str = _key()
    scope: str = Field(primary_key=True, sa_type=NAME, index=True)


class OperatorRow(SQLModel, table=True):
    """Who may do what."""

    __tablename__ = "operator"
    name: str = _key()
    spiffe_id: str = Field(unique=True)
    role: int


class TokenRow(SQLModel, table=True):
    """A join token; its secret only as a hash, the keys of its first use as fingerprints."""

    __tablename__ = "join_token"
    id: str = _key()
    secret_hash: bytes = Field(sa_type=LargeBinary)
    spiffe_id: str = Field(index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    device_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    csr_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    refused_attempts: int = 0


class DeviceRow(SQLModel, table=True):
    """The one device key that may renew an identity."""

    __tablename__ = "device"
    fingerprint: bytes = Field(primary_key=True, sa_type=LargeBinary)
    spiffe_id: str = Field(unique=True)
    registered_at: datetime = Field(sa_type=UtcDateTime)


class ScopeRow(SQLModel, table=True):
    """A scope's latest generation, so that bindings are one read by primary key.

    It outlives its group or satellite: a scope of the same name goes on with the next number.
    """

    __tablename__ = "scope"
    name: str = _key()
    generation: int = Field(sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)


class ScopeGenerationRow(SQLModel, table=True):
    """One immutable content of a scope, by its digest."""

    __tablename__ = "scope_generation"
    scope: str = _key()
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    epoch: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)
    __table_args__: ClassVar = (Index("ix_scope_generation_digest", "scope", "digest"),)


class ScopeResourceRow(SQLModel, table=True):
    """A resource's version in a scope, from a generation on and before another (none: it is still there)."""

    __tablename__ = "scope_resource"
    scope: str = _key()
    kind: int = Field(primary_key=True)
    name: str = _key()
    from_generation: int = Field(primary_key=True, sa_type=BigInteger)
    to_generation: int | None = Field(default=None, sa_type=BigInteger)
    version: bytes = Field(sa_type=LargeBinary, foreign_key="resource_body.version")
    __table_args__: ClassVar = (
        Index("ix_scope_resource_from", "scope", "from_generation"),
        Index("ix_scope_resource_to", "scope", "to_generation"),
        Index("ix_scope_resource_version", "version"),
    )


class ResourceBodyRow(SQLModel, table=True):
    """A payload, opaque, under the hash that names it."""

    __tablename__ = "resource_body"
    version: bytes = Field(primary_key=True, sa_type=LargeBinary)
    kind: int
    payload: bytes = Field(sa_type=LargeBinary)
    signatures: list[list[str]] = Field(default_factory=list, sa_type=JSON)
    """Key ID and signature, hexadecimal, of each policy signer."""


class PresenceRow(SQLModel, table=True):
    """A satellite as its streams show it; no part of the log, and rebuilt by reconnecting."""

    __tablename__ = "presence"
    satellite: str = _key("satellite.name")
    agent_version: str = ""
    boot_id: bytes = Field(default=b"", sa_type=LargeBinary)
    session: int = Field(default=0, sa_type=BigInteger)
    earlier_boots: list[str] = Field(default_factory=list, sa_type=JSON)
    worker: str = ""
    """The process that holds the stream; empty: none is open."""
    last_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime, index=True)
    """When what is shown of it was last written, by the clock of the process that did."""
    duplicate_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    behind: bool = False


class TakeoverRow(SQLModel, table=True):
    """A session that another process took over, until its former holder has ended its stream."""

    __tablename__ = "takeover"
    worker: str = _key()
    satellite: str = _key()
    boot_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    session: int = Field(primary_key=True, sa_type=BigInteger)


class WorkerRow(SQLModel, table=True):
    """A process that serves streams, and when it last said so."""

    __tablename__ = "worker"
    id: str = _key()
    seen_at: datetime = Field(sa_type=UtcDateTime)


class ReportRow(SQLModel, table=True):
    """A satellite's last report without its exceptions."""

    __tablename__ = "report"
    satellite: str = _key("satellite.name")
    boot_id: bytes = Field(sa_type=LargeBinary)
    session: int = Field(sa_type=BigInteger)
    sequence: int = Field(sa_type=BigInteger)
    epoch: int | None = Field(default=None, sa_type=BigInteger)
    revision: int | None = Field(default=None, sa_type=BigInteger)
    held_digest: bytes = Field(sa_type=LargeBinary)
    enforced_digest: bytes = Field(sa_type=LargeBinary)
    desired: int
    published: int
    waiting: int
    refused: int
    failed: int
    exceptions_omitted: int
    foreign_withdrawn: int
    registry_kind: str
    registry_exclusive: bool
    revocation_epoch: int = Field(default=0, sa_type=BigInteger)
    warned: int = 0


class ReportExceptionRow(SQLModel, table=True):
    """One exception of a satellite's last report, in its order."""

    __tablename__ = "report_exception"
    satellite: str = _key("report.satellite")
    ordinal: int = Field(primary_key=True)
    kind: int
    name: str
    scope: str
    state: int
    reason: str
    text: str
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    serving_digest: str
    done_bytes: int = Field(sa_type=BigInteger)
    total_bytes: int = Field(sa_type=BigInteger)
    retry_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rate_bytes_per_s: int = Field(sa_type=BigInteger)
    steps: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON)


class HealthRow(SQLModel, table=True):
    """A satellite's last health."""

    __tablename__ = "health"
    satellite: str = _key("satellite.name")
    document: dict[str, Any] = Field(sa_type=JSON)
