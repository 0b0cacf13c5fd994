"""What a satellite has to say of its state: counts, and what is not as desired, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, unique

from edge.domain.desired import Enforced
from edge.domain.plan import AGENT_TOO_OLD, Edition, Site, Wanted
from fleet import resources
from fleet.position import Position

MAX_EXCEPTIONS = 100
MAX_TEXT = 512
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
_URGENT = 4


@unique
class State(IntEnum):
    """Where one artifact stands; the numbers of fleet.v1.ArtifactState."""

    NONE = 0
    """Not an artifact."""
    PUBLISHED = 1
    WAITING = 2
    REFUSED = 3
    FAILED = 4


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

    @property
    def desired(self) -> int:
        """Artifacts desired."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes here and in all, of artifacts under way, by name."""

    done: Mapping[str, int] = field(default_factory=dict)
    total: Mapping[str, int] = field(default_factory=dict)


def rows(
    enforced: Enforced, site: Site, since: Mapping[Edition, datetime], progress: Progress
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Say of each artifact where it stands, and of other resources what is wrong with them."""
    serving = {edition.name: edition for edition in site.published}
    artifacts = tuple(
        _artifact(_row(one, since, progress), one, enforced, site, serving.get(one.edition.name))
        for one in enforced.wanted
    )
    problems = tuple(
        Row(one.kind, one.name, State.NONE, reason=one.reason, text=_clean(one.text), scope=one.scope)
        for one in enforced.problems
    )
    return artifacts, problems


def _row(one: Wanted, since: Mapping[Edition, datetime], progress: Progress) -> Row:
    """Begin a row as if the artifact were under way."""
    edition = one.edition
    done, total = progress.done.get(edition.name, 0), progress.total.get(edition.name, 0)
    return Row(
        resources.ARTIFACT,
        edition.name,
        State.WAITING,
        digest=edition.digest,
        tag=one.tag,
        local_repository=edition.local_repository,
        reason="TRANSFERRING" if total else "QUEUED",
        since=since.get(edition),
        done_bytes=min(done, total),
        total_bytes=total,
    )


def _artifact(row: Row, one: Wanted, enforced: Enforced, site: Site, serving: Edition | None) -> Row:
    edition = one.edition
    if edition in site.published:
        there = replace(row, state=State.PUBLISHED, reason="", done_bytes=0, total_bytes=0)
        winner = enforced.shadowed.get(edition.name) if not one.tag else None
        text = f"{winner} won its tag; it is there by digest"
        return replace(there, reason="TAG_SHADOWED", text=text) if winner else there
    if serving is not None:
        row = replace(row, serving_digest=serving.digest)
    setback = site.setbacks.get(edition)
    if one.held:
        text = "something in force is newer than this satellite: upgrade it"
        return replace(row, reason=AGENT_TOO_OLD, text=text)
    if setback is not None:
        state = State.FAILED if setback.rules is None else State.REFUSED
        return replace(row, state=state, reason=setback.reason, text=_clean(setback.text))
    return row


def summarize(artifacts: Iterable[Row], problems: Iterable[Row]) -> tuple[dict[State, int], tuple[Row, ...], int]:
    """Count artifacts and pick what is to be told: `rows → counts, exceptions, how many were left out`."""
    counts = dict.fromkeys((State.PUBLISHED, State.WAITING, State.REFUSED, State.FAILED), 0)
    told: list[Row] = list(problems)
    for row in artifacts:
        counts[row.state] += 1
        if row.reason:
            told.append(row)
    told.sort(key=_urgency)
    return counts, tuple(told[:MAX_EXCEPTIONS]), max(0, len(told) - MAX_EXCEPTIONS)


def _urgency(row: Row) -> tuple[int, str]:
    order = {State.NONE: 0, State.REFUSED: 1, State.FAILED: 2, State.WAITING: 3}
    return (order.get(row.state, _URGENT), row.name)


def is_final(counts: Mapping[State, int]) -> bool:
    """Say whether everything is published, or refused for good."""
    return not counts.get(State.WAITING) and not counts.get(State.FAILED)


def _clean(text: str) -> str:
    return text.translate(_CONTROL)[:MAX_TEXT]
