"""Rules to judge by, made of the merged policies, trust roots and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.domain.policy import Blocks, Policy, Rules, TrustRoot, joined_version
from fleet import merge, resources
from fleet.reference import parse_digest


@dataclass(frozen=True, slots=True)
class Reading:
    """One resource as it was understood."""

    resource: resources.Readable
    version: bytes


Readings = Mapping[tuple[str, int, str], Reading]
"""By scope, kind and name."""


def make_rules(desired: merge.Desired, readings: Readings, unreadable: tuple[str, ...]) -> Rules:
    """Make what verdicts rest on."""
    policies = ((scope, name, spec, readings[scope, resources.POLICY, name]) for scope, name, spec in desired.policies)
    roots = (
        (scope, name, spec, readings[scope, resources.TRUST_ROOT, name]) for scope, name, spec in desired.trust_roots
    )
    return Rules(
        policies=tuple(
            Policy(name, spec, scope, read.version, read.resource.expires_at) for scope, name, spec, read in policies
        ),
        trust_roots={
            (scope, name): TrustRoot(name, spec, read.version, read.resource.expires_at)
            for scope, name, spec, read in roots
        },
        blocks=_blocks(desired, readings),
        unreadable=unreadable,
    )


def _blocks(desired: merge.Desired, readings: Readings) -> Blocks:
    specs = [spec for _, _, spec in desired.blocks]
    read = [readings[scope, resources.BLOCK, name] for scope, name, _ in desired.blocks]
    return Blocks(
        digests=frozenset(parse_digest(digest) for spec in specs for digest in spec.digests),
        signers=frozenset(signer for spec in specs for signer in spec.signers),
        identities=tuple(identity for spec in specs for identity in spec.identities),
        epoch=max((one.resource.serial for one in read), default=0),
        version=joined_version(b"edge.blocks\0", (one.version for one in read)),
    )
