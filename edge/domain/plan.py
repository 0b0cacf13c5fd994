"""What to do next at a site: one pure function of what is wanted, what is there, and what was judged.

The unit is the *edition*: one artifact at one digest for one choice of platforms. A changed digest or platform is
another edition, which is published before the old one goes (make before break).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from edge.domain.admission import Finding, Warned
from fleet.reference import Digest

LocalTag = tuple[str, str]
"""A tag at the site: repository and tag."""


@dataclass(frozen=True, slots=True, order=True)
class Edition:
    """One artifact at one digest for one choice of platforms."""

    name: str
    """The artifact resource's name."""
    source: str
    repository: str
    local_repository: str
    digest: Digest
    platforms: tuple[str, ...] = ()
    """Wanted platforms, `os/architecture[/variant]`, sorted. Empty: all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An edition that desired state asks for, and under which tag."""

    edition: Edition
    tag: str = ""
    """Empty where it is wanted by digest only, or another artifact took its tag."""
    priority: int = 0
    held: bool = False
    """Something in its scope cannot be understood: nothing new is admitted from there."""
    group: str = ""
    """The highest-ranking scope that asks for it: those of one priority take turns."""
    size_bytes: int = 0
    """As Ground Control saw it. Zero: not known."""


@dataclass(frozen=True, slots=True)
class RuleVersions:
    """The versions of what a verdict rests on."""

    policy: bytes = b""
    trust: bytes = b""
    block: bytes = b""


@dataclass(frozen=True, slots=True)
class Setback:
    """Why an edition is not there: refused by a verdict, or failed on the way."""

    reason: str
    text: str
    until: datetime
    """When it is worth another try."""
    rules: RuleVersions | None = None
    """The rules that refused it; None where no verdict was reached."""
    steps: tuple[Finding, ...] = ()
    """How the verdict was reached."""

    def stands(self, rules: RuleVersions, at: datetime) -> bool:
        """Say whether a verdict under the same rules, or a failure, is too young to be tried again."""
        return at < self.until and self.rules in {None, rules}


@dataclass(frozen=True, slots=True)
class Site:
    """What is known of the site: the journal's word, corrected by what the registry shows."""

    admitted: Mapping[Edition, RuleVersions] = field(default_factory=dict)
    """Editions with a stored dossier that passed, and the rules that it passed under."""
    begun: frozenset[Edition] = frozenset()
    """Editions of which something may be in the registry."""
    published: frozenset[Edition] = frozenset()
    """Editions that are whole in the registry: a part of `begun`."""
    tags: Mapping[LocalTag, Digest] = field(default_factory=dict)
    """What each tag stands for."""
    setbacks: Mapping[Edition, Setback] = field(default_factory=dict)
    admitted_at: Mapping[Edition, datetime] = field(default_factory=dict)
    """Since when each admitted edition has been so without a break."""
    warned: Mapping[Edition, tuple[Warned, ...]] = field(default_factory=dict)
    """What policies found wrong with admitted editions, and only report."""
    mending: frozenset[Edition] = frozenset()
    """Editions that were whole and of which something is missing: a part of `begun`, too, and not of `published`."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Reach a verdict: from the source, or again from stored evidence."""

    edition: Edition
    tag: str
    again: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Fetch and publish what was admitted, tag last."""

    edition: Edition
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Retag:
    """Let a tag stand for something that is published, or for nothing any more."""

    repository: str
    tag: str
    digest: Digest | None
    """None: remove the tag."""
    reason: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove all of an edition that no other one holds."""

    edition: Edition
    reason: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave an edition as it is."""

    edition: Edition
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for now: its time has not come, or it is held."""

    edition: Edition
    reason: str
    until: datetime | None = None


Action = Judge | Publish | Retag | Withdraw | Keep | Wait
AGENT_TOO_OLD = "AGENT_TOO_OLD"
_Names = tuple[str, str]
"""An artifact's name and its repository at the site: what the editions of one artifact have in common."""


def is_refused(site: Site, edition: Edition, rules: RuleVersions) -> bool:
    """Say whether the rules in force refused it: it is to go, if it is there."""
    setback = site.setbacks.get(edition)
    return setback is not None and setback.rules == rules


def is_current(site: Site, edition: Edition, rules: RuleVersions, *, are_held: bool) -> bool:
    """Say whether it is admitted by the rules in force, or may stay since these cannot be understood."""
    return are_held or site.admitted.get(edition) == rules


def is_settled(wanted: Iterable[Wanted], site: Site, rules: RuleVersions, *, are_held: bool) -> bool:
    """Say whether nothing is in the registry that is to go, or on which the rules in force have yet to be asked.

    The last-known-good of what is not complete yet may be there.
    """
    ordered = in_turns(wanted)
    successors, asked = _successors(ordered), {one.edition for one in ordered}
    return not any(
        is_refused(site, edition, rules)
        or not is_current(site, edition, rules, are_held=are_held)
        or (edition not in asked and _why_it_goes(edition, site, successors))
        for edition in site.begun
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """The inputs of one planning, with the questions that several steps ask."""

    wanted: tuple[Wanted, ...]
    successors: Mapping[_Names, Wanted]
    site: Site
    rules: RuleVersions
    are_held: bool
    at: datetime

    def is_refused(self, edition: Edition) -> bool:
        return is_refused(self.site, edition, self.rules)

    def standing(self, edition: Edition) -> Setback | None:
        setback = self.site.setbacks.get(edition)
        return setback if setback is not None and setback.stands(self.rules, self.at) else None

    def is_current(self, edition: Edition) -> bool:
        return is_current(self.site, edition, self.rules, are_held=self.are_held)


def plan(
    wanted: Iterable[Wanted], site: Site, rules: RuleVersions, *, are_held: bool, at: datetime
) -> tuple[Action, ...]:
    """Say what to do, the most urgent first: refused content goes, then tags, then the rest by priority.

    Executing the actions that are no `Keep` or `Wait` and planning again converges: where nothing is left to be
    done, only those two remain.

    Args:
        wanted: what desired state asks for.
        site: what is known to be there.
        rules: the versions in force.
        are_held: a policy, trust root or block cannot be understood, so that no verdict is to be had.
        at: the time now.
    """
    ordered = in_turns(wanted)
    inputs = _Plan(ordered, _successors(ordered), site, rules, are_held, at)
    unsafe = {edition for edition in site.begun if inputs.is_refused(edition)}
    asked = {one.edition for one in ordered}
    return (
        *(Withdraw(edition, "REFUSED") for edition in sorted(unsafe)),
        *_tags(inputs, unsafe),
        *(_outgoing(inputs, edition) for edition in sorted(site.begun - asked - unsafe)),
        *(_towards(inputs, one) for one in ordered if one.edition not in unsafe),
    )


def in_turns(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Order by priority; within one, groups take turns, each with its smallest first."""
    turns: Counter[tuple[int, str]] = Counter()
    keyed: list[tuple[int, int, str, Wanted]] = []
    for one in sorted(wanted, key=lambda one: (one.size_bytes, one.edition)):
        turn = turns[one.priority, one.group]
        turns[one.priority, one.group] += 1
        keyed.append((-one.priority, turn, one.group, one))
    return tuple(one for *_, one in sorted(keyed, key=lambda row: row[:3]))


def _towards(inputs: _Plan, one: Wanted) -> Action:
    """Take the next step towards a wanted edition."""
    edition, admitted = one.edition, inputs.site.admitted.get(one.edition)
    is_there = edition in inputs.site.published
    if is_there and inputs.is_current(edition):
        return Keep(edition, AGENT_TOO_OLD if inputs.are_held else "PUBLISHED")
    if inputs.are_held or (one.held and not is_there):
        return Wait(edition, AGENT_TOO_OLD)
    if setback := inputs.standing(edition):
        return Wait(edition, setback.reason, setback.until)
    if admitted is None and edition not in inputs.site.begun:
        return Judge(edition, one.tag, again=False, reason="NEW")
    if admitted != inputs.rules:  # one that is begun was admitted before: there is evidence of it at the site
        return Judge(edition, one.tag, again=True, reason="RULES_CHANGED")
    return Publish(edition, one.tag, "ADMITTED")


def _outgoing(inputs: _Plan, edition: Edition) -> Action:
    """Decide on an edition that is there and no longer wanted as it is."""
    if reason := _why_it_goes(edition, inputs.site, inputs.successors):
        return Withdraw(edition, reason)
    if inputs.is_current(edition):
        return Keep(edition, "LAST_KNOWN_GOOD")
    if setback := inputs.standing(edition):
        return Wait(edition, setback.reason, setback.until)
    return Judge(edition, "", again=True, reason="RULES_CHANGED")


def _why_it_goes(edition: Edition, site: Site, successors: Mapping[_Names, Wanted]) -> str:
    """Say why what is no longer wanted as it is goes now; empty where it stays for its successor's sake."""
    successor = successors.get((edition.name, edition.local_repository))
    if successor is None:
        return "UNWANTED"
    if edition not in site.published | site.mending:
        return "ABANDONED"
    if successor.edition in site.published and _has_its_tag(site, successor):
        return "REPLACED"
    return ""


def _successors(wanted: Iterable[Wanted]) -> dict[_Names, Wanted]:
    """Find what replaces older editions of each artifact: rather the one with the tag than one without."""
    found: dict[_Names, Wanted] = {}
    for one in wanted:
        names = (one.edition.name, one.edition.local_repository)
        if names not in found or (one.tag and not found[names].tag):
            found[names] = one
    return found


def _has_its_tag(site: Site, one: Wanted) -> bool:
    return not one.tag or site.tags.get((one.edition.local_repository, one.tag)) == one.edition.digest


def _tags(inputs: _Plan, unsafe: set[Edition]) -> list[Action]:
    """Move tags to what is published; remove those that nobody wants. A tag waits for its new content."""
    asked = {(one.edition.local_repository, one.tag) for one in inputs.wanted if one.tag}
    ready = inputs.site.published - unsafe
    moved: dict[LocalTag, Digest] = {}
    for one in inputs.wanted:
        if one.tag and one.edition in ready and inputs.is_current(one.edition) and not _has_its_tag(inputs.site, one):
            moved[one.edition.local_repository, one.tag] = one.edition.digest
    return [
        *(Retag(*key, digest, "TAG_MOVED") for key, digest in sorted(moved.items())),
        *(Retag(*key, None, "TAG_UNWANTED") for key in sorted(inputs.site.tags) if key not in asked),
    ]
