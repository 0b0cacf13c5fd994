"""Sessions, reports and health: rows that every message of a satellite may replace, and that no revision counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, insert, select, update

from controlplane.adapters.sql.documents import to_document
from controlplane.adapters.sql.rows import live_workers
from controlplane.adapters.sql.tables import (
    HealthRow,
    PresenceRow,
    ReportExceptionRow,
    ReportRow,
    SatelliteRow,
    TakeoverRow,
    WorkerRow,
)
from controlplane.domain.commands import EntityKind
from controlplane.domain.rules import unknown
from controlplane.domain.sessions import Held, take_over
from controlplane.domain.status import Health, Opened, Report, SessionKey

MAX_EXCEPTIONS = 100
_FORGET_WORKER = timedelta(days=1)


def beat(session: Session, worker: str, at: datetime) -> None:
    """Say that a process lives, and forget those long gone."""
    session.merge(WorkerRow(id=worker, seen_at=at))
    session.exec(delete(WorkerRow).where(col(WorkerRow.seen_at) < at - _FORGET_WORKER))


def load(session: Session, satellites: Sequence[str]) -> object:
    """Bring what many satellites' messages replace into the session, locked in the order of their names."""
    present = select(PresenceRow).where(col(PresenceRow.satellite).in_(satellites)).order_by(PresenceRow.satellite)
    reports = select(ReportRow).where(col(ReportRow.satellite).in_(satellites))
    return session.exec(present.with_for_update()).all(), session.exec(reports).all()


def presence_of(session: Session, satellite: str, at: datetime) -> PresenceRow:
    """Find a satellite's presence, or begin one. UNKNOWN `SATELLITE_UNKNOWN`."""
    row = session.get(PresenceRow, satellite)
    if row is not None:
        return row
    if session.get(SatelliteRow, satellite) is None:
        raise unknown(EntityKind.SATELLITE, satellite)
    row = PresenceRow(satellite=satellite, changed_at=at)
    session.add(row)
    session.flush()  # found by whatever asks next
    return row


def note_version(session: Session, satellite: str, agent_version: str, at: datetime) -> None:
    """Remember the version that a satellite attested with."""
    row = presence_of(session, satellite, at)
    if agent_version and row.agent_version != agent_version:
        row.agent_version, row.changed_at = agent_version, at
    row.last_seen_at = at
    session.add(row)


def open_session(session: Session, worker: str, opened: SessionKey, agent_version: str, at: datetime) -> Opened:
    """Make this the one session; a process that lost it by this reads so in `lost_sessions`."""
    row = presence_of(session, opened.satellite, at)
    held = Held(row.boot_id, row.session, tuple(bytes.fromhex(boot) for boot in row.earlier_boots))
    taken = take_over(held, opened.boot_id, opened.number)
    superseded = None
    if row.worker == worker or (row.worker and row.worker in live_workers(session, at)):
        superseded = SessionKey(row.satellite, row.boot_id, row.session)
        if row.worker != worker:
            session.merge(
                TakeoverRow(worker=row.worker, satellite=row.satellite, boot_id=row.boot_id, session=row.session)
            )
    row.boot_id, row.session = taken.held.boot_id, taken.held.number
    row.earlier_boots = [boot.hex() for boot in taken.held.earlier]
    row.worker, row.agent_version = worker, agent_version or row.agent_version
    row.last_seen_at = row.changed_at = at
    row.behind = False
    if taken.duplicate:
        row.duplicate_at = at
    session.add(row)
    return Opened(superseded, taken.duplicate)


def close_session(session: Session, closed: SessionKey, at: datetime) -> None:
    """End a session, unless it is not the satellite's any more."""
    row = session.get(PresenceRow, closed.satellite)
    if row is not None and (row.boot_id, row.session) == (closed.boot_id, closed.number):
        row.worker = ""
        row.last_seen_at = row.changed_at = at
        session.add(row)


def lost_sessions(session: Session, worker: str) -> tuple[SessionKey, ...]:
    """Take the notes of what other processes took over from this one."""
    found = session.exec(select(TakeoverRow).where(TakeoverRow.worker == worker)).all()
    for row in found:
        session.delete(row)
    return tuple(SessionKey(row.satellite, row.boot_id, row.session) for row in found)


def record_report(session: Session, key: SessionKey, report: Report, at: datetime) -> bool:
    """Replace the report, unless the session lost or a later report is there."""
    row = session.get(PresenceRow, key.satellite)
    held = session.get(ReportRow, key.satellite)
    if row is None or (row.boot_id, row.session) != (key.boot_id, key.number):
        return False
    same_session = held is not None and (held.boot_id, held.session) == (key.boot_id, key.number)
    if same_session and held is not None and report.sequence <= held.sequence:
        return False  # sequences count within a session
    row.last_seen_at = row.changed_at = at
    session.add(row)
    kept = replace(report, exceptions=report.exceptions[:MAX_EXCEPTIONS])
    told = _report_values(key, kept)
    if held is None:
        session.add(ReportRow(**told))
        session.flush()  # a second report in the same commit finds it; exceptions refer to it
    else:
        for name, value in told.items():
            if getattr(held, name) != value:
                setattr(held, name, value)
    _replace_exceptions(session, key.satellite, kept)
    return True


def _replace_exceptions(session: Session, satellite: str, report: Report) -> None:
    """Write past the session: as objects of it, a few exceptions cost more than all the rest of a report."""
    connection = session.connection()
    connection.execute(delete(ReportExceptionRow).where(col(ReportExceptionRow.satellite) == satellite))
    if report.exceptions:
        connection.execute(insert(ReportExceptionRow), _exception_rows(satellite, report))


def _report_values(key: SessionKey, report: Report) -> dict[str, Any]:
    return {
        "satellite": key.satellite,
        "boot_id": key.boot_id,
        "session": key.number,
        "sequence": report.sequence,
        "epoch": report.position.epoch if report.position else None,
        "revision": report.position.revision if report.position else None,
        "held_digest": report.held_digest,
        "enforced_digest": report.enforced_digest,
        "desired": report.desired,
        "published": report.published,
        "waiting": report.waiting,
        "refused": report.refused,
        "failed": report.failed,
        "exceptions_omitted": report.exceptions_omitted,
        "foreign_withdrawn": report.foreign_withdrawn,
        "registry_kind": report.registry_kind,
        "registry_exclusive": report.registry_exclusive,
        "revocation_epoch": report.revocation_epoch,
        "warned": report.warned,
    }


def _exception_rows(satellite: str, report: Report) -> list[dict[str, Any]]:
    return [
        {
            "satellite": satellite,
            "ordinal": ordinal,
            "kind": each.kind,
            "name": each.name,
            "scope": each.scope,
            "state": int(each.state),
            "reason": each.reason,
            "text": each.text,
            "since": each.since,
            "serving_digest": each.serving_digest,
            "done_bytes": each.done_bytes,
            "total_bytes": each.total_bytes,
            "retry_at": each.retry_at,
            "rate_bytes_per_s": each.rate_bytes_per_s,
            "steps": [to_document(step) for step in each.steps] or None,
        }
        for ordinal, each in enumerate(report.exceptions)
    ]


def record_healths(session: Session, healths: Mapping[str, Health], at: datetime) -> None:
    """Replace the health of many, in three statements: as objects of the session they would cost ten times as much."""
    connection = session.connection()
    # Locked in the order of names, as `load` does, so that no two transactions wait for each other.
    present = (
        select(PresenceRow.satellite).where(col(PresenceRow.satellite).in_(healths)).order_by(PresenceRow.satellite)
    )
    names = [name for (name,) in connection.execute(present.with_for_update())]
    if not names:
        return
    connection.execute(update(PresenceRow).where(col(PresenceRow.satellite).in_(names)).values(last_seen_at=at))
    upsert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(HealthRow)
    replaced = upsert.on_conflict_do_update(index_elements=["satellite"], set_={"document": upsert.excluded.document})
    connection.execute(replaced, [{"satellite": name, "document": to_document(healths[name])} for name in names])


def mark_behind(session: Session, satellite: str, at: datetime) -> None:
    """Remember that a satellite is ahead of the log, until it opens a session that is not."""
    row = presence_of(session, satellite, at)
    row.behind = True
    row.last_seen_at = row.changed_at = at
    session.add(row)
