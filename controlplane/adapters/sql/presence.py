"""Sessions, reports and health: rows that every message of a satellite may replace, and that no revision counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam
from sqlmodel import Session, SQLModel, col, delete, insert, select, update

from controlplane.adapters.sql.batches import among
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
from controlplane.adapters.sql.upserts import Rows, inserted, put
from controlplane.domain.commands import EntityKind
from controlplane.domain.rules import unknown
from controlplane.domain.sessions import Held, take_over
from controlplane.domain.status import Health, Opened, Report, SessionKey
from fleet.errors import FleetError

MAX_EXCEPTIONS = 100
_FORGET_WORKER = timedelta(days=1)
_MAY_LIVE = timedelta(minutes=10)
"""How long notes are kept for a process that says nothing: one that was killed leaves one for each of its streams."""


def _locked(presences: Any) -> Any:  # noqa: ANN401 a SELECT, whatever its columns
    """Restrict to `names` and lock, in the order of their names, so that no two transactions wait for each other."""
    its = presences.where(among(PresenceRow.satellite, "names"))
    return its.order_by(PresenceRow.satellite).with_for_update()


_PRESENCES = _locked(select(PresenceRow))
_WHOLE = _locked(SQLModel.metadata.tables["presence"].select())
_SESSIONS = _locked(select(PresenceRow.satellite, PresenceRow.boot_id, PresenceRow.session))
_THERE = _locked(select(PresenceRow.satellite))
_THEIRS = among(PresenceRow.satellite, "names")
_SEEN = update(PresenceRow).where(_THEIRS).values(last_seen_at=bindparam("at"))
_CHANGED = _SEEN.values(changed_at=bindparam("written"))
_NAMES = select(SatelliteRow.name).where(among(SatelliteRow.name, "names"))
_EXCEPTIONAL = select(ReportExceptionRow.satellite).where(ReportExceptionRow.satellite == ReportRow.satellite)
_REPORTS = (
    select(ReportRow.satellite, ReportRow.boot_id, ReportRow.session, ReportRow.sequence)
    .add_columns(_EXCEPTIONAL.exists())
    .where(among(ReportRow.satellite, "names"))
)
_FORGET_EXCEPTIONS = delete(ReportExceptionRow).where(among(ReportExceptionRow.satellite, "names"))
_KEEP_EXCEPTIONS = insert(ReportExceptionRow)
LOST = select(TakeoverRow.satellite, TakeoverRow.boot_id, TakeoverRow.session).where(
    TakeoverRow.worker == bindparam("worker")
)
"""The notes of what other processes took over from one: sessions, each with its satellite."""
_FORGET_LOST = delete(TakeoverRow).where(
    and_(
        col(TakeoverRow.worker) == bindparam("worker"),
        col(TakeoverRow.satellite) == bindparam("satellite"),
        col(TakeoverRow.boot_id) == bindparam("boot_id"),
        col(TakeoverRow.session) == bindparam("session"),
    )
)


CLOCK = "fleet_clock"
"""The execution option of an engine that tells its process's time."""


def written_at(session: Session) -> datetime:
    """Tell the time of a change, to be asked once its rows are locked.

    Who watches looks for changes from a little before the last look on. What had to wait for the database, or tells of
    a time when that was away, is of an earlier time.
    """
    clock = session.connection().get_execution_options().get(CLOCK, partial(datetime.now, UTC))
    at: datetime = clock()
    return at


def beat(session: Session, worker: str, at: datetime) -> None:
    """Say that a process lives, and forget those long gone."""
    session.merge(WorkerRow(id=worker, seen_at=at))
    session.exec(delete(WorkerRow).where(col(WorkerRow.seen_at) < at - _FORGET_WORKER))
    may_live = select(WorkerRow.id).where(col(WorkerRow.seen_at) >= at - _MAY_LIVE)
    session.exec(delete(TakeoverRow).where(col(TakeoverRow.worker).not_in(may_live)))


def load(session: Session, satellites: Sequence[str]) -> object:
    """Bring what many satellites' messages replace into the session, locked in the order of their names."""
    return session.scalars(_PRESENCES, {"names": list(satellites)}).all()


def presence_of(session: Session, satellite: str) -> PresenceRow:
    """Find a satellite's presence, or begin one. UNKNOWN `SATELLITE_UNKNOWN`."""
    row = session.get(PresenceRow, satellite)
    if row is not None:
        return row
    if session.get(SatelliteRow, satellite) is None:
        raise unknown(EntityKind.SATELLITE, satellite)
    row = PresenceRow(satellite=satellite, changed_at=written_at(session))
    session.add(row)
    session.flush()  # found by whatever asks next
    return row


def note_version(session: Session, satellite: str, agent_version: str, at: datetime) -> None:
    """Remember the version that a satellite attested with."""
    row = presence_of(session, satellite)
    if agent_version and row.agent_version != agent_version:
        row.agent_version, row.changed_at = agent_version, written_at(session)
    row.last_seen_at = at
    session.add(row)


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that begins, with the version that the satellite says it has, and when."""

    key: SessionKey
    agent_version: str
    at: datetime


def open_sessions(session: Session, opening: Sequence[Opening], *, worker: str) -> list[Opened | FleetError]:
    """Make each of these its satellite's one session, in a few statements; a process that lost one is told so.

    `LOST` tells it, also where its sessions count as closed: it may live all the same, and its stream with it. As
    objects of the session they would cost five times as much, and after an outage everybody opens one. The errors are
    UNKNOWN `SATELLITE_UNKNOWN` and PRECONDITION `SESSION_SUPERSEDED`.
    """
    connection = session.connection()
    at = max(each.at for each in opening)
    held = _held(connection, sorted({each.key.satellite for each in opening}))
    others = {row["worker"] for row in held.values()} - {"", worker}
    live = live_workers(session, at) if others else frozenset()
    written = written_at(session)
    answers: list[Opened | FleetError] = []
    lost: list[dict[str, Any]] = []
    for each in opening:
        row = held.get(each.key.satellite)
        if row is None:
            answers.append(unknown(EntityKind.SATELLITE, each.key.satellite))
            continue
        try:
            taken = take_over(_session_of(row), each.key.boot_id, each.key.number)
        except FleetError as error:
            answers.append(error)
            continue
        former = SessionKey(each.key.satellite, row["boot_id"], row["session"])
        superseded = former if row["worker"] == worker or row["worker"] in live else None
        if row["worker"] not in {"", worker}:
            lost.append(_note(row["worker"], former))
        row |= _numbered(SessionKey(each.key.satellite, taken.held.boot_id, taken.held.number))
        row |= {"earlier_boots": [boot.hex() for boot in taken.held.earlier], "worker": worker, "behind": False}
        row |= {"agent_version": each.agent_version or row["agent_version"]}
        row |= {"last_seen_at": each.at, "changed_at": written}
        if taken.duplicate:
            row["duplicate_at"] = each.at
        answers.append(Opened(superseded, taken.duplicate))
    if rows := [row for row in held.values() if row["worker"] == worker]:
        put(connection, Rows(PresenceRow, rows))
    if lost:
        connection.execute(inserted(connection, TakeoverRow).on_conflict_do_nothing(), lost)
    return answers


def _note(worker: str, lost: SessionKey) -> dict[str, Any]:
    return {"worker": worker, "satellite": lost.satellite} | _numbered(lost)


def _held(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read what is known of the sessions of satellites, locked; those that never had one get an empty row."""
    held = _presences(connection, names)
    fresh = [name for name in names if name not in held]
    if fresh:
        there = connection.execute(_NAMES, {"names": fresh})
        held |= {name: _no_session(name) for (name,) in there}
    return held


def _presences(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows = connection.execute(_WHOLE, {"names": names})
    return {row.satellite: dict(row._mapping) for row in rows}  # noqa: SLF001 its public name


def _no_session(name: str) -> dict[str, Any]:
    empty = {"agent_version": "", "boot_id": b"", "session": 0, "earlier_boots": [], "worker": ""}
    return {"satellite": name, **empty, "last_seen_at": None, "changed_at": None, "duplicate_at": None, "behind": False}


def _session_of(row: Mapping[str, Any]) -> Held:
    return Held(row["boot_id"], row["session"], tuple(bytes.fromhex(boot) for boot in row["earlier_boots"]))


def _numbered(key: SessionKey) -> dict[str, Any]:
    return {"boot_id": key.boot_id, "session": key.number}


def close_sessions(session: Session, closed: Sequence[tuple[SessionKey, datetime]]) -> list[None]:
    """End sessions at the times of their streams' ends, unless they are not their satellites' any more."""
    connection = session.connection()
    ends = dict(closed)
    held = _presences(connection, sorted({key.satellite for key in ends}))
    written = written_at(session)
    ended = []
    for name, row in held.items():
        if at := ends.get(SessionKey(name, row["boot_id"], row["session"])):
            seen = max(at, row["last_seen_at"] or at)
            ended.append(row | {"worker": "", "last_seen_at": seen, "changed_at": written})
    if ended:
        put(connection, Rows(PresenceRow, ended))
    return [None] * len(closed)


def _open_now(connection: Connection, names: Collection[str]) -> frozenset[SessionKey]:
    """Read the last sessions of satellites, locked."""
    return frozenset(SessionKey(*row) for row in connection.execute(_SESSIONS, {"names": list(names)}))


def forget_lost(session: Session, worker: str, lost: Sequence[SessionKey]) -> None:
    """Throw away those of the notes `LOST` that a process has acted on."""
    session.connection().execute(_FORGET_LOST, [_note(worker, key) for key in lost])


@dataclass(frozen=True, slots=True)
class Told:
    """A report, of which session, and when it came."""

    key: SessionKey
    report: Report
    at: datetime


def record_reports(session: Session, told: Sequence[Told]) -> list[bool]:
    """Replace the reports of many, in a few statements; False for one whose session lost or that has a later one.

    As objects of the session they would cost ten times as much, and a change brings one of each satellite.
    """
    connection = session.connection()
    names = {each.key.satellite for each in told}
    open_now = _open_now(connection, names)
    last, exceptional = _last_reports(connection, names)
    kept, answers = {}, []
    for each in told:
        counts = each.key in open_now and each.report.sequence > last.get(each.key, -1)
        if counts:
            last[each.key], kept[each.key.satellite] = each.report.sequence, each  # sequences count within a session
        answers.append(counts)
    if kept:
        _replace_reports(connection, kept, exceptional, written_at(session))
    return answers


def _last_reports(connection: Connection, names: Collection[str]) -> tuple[dict[SessionKey, int], set[str]]:
    """Read the last reports' sequences, and which of them had exceptions.

    Not by a join with the locked presences: what was waited for would be new there, and what is joined to it old.
    """
    rows = connection.execute(_REPORTS, {"names": list(names)}).all()
    return {SessionKey(*row[:3]): row[3] for row in rows}, {row[0] for row in rows if row[4]}


def _replace_reports(
    connection: Connection, kept: Mapping[str, Told], exceptional: Collection[str], written: datetime
) -> None:
    at = max(each.at for each in kept.values())
    connection.execute(_CHANGED, {"names": list(kept), "at": at, "written": written})
    put(connection, Rows(ReportRow, [_report_values(one.key, one.report) for one in kept.values()]))
    if over := kept.keys() & exceptional:
        connection.execute(_FORGET_EXCEPTIONS, {"names": list(over)})
    exceptions = [row for name, one in kept.items() for row in _exception_rows(name, one.report)]
    if exceptions:
        connection.execute(_KEEP_EXCEPTIONS, exceptions)


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
        for ordinal, each in enumerate(report.exceptions[:MAX_EXCEPTIONS])
    ]


def record_healths(session: Session, healths: Mapping[str, Health], at: datetime) -> None:
    """Replace the health of many, in three statements: as objects of the session they would cost ten times as much."""
    connection = session.connection()
    names = [name for (name,) in connection.execute(_THERE, {"names": list(healths)})]
    if not names:
        return
    connection.execute(_SEEN, {"names": names, "at": at})
    documents = [{"satellite": name, "document": to_document(healths[name])} for name in names]
    put(connection, Rows(HealthRow, documents))


def mark_behind(session: Session, satellite: str, at: datetime) -> None:
    """Remember that a satellite is ahead of the log, until it opens a session that is not."""
    row = presence_of(session, satellite)
    row.behind = True
    row.last_seen_at, row.changed_at = at, written_at(session)
    session.add(row)
