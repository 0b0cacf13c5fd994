"""Commands about satellites, groups, memberships and operators."""

from __future__ import annotations

from sqlmodel import col, delete, select

from controlplane.adapters.sql import rows
from controlplane.adapters.sql.batch import Batch, empty_scope, members_of, need_group, need_satellite
from controlplane.adapters.sql.tables import (
    DeviceRow,
    GroupRow,
    HealthRow,
    MembershipRow,
    OperatorRow,
    PresenceRow,
    ReportExceptionRow,
    ReportRow,
    SatelliteRow,
    TokenRow,
)
from controlplane.domain.commands import Delete, EntityKind, Outcome, Result, Upsert
from controlplane.domain.content import etag_of
from controlplane.domain.entities import Group, Membership, Operator, Role, Satellite
from controlplane.domain.lifecycle import Standing
from controlplane.domain.rules import check_etag, decide, unknown
from controlplane.domain.state import group_scope, satellite_scope
from fleet.errors import FleetError, Kind
from fleet.identity import OperatorId, SatelliteId


def put_satellite(batch: Batch, command: Upsert, wanted: Satellite) -> Result:
    """Make a satellite, pending, or replace its description."""
    held = batch.session.get(SatelliteRow, wanted.name)
    region = wanted.region or (held.region if held else "default")
    if held is not None and held.region != region:
        text = "a satellite's region is part of its SPIFFE ID and fixed when it is made"
        raise FleetError(Kind.PRECONDITION, "REGION_FIXED", text, subject=wanted.name)
    offered = SatelliteRow(
        name=wanted.name,
        region=region,
        description=wanted.description,
        spiffe_id=str(SatelliteId(batch.trust_domain, region, wanted.name)),
        standing=Standing.PENDING.value,
        created_at=batch.context.at,
    )
    etag = rows.satellite_etag(offered)
    held_etag = rows.satellite_etag(held) if held else None
    outcome = decide(EntityKind.SATELLITE, wanted.name, command, held=held_etag, offered=etag)
    if held is None:
        batch.session.add(offered)
        batch.touched.satellites.add(wanted.name)
    elif outcome is Outcome.UPDATED:
        held.description = wanted.description
        batch.session.add(held)
    return Result(outcome, "satellite", wanted.name, etag)


def delete_satellite(batch: Batch, command: Delete) -> Result:
    """Remove a satellite, its own scope's content, its keys and tokens."""
    row = need_satellite(batch, command.name)
    check_etag(command.etag, rows.satellite_etag(row), command.name)
    empty_scope(batch, satellite_scope(row.name))
    forget_identity(batch, row.spiffe_id)
    session = batch.session
    session.exec(delete(MembershipRow).where(col(MembershipRow.satellite) == row.name))
    session.exec(delete(ReportExceptionRow).where(col(ReportExceptionRow.satellite) == row.name))
    for table in (ReportRow, HealthRow, PresenceRow):
        session.exec(delete(table).where(col(table.satellite) == row.name))
    session.delete(row)
    session.flush()
    batch.touched.satellites.add(row.name)
    return Result(Outcome.DELETED, "satellite", row.name)


def forget_identity(batch: Batch, spiffe_id: str) -> None:
    """Drop an identity's device key and join tokens: it can neither renew nor join again by them."""
    batch.session.exec(delete(DeviceRow).where(col(DeviceRow.spiffe_id) == spiffe_id))
    forget_tokens(batch, spiffe_id)


def forget_tokens(batch: Batch, spiffe_id: str) -> None:
    """Drop an identity's join tokens."""
    batch.session.exec(delete(TokenRow).where(col(TokenRow.spiffe_id) == spiffe_id))


def put_group(batch: Batch, command: Upsert, wanted: Group) -> Result:
    """Make or replace a group. Its precedence travels with the bindings of its members."""
    held = batch.session.get(GroupRow, wanted.name)
    etag = rows.group_etag(wanted.name, wanted.precedence, wanted.description)
    held_etag = rows.group_etag(held.name, held.precedence, held.description) if held else None
    outcome = decide(EntityKind.GROUP, wanted.name, command, held=held_etag, offered=etag)
    if outcome is not Outcome.UNCHANGED:
        if held is not None and held.precedence != wanted.precedence:
            batch.touched.satellites |= members_of(batch, wanted.name)
        row = held or GroupRow(name=wanted.name)
        row.precedence, row.description = wanted.precedence, wanted.description
        batch.session.add(row)
    return Result(outcome, "group", wanted.name, etag)


def delete_group(batch: Batch, command: Delete) -> Result:
    """Remove a group, its memberships and its assignments."""
    row = need_group(batch, command.name)
    check_etag(command.etag, rows.group_etag(row.name, row.precedence, row.description), command.name)
    batch.touched.satellites |= members_of(batch, row.name)
    empty_scope(batch, group_scope(row.name))
    batch.session.exec(delete(MembershipRow).where(col(MembershipRow.group) == row.name))
    batch.session.delete(row)
    batch.session.flush()
    return Result(Outcome.DELETED, "group", row.name)


def put_membership(batch: Batch, command: Upsert, wanted: Membership) -> Result:
    """Put a satellite into a group, once per owner."""
    need_satellite(batch, wanted.satellite)
    need_group(batch, wanted.group)
    name = f"{wanted.satellite}/{wanted.group}"
    held = batch.session.get(MembershipRow, (wanted.satellite, wanted.group, wanted.owner))
    mark = name if held else None
    outcome = decide(EntityKind.MEMBERSHIP, name, command, held=mark, offered=name)
    if held is None:
        batch.session.add(MembershipRow(satellite=wanted.satellite, group=wanted.group, owner=wanted.owner))
        batch.touched.satellites.add(wanted.satellite)
    return Result(outcome, "membership", name)


def delete_membership(batch: Batch, pair: Membership) -> Result:
    """Take a satellite out of a group, for one owner or for all."""
    need_satellite(batch, pair.satellite)
    need_group(batch, pair.group)
    held = select(MembershipRow).where(MembershipRow.satellite == pair.satellite, MembershipRow.group == pair.group)
    if pair.owner:
        held = held.where(MembershipRow.owner == pair.owner)
    found = batch.session.exec(held).all()
    for row in found:
        batch.session.delete(row)
    batch.session.flush()
    if found:
        batch.touched.satellites.add(pair.satellite)
    outcome = Outcome.DELETED if found else Outcome.UNCHANGED
    return Result(outcome, "membership", f"{pair.satellite}/{pair.group}")


def put_operator(batch: Batch, command: Upsert, wanted: Operator) -> Result:
    """Give an operator a role; the last admin keeps theirs."""
    held = batch.session.get(OperatorRow, wanted.name)
    etag = etag_of("operator", wanted.name, int(wanted.role))
    held_etag = etag_of("operator", held.name, held.role) if held else None
    outcome = decide(EntityKind.OPERATOR, wanted.name, command, held=held_etag, offered=etag)
    if outcome is not Outcome.UNCHANGED:
        spiffe_id = str(OperatorId(batch.trust_domain, wanted.name))
        row = held or OperatorRow(name=wanted.name, spiffe_id=spiffe_id, role=wanted.role)
        if held is not None and wanted.role is not Role.ADMIN:
            _check_not_last_admin(batch, held)
        row.role = int(wanted.role)
        batch.session.add(row)
    return Result(outcome, "operator", wanted.name, etag)


def delete_operator(batch: Batch, command: Delete) -> Result:
    """Take an operator's role, device key and tokens; the last admin stays."""
    row = batch.session.get(OperatorRow, command.name)
    if row is None:
        raise unknown(EntityKind.OPERATOR, command.name)
    check_etag(command.etag, etag_of("operator", row.name, row.role), command.name)
    _check_not_last_admin(batch, row)
    forget_identity(batch, row.spiffe_id)
    batch.session.delete(row)
    batch.session.flush()
    return Result(Outcome.DELETED, "operator", command.name)


def _check_not_last_admin(batch: Batch, row: OperatorRow) -> None:
    admins = batch.session.exec(select(OperatorRow.name).where(OperatorRow.role == Role.ADMIN)).all()
    if list(admins) == [row.name]:
        text = "this is the last admin: give another operator the role first"
        raise FleetError(Kind.PRECONDITION, "LAST_ADMIN", text, subject=row.name)
