"""Rows of rules as entities: policies, trust roots, blocks, signer sets and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlmodel import Session, col, select

from controlplane.adapters.sql.documents import from_document
from controlplane.adapters.sql.tables import RuleRow, RuleScopeRow
from controlplane.domain.content import etag_of
from controlplane.domain.entities import Block, Configuration, Policy, SignerSet, TrustRoot
from controlplane.domain.policy_checks import Rule
from controlplane.domain.specs import ConfigurationSpec, ResourceKind
from controlplane.domain.state import FLEET_SCOPE
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec

R = TypeVar("R", Policy, TrustRoot, Block, SignerSet, Configuration)

_WORDS: dict[type[Rule], str] = {
    Policy: "policy",
    TrustRoot: "trust_root",
    Block: "block",
    SignerSet: "signer_set",
    Configuration: "configuration",
}


def rule_scopes(session: Session, kind: int, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read which scopes hold rules."""
    found: dict[str, list[str]] = {name: [] for name in names}
    held = select(RuleScopeRow).where(RuleScopeRow.kind == kind, col(RuleScopeRow.name).in_(list(found)))
    for row in session.exec(held):
        found[row.name].append(row.scope)
    return {name: tuple(sorted(scopes)) for name, scopes in found.items()}


def rule_etag(rule: Rule) -> str:
    """Name a rule's content; who has signed it is no part of it."""
    word = _WORDS[type(rule)]
    expires_at = () if isinstance(rule, Block | SignerSet | Configuration) else (rule.expires_at,)
    return etag_of(word, rule.name, rule.spec, rule.scopes, *expires_at)


def policies(session: Session, rows: Sequence[RuleRow]) -> tuple[Policy, ...]:
    """Show policies."""
    scopes = rule_scopes(session, ResourceKind.POLICY, [row.name for row in rows])
    return tuple(
        _with_etag(
            Policy(
                row.name,
                from_document(PolicySpec, row.spec),
                scopes[row.name],
                expires_at=row.expires_at,
                serial=row.serial,
                signed_by=_signers(row),
            )
        )
        for row in rows
    )


def trust_roots(session: Session, rows: Sequence[RuleRow]) -> tuple[TrustRoot, ...]:
    """Show trust roots."""
    scopes = rule_scopes(session, ResourceKind.TRUST_ROOT, [row.name for row in rows])
    return tuple(
        _with_etag(
            TrustRoot(
                row.name,
                from_document(TrustRootSpec, row.spec),
                scopes[row.name],
                expires_at=row.expires_at,
                serial=row.serial,
                signed_by=_signers(row),
            )
        )
        for row in rows
    )


def blocks(session: Session, rows: Sequence[RuleRow]) -> tuple[Block, ...]:
    """Show blocks."""
    scopes = rule_scopes(session, ResourceKind.BLOCK, [row.name for row in rows])
    return tuple(
        _with_etag(
            Block(
                row.name,
                from_document(BlockSpec, row.spec),
                scopes[row.name],
                serial=row.serial,
                signed_by=_signers(row),
            )
        )
        for row in rows
    )


def signer_sets(_session: Session, rows: Sequence[RuleRow]) -> tuple[SignerSet, ...]:
    """Show signer sets."""
    return tuple(
        _with_etag(
            SignerSet(
                row.name,
                from_document(SignerSetSpec, row.spec),
                (FLEET_SCOPE,),
                serial=row.serial,
                signed_by=_signers(row),
            )
        )
        for row in rows
    )


def configurations(_session: Session, rows: Sequence[RuleRow]) -> tuple[Configuration, ...]:
    """Show scopes' settings."""
    return tuple(_with_etag(Configuration(row.name, from_document(ConfigurationSpec, row.spec))) for row in rows)


def rules(session: Session, rows: Sequence[RuleRow], kind: ResourceKind) -> Sequence[Rule]:
    """Show rules of one kind, as what they are."""
    match kind:
        case ResourceKind.POLICY:
            return policies(session, rows)
        case ResourceKind.TRUST_ROOT:
            return trust_roots(session, rows)
        case ResourceKind.BLOCK:
            return blocks(session, rows)
        case ResourceKind.SIGNER_SET:
            return signer_sets(session, rows)
        case _:
            return configurations(session, rows)


def _signers(row: RuleRow) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, row.signed_by))


def _with_etag(rule: R) -> R:
    return replace(rule, etag=rule_etag(rule))
