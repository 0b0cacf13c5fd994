"""From what is held to what is enforced: resources read, scopes merged, rules and editions made of them.

A resource that cannot be read keeps its last good reading in force; it is reported and not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from edge.domain.content import Platform
from edge.domain.holding import HeldScope, Holding, Resource, holding_digest
from edge.domain.moment import Moment
from edge.domain.pinning import PINNED, TEXTS, WITHHELD, Pins, make_pins
from edge.domain.plan import Edition, RuleVersions, Wanted
from edge.domain.policy import Rules
from edge.domain.rules import Reading, Readings, make_rules
from fleet import merge, resources
from fleet.link import Link
from fleet.signing import Signers

Good = Mapping[tuple[str, int, str], Resource]
"""The last of each resource that could be used, by scope, kind and name."""

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


@dataclass(frozen=True, slots=True)
class Held:
    """What is held, as it was read."""

    scopes: tuple[merge.Scope, ...]
    readings: Readings
    good: Good
    """What could be used, now: to be journaled."""


@dataclass(slots=True)
class _Scope:
    """One scope while it is read."""

    name: str
    precedence: int
    bodies: dict[merge.Key, resources.Body] = field(default_factory=dict)
    unusable: dict[merge.Key, resources.Unusable] = field(default_factory=dict)


def read_holding(holding: Holding, good: Good, pinned: Signers | None = None) -> Held:
    """Read every resource; what cannot be used leaves its last good reading in force.

    Args:
        holding: what is held.
        good: the last resources that could be used.
        pinned: the site's own policy signers; None where it goes by what Ground Control says.
    """
    held = [one for scope in holding.values() for one in scope.resources.values()]
    pins, good = make_pins(pinned, held, good) if pinned else (None, good)
    readings: dict[tuple[str, int, str], Reading] = {}
    kept: dict[tuple[str, int, str], Resource] = {}
    scopes = {name: _Scope(name, scope.precedence) for name, scope in holding.items()}
    asked = [(name, one) for name, scope in holding.items() for one in scope.resources.values()]
    for name, one in (*asked, *_withheld(holding, good, pins)):
        scope = scopes.setdefault(name, _Scope(name, 0))
        used, reading, problem = _usable(one, good.get((name, *one.key)), name, pins)
        if problem is None and one.key not in holding.get(name, _NOTHING).resources and one.kind in PINNED:
            problem = resources.Unusable(WITHHELD, TEXTS[WITHHELD], hold=False)
        if problem is not None:
            scope.unusable[one.key] = problem
        if used is not None and reading is not None:
            kept[name, *one.key] = used
            scope.bodies[one.key] = reading.body
            readings[name, *one.key] = Reading(reading, used.version)
    read = tuple(merge.Scope(one.name, one.precedence, one.bodies, one.unusable) for one in scopes.values())
    return Held(read, readings, kept)


_NOTHING = HeldScope(b"")


def _withheld(holding: Holding, good: Good, pins: Pins | None) -> Iterator[tuple[str, Resource]]:
    """List what a pinned site had and is no longer sent: it stays, and so do signer sets."""
    for (scope, kind, name), one in good.items() if pins else ():
        is_held = (kind, name) in holding.get(scope, _NOTHING).resources
        if not is_held and (kind in PINNED or kind == resources.SIGNER_SET):
            yield scope, one


def _usable(
    one: Resource, last: Resource | None, scope: str, pins: Pins | None
) -> tuple[Resource | None, resources.Readable | None, resources.Unusable | None]:
    """Say which resource is in force, how it reads, and what is wrong with the one that came."""
    reading = resources.read(one.kind, one.payload)
    if pins and one.kind in PINNED and isinstance(reading, resources.Readable):
        reason = pins.refusal(one, reading, scope)
        reading = resources.Unusable(reason, TEXTS[reason], hold=False) if reason else reading
    if isinstance(reading, resources.Readable):
        return one, reading, None
    if reading is None:
        return None, None, None
    before = resources.read(last.kind, last.payload) if last else None
    return last, before if isinstance(before, resources.Readable) else None, reading


def enforce(holding: Holding, good: Good, pinned: Signers | None = None) -> tuple[Enforced, Good]:
    """Make of what is held what is to be enforced; the last good resources are to be journaled."""
    held = read_holding(holding, good, pinned)
    scopes, desired = held.scopes, merge.merge(held.scopes)
    unreadable = tuple(
        sorted(
            name for scope in scopes for (kind, name), one in scope.unusable.items() if one.hold and kind not in _OWN
        )
    )
    rules = make_rules(desired, held.readings, unreadable)
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
    return enforced, held.good


def _wanted(one: merge.Wanted) -> Wanted:
    artifact = one.artifact
    platforms = sorted(str(Platform(p.os, p.architecture, p.variant)) for p in artifact.platforms)
    edition = Edition(
        one.name, artifact.source, artifact.repository, one.local_repository, artifact.digest, tuple(platforms)
    )
    return Wanted(edition, one.tag, artifact.priority, one.held, one.scopes[0], artifact.size_bytes)
