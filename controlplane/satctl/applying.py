"""Writing rules from a file, all of them or none, and saying what that did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

from controlplane.satctl.document import document, enum_word
from controlplane.satctl.entities import BLOCK, POLICY, TRUST_ROOT, Entity
from controlplane.satctl.render import Column, coloured, print_json, print_table, say, table_of
from controlplane.satctl.running import run
from fleet.errors import FleetError, Kind
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

Rule = pb.Policy | pb.TrustRoot | pb.Block
R = TypeVar("R", pb.Policy, pb.TrustRoot, pb.Block)

RESULTS: tuple[Column[pb.ChangeResult], ...] = (
    Column("KIND", lambda r: r.entity.replace("_", " ")),
    Column("NAME", lambda r: r.name),
    Column("OUTCOME", lambda r: coloured(enum_word(pb.ChangeOutcome.DESCRIPTOR, r.outcome))),
)


def change_of(rule: Rule) -> pb.Change:
    """Make the change that writes a rule."""
    match rule:
        case pb.Policy():
            return pb.Change(policy=rule)
        case pb.TrustRoot():
            return pb.Change(trust_root=rule)
        case _:
            return pb.Change(block=rule)


def apply_rules(context: typer.Context, rules: Sequence[Rule], *, dry_run: bool, reason: str, as_json: bool) -> None:
    """Make or replace rules in one revision, and print what each came to."""
    request = pb.ApplyChangesRequest(changes=map(change_of, rules), dry_run=dry_run, reason=reason)

    async def work(client: FleetClient) -> tuple[pb.ApplyChangesResponse, list[str]]:
        held = [one for rule in rules if (one := await _held(client, rule))]
        return await client.call(client.fleet.ApplyChanges, request), _lost(held, rules)

    applied, lost = run(context, work)
    if as_json:
        print_json(document(applied))
    else:
        print_table(table_of(applied.results, RESULTS))
    changed = {one.name for one in applied.results if one.outcome == pb.CHANGE_OUTCOME_UPDATED}
    for name in sorted(changed.intersection(lost)):
        warn(
            f"{name} was signed by policy signers, and what takes its place is not: "
            "sites that pin them refuse it and keep what they have (`satctl policy sign`)"
        )
    if dry_run:
        say("nothing was written: this was a dry run")


def apply_signed(
    context: typer.Context, signed: Sequence[pb.SignedResource], *, dry_run: bool, reason: str, as_json: bool
) -> None:
    """Send on what was signed, as it is, in one revision."""
    changes = [pb.Change(signed=one) for one in signed]
    request = pb.ApplyChangesRequest(changes=changes, dry_run=dry_run, reason=reason)
    applied = run(context, lambda client: client.call(client.fleet.ApplyChanges, request))
    if as_json:
        print_json(document(applied))
    else:
        print_table(table_of(applied.results, RESULTS))


def warn(text: str) -> None:
    """Say what is allowed and probably not meant."""
    say(f"warning: {text}", style="yellow")


async def _held(client: FleetClient, rule: Rule) -> Rule | None:
    match rule:
        case pb.Policy():
            return await _find(client, POLICY, rule.name)
        case pb.TrustRoot():
            return await _find(client, TRUST_ROOT, rule.name)
        case _:
            return await _find(client, BLOCK, rule.name)


async def _find(client: FleetClient, entity: Entity[R], name: str) -> R | None:
    try:
        return await entity.get(client, name)
    except FleetError as error:
        if error.kind is Kind.UNKNOWN:
            return None
        raise


def _lost(held: Iterable[Rule], rules: Iterable[Rule]) -> list[str]:
    signed = {(type(one), one.name) for one in held if one.signed_by}
    return [rule.name for rule in rules if (type(rule), rule.name) in signed]
