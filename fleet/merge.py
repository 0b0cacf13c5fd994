"""Merge the scopes that a satellite holds into its desired state. Pure; run by satellites and by Ground Control.

Rank orders scopes where they disagree: the satellite's own, then groups by precedence (higher first) and name, then
the fleet's. Policies and blocks never disagree: all of them hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fleet import resources
from fleet.policy import BlockSpec, PolicySpec, TrustRootSpec
from fleet.reference import Digest
from fleet.resources import Artifact, Body, Configuration, Platform, Source, Unusable

T = TypeVar("T", Artifact, Source, PolicySpec, TrustRootSpec, BlockSpec)

Key = tuple[int, str]
"""A resource within a scope: (kind, name)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope's content as it was read.

    `readings` holds the last good reading of each resource; `unusable` those whose present version could not be
    read (their last good reading, if there is one, still stands in `readings`).
    """

    name: str
    precedence: int
    readings: Mapping[Key, Body]
    unusable: Mapping[Key, Unusable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One artifact that the site should have."""

    name: str
    artifact: Artifact
    source: Source
    local_repository: str
    tag: str
    """Tag to publish; empty where it has none, or another artifact won it."""
    scopes: tuple[str, ...]
    """Where it comes from, by rank."""
    held: bool
    """Something in force could not be read: nothing new may be admitted for it."""
    shadowed_by: str = ""
    """The scope that won its tag; empty where nobody did."""

    @property
    def key(self) -> tuple[str, Digest]:
        """What tells it from every other: its name, and its digest since two scopes may pin two."""
        return (self.name, self.artifact.digest)


@dataclass(frozen=True, slots=True)
class Problem:
    """A resource that is not in force as written."""

    scope: str
    kind: int
    name: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What a satellite should have and by what rules."""

    artifacts: tuple[Wanted, ...]
    """By priority, highest first, then name and digest."""
    policies: tuple[tuple[str, str, PolicySpec], ...]
    """(scope, name, policy), sorted."""
    blocks: tuple[tuple[str, str, BlockSpec], ...]
    trust_roots: tuple[tuple[str, str, TrustRootSpec], ...]
    configuration: Configuration
    problems: tuple[Problem, ...]


def rank(scope: Scope) -> tuple[int, int, str]:
    """Order scopes: the lowest value wins."""
    owner, _, _ = scope.name.partition("/")
    return ({"satellite": 0, "group": 1}.get(owner, 2), -scope.precedence, scope.name)


def merge(scopes: Iterable[Scope]) -> Desired:
    """Merge scopes, whatever the order they come in."""
    ranked = sorted(scopes, key=rank)
    sources = _first_by_name(ranked, Source)
    wanted, problems = _artifacts(ranked, sources)
    return Desired(
        artifacts=_settle_tags(wanted, ranked),
        policies=_all(ranked, PolicySpec),
        blocks=_all(ranked, BlockSpec),
        trust_roots=_all(ranked, TrustRootSpec),
        configuration=_configuration(ranked),
        problems=tuple(problems + _unusable(ranked)),
    )


def _first_by_name(ranked: list[Scope], kind: type[T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for scope in ranked:
        for (_, name), body in scope.readings.items():
            if isinstance(body, kind):
                found.setdefault(name, body)
    return found


def _configuration(ranked: list[Scope]) -> Configuration:
    """Take each setting whole from the highest-ranking scope that says something of it."""
    said = [
        body
        for scope in ranked
        for _, body in sorted(scope.readings.items(), key=lambda item: item[0])
        if isinstance(body, Configuration)
    ]
    return Configuration(
        concurrent_images=next((one.concurrent_images for one in said if one.concurrent_images), 0),
        link=next((one.link for one in said if one.link is not None), None),
    )


def _all(ranked: list[Scope], kind: type[T]) -> tuple[tuple[str, str, T], ...]:
    rows = [
        (scope.name, name, body)
        for scope in ranked
        for (_, name), body in scope.readings.items()
        if isinstance(body, kind)
    ]
    return tuple(sorted(rows, key=lambda row: row[:2]))


def _holds(ranked: list[Scope]) -> tuple[set[str], bool]:
    """Tell which scopes may admit nothing new, and whether none may.

    Policies, trust roots and blocks rule over the whole merged state, so one of those that cannot be read holds all
    of it; so does a kind that is not known, which may be such a rule.
    """
    own = {resources.ARTIFACT, resources.SOURCE, resources.CONFIGURATION}
    held = {scope.name for scope in ranked if any(problem.hold for problem in scope.unusable.values())}
    everything = any(
        problem.hold and kind not in own for scope in ranked for (kind, _), problem in scope.unusable.items()
    )
    return held, everything


def _artifacts(ranked: list[Scope], sources: Mapping[str, Source]) -> tuple[list[Wanted], list[Problem]]:
    held, everything = _holds(ranked)
    found: dict[tuple[str, Digest], Wanted] = {}
    problems: list[Problem] = []
    for scope in ranked:
        for (kind, name), body in scope.readings.items():
            if not isinstance(body, Artifact):
                continue
            source = sources.get(body.source)
            if source is None:
                problems.append(Problem(scope.name, kind, name, "SOURCE_UNKNOWN", f"no source {body.source}"))
                continue
            wanted = Wanted(
                name,
                body,
                source,
                _local(source, body),
                body.tag,
                (scope.name,),
                everything or scope.name in held,
            )
            found[wanted.key] = _unite(found[wanted.key], wanted) if wanted.key in found else wanted
    return list(found.values()), problems


def _local(source: Source, artifact: Artifact) -> str:
    return f"{source.local_prefix}/{artifact.repository}" if source.local_prefix else artifact.repository


def _unite(first: Wanted, second: Wanted) -> Wanted:
    """Join two scopes' wish for the same name and digest; `first` ranks higher."""
    return replace(
        first,
        artifact=replace(
            first.artifact,
            platforms=_unite_platforms(first.artifact.platforms, second.artifact.platforms),
            priority=max(first.artifact.priority, second.artifact.priority),
        ),
        scopes=first.scopes + second.scopes,
        # One scope that may not admit it holds it, whatever another says.
        held=first.held or second.held,
    )


def _unite_platforms(first: frozenset[Platform], second: frozenset[Platform]) -> frozenset[Platform]:
    return first | second if first and second else frozenset()


def _settle_tags(wanted: list[Wanted], ranked: list[Scope]) -> tuple[Wanted, ...]:
    """Give each local tag to one digest, the highest-ranking wish's; the others stay, by digest."""
    order = {scope.name: position for position, scope in enumerate(ranked)}
    claims: defaultdict[tuple[str, str], list[Wanted]] = defaultdict(list)
    for one in wanted:
        claims[one.local_repository, one.tag].append(one)
    settled: list[Wanted] = []
    for (_, tag), claimants in claims.items():
        claimants.sort(key=lambda one: (order[one.scopes[0]], one.name, one.artifact.digest))
        winner = claimants[0]
        for one in claimants:
            lost = tag and one.artifact.digest != winner.artifact.digest
            settled.append(replace(one, tag="", shadowed_by=winner.scopes[0]) if lost else one)
    return tuple(sorted(settled, key=lambda one: (-one.artifact.priority, one.name, one.artifact.digest)))


def _unusable(ranked: list[Scope]) -> list[Problem]:
    return [
        Problem(scope.name, kind, name, problem.reason, problem.text)
        for scope in ranked
        for (kind, name), problem in sorted(scope.unusable.items())
    ]
