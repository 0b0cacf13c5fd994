"""The log of changes: one locked head row, one row per revision, and the answers to request ids."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlmodel import Session, col, delete, or_, select

from controlplane.adapters.sql.documents import (
    answer_from_document,
    answer_to_document,
    results_from_document,
    results_to_document,
)
from controlplane.adapters.sql.tables import ChangeRow, LogHead, RequestRow
from controlplane.adapters.sql.upserts import upsert
from controlplane.app.ports import Context
from controlplane.domain.commands import Applied, ChangeRecord, Changes, Concerned, Outcome, Result
from controlplane.domain.entities import Position
from fleet.errors import FleetError, Kind

CHANNEL = "fleet_log"
"""PostgreSQL's notification channel. The payload is where the log ends, a hint: the truth is the log."""
REMEMBERED = timedelta(hours=24)
"""How long a request id is good for."""


def read_position(session: Session) -> Position:
    """Read the log's end in this snapshot."""
    epoch, revision = session.connection().execute(select(LogHead.epoch, LogHead.revision)).one()
    return Position(epoch, revision)


def lock_head(session: Session) -> LogHead:
    """Become the one writer of the log until this transaction ends.

    SQLite's BEGIN IMMEDIATE has done so already. A sequence in the row's place would commit out of order.
    """
    return session.exec(select(LogHead).with_for_update()).one()


def position_of(head: LogHead) -> Position:
    """Say where the log ends, as far as this transaction has written it."""
    return Position(head.epoch, head.revision)


def append(
    session: Session, head: LogHead, context: Context, results: tuple[Result, ...], concerned: Concerned
) -> Position:
    """Write the next revision."""
    head.revision += 1
    changed = tuple(result for result in results if result.outcome is not Outcome.UNCHANGED)
    session.add(head)
    session.add(
        ChangeRow(
            epoch=head.epoch,
            revision=head.revision,
            at=context.at,
            actor=context.actor,
            request_id=context.request_id,
            reason=context.reason,
            diff={
                "results": results_to_document(changed),
                "scopes": sorted(concerned.scopes),
                "satellites": sorted(concerned.satellites),
            },
        )
    )
    if session.get_bind().dialect.name == "postgresql":
        told = {"channel": CHANNEL, "end": str(position_of(head))}
        session.connection().execute(text("SELECT pg_notify(:channel, :end)"), told)  # sent when this commits
    return position_of(head)


def find_answer(session: Session, context: Context) -> Applied | None:
    """Find the first answer to a request id.

    Raises:
        FleetError: EXISTS `REQUEST_ID_REUSED` where the id was given to other content.
    """
    if not context.request_id:
        return None
    row = session.get(RequestRow, (context.actor, context.request_id))
    if row is None or context.at - row.at >= REMEMBERED:
        return None
    if row.content != context.content:
        text_ = "the request id was used for another request: take a new one"
        raise FleetError(Kind.EXISTS, "REQUEST_ID_REUSED", text_, subject=context.request_id)
    return answer_from_document(row.answer)


def remember_answer(session: Session, context: Context, applied: Applied) -> None:
    """Keep the answer for a repeated call."""
    if context.request_id:
        connection = session.connection()
        answer = {
            "actor": context.actor,
            "request_id": context.request_id,
            "content": context.content,
            "answer": answer_to_document(applied),
            "at": context.at,
        }
        connection.execute(upsert(connection, RequestRow), answer)


def forget_answers(session: Session, at: datetime) -> None:
    """Drop the answers that are too old."""
    session.exec(delete(RequestRow).where(col(RequestRow.at) < at - REMEMBERED))


def read_changes(session: Session, after: Position | None, size: int) -> Changes:
    """Read the log from a position on, oldest first; from its beginning where there is none.

    Raises:
        FleetError: PRECONDITION `POSITION_COMPACTED`.
    """
    if after is not None:
        _check_kept(session, after)
    start = after or Position(0, 0)
    epoch, revision = col(ChangeRow.epoch), col(ChangeRow.revision)
    rows = session.exec(
        select(ChangeRow)
        .where(or_(epoch > start.epoch, (epoch == start.epoch) & (revision > start.revision)))
        .order_by(epoch, revision)
        .limit(size + 1)
    ).all()
    records = tuple(_record(row) for row in rows[:size])
    return Changes(records, more=len(rows) > size, position=read_position(session))


def _check_kept(session: Session, after: Position) -> None:
    """See that the change that came next is still there. Revisions have no gaps."""
    oldest = session.exec(select(ChangeRow).order_by(col(ChangeRow.epoch), col(ChangeRow.revision)).limit(1)).first()
    if oldest is not None and after < Position(oldest.epoch, oldest.revision - 1):
        text = "changes after this position are not kept any more: list everything anew, and go on from there"
        subject = f"{oldest.epoch}.{oldest.revision}"
        raise FleetError(Kind.PRECONDITION, "POSITION_COMPACTED", text, subject=subject)


def _record(row: ChangeRow) -> ChangeRecord:
    return ChangeRecord(
        position=Position(row.epoch, row.revision),
        at=row.at,
        actor=row.actor,
        request_id=row.request_id,
        reason=row.reason,
        results=results_from_document(row.diff["results"]),
        concerned=Concerned(frozenset(row.diff["scopes"]), frozenset(row.diff["satellites"])),
    )
