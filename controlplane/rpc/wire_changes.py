"""ApplyChanges and the log of changes ⇄ domain commands and records."""

from __future__ import annotations

from controlplane.domain.commands import ChangeRecord, Command, Delete, DeletePair, EntityKind, Outcome, Result, Upsert
from controlplane.domain.entities import Entity
from controlplane.rpc.wire import write_position, write_time
from controlplane.rpc.wire_entities import (
    read_artifact,
    read_assignment,
    read_block,
    read_group,
    read_membership,
    read_operator,
    read_policy,
    read_satellite,
    read_source,
)
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb

_OUTCOMES = {
    Outcome.CREATED: pb.CHANGE_OUTCOME_CREATED,
    Outcome.UPDATED: pb.CHANGE_OUTCOME_UPDATED,
    Outcome.DELETED: pb.CHANGE_OUTCOME_DELETED,
    Outcome.UNCHANGED: pb.CHANGE_OUTCOME_UNCHANGED,
}


def read_change(change: pb.Change) -> Command:
    """Read one change: `fleet.v1.Change → command`.

    Raises:
        FleetError: MALFORMED `CHANGE_EMPTY` where it does nothing, and what the entity's reading raises.
    """
    if change.WhichOneof("action") == "delete":
        return _read_deletion(change.delete)
    return Upsert(_read_entity(change), must_create=change.must_create, must_exist=change.must_exist)


def _read_entity(change: pb.Change) -> Entity:
    match change.WhichOneof("action"):
        case "satellite":
            return read_satellite(change.satellite)
        case "group":
            return read_group(change.group)
        case "source":
            return read_source(change.source)
        case "artifact":
            return read_artifact(change.artifact)
        case "policy":
            return read_policy(change.policy)
        case "block":
            return read_block(change.block)
        case "membership":
            return read_membership(change.membership)
        case "assignment":
            return read_assignment(change.assignment)
        case "operator":
            return read_operator(change.operator)
        case _:
            raise malformed("CHANGE_EMPTY", "a change says what to do")


def _read_deletion(deletion: pb.Deletion) -> Command:
    match deletion.WhichOneof("entity"):
        case None:
            raise malformed("CHANGE_EMPTY", "a deletion says what to remove")
        case "membership":
            return DeletePair(read_membership(deletion.membership))
        case "assignment":
            return DeletePair(read_assignment(deletion.assignment))
        case word:
            return Delete(EntityKind(word), getattr(deletion, word), deletion.etag)


def write_result(result: Result) -> pb.ChangeResult:
    """Say what one command did."""
    return pb.ChangeResult(outcome=_OUTCOMES[result.outcome], entity=result.entity, name=result.name, etag=result.etag)


def write_record(record: ChangeRecord) -> pb.ChangeRecord:
    """Show one entry of the log."""
    return pb.ChangeRecord(
        position=write_position(record.position),
        at=write_time(record.at),
        actor=record.actor,
        request_id=record.request_id,
        reason=record.reason,
        results=map(write_result, record.results),
    )
