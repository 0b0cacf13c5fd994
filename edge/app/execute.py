"""What a plan's actions do to journal and registry. Blocking: called from threads, one per edition at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Protocol

from edge.app.drift import Drift
from edge.app.footprint import Footprint, united
from edge.app.govern import Governor
from edge.app.governed import GovernedUpstream
from edge.app.journal import EditionStore
from edge.app.judge import WantedArtifact, judge, rejudge
from edge.app.ports import SiteRegistry, Upstream
from edge.app.progress import ProgressBoard
from edge.app.purge import Purged
from edge.app.replicate import Replicator
from edge.app.scrub import Scrubber, ScrubBoard, ScrubRequest
from edge.app.tags import lost_tags, own_tags, published_at, stands_for
from edge.app.withdraw import Foreign
from edge.domain.admission import Admission, Dossier, Refused, Warned
from edge.domain.clock import Reading
from edge.domain.content import Platform
from edge.domain.desired import Enforced
from edge.domain.moment import Moment
from edge.domain.plan import AGENT_TOO_OLD, Edition, Retag, RuleVersions, Wanted
from edge.domain.turns import Urgency
from fleet import resources
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

SOURCE_S = 10.0
"""How long a source may take to show what new rules ask for, of an image that is served meanwhile."""
_FINAL = frozenset(
    {"BLOCKED", "NO_POLICY", "POLICY_EMPTY", "AGENT_TOO_OLD", "TRUST_EXPIRED", "CLOCK_UNKNOWN", "TRUST_ROOT_MISSING"}
)
"""Refusals that no other evidence could turn."""


class Sources(Protocol):
    """Opens upstream registries."""

    def open(self, name: str, source: resources.Source) -> Upstream:
        """Connect to a source, reusing what is open.

        Raises:
            FleetError: MALFORMED `PLAINTEXT_REFUSED`, `CA_MALFORMED`, `REGISTRY_ADDRESS_MALFORMED`.
        """


class Executor:
    """Judges, publishes, retags, withdraws and sweeps by the state that is enforced at the moment.

    Attributes:
        enforced: what desired state is at the moment; set by the loop, read by threads.
    """

    def __init__(
        self,
        replicator: Replicator,
        site: Callable[[], SiteRegistry],
        editions: EditionStore,
        sources: Sources,
        enforced: Enforced,
        *,
        progress: ProgressBoard,
        governor: Governor,
        clock: Callable[[], Reading],
    ) -> None:
        self._replicator = replicator
        self._clock = clock
        self._editions = editions
        self._sources = sources
        self._progress = progress
        self._drift = Drift(site, editions, replicator)
        self._governor = governor
        self._stop = threading.Event()
        self.scrubbed = ScrubBoard()
        self._scrubber = Scrubber(site, editions, self._drift, board=self.scrubbed, stop=self._stop)
        self._judged: dict[Edition, RuleVersions] = {}
        self._asking = ThreadPoolExecutor(4, thread_name_prefix="ask")
        self.enforce(enforced)

    def enforce(self, enforced: Enforced) -> bool:
        """Go by this desired state from now on: `→ whether the link allows something else now`.

        What is under way and no longer wanted ends.
        """
        self.enforced = enforced
        self._by_edition = {one.edition: one for one in enforced.wanted}
        return self._governor.obey(enforced.link)

    def judged_by(self, edition: Edition) -> RuleVersions:
        """Say under which rules the newest verdict was reached."""
        return self._judged.get(edition, self.enforced.versions)

    @property
    def moment(self) -> Moment:
        """Say what time verdicts are reached at."""
        reading = self._clock()
        return Moment(reading.now, is_known=reading.is_known)

    def _moment_of(self, edition: Edition) -> Moment:
        """Say since when an edition is served, too."""
        site = self._editions.site()
        since = site.admitted_at.get(edition) if edition in site.published else None
        return replace(self.moment, served_since=since)

    def judge(self, edition: Edition, *, again: bool) -> Admission | Refused:
        """Reach a verdict and journal it; `again` starts from stored evidence.

        Raises:
            FleetError: as `edge.app.judge.judge`.
        """
        enforced = self.enforced
        with self._progress.judging(edition):
            verdict = self._rejudge(edition, enforced) if again else self._judge(edition, enforced)
        self._judged[edition] = enforced.versions
        if isinstance(verdict, Refused):
            self._editions.refuse(edition)
        else:
            self._admit(edition, verdict, enforced)
        return verdict

    def _admit(self, edition: Edition, verdict: Admission, enforced: Enforced) -> None:
        at = self.moment.at
        self._editions.admit(edition, verdict, enforced.versions, at=at, warnings=verdict.warnings)

    def rejudge(self, editions: Iterable[Edition]) -> Mapping[Edition, Refused | None]:
        """Judge again by stored evidence, and journal it at once: `→ verdicts, None for those that pass`.

        What fails for want of evidence, which the source may have, is left out: `judge` asks there.
        """
        enforced = self.enforced
        passed: dict[Edition, tuple[Warned, ...]] = {}
        refused: dict[Edition, Refused] = {}
        for edition in editions:
            dossier = self._editions.dossier(edition)
            verdict = self._by_what_is_stored(edition, dossier, enforced) if dossier else None
            if isinstance(verdict, Refused) and verdict.reason in _FINAL:
                refused[edition] = verdict
            elif isinstance(verdict, Admission) and verdict.evidence == (dossier.evidence if dossier else ()):
                passed[edition] = verdict.warnings
        self._editions.settle(passed, refused, enforced.versions)
        self._judged |= dict.fromkeys((*passed, *refused), enforced.versions)
        return {**dict.fromkeys(passed), **refused}

    def readmit(self, editions: Iterable[Edition]) -> None:
        """Admit by stored evidence alone what a rule refused that is no longer in force, and what is still there."""
        enforced, site = self.enforced, self._editions.site()
        for edition in editions:
            is_refused = edition in site.begun and edition not in site.admitted
            dossier = self._editions.dossier(edition) if is_refused else None
            verdict = self._by_what_is_stored(edition, dossier, enforced) if dossier else None
            if isinstance(verdict, Admission):
                self._admit(edition, verdict, enforced)

    def _judge(self, edition: Edition, enforced: Enforced) -> Admission | Refused:
        wanted = WantedArtifact(
            name=edition.name,
            source=edition.source,
            repository=edition.repository,
            digest=edition.digest,
            local_repository=edition.local_repository,
            platforms=tuple(_platform(text) for text in edition.platforms),
        )
        return judge(wanted, self._upstream(edition, enforced), enforced.rules, self._moment_of(edition))

    def _rejudge(self, edition: Edition, enforced: Enforced) -> Admission | Refused:
        """Judge by stored evidence; what new rules find wanting there may have come to the source since."""
        dossier = self._editions.dossier(edition)
        if dossier is None:
            return self._judge(edition, enforced)
        verdict = self._by_what_is_stored(edition, dossier, enforced)
        if not isinstance(verdict, Refused) or verdict.reason in _FINAL:
            return verdict
        asking = self._asking.submit(self._judge, edition, enforced)
        try:
            return asking.result(timeout=SOURCE_S)
        except (FleetError, TimeoutError):
            return verdict  # the source cannot help now: the rules decide on what there is

    def _by_what_is_stored(self, edition: Edition, dossier: Dossier, enforced: Enforced) -> Admission | Refused:
        warned = self._editions.site().warned.get(edition, ())
        return rejudge(dossier, enforced.rules, self._moment_of(edition), warned=warned)

    def _upstream(self, edition: Edition, enforced: Enforced) -> Upstream:
        source = enforced.sources.get(edition.source)
        if source is None:
            text = "the source is no longer part of desired state"
            raise FleetError(Kind.PRECONDITION, "SOURCE_UNKNOWN", text, subject=edition.source)
        upstream = self._sources.open(edition.source, source)
        return GovernedUpstream(upstream, self._governor, partial(self._priority, edition))

    def _priority(self, edition: Edition) -> int:
        wanted = self._by_edition.get(edition)
        return wanted.priority if wanted else 0

    def publish(self, edition: Edition) -> None:
        """Bring and publish what was admitted.

        Raises:
            FleetError: as `Replicator.replicate`; PRECONDITION `NO_LONGER_WANTED`, `AGENT_TOO_OLD`; CONFLICT
                `RULES_CHANGED`, and `TAG_CHANGED` where another tag is wanted by now, or none.
        """
        wanted = self._wanted(edition)
        dossier = self._dossier(edition)
        admission = rejudge(_tagged(dossier, wanted.tag), self.enforced.rules, self._moment_of(edition))
        if isinstance(admission, Refused):
            raise FleetError(Kind.CONFLICT, "RULES_CHANGED", "the rules changed since the verdict")
        upstream = self._upstream(edition, self.enforced)
        self._editions.begin(edition)
        urgency = Urgency(wanted.priority, wanted.group)
        with self._progress.bringing(edition, sum(blob.size_bytes for blob in admission.blobs)):
            self._replicator.replicate(
                admission,
                upstream,
                lambda found: self._confirm(edition, found, wanted.tag),
                urgency,
                goes_on=lambda: edition in self._by_edition,
            )
        self._editions.publish(edition, wanted.tag)

    def _confirm(self, edition: Edition, admission: Admission, tag: str) -> Admission:
        """Judge once more by stored evidence where a version changed meanwhile; under the publish lock.

        What is held has the versions that it had before, so that it is looked at first.
        """
        self._progress.publishing(edition)
        wanted, enforced = self._wanted(edition), self.enforced
        if wanted.held or enforced.are_held:
            text = "something in force is newer than this satellite can read: upgrade the satellite"
            raise FleetError(Kind.PRECONDITION, AGENT_TOO_OLD, text)
        if wanted.tag != tag:
            raise FleetError(Kind.CONFLICT, "TAG_CHANGED", "the tag changed while layers came", subject=edition.name)
        versions = RuleVersions(admission.policy_version, admission.trust_version, admission.block_version)
        if versions == enforced.versions:
            return admission
        verdict = self._by_what_is_stored(edition, admission, enforced)
        if isinstance(verdict, Refused):
            raise FleetError(Kind.CONFLICT, "RULES_CHANGED", "the rules changed while layers came")
        self._admit(edition, verdict, enforced)
        return verdict

    def _wanted(self, edition: Edition) -> Wanted:
        wanted = self._by_edition.get(edition)
        if wanted is not None:
            return wanted
        raise FleetError(Kind.PRECONDITION, "NO_LONGER_WANTED", "desired state no longer has it", subject=edition.name)

    def _dossier(self, edition: Edition) -> Dossier:
        dossier = self._editions.dossier(edition)
        if dossier is None:
            raise FleetError(Kind.CONFLICT, "NOT_ADMITTED", "there is no verdict to publish by", subject=edition.name)
        return dossier

    def retag(self, action: Retag) -> None:
        """Move a tag to what is published, or remove it.

        Raises:
            FleetError: CONFLICT `NOT_PUBLISHED`, `RULES_CHANGED`; as the registry says.
        """
        key = (action.repository, action.tag)
        site = self._editions.site()
        if action.digest is None:
            if key in site.tags:
                self._replicator.untag(*key, site.tags[key])
            self._editions.retag(key, None)
            return
        edition = published_at(site, action.repository, action.digest)
        if edition is None:
            text = "what the tag is to stand for is not published any more"
            raise FleetError(Kind.CONFLICT, "NOT_PUBLISHED", text, subject=f"{action.repository}:{action.tag}")
        admission = rejudge(self._dossier(edition), self.enforced.rules, self._moment_of(edition))
        if isinstance(admission, Refused):
            raise FleetError(Kind.CONFLICT, "RULES_CHANGED", "the rules changed since the verdict")
        self._replicator.tag(admission, action.tag)
        self._editions.retag(key, action.digest)

    def withdraw(self, edition: Edition) -> None:
        """Remove an edition whole, less what others hold.

        Raises:
            FleetError: as the registry says; a repetition goes on where this one stopped.
        """
        self._editions.withdraw(edition)  # should it be wanted again before the end of this, it is to be made whole
        dossier = self._editions.dossier(edition)
        tags = own_tags(self._editions.site(), edition)
        if dossier is not None:
            self._replicator.withdraw(replace(dossier, tags=tags), lambda: self._held_beside(edition))
        self._editions.forget(edition, tags)
        self._progress.forget(edition)

    def _held_beside(self, edition: Edition) -> Footprint:
        repository, site = edition.local_repository, self._editions.site()
        own = own_tags(site, edition)
        tags = {tag: to for (where, tag), to in site.tags.items() if where == repository and tag not in own}
        others = (
            self._replicator.footprint(dossier)
            for other, dossier in self._editions.neighbours(repository)
            if other != edition and other in site.admitted
        )
        return united(others) | Footprint(tags=tags)

    def sweep(self) -> list[Foreign]:
        """Remove from the registry what nobody admitted.

        Raises:
            FleetError: as the registry says.
        """
        return self._replicator.sweep(self._expected())

    def _expected(self) -> dict[str, Footprint]:
        site = self._editions.site()  # once: it is a walk over all editions
        tags: dict[str, dict[str, Digest]] = {}
        for (repository, tag), digest in site.tags.items():
            tags.setdefault(repository, {})[tag] = digest
        expected = {one.local_repository: Footprint() for one in site.begun}
        for edition, dossier in self._editions.walk():
            if edition in site.admitted:
                repository = edition.local_repository
                expected[repository] = expected.get(repository, Footprint()) | self._replicator.footprint(dossier)
        return {name: whole | Footprint(tags=tags.get(name, {})) for name, whole in expected.items()}

    def mend(self, *, idle_s: float) -> None:
        """Remove what keeps the registry from answering; to be done before it is swept or checked."""
        self._drift.mend(idle_s=idle_s)

    def purge(self, *, idle_s: float) -> Purged:
        """Free what nobody can pull."""
        return self._replicator.purge(idle_s=idle_s)

    def check(self) -> list[Edition]:
        """Compare what is published with the registry: `→ editions of which something was missing`.

        What is wanted and lacks something is to be published again; a tag of its own is put again here.
        """
        return self.repair(self._drift.lacking()) + self._mend_tags()

    def scrub(self, request: ScrubRequest, *, at: datetime) -> list[Edition]:
        """Read all that is published: `→ editions that lacked something`, now to be published again.

        Raises:
            FleetError: as `Scrubber.run`.
        """
        self.scrubbed.begin(request, at=at)
        return self.repair(self._scrubber.run(request))

    def stop(self) -> None:
        """End soon what takes long."""
        self._stop.set()
        self._asking.shutdown(wait=False, cancel_futures=True)

    def repair(self, lacking: Collection[Edition]) -> list[Edition]:
        """Have editions published again; one that only stands until its successor is complete stands on as it is."""
        wanted = {one.edition for one in self.enforced.wanted}
        for edition in wanted & set(lacking):
            self._editions.miss(edition)
        return sorted(lacking)

    def _mend_tags(self) -> list[Edition]:
        """Put lost tags again: `→ editions they stand for`."""
        mended = list[Edition]()
        for key, edition in lost_tags(self._editions, self._drift.stand):
            mended.append(edition)
            try:
                self.retag(Retag(*key, edition.digest, "TAG_MISSING"))
            except FleetError:
                if stands_for(self._editions.site(), key, edition.digest):
                    self._editions.retag(key, None)  # the plan tries again, at its own pace
        return mended


def _tagged(dossier: Dossier, tag: str) -> Dossier:
    return replace(dossier, tags=(tag,) if tag else ())


def _platform(text: str) -> Platform:
    os, architecture, *variant = text.split("/")
    return Platform(os, architecture, *variant)
