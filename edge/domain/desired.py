"""From what is held to what is enforced: resources read, scopes merged, rules and editions made of them.

A resource that cannot be read keeps its last good reading in force; it is reported and not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge.domain.content import Platform
from edge.domain.holding import Holding, holding_digest
from edge.domain.moment import Moment
from edge.domain.plan import Edition, RuleVersions, Wanted
from edge.domain.policy import Rules
from edge.domain.rules import Reading, Readings, make_rules
from fleet import merge, resources
from fleet.digests import resource_version
from fleet.link import Link

Good = Mapping[tuple[str, int, str], bytes]
"""The last payload of each resource that could be used: `(scope, kind, name) → bytes`."""

_OWN = frozenset({resources.ARTIFACT, resources.SOURCE, resources.CONFIGURATION})
"""Kinds that rule over their own scope alone."""


@dataclass(frozen=True, slots=True)
class Enforced:
    """What a satellite works towards, made of one holding."""

    digest: bytes = holding_digest({})
    """The state digest of the holding."""
    wanted: tuple[Wanted, ...] = ()
    rules: Rules = field(default_factory=Rules)
    versions: RuleVersions = field(default_factory=RuleVersions)
    are_held: bool = False
    """A policy, trust root or block cannot be understood."""
    sources: Mapping[str, resources.Source] = field(default_factory=dict)
    shadowed: Mapping[str, str] = field(default_factory=dict)
    """Artifacts that lost their tag: `name → the scope that won it`."""
    problems: tuple[merge.Problem, ...] = ()
    concurrent_images: int = 0
    """Zero: the satellite's default."""
    link: Link = field(default_factory=Link)
    """What may be fetched from sources."""

    def at(self, moment: Moment) -> Enforced:
        """Say the same with the versions that the rules have at a moment: time alone may change verdicts."""
        rules = self.rules
        versions = RuleVersions(rules.policy_version, rules.trust_version_at(moment), rules.block_version)
        return self if versions == self.versions else replace(self, versions=versions)


def read_holding(holding: Holding, good: Good) -> tuple[tuple[merge.Scope, ...], Readings, Good]:
    """Read every resource: `(holding, last good payloads) → (scopes as read, readings, last good payloads now)`."""
    scopes: list[merge.Scope] = []
    read: dict[tuple[str, int, str], Reading] = {}
    kept: dict[tuple[str, int, str], bytes] = {}
    for name, held in holding.items():
        readings: dict[merge.Key, resources.Body] = {}
        unusable: dict[merge.Key, resources.Unusable] = {}
        for key, one in held.resources.items():
            payload: bytes | None = one.payload
            reading = resources.read(one.kind, one.payload)
            if isinstance(reading, resources.Unusable):
                unusable[key] = reading
                payload = good.get((name, *key))
                reading = None if payload is None else resources.read(one.kind, payload)
            if payload is not None and isinstance(reading, resources.Readable):
                kept[name, *key] = payload
                readings[key] = reading.body
                read[name, *key] = Reading(reading, resource_version(one.kind, payload))
        scopes.append(merge.Scope(name, held.precedence, readings, unusable))
    return tuple(scopes), read, kept


def enforce(holding: Holding, good: Good) -> tuple[Enforced, Good]:
    """Make of what is held what is to be enforced; the last good payloads are to be journaled."""
    scopes, read, kept = read_holding(holding, good)
    desired = merge.merge(scopes)
    unreadable = tuple(
        sorted(
            name for scope in scopes for (kind, name), one in scope.unusable.items() if one.hold and kind not in _OWN
        )
    )
    rules = make_rules(desired, read, unreadable)
    enforced = Enforced(
        digest=holding_digest(holding),
        wanted=tuple(_wanted(one) for one in desired.artifacts),
        rules=rules,
        versions=RuleVersions(rules.policy_version, rules.trust_version, rules.block_version),
        are_held=bool(unreadable),
        sources={one.artifact.source: one.source for one in desired.artifacts},
        shadowed={one.name: one.shadowed_by for one in desired.artifacts if one.shadowed_by},
        problems=desired.problems,
        concurrent_images=desired.configuration.concurrent_images,
        link=desired.configuration.link or Link(),
    )
    return enforced, kept


def _wanted(one: merge.Wanted) -> Wanted:
    artifact = one.artifact
    platforms = sorted(str(Platform(p.os, p.architecture, p.variant)) for p in artifact.platforms)
    edition = Edition(
        one.name, artifact.source, artifact.repository, one.local_repository, artifact.digest, tuple(platforms)
    )
    return Wanted(edition, one.tag, artifact.priority, one.held, one.scopes[0], artifact.size_bytes)
