"""Commands in order, in one transaction, at one revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlmodel import Session

from controlplane.adapters.sql import write_content as content
from controlplane.adapters.sql import write_members as members
from controlplane.adapters.sql import write_rules as rules
from controlplane.adapters.sql.batch import Batch
from controlplane.adapters.sql.log import append, find_answer, lock_head, position_of, remember_answer
from controlplane.adapters.sql.settling import settle
from controlplane.app.ports import Context
from controlplane.domain.commands import (
    Applied,
    Command,
    Concerned,
    Delete,
    DeletePair,
    EntityKind,
    Outcome,
    Result,
    Upsert,
)
from controlplane.domain.entities import (
    Artifact,
    Assignment,
    Block,
    Configuration,
    Group,
    Membership,
    Operator,
    Policy,
    Satellite,
    Signed,
    Source,
    TrustRoot,
)

_PUT: dict[type[Any], Callable[[Batch, Upsert, Any], Result]] = {
    Satellite: members.put_satellite,
    Group: members.put_group,
    Membership: members.put_membership,
    Operator: members.put_operator,
    Source: content.put_source,
    Artifact: content.put_artifact,
    Assignment: content.put_assignment,
    Policy: rules.put_rule,
    TrustRoot: rules.put_rule,
    Block: rules.put_rule,
    Configuration: rules.put_rule,
    Signed: rules.put_signed,
}
_DELETE: dict[EntityKind, Callable[[Batch, Delete], Result]] = {
    EntityKind.SATELLITE: members.delete_satellite,
    EntityKind.GROUP: members.delete_group,
    EntityKind.OPERATOR: members.delete_operator,
    EntityKind.SOURCE: content.delete_source,
    EntityKind.ARTIFACT: content.delete_artifact,
    EntityKind.POLICY: rules.delete_rule,
    EntityKind.TRUST_ROOT: rules.delete_rule,
    EntityKind.BLOCK: rules.delete_rule,
    EntityKind.CONFIGURATION: rules.delete_rule,
}


def do(batch: Batch, command: Command) -> Result:
    """Do one command."""
    match command:
        case Upsert():
            return _PUT[type(command.entity)](batch, command, command.entity)
        case Delete():
            return _DELETE[command.kind](batch, command)
        case DeletePair():
            if isinstance(command.pair, Membership):
                return members.delete_membership(batch, command.pair)
            return content.delete_assignment(batch, command.pair)


def commit(batch: Batch, results: tuple[Result, ...], *, shown: tuple[Result, ...] | None = None) -> Applied:
    """Write the generations, the log and the answer (`shown`, else all results); nothing where nothing changed."""
    concerned = settle(batch.session, batch.head, batch.touched)
    if concerned == Concerned() and all(result.outcome is Outcome.UNCHANGED for result in results):
        position = position_of(batch.head)
    else:
        position = append(batch.session, batch.head, batch.context, results, concerned)
    applied = Applied(position, results if shown is None else shown)
    remember_answer(batch.session, batch.context, applied)
    return applied


def apply(
    session: Session, context: Context, commands: Sequence[Command], trust_domain: str, *, dry_run: bool
) -> Applied:
    """Do all commands or none; a dry run does them and takes them back."""
    batch = Batch(session, lock_head(session), context, trust_domain)
    # Asked again under the lock: the same call may have come twice at once.
    if not dry_run and (first := find_answer(session, context)):
        return first
    before = position_of(batch.head)
    done = [(command, do(batch, command)) for command in commands]
    rules.check_trust_of(batch)
    shown = tuple(result for command, result in done if not _is_implied(command))
    if not dry_run:
        return commit(batch, tuple(result for _, result in done), shown=shown)
    settle(session, batch.head, batch.touched)  # what the database refuses is refused here, too
    session.rollback()
    return Applied(before, shown)


def _is_implied(command: Command) -> bool:
    return isinstance(command, Upsert) and command.implied
