"""What a satellite has to say of its state: counts, and what is not as desired, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, unique

from edge.domain.admission import Finding, Warned
from edge.domain.desired import Enforced
from edge.domain.link import WAITS
from edge.domain.plan import AGENT_TOO_OLD, Edition, Setback, Site, Wanted, is_current, is_refused
from edge.domain.progress import Phase, Progress
from fleet import resources
from fleet.position import Position

MAX_EXCEPTIONS = 100
MAX_TEXT = 512
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
_UNTOUCHED = Progress()
_GOES_ON = frozenset({Phase.TRANSFERRING, Phase.PUBLISHING})
"""A failure is past once the next try gets so far; one that is judged again or queued has yet to come to that."""
_ORDER: Mapping[str, int] = {Phase.TRANSFERRING: 0, Phase.PUBLISHING: 1, Phase.JUDGING: 2}
"""Of what waits: what is under way is told before what is queued."""


@unique
class State(IntEnum):
    """Where one artifact stands; the numbers of fleet.v1.ArtifactState."""

    NONE = 0
    """Not an artifact."""
    PUBLISHED = 1
    WAITING = 2
    REFUSED = 3
    FAILED = 4
    WARNED = 5
    """Published, and a policy would have it reported."""


@dataclass(frozen=True, slots=True)
class Row:
    """One resource and where it stands."""

    kind: int
    name: str
    state: State
    digest: str = ""
    tag: str = ""
    local_repository: str = ""
    reason: str = ""
    """Empty where all is as desired."""
    text: str = ""
    scope: str = ""
    since: datetime | None = None
    serving_digest: str = ""
    """What is served in its place."""
    done_bytes: int = 0
    total_bytes: int = 0
    rate_bytes_per_s: int = 0
    until: datetime | None = None
    """When it is tried again."""
    steps: tuple[Finding, ...] = ()
    """How the verdict was reached, of what is refused."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of it; each replaces the one before."""

    position: Position | None
    held_digest: bytes
    enforced_digest: bytes
    counts: Mapping[State, int]
    exceptions: tuple[Row, ...] = ()
    omitted: int = 0
    foreign_withdrawn: int = 0
    registry_kind: str = ""
    registry_exclusive: bool = False
    revocation_epoch: int = 0
    """The highest serial of the blocks in force; 0 where there is none."""

    @property
    def desired(self) -> int:
        """Artifacts desired."""
        return sum(self.counts.values())


def rows(
    enforced: Enforced, site: Site, since: Mapping[Edition, datetime], progress: Mapping[Edition, Progress]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Say of each artifact where it stands, and of other resources what is wrong with them."""
    serving, rules = {edition.name: edition for edition in site.published}, enforced.versions

    def stand(one: Wanted) -> Row:
        edition = one.edition
        is_there, refused = edition in site.published, is_refused(site, edition, rules)
        if is_there and not refused and is_current(site, edition, rules, are_held=enforced.are_held):
            warned = site.warned.get(edition)
            return _warned(one, warned) if warned else _published(one, enforced)
        if is_there:
            row = replace(_bare(one, State.WAITING), reason=Phase.JUDGING, serving_digest=edition.digest)
        else:
            row = _on_its_way(one, progress.get(edition, _UNTOUCHED), serving.get(edition.name))
        if one.held and not is_there:
            text = "something in force is newer than this satellite: upgrade it"
            return replace(row, reason=AGENT_TOO_OLD, text=text)
        setback = site.setbacks.get(edition)
        is_known = setback is not None and (setback.rules is None or refused)
        return _set_back(row, setback, since.get(edition)) if setback and is_known else row

    problems = tuple(
        Row(one.kind, one.name, State.NONE, reason=one.reason, text=_clean(one.text), scope=one.scope)
        for one in enforced.problems
    )
    return tuple(map(stand, enforced.wanted)), problems


def _warned(one: Wanted, warned: tuple[Warned, ...]) -> Row:
    text = "; ".join(f"{each.policy}: {each.text}" for each in warned)
    steps = tuple(Finding("", each.policy, each.reason) for each in warned)
    return replace(_bare(one, State.WARNED), reason=warned[0].reason, text=_clean(text), steps=steps)


def _published(one: Wanted, enforced: Enforced) -> Row:
    row = _bare(one, State.PUBLISHED)
    winner = enforced.shadowed.get(one.edition.name) if not one.tag else None
    text = f"{winner} won its tag; it is there by digest"
    return replace(row, reason="TAG_SHADOWED", text=text) if winner else row


def _on_its_way(one: Wanted, progress: Progress, serving: Edition | None) -> Row:
    return replace(
        _bare(one, State.WAITING),
        reason=progress.phase or Phase.QUEUED,
        done_bytes=progress.done_bytes,
        total_bytes=progress.total_bytes or one.size_bytes,
        rate_bytes_per_s=progress.rate_bytes_per_s,
        serving_digest=serving.digest if serving else "",
    )


def _set_back(row: Row, setback: Setback, since: datetime | None) -> Row:
    """Say what keeps it, and until when; or that it goes on, after what."""
    if row.reason in _GOES_ON:
        return replace(row, text=f"again, after {setback.reason}")
    text = _clean(setback.text)
    if setback.rules is not None:
        state, row = State.REFUSED, replace(row, done_bytes=0, total_bytes=0)  # there is nothing to come
    else:
        state = State.WAITING if setback.reason in WAITS else State.FAILED
    return replace(
        row, state=state, reason=setback.reason, text=text, since=since, until=setback.until, steps=setback.steps
    )


def _bare(one: Wanted, state: State) -> Row:
    edition = one.edition
    local = edition.local_repository
    return Row(resources.ARTIFACT, edition.name, state, digest=edition.digest, tag=one.tag, local_repository=local)


def summarize(artifacts: Iterable[Row], problems: Iterable[Row]) -> tuple[dict[State, int], tuple[Row, ...], int]:
    """Count artifacts and pick what is to be told: `rows → counts, exceptions, how many were left out`."""
    counts = dict.fromkeys((State.PUBLISHED, State.WAITING, State.REFUSED, State.FAILED, State.WARNED), 0)
    told: list[Row] = list(problems)
    for row in artifacts:
        counts[row.state] += 1
        if row.reason:
            told.append(row)
    told.sort(key=_urgency)
    return counts, tuple(told[:MAX_EXCEPTIONS]), max(0, len(told) - MAX_EXCEPTIONS)


def _urgency(row: Row) -> tuple[int, int, str]:
    order = {State.NONE: 0, State.REFUSED: 1, State.FAILED: 2, State.WARNED: 3, State.WAITING: 4}
    return (order.get(row.state, len(order)), _ORDER.get(row.reason, len(_ORDER)), row.name)


def is_final(counts: Mapping[State, int]) -> bool:
    """Say whether everything is published, or refused for good; what is to go may still be there (`is_settled`)."""
    return not counts.get(State.WAITING) and not counts.get(State.FAILED)


def _clean(text: str) -> str:
    return text.translate(_CONTROL)[:MAX_TEXT]
