"""ApplyChanges and the log of changes ⇄ domain commands and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controlplane.domain.commands import ChangeRecord, Command, Delete, DeletePair, EntityKind, Outcome, Result, Upsert
from controlplane.domain.entities import Entity
from controlplane.rpc.wire import write_position, write_time
from controlplane.rpc.wire_configuration import read_configuration
from controlplane.rpc.wire_entities import (
    read_artifact,
    read_assignment,
    read_group,
    read_membership,
    read_operator,
    read_satellite,
    read_source,
)
from controlplane.rpc.wire_rules import read_block, read_policy, read_signed, read_trust_root
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb

_OUTCOMES = {
    Outcome.CREATED: pb.CHANGE_OUTCOME_CREATED,
    Outcome.UPDATED: pb.CHANGE_OUTCOME_UPDATED,
    Outcome.DELETED: pb.CHANGE_OUTCOME_DELETED,
    Outcome.UNCHANGED: pb.CHANGE_OUTCOME_UNCHANGED,
}


_READ: dict[str, Callable[[Any], Entity]] = {
    "satellite": read_satellite,
    "group": read_group,
    "source": read_source,
    "artifact": read_artifact,
    "policy": read_policy,
    "block": read_block,
    "trust_root": read_trust_root,
    "signed": read_signed,
    "configuration": read_configuration,
    "membership": read_membership,
    "assignment": read_assignment,
    "operator": read_operator,
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
    action = change.WhichOneof("action")
    if action is None:
        raise malformed("CHANGE_EMPTY", "a change says what to do")
    if action not in _READ:
        raise malformed("CHANGE_UNSUPPORTED", "this server does not make such changes", subject=action)
    entity: Entity = _READ[action](getattr(change, action))
    return entity


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
