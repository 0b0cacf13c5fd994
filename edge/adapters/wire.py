"""The satellite's side of fleet.v1: domain values → messages, and messages → domain values. Nothing else reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from edge.app.ground_control import Attested, Lifecycle, Opening
from edge.domain.admission import Finding
from edge.domain.clock import ClockState, Reading
from edge.domain.health import Health
from edge.domain.holding import Binding, Resource, ScopeDelta
from edge.domain.link import LinkStanding, Period
from edge.domain.report import Report, Row, State
from edge.domain.session import (
    BindingsTold,
    Body,
    GoodbyeTold,
    InventoryAsked,
    Part,
    Received,
    Staged,
    Unchanged,
)
from edge.domain.verify.reasons import TEXTS
from fleet.errors import FleetError, Kind
from fleet.position import Position
from fleet.protocol import PROTOCOL_VERSION, Farewell
from fleet.v1 import attestation_pb2, health_pb2, resource_pb2, state_pb2

MESSAGE_BYTES = 60 * 1024
"""Of an inventory or report, less than the contract's 64 KiB, which the envelope shares."""
MAX_TEXT = 512
MAX_STEPS = 32
_CLOCKS = {
    ClockState.SYNCED: state_pb2.CLOCK_STATE_SYNCED,
    ClockState.FLOOR: state_pb2.CLOCK_STATE_FLOOR,
    ClockState.UNKNOWN: state_pb2.CLOCK_STATE_UNKNOWN,
}
_LIFECYCLES = {
    attestation_pb2.LIFECYCLE_PENDING: Lifecycle.PENDING,
    attestation_pb2.LIFECYCLE_REVOKED: Lifecycle.REVOKED,
}
_PERIODS = {
    Period.HOUR: health_pb2.BUDGET_PERIOD_HOUR,
    Period.DAY: health_pb2.BUDGET_PERIOD_DAY,
    Period.MONTH: health_pb2.BUDGET_PERIOD_MONTH,
}
_RECONNECT = timedelta(seconds=5)


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _time(message: Message, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    try:
        moment: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _broken(f"{name} is no time") from error
    return moment


def _span(message: Message, name: str, default: timedelta) -> timedelta:
    if not message.HasField(name):
        return default
    try:
        span: timedelta = getattr(message, name).ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise _broken(f"{name} is no span of time") from error
    return span


def _broken(detail: str) -> FleetError:
    text = "Ground Control said something that the contract does not allow"
    return FleetError(Kind.INTERNAL, "PROTOCOL_VIOLATION", text, detail=detail)


def write_clock(clock: Reading) -> state_pb2.Clock:
    """Write the site's time."""
    return state_pb2.Clock(now=_stamp(clock.now), state=_CLOCKS[clock.state])


def read_attested(message: attestation_pb2.AttestResponse) -> Attested:
    """Read Ground Control's word on us."""
    return Attested(
        satellite=message.satellite,
        lifecycle=_LIFECYCLES.get(message.lifecycle, Lifecycle.ACTIVE),
        health_interval=_span(message, "health_interval", timedelta()),
        reconnect_window=_span(message, "reconnect_window", _RECONNECT),
        server_time=_time(message, "server_time"),
    )


def write_subscribe(opening: Opening, boot_id: bytes, agent_version: str) -> state_pb2.StreamStateRequest:
    """Write how a stream opens."""
    position = opening.position
    subscribe = state_pb2.Subscribe(
        protocol_version=PROTOCOL_VERSION,
        capabilities=[state_pb2.CAPABILITY_RESUME_DELTA],
        boot_id=boot_id,
        session_number=opening.number,
        held=[
            state_pb2.HeldScope(scope=name, digest=scope.digest, precedence=scope.precedence)
            for name, scope in opening.holding.items()
        ],
        position=state_pb2.Position(epoch=position.epoch, revision=position.revision) if position else None,
        clock=write_clock(opening.clock),
        staged=[
            state_pb2.StagedDelta(scope=name, delta_digest=one.delta_digest, received_bytes=one.received_bytes)
            for name, one in opening.staged.items()
        ],
        agent_version=agent_version,
    )
    return state_pb2.StreamStateRequest(subscribe=subscribe)


def write_inventory(scope: str, resources: Iterable[Resource]) -> Iterator[state_pb2.StreamStateRequest]:
    """Write what is held of a scope, in messages of bounded size, the last one marked."""
    message = state_pb2.Inventory(scope=scope)
    size = 0
    for one in resources:
        entry = state_pb2.InventoryEntry(
            kind=resource_pb2.ResourceKind.ValueType(one.kind), name=one.name, version=one.version
        )
        if size + entry.ByteSize() + 8 > MESSAGE_BYTES:
            yield state_pb2.StreamStateRequest(inventory=message)
            message, size = state_pb2.Inventory(scope=scope), 0
        message.entries.append(entry)
        size += entry.ByteSize() + 8
    message.complete = True
    yield state_pb2.StreamStateRequest(inventory=message)


def write_resync(scope: str, digest: bytes) -> state_pb2.StreamStateRequest:
    """Ask for a scope's exact difference."""
    return state_pb2.StreamStateRequest(resync=state_pb2.Resync(scope=scope, digest=digest))


def write_report(sequence: int, report: Report) -> state_pb2.StreamStateRequest:
    """Write where the site stands."""
    position = report.position
    message = state_pb2.StateReport(
        sequence=sequence,
        position=state_pb2.Position(epoch=position.epoch, revision=position.revision) if position else None,
        held_digest=report.held_digest,
        enforced_digest=report.enforced_digest,
        desired=report.desired,
        published=report.counts.get(State.PUBLISHED, 0) + report.counts.get(State.WARNED, 0),
        waiting=report.counts.get(State.WAITING, 0),
        refused=report.counts.get(State.REFUSED, 0),
        failed=report.counts.get(State.FAILED, 0),
        exceptions_omitted=report.omitted,
        foreign_withdrawn=report.foreign_withdrawn,
        registry_kind=report.registry_kind,
        registry_exclusive=report.registry_exclusive,
        revocation_epoch=report.revocation_epoch,
        warned=report.counts.get(State.WARNED, 0),
    )
    size = message.ByteSize()
    for row in report.exceptions:
        exception = _exception(row)
        size += exception.ByteSize() + 8
        if size > MESSAGE_BYTES:
            message.exceptions_omitted = report.omitted + len(report.exceptions) - len(message.exceptions)
            break
        message.exceptions.append(exception)
    return state_pb2.StreamStateRequest(report=message)


def _exception(row: Row) -> state_pb2.ResourceException:
    return state_pb2.ResourceException(
        kind=resource_pb2.ResourceKind.ValueType(row.kind),
        name=row.name,
        scope=row.scope,
        state=state_pb2.ArtifactState.ValueType(int(row.state)),
        reason=row.reason[:64],
        text=row.text[:MAX_TEXT],
        since=_stamp(row.since),
        serving_digest=row.serving_digest,
        done_bytes=row.done_bytes,
        total_bytes=row.total_bytes,
        retry_at=_stamp(row.until),
        rate_bytes_per_s=row.rate_bytes_per_s,
        steps=[_step(one, row.state) for one in row.steps[:MAX_STEPS]],
    )


def _step(one: Finding, state: State) -> state_pb2.VerdictStep:
    failed = state_pb2.STEP_OUTCOME_WARNED if state is State.WARNED else state_pb2.STEP_OUTCOME_FAILED
    return state_pb2.VerdictStep(
        text=TEXTS.get(one.reason, "")[:256],
        outcome=failed if one.reason else state_pb2.STEP_OUTCOME_PASSED,
        reason=one.reason[:64],
        authority=one.authority[:256],
        evidence_digest=one.evidence,
        signer=one.signer[:MAX_TEXT],
    )


def write_health(health: Health) -> state_pb2.StreamStateRequest:
    """Write one measurement."""
    machine, inventory = health.machine, health.inventory
    return state_pb2.StreamStateRequest(
        health=health_pb2.Health(
            measured_at=_stamp(health.measured_at),
            cpu_fraction=machine.cpu_fraction,
            memory_used_bytes=machine.memory_used_bytes,
            memory_total_bytes=machine.memory_total_bytes,
            satellite_rss_bytes=machine.satellite_rss_bytes,
            disk_free_bytes=machine.disk_free_bytes,
            disk_total_bytes=machine.disk_total_bytes,
            repositories=inventory.repositories,
            artifacts=inventory.artifacts,
            artifact_bytes=inventory.size_bytes,
            pending_bytes=health.pending_bytes,
            registry_healthy=health.registry_healthy,
            started_at=_stamp(health.started_at),
            svid_expires_at=_stamp(health.svid_expires_at),
            link=_write_link(health.link) if health.link else None,
        )
    )


def _write_link(standing: LinkStanding) -> health_pb2.LinkHealth:
    return health_pb2.LinkHealth(
        is_open=standing.opening.is_open,
        until=_stamp(standing.opening.until),
        rate_bytes_per_second=standing.link.rate_bytes_per_second,
        budgets=[
            health_pb2.BudgetHealth(
                period=_PERIODS[budget.period],
                limit_bytes=budget.limit_bytes,
                left_bytes=budget.left_bytes,
                renews_at=_stamp(budget.renews_at),
            )
            for budget in standing.budgets
        ],
    )


def read_response(message: state_pb2.StreamStateResponse) -> Received:
    """Read one message of the server.

    Raises:
        FleetError: INTERNAL `PROTOCOL_VIOLATION`: the defect is the server's.
    """
    server_time = _time(message, "server_time")
    if server_time is None:
        raise _broken("a message has no server time")
    return Received(
        sequence=message.sequence,
        position=Position(message.position.epoch, message.position.revision),
        server_time=server_time,
        complete=message.update_complete,
        body=_body(message),
    )


def _body(message: state_pb2.StreamStateResponse) -> Body:
    match message.WhichOneof("body"):
        case "unchanged":
            return Unchanged(message.unchanged.state_digest)
        case "bindings":
            return BindingsTold(
                tuple(Binding(one.scope, one.generation, one.digest, one.precedence) for one in message.bindings.scopes)
            )
        case "delta_part":
            part = message.delta_part
            return Part(
                binding=Binding(part.scope, part.to_generation, part.to_digest, part.precedence),
                from_digest=part.from_digest,
                delta_digest=part.delta_digest,
                size_bytes=part.delta_size_bytes,
                offset=part.offset,
                chunk=part.chunk,
            )
        case "inventory_request":
            return InventoryAsked(tuple(message.inventory_request.scopes))
        case "goodbye":
            return _goodbye(message.goodbye)
        case _:
            return None


def _goodbye(message: state_pb2.Goodbye) -> GoodbyeTold:
    known = {farewell.value for farewell in Farewell}
    why = Farewell(message.reason) if message.reason in known else Farewell.DRAINING
    retry_after = _span(message, "retry_after", timedelta()) if message.HasField("retry_after") else None
    return GoodbyeTold(why, message.text[:MAX_TEXT], retry_after)


def read_delta(staged: Staged, content: bytes) -> ScopeDelta:
    """Read a whole delta: its bytes were staged one by one.

    Raises:
        FleetError: CORRUPT `DELTA_CORRUPT`.
    """
    delta = state_pb2.Delta()
    text = "a delta is not what its digest says"
    if hashlib.sha256(content).digest() != staged.delta_digest:
        raise FleetError(Kind.CORRUPT, "DELTA_CORRUPT", text, subject=staged.binding.scope)
    try:
        delta.ParseFromString(content)
    except DecodeError as error:
        raise FleetError(Kind.CORRUPT, "DELTA_CORRUPT", text, subject=staged.binding.scope) from error
    return ScopeDelta(
        binding=staged.binding,
        from_digest=staged.from_digest,
        upserts=tuple(
            Resource(
                one.kind,
                one.name,
                one.payload,
                one.version,
                tuple((signature.key_id, signature.signature) for signature in one.signatures),
            )
            for one in delta.upserts
        ),
        deletes=tuple((key.kind, key.name) for key in delta.deletes),
    )
