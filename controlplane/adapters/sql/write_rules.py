"""Commands about what satellites judge and live by: policies, trust roots, blocks, signer sets and settings."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import select

from controlplane.adapters.payload import make_resource
from controlplane.adapters.sql import rule_rows as rows
from controlplane.adapters.sql.batch import Batch, need_scope
from controlplane.adapters.sql.documents import to_document
from controlplane.adapters.sql.settling import store_body
from controlplane.adapters.sql.tables import RuleRow, RuleScopeRow
from controlplane.domain.commands import Delete, EntityKind, Outcome, Result, Upsert
from controlplane.domain.entities import Block, Configuration, Policy, Signed, SignerSet, TrustRoot
from controlplane.domain.policy_checks import MAX_SERIAL, Placed, Rule, check_trust, open_signed
from controlplane.domain.rules import check_etag, check_expiry, check_serial, decide, unknown
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import Resource, split_scope
from fleet.digests import resource_version
from fleet.errors import FleetError, Kind

_KINDS: dict[EntityKind, ResourceKind] = {
    EntityKind.POLICY: ResourceKind.POLICY,
    EntityKind.TRUST_ROOT: ResourceKind.TRUST_ROOT,
    EntityKind.BLOCK: ResourceKind.BLOCK,
    EntityKind.SIGNER_SET: ResourceKind.SIGNER_SET,
    EntityKind.CONFIGURATION: ResourceKind.CONFIGURATION,
}
_ENTITIES: dict[type[Rule], EntityKind] = {
    Policy: EntityKind.POLICY,
    TrustRoot: EntityKind.TRUST_ROOT,
    Block: EntityKind.BLOCK,
    SignerSet: EntityKind.SIGNER_SET,
    Configuration: EntityKind.CONFIGURATION,
}


@dataclass(frozen=True, slots=True)
class _Held:
    """A rule as it is: its row, and what operators see of it."""

    row: RuleRow
    rule: Rule


def _held(batch: Batch, kind: ResourceKind, name: str) -> _Held | None:
    row = batch.session.get(RuleRow, (kind, name))
    return _Held(row, rows.rules(batch.session, [row], kind)[0]) if row else None


def put_rule(batch: Batch, command: Upsert, wanted: Policy | TrustRoot | Block | Configuration) -> Result:
    """Make or replace a rule, unsigned, and say which scopes hold it."""
    entity = _ENTITIES[type(wanted)]
    held = _held(batch, _KINDS[entity], wanted.name)
    etag = rows.rule_etag(wanted)
    outcome = decide(entity, wanted.name, command, held=held.rule.etag if held else None, offered=etag)
    if outcome is not Outcome.UNCHANGED:
        row = held.row if held else RuleRow(kind=_KINDS[entity], name=wanted.name, spec={}, serial=0, version=b"")
        _write(batch, row, wanted)
        _place(batch, row, wanted.scopes)
    return Result(outcome, entity.value, wanted.name, etag)


def _write(batch: Batch, row: RuleRow, wanted: Policy | TrustRoot | Block | Configuration) -> None:
    """Serialize a rule with the next serial, unless only its scopes are others.

    A block's serial rises with its scopes, too: the highest of them tells which revocations a satellite knows.
    """
    document = to_document(wanted.spec)
    expires_at = None if isinstance(wanted, Block | Configuration) else wanted.expires_at
    is_same = (row.spec, row.expires_at, row.signed_by) == (document, expires_at, [])
    if row.version and is_same and not isinstance(wanted, Block):
        return
    check_expiry(expires_at, batch.context.at, wanted.name)
    row.spec, row.expires_at, row.signed_by = document, expires_at, []
    row.serial = _next_serial(batch, row)
    if isinstance(wanted, Configuration):  # nobody pins settings: the same ones are the same bytes again
        resource = make_resource(wanted.name, wanted.spec)
    else:
        at = batch.context.at
        resource = make_resource(wanted.name, wanted.spec, serial=row.serial, issued_at=at, expires_at=expires_at)
    row.version = store_body(batch.session, resource)
    batch.session.add(row)


def _next_serial(batch: Batch, row: RuleRow) -> int:
    """Grow a serial at least to this transaction's revision, so that serials of different rules can be compared."""
    serial = max(row.serial, batch.end.revision) + 1
    if serial > MAX_SERIAL:
        text = "the last serial was the highest that there is: delete it and make it again"
        raise FleetError(Kind.PRECONDITION, "SERIAL_OUT_OF_RANGE", text, subject=row.name)
    return serial


def put_signed(batch: Batch, command: Upsert, signed: Signed) -> Result:
    """Store what was signed elsewhere, byte for byte, in the scopes that it names."""
    wanted = open_signed(signed)
    entity = _ENTITIES[type(wanted)]
    kind = _KINDS[entity]
    resource = Resource(kind, wanted.name, signed.payload, resource_version(kind, signed.payload), signed.signatures)
    held = _held(batch, kind, wanted.name)
    outcome = _decide_signed(command, resource, held)
    if outcome is not Outcome.UNCHANGED:
        if isinstance(wanted, SignerSet):
            _check_successor(batch, wanted)
        else:
            check_serial(wanted.serial, held.row.serial if held else 0, wanted.name)
        row = held.row if held else RuleRow(kind=kind, name=wanted.name, spec={}, serial=0, version=b"")
        row.spec, row.serial = to_document(wanted.spec), wanted.serial
        row.expires_at = wanted.expires_at if isinstance(wanted, Policy | TrustRoot) else None
        row.signed_by = [key.hex() for key in wanted.signed_by]
        row.version = store_body(batch.session, resource)
        batch.session.add(row)
        _place(batch, row, wanted.scopes)
    return Result(outcome, entity.value, wanted.name, rows.rule_etag(wanted))


def _decide_signed(command: Upsert, resource: Resource, held: _Held | None) -> Outcome:
    """Compare bytes and signatures: the same content, signed anew, is another resource."""
    entity = _ENTITIES[type(held.rule)] if held else EntityKind(ResourceKind(resource.kind).name.lower())
    offered = f"{resource.version.hex()} {sorted(one.key_id.hex() for one in resource.signatures)}"
    present = f"{held.row.version.hex()} {sorted(held.row.signed_by)}" if held else None
    return decide(entity, resource.name, command, held=present, offered=offered)


def _check_successor(batch: Batch, wanted: SignerSet) -> None:
    known = select(RuleRow.serial).where(RuleRow.kind == ResourceKind.SIGNER_SET)
    successor = max(batch.session.exec(known), default=0) + 1
    if wanted.serial != successor:
        text = f"a signer set's serial is one more than the last one's: {successor}"
        raise FleetError(Kind.PRECONDITION, "SERIAL_NOT_NEXT", text, subject=wanted.name)


def _place(batch: Batch, row: RuleRow, scopes: tuple[str, ...]) -> None:
    placed = select(RuleScopeRow).where(RuleScopeRow.kind == row.kind, RuleScopeRow.name == row.name)
    held = {one.scope: one for one in batch.session.exec(placed)}
    for scope in scopes:
        if split_scope(scope)[1]:
            need_scope(batch, scope)
        if scope not in held:
            batch.session.add(RuleScopeRow(kind=row.kind, name=row.name, scope=scope))
    for scope, one in held.items():
        if scope not in scopes:
            batch.session.delete(one)
    batch.session.flush()
    for scope in {*held, *scopes}:
        batch.touched.add(scope, ResourceKind(row.kind), row.name)


def delete_rule(batch: Batch, command: Delete) -> Result:
    """Remove a rule from everywhere."""
    held = _held(batch, _KINDS[command.kind], command.name)
    if held is None:
        raise unknown(command.kind, command.name)
    check_etag(command.etag, held.rule.etag, command.name)
    _place(batch, held.row, ())
    batch.session.delete(held.row)
    batch.session.flush()
    return Result(Outcome.DELETED, command.kind.value, command.name)


def check_trust_of(batch: Batch) -> None:
    """See, after all commands, that policies find the trust roots that they name.

    Only then, so that a policy and its trust root may come, or go, in either order within one change.

    Raises:
        FleetError: PRECONDITION `TRUST_ROOT_UNKNOWN`, `TRUST_ROOT_IN_USE`; MALFORMED `TRUST_ROOT_LACKS`.
    """
    keys = set().union(*batch.touched.keys.values())
    moved = {name for kind, name in keys if kind == ResourceKind.TRUST_ROOT}
    written = {name for kind, name in keys if kind == ResourceKind.POLICY}
    if not (moved or written):
        return
    batch.session.flush()
    every = select(RuleRow).where(RuleRow.kind == ResourceKind.TRUST_ROOT)
    roots = {
        root.name: Placed(root.spec, root.scopes)
        for root in rows.trust_roots(batch.session, batch.session.exec(every).all())
    }
    policies = select(RuleRow).where(RuleRow.kind == ResourceKind.POLICY)
    for policy in rows.policies(batch.session, batch.session.exec(policies).all()):
        is_written = policy.name in written
        if is_written or any(one.trust_root in moved for one in policy.spec.authorities):
            check_trust(policy, roots, is_written=is_written)
