"""What satellites say of themselves ⇄ domain values; texts of peers are cleaned on the way in."""

from __future__ import annotations

import math
from dataclasses import replace

from controlplane.domain.status import (
    ArtifactState,
    ArtifactStatus,
    BudgetHealth,
    FleetStatus,
    Health,
    LinkHealth,
    Report,
    ResourceException,
    SatelliteStatus,
    Step,
    StepOutcome,
)
from controlplane.rpc.wire import clean, read_position, read_time, within, write_lifecycle, write_position, write_time
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import health_pb2, resource_pb2, state_pb2

MAX_EXCEPTIONS = 100
MAX_STEPS = 32
_DIGEST_BYTES = 32
_MAX_NAME = 512
_MAX_BUDGETS = 8
_MAX_SIZE = (1 << 63) - 1


def _digest(value: bytes, *, what: str) -> bytes:
    if value and len(value) != _DIGEST_BYTES:
        raise malformed("DIGEST_MALFORMED", "a state digest has 32 bytes", subject=what)
    return value


def _artifact_state(number: int) -> ArtifactState:
    # A state that this server does not know yet is one that it has no word for, not an error of the satellite.
    return ArtifactState(number) if number in set(ArtifactState) else ArtifactState.UNREPORTED


def _size(number: int) -> int:
    return min(number, _MAX_SIZE)  # a database's integers have a sign


def _read_exception(message: state_pb2.ResourceException) -> ResourceException:
    return ResourceException(
        kind=int(message.kind),
        name=clean(message.name, _MAX_NAME),
        scope=clean(message.scope, 128),
        state=_artifact_state(message.state),
        reason=clean(message.reason, 64),
        text=clean(message.text),
        since=read_time(message, "since"),
        serving_digest=clean(message.serving_digest, 128),
        done_bytes=_size(message.done_bytes),
        total_bytes=_size(message.total_bytes),
        retry_at=read_time(message, "retry_at"),
        rate_bytes_per_s=_size(message.rate_bytes_per_s),
        steps=tuple(map(_read_step, within(message.steps, MAX_STEPS, what="a verdict's list of steps"))),
    )


def _read_step(message: state_pb2.VerdictStep) -> Step:
    known = int(message.outcome) in set(StepOutcome)
    return Step(
        text=clean(message.text, 256),
        outcome=StepOutcome(message.outcome) if known else StepOutcome.UNSPECIFIED,
        reason=clean(message.reason, 64),
        authority=clean(message.authority, 256),
        evidence_digest=clean(message.evidence_digest, 128),
        signer=clean(message.signer),
    )


def _write_step(value: Step) -> state_pb2.VerdictStep:
    return state_pb2.VerdictStep(
        text=value.text,
        outcome=state_pb2.StepOutcome.ValueType(int(value.outcome)),
        reason=value.reason,
        authority=value.authority,
        evidence_digest=value.evidence_digest,
        signer=value.signer,
    )


def read_report(message: state_pb2.StateReport) -> Report:
    """Read a satellite's report.

    Raises:
        FleetError: MALFORMED `DIGEST_MALFORMED`, `TOO_LONG` past 100 exceptions, `TIME_MALFORMED`.
    """
    exceptions = within(message.exceptions, MAX_EXCEPTIONS, what="a report's list of exceptions")
    return Report(
        sequence=message.sequence,
        position=read_position(message, "position"),
        held_digest=_digest(message.held_digest, what="held_digest"),
        enforced_digest=_digest(message.enforced_digest, what="enforced_digest"),
        desired=message.desired,
        published=message.published,
        waiting=message.waiting,
        refused=message.refused,
        failed=message.failed,
        exceptions=tuple(map(_read_exception, exceptions)),
        exceptions_omitted=message.exceptions_omitted,
        foreign_withdrawn=message.foreign_withdrawn,
        registry_kind=clean(message.registry_kind, 32),
        registry_exclusive=message.registry_exclusive,
        revocation_epoch=_size(message.revocation_epoch),
        warned=message.warned,
    )


def _write_exception(value: ResourceException) -> state_pb2.ResourceException:
    return state_pb2.ResourceException(
        kind=resource_pb2.ResourceKind.ValueType(value.kind),
        name=value.name,
        scope=value.scope,
        state=state_pb2.ArtifactState.ValueType(int(value.state)),
        reason=value.reason,
        text=value.text,
        since=write_time(value.since),
        serving_digest=value.serving_digest,
        done_bytes=value.done_bytes,
        total_bytes=value.total_bytes,
        retry_at=write_time(value.retry_at),
        rate_bytes_per_s=value.rate_bytes_per_s,
        steps=map(_write_step, value.steps),
    )


def _write_report(value: Report) -> state_pb2.StateReport:
    return state_pb2.StateReport(
        sequence=value.sequence,
        position=write_position(value.position) if value.position else None,
        held_digest=value.held_digest,
        enforced_digest=value.enforced_digest,
        desired=value.desired,
        published=value.published,
        waiting=value.waiting,
        refused=value.refused,
        failed=value.failed,
        exceptions=map(_write_exception, value.exceptions),
        exceptions_omitted=value.exceptions_omitted,
        foreign_withdrawn=value.foreign_withdrawn,
        registry_kind=value.registry_kind,
        registry_exclusive=value.registry_exclusive,
        revocation_epoch=value.revocation_epoch,
        warned=value.warned,
    )


def read_health(message: health_pb2.Health) -> Health:
    """Read a satellite's health.

    Raises:
        FleetError: MALFORMED `HEALTH_MALFORMED` for a share of the processors that is no number from 0 to 1.
    """
    if not (math.isfinite(message.cpu_fraction) and 0 <= message.cpu_fraction <= 1):
        raise malformed("HEALTH_MALFORMED", "cpu_fraction is from 0 to 1")
    return Health(
        measured_at=read_time(message, "measured_at"),
        cpu_fraction=message.cpu_fraction,
        memory_used_bytes=message.memory_used_bytes,
        memory_total_bytes=message.memory_total_bytes,
        satellite_rss_bytes=message.satellite_rss_bytes,
        disk_free_bytes=message.disk_free_bytes,
        disk_total_bytes=message.disk_total_bytes,
        repositories=message.repositories,
        artifacts=message.artifacts,
        artifact_bytes=message.artifact_bytes,
        pending_bytes=message.pending_bytes,
        registry_healthy=message.registry_healthy,
        started_at=read_time(message, "started_at"),
        svid_expires_at=read_time(message, "svid_expires_at"),
        link=_read_link(message.link) if message.HasField("link") else None,
    )


def _read_link(message: health_pb2.LinkHealth) -> LinkHealth:
    budgets = within(message.budgets, _MAX_BUDGETS, what="a link's list of budgets")
    return LinkHealth(
        is_open=message.is_open,
        until=read_time(message, "until"),
        rate_bytes_per_second=message.rate_bytes_per_second,
        budgets=tuple(
            BudgetHealth(int(one.period), one.limit_bytes, one.left_bytes, read_time(one, "renews_at"))
            for one in budgets
        ),
    )


def _write_link(value: LinkHealth) -> health_pb2.LinkHealth:
    return health_pb2.LinkHealth(
        is_open=value.is_open,
        until=write_time(value.until),
        rate_bytes_per_second=value.rate_bytes_per_second,
        budgets=[
            health_pb2.BudgetHealth(
                period=health_pb2.BudgetPeriod.ValueType(one.period),
                limit_bytes=one.limit_bytes,
                left_bytes=one.left_bytes,
                renews_at=write_time(one.renews_at),
            )
            for one in value.budgets
        ],
    )


def _write_health(value: Health) -> health_pb2.Health:
    return health_pb2.Health(
        measured_at=write_time(value.measured_at),
        cpu_fraction=value.cpu_fraction,
        memory_used_bytes=value.memory_used_bytes,
        memory_total_bytes=value.memory_total_bytes,
        satellite_rss_bytes=value.satellite_rss_bytes,
        disk_free_bytes=value.disk_free_bytes,
        disk_total_bytes=value.disk_total_bytes,
        repositories=value.repositories,
        artifacts=value.artifacts,
        artifact_bytes=value.artifact_bytes,
        pending_bytes=value.pending_bytes,
        registry_healthy=value.registry_healthy,
        started_at=write_time(value.started_at),
        svid_expires_at=write_time(value.svid_expires_at),
        link=_write_link(value.link) if value.link else None,
    )


def write_status(value: SatelliteStatus) -> pb.SatelliteStatus:
    """Show where a satellite stands."""
    return pb.SatelliteStatus(
        satellite=value.satellite,
        lifecycle=write_lifecycle(value.lifecycle),
        last_seen_at=write_time(value.last_seen_at),
        desired_digest=value.desired_digest,
        converged=value.converged,
        report=_write_report(value.report) if value.report else None,
        health=_write_health(value.health) if value.health else None,
        agent_version=value.agent_version,
        duplicate_identity=value.duplicate_identity,
        store_behind=value.store_behind,
        groups=value.groups,
    )


def without_exceptions(value: SatelliteStatus) -> SatelliteStatus:
    """Shorten a status for lists."""
    return replace(value, report=replace(value.report, exceptions=())) if value.report else value


def write_artifact_status(value: ArtifactStatus) -> pb.ArtifactStatus:
    """Show where one artifact stands at one satellite."""
    return pb.ArtifactStatus(
        name=value.name,
        digest=value.digest,
        state=state_pb2.ArtifactState.ValueType(int(value.state)),
        reason=value.reason,
        text=value.text,
        scope=value.scope,
        local_reference=value.local_reference,
        done_bytes=value.done_bytes,
        total_bytes=value.total_bytes,
        retry_at=write_time(value.retry_at),
        rate_bytes_per_s=value.rate_bytes_per_s,
        steps=map(_write_step, value.steps),
    )


def write_fleet_status(value: FleetStatus) -> pb.GetFleetStatusResponse:
    """Show the fleet's counts."""
    return pb.GetFleetStatusResponse(
        satellites=value.satellites,
        online=value.online,
        stale=value.stale,
        pending=value.pending,
        revoked=value.revoked,
        converged=value.converged,
        with_exceptions=value.with_exceptions,
        groups=value.groups,
        artifacts=value.artifacts,
        position=write_position(value.position),
        server_time=write_time(value.at),
    )
