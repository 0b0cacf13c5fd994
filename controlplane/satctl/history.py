"""`satctl changes`: the log of changes, which is the audit trail."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.document import enum_word
from controlplane.satctl.options import PAGE_SIZE, AsJson
from controlplane.satctl.render import Column, moment, show_list
from controlplane.satctl.running import run
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.state_pb2 import Position

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(changes)


def position_text(position: Position) -> str:
    """Write a position: `1.42`."""
    return f"{position.epoch}.{position.revision}"


def read_position(text: str) -> Position:
    """Read a position: `epoch.revision`.

    Raises:
        FleetError: MALFORMED `POSITION_MALFORMED`.
    """
    epoch, dot, revision = text.partition(".")
    if not dot or not epoch.isdecimal() or not revision.isdecimal():
        raise malformed("POSITION_MALFORMED", "a position is EPOCH.REVISION, as 1.42", subject=text[:40])
    return Position(epoch=int(epoch), revision=int(revision))


def actor_name(spiffe_id: str) -> str:
    """Name an actor by the last part of its SPIFFE ID, whole in JSON."""
    return spiffe_id.rpartition("/")[2] or spiffe_id


def result_text(result: pb.ChangeResult) -> str:
    """Say what one change did: `created group shops`."""
    return f"{enum_word(pb.ChangeOutcome.DESCRIPTOR, result.outcome)} {result.entity} {result.name}"


def results_text(record: pb.ChangeRecord) -> str:
    """Say what a record did, shortly."""
    return ", ".join(map(result_text, record.results))


COLUMNS: tuple[Column[pb.ChangeRecord], ...] = (
    Column("POSITION", lambda c: position_text(c.position)),
    Column("AT", lambda c: moment(c, "at")),
    Column("BY", lambda c: actor_name(c.actor)),
    Column("WHAT", results_text, folds=True),
    Column("REASON", lambda c: c.reason, folds=True, optional=True),
)


def changes(
    context: typer.Context,
    *,
    after: Annotated[str, typer.Option(help="Only what came after this position: 1.42.", show_default=False)] = "",
    last: Annotated[int, typer.Option(min=1, help="Only so many, the newest.", show_default="all")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """List who changed what, when and why; the oldest first.

    satctl changes --last 20
    """
    begin = read_position(after) if after else None

    async def ask(client: FleetClient) -> list[pb.ChangeRecord]:
        kept: deque[pb.ChangeRecord] = deque(maxlen=last)
        cursor, more = begin, True
        while more:
            request = pb.ListChangesRequest(after=cursor, page_size=PAGE_SIZE)
            page = await client.call(client.fleet.ListChanges, request)
            kept.extend(page.changes)
            more = page.more and bool(page.changes)
            cursor = page.changes[-1].position if page.changes else cursor
        return list(kept)

    show_list(run(context, ask), COLUMNS, as_json=as_json, nothing="no changes")
