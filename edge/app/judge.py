"""Fetch what a verdict needs, and no layer, then ask for the verdict.

The root comes by digest; a tag is followed once, for cosign 2's signatures, which are judged by what they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from edge.app.closure import gather_closure
from edge.app.evidence import EvidenceFetcher, fetch_manifest
from edge.app.ports import Upstream
from edge.domain.admission import Admission, Dossier, Evidence, Refused, Warned
from edge.domain.content import Platform
from edge.domain.moment import UNKNOWN, Moment
from edge.domain.policy import Rules
from edge.domain.verify.evidence import NOTATION_TYPE
from edge.domain.verify.verdict import Subject, decide, forejudge, weigh
from fleet.errors import FleetError, Kind
from fleet.policy import Notation, PolicySpec, SignatureFormat
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class WantedArtifact:
    """What desired state asks for."""

    name: str
    source: str
    repository: str
    digest: Digest
    local_repository: str
    tag: str = ""
    platforms: tuple[Platform, ...] = ()
    """Of an index, these alone; empty for all."""


def judge(wanted: WantedArtifact, upstream: Upstream, rules: Rules, moment: Moment = UNKNOWN) -> Admission | Refused:
    """Fetch an artifact's manifests and evidence and judge it; no layer is fetched.

    What can never be right at this digest is a verdict (`Refused`); what may pass is an error.

    Raises:
        FleetError: as the port: UNKNOWN `MANIFEST_ABSENT`, UNAVAILABLE, REFUSED, EXHAUSTED, CORRUPT.
    """
    try:
        return _judge(wanted, upstream, rules, moment)
    except FleetError as error:
        if error.kind is Kind.MALFORMED:
            return Refused(error.reason, error.text)
        raise


def _judge(wanted: WantedArtifact, upstream: Upstream, rules: Rules, moment: Moment) -> Admission | Refused:
    # 1. What needs no fetch.
    subject = Subject(wanted.source, wanted.repository, wanted.digest)
    if refused := forejudge(subject, rules):
        return refused
    # 2. The root, by digest, and what speaks for it.
    fetch = partial(fetch_manifest, upstream, wanted.repository)
    root = fetch(wanted.digest)
    specs = [policy.spec for policy in rules.matching(subject.image)]
    types = {name for spec in specs for name in spec.referrer_types}
    if any(isinstance(by.verifier, Notation) for spec in specs for by in spec.authorities):
        types.add(NOTATION_TYPE)
    attestations = any(map(_asks_for_attestations, specs))
    gathered = (
        piece
        for repository in _repositories(wanted.repository, specs)
        for piece in EvidenceFetcher(upstream, repository, wanted.digest).gather(types, attestations=attestations)
    )
    evidence = _each_once(gathered)
    # 3. Judged before anything else is asked of the source.
    passed = weigh(subject, evidence, rules, moment)
    if isinstance(passed, Refused):
        return passed
    # 4. What lies below; the verdict on the whole.
    closure = gather_closure(root, wanted.platforms, fetch)
    dossier = Dossier(
        name=wanted.name,
        source=wanted.source,
        repository=wanted.repository,
        local_repository=wanted.local_repository,
        tags=(wanted.tag,) if wanted.tag else (),
        root=root,
        children=closure.children,
        blobs=closure.blobs,
        evidence=evidence,
    )
    return decide(dossier, rules, moment)


def _repositories(own: str, specs: Iterable[PolicySpec]) -> list[str]:
    """Say where signatures lie, at the artifact's own source: first where policies say that they do."""
    named = {by.signature_repository for spec in specs for by in spec.authorities}
    return [*sorted(named - {"", own}), own]


def _each_once(pieces: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Keep one piece of each manifest and of each tag: at the site all of them lie in one repository."""
    kept: dict[str, Evidence] = {}
    for piece in pieces:
        kept.setdefault(piece.tag or piece.manifests[-1].digest, piece)
    return tuple(kept.values())


def _asks_for_attestations(spec: PolicySpec) -> bool:
    """Say whether cosign 2's attestations could count for a policy."""
    return any(by.attestations and SignatureFormat.COSIGN_SIMPLE_SIGNING in by.formats for by in spec.authorities)


def rejudge(
    dossier: Dossier, rules: Rules, moment: Moment = UNKNOWN, *, warned: Iterable[Warned] = ()
) -> Admission | Refused:
    """Judge again by the rules in force now, without the network; an `Admission` is a dossier too.

    Only evidence that counted when it was gathered is held. A refusal for want of evidence under *new* policies
    therefore says that the artifact must be judged afresh, not that the source has no such signature; and a policy
    that warned of a signature before (`warned`) goes on to say what was wrong with it.
    """
    return decide(dossier, rules, moment, warned=warned)
