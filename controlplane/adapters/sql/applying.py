"""Commands in order, in one transaction, at one revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from controlplane.adapters.sql import log
from controlplane.adapters.sql import write_content as content
from controlplane.adapters.sql import write_members as members
from controlplane.adapters.sql import write_rules as rules
from controlplane.adapters.sql.batch import Batch, Written
from controlplane.adapters.sql.settling import settle
from controlplane.domain.commands import (
    Applied,
    Command,
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
from fleet.errors import FleetError

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


def commit(
    batch: Batch, results: tuple[Result, ...], *, shown: tuple[Result, ...] | None = None, is_first: bool = False
) -> Applied:
    """Write the generations, the log and the answer (`shown`, else all results); nothing where nothing changed.

    Where it `is_first` to have its request id, there must be no answer yet: the database refuses a second one.
    """
    settled, satellites = settle(batch.session, batch.touched, batch.artifacts), batch.touched.satellites
    rows = batch.artifacts.rows()
    written = None
    if settled.heads or satellites or any(result.outcome is not Outcome.UNCHANGED for result in results):
        written = batch.end.following()
        diff = log.diff_of(results, settled.heads, satellites)
        rows += settled.rows(written) + log.change(written, batch.context, diff)
        batch.written = Written(diff, settled)
    applied = Applied(written or batch.end, results if shown is None else shown)
    rows += log.answer(batch.context, applied, replacing=not is_first)
    log.write(batch.session, rows, written)
    batch.end = applied.position
    return applied


def apply(batch: Batch, commands: Sequence[Command], *, dry_run: bool, is_first: bool) -> Applied:
    """Do all commands or none; a dry run does them and takes them back.

    A call may come twice, also at once. The first answer is asked for under the lock, unless this `is_first` by all
    likelihood: then only where something fails, and the database refuses to have two.
    """
    if not dry_run and not is_first and (first := log.find_answer(batch.session, batch.context)):
        return first
    try:
        return _apply(batch, commands, dry_run=dry_run, is_first=is_first)
    except FleetError:
        if not dry_run and is_first and (first := log.find_answer(batch.session, batch.context)):
            batch.session.rollback()  # what came before the command that fails was done the first time
            return first
        raise


def _apply(batch: Batch, commands: Sequence[Command], *, dry_run: bool, is_first: bool) -> Applied:
    batch.artifacts.load({name for command in commands if (name := _artifact_of(command))})
    done = [(command, do(batch, command)) for command in commands]
    rules.check_trust_of(batch)
    shown = tuple(result for command, result in done if not _is_implied(command))
    if not dry_run:
        return commit(batch, tuple(result for _, result in done), shown=shown, is_first=is_first)
    settled = settle(batch.session, batch.touched, batch.artifacts)
    rows = batch.artifacts.rows() + settled.rows(batch.end.following())
    log.write(batch.session, rows)  # what the database refuses is refused here, too
    batch.session.rollback()
    return Applied(batch.end, shown)


def _artifact_of(command: Command) -> str:
    """Say which artifact a command is about."""
    match command:
        case Upsert(entity=Artifact(name=name)) | Upsert(entity=Assignment(artifact=name)):
            return name
        case Delete(kind=EntityKind.ARTIFACT, name=name) | DeletePair(pair=Assignment(artifact=name)):
            return name
    return ""


def _is_implied(command: Command) -> bool:
    return isinstance(command, Upsert) and command.implied
