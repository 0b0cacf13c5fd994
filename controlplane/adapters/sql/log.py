"""The log of changes: one locked head row, one row per revision, and the answers to request ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, or_, select

from controlplane.adapters.sql.documents import (
    answer_from_document,
    answer_to_document,
    results_from_document,
    results_to_document,
)
from controlplane.adapters.sql.tables import ChangeRow, LogHead, RequestRow
from controlplane.adapters.sql.upserts import Rows, put
from controlplane.app.ports import Context
from controlplane.domain.commands import Applied, ChangeRecord, Changes, Concerned, Outcome, Result
from controlplane.domain.entities import Position
from fleet.errors import FleetError, Kind

CHANNEL = "fleet_log"
"""PostgreSQL's notification channel. The payload is where the log ends, a hint: the truth is the log."""
Head = tuple[int, bytes]
"""A scope's newest generation, and its digest."""
MAX_HEADS = 100
"""Scopes of which a change says what they are from it on; where it changes more of them, that is read."""
REMEMBERED = timedelta(hours=24)
"""How long a request id is good for."""

END = select(LogHead.epoch, LogHead.revision)
_LOCK = END.with_for_update()
_ANSWER = select(RequestRow.content, RequestRow.answer, RequestRow.at).where(
    RequestRow.actor == bindparam("actor"), RequestRow.request_id == bindparam("request_id")
)


def at(position: Position) -> dict[str, int]:
    """Write a position as the columns, and parameters, that hold one."""
    return {"epoch": position.epoch, "revision": position.revision}


def read_position(session: Session) -> Position:
    """Read the log's end in this snapshot."""
    return Position(*session.connection().execute(END).one())


def lock_end(session: Session) -> Position:
    """Become the one writer of the log until this transaction ends: `→ where it ends now`.

    SQLite's BEGIN IMMEDIATE has done so already. A sequence in the row's place would commit out of order.
    """
    return Position(*session.connection().execute(_LOCK).one())


def diff_of(results: tuple[Result, ...], moved: Mapping[str, Head], satellites: Iterable[str]) -> dict[str, Any]:
    """Say what a change did, and which scopes and satellites it moves."""
    changed = tuple(result for result in results if result.outcome is not Outcome.UNCHANGED)
    return {
        "results": results_to_document(changed),
        "scopes": sorted(moved),
        "satellites": sorted(satellites),
        "heads": _written(moved) if len(moved) <= MAX_HEADS else {},
    }


def change(position: Position, context: Context, diff: dict[str, Any]) -> list[Rows]:
    """Make the rows of the change at a position, where the log ends from now on."""
    end = at(position)
    of = {"at": context.at, "actor": context.actor, "request_id": context.request_id, "reason": context.reason}
    return [Rows(LogHead, [{"id": 1, **end}]), Rows(ChangeRow, [{**end, **of, "diff": diff}], replacing=False)]


def write(session: Session, rows: Sequence[Rows], end: Position | None = None) -> None:
    """Write all that a transaction has to write; once it commits, other processes are told where the log ends now."""
    if rows:
        put(session.connection(), *rows, tell=(CHANNEL, str(end)) if end else None)


def _written(heads: Mapping[str, Head]) -> dict[str, list[Any]]:
    return {scope: [generation, digest.hex()] for scope, (generation, digest) in heads.items()}


def read_heads(diff: Mapping[str, Any]) -> dict[str, Head]:
    """Read what a change says of scopes; nothing, where a release before this wrote it."""
    return {scope: (generation, bytes.fromhex(digest)) for scope, (generation, digest) in diff.get("heads", {}).items()}


def find_answer(session: Session, context: Context) -> Applied | None:
    """Find the first answer to a request id.

    Raises:
        FleetError: EXISTS `REQUEST_ID_REUSED` where the id was given to other content.
    """
    if not context.request_id:
        return None
    asked = {"actor": context.actor, "request_id": context.request_id}
    row = session.connection().execute(_ANSWER, asked).first()
    if row is None or context.at - row.at >= REMEMBERED:
        return None
    if row.content != context.content:
        text_ = "the request id was used for another request: take a new one"
        raise FleetError(Kind.EXISTS, "REQUEST_ID_REUSED", text_, subject=context.request_id)
    return answer_from_document(row.answer)


def answer(context: Context, applied: Applied, *, replacing: bool = True) -> list[Rows]:
    """Make the row of the answer to a call that may be repeated; in the place of one that is too old, or of none."""
    if not context.request_id:
        return []
    row = {
        "actor": context.actor,
        "request_id": context.request_id,
        "content": context.content,
        "answer": answer_to_document(applied),
        "at": context.at,
    }
    return [Rows(RequestRow, [row], replacing=replacing)]


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
