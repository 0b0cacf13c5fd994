"""The verdict on one image, in numbered steps: what was fetched and the rules in, admitted or refused out.

1. HOLD resources that cannot be read keep everything new out.
2. What is blocked is refused, whoever signed it.
3. Some policy matches, and each that does has an authority that somebody could satisfy.
4. The evidence is within its bounds; each piece is read, and one that cannot be is no evidence.
5. Every policy that matches holds: one of its authorities has all that it asks for. One that only warns says so.
6. Only what verified, or is of a type that every such policy lists, comes along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge.domain.admission import Admission, Dossier, Evidence, Finding, Refused, Warned, admit
from edge.domain.content import RawManifest
from edge.domain.moment import UNKNOWN, Moment
from edge.domain.policy import Policy, Rules
from edge.domain.verify.evidence import MAX_OBJECTS, Read, is_past_limits, read_evidence
from edge.domain.verify.reasons import FURTHEST, OF_SIGNATURES, TEXTS
from edge.domain.verify.weighing import Subject, is_empty, weigh_policy
from fleet.policy import Mode
from fleet.reference import Digest

__all__ = ["Passed", "Subject", "decide", "forejudge", "weigh"]


@dataclass(frozen=True, slots=True)
class Passed:
    """What is left of the evidence once every policy held."""

    evidence: tuple[Evidence, ...]
    """What comes along."""
    warnings: tuple[Warned, ...]
    """What is to be reported all the same."""
    considered: tuple[Finding, ...]


def _refused(reason: str, considered: Iterable[Finding] = ()) -> Refused:
    return Refused(reason, TEXTS[reason], tuple(considered))


def forejudge(subject: Subject, rules: Rules) -> Refused | None:
    """Take steps 1 to 3, which need no evidence: the refusal, or None where evidence decides."""
    if rules.unreadable:
        return _refused("AGENT_TOO_OLD")
    if subject.digest in rules.blocks.digests:
        return _refused("BLOCKED")
    policies = rules.matching(subject.image)
    if not policies:
        return _refused("NO_POLICY")
    if any(is_empty(policy) and policy.spec.mode is not Mode.WARN for policy in policies):
        return _refused("POLICY_EMPTY")
    return None


def _comes_along(piece: Read, verified: frozenset[Digest], policies: Sequence[Policy]) -> bool:
    if piece.claims:
        return piece.digest in verified
    return bool(piece.artifact_type) and all(piece.artifact_type in p.spec.referrer_types for p in policies)


def weigh(subject: Subject, evidence: Sequence[Evidence], rules: Rules, moment: Moment = UNKNOWN) -> Passed | Refused:
    """Take steps 1 to 6: what comes along, or the refusal."""
    if refused := forejudge(subject, rules):
        return refused
    # 4. Within bounds, and read.
    if is_past_limits(evidence):
        return _refused("EVIDENCE_LIMIT")
    pieces = [read_evidence(piece, subject.digest) for piece in evidence]
    if sum(len(piece.claims) or 1 for piece in pieces) > MAX_OBJECTS:
        return _refused("EVIDENCE_LIMIT")
    # 5. Every policy that matches holds.
    policies = rules.matching(subject.image)
    considered: list[Finding] = []
    warnings: list[Warned] = []
    verified: set[Digest] = set()
    for policy in policies:
        weighed = weigh_policy(policy, pieces, subject, rules, moment)
        considered += weighed.findings
        verified |= weighed.verified
        warnings += [Warned(policy.name, reason, TEXTS[reason]) for reason in weighed.warnings]
        if weighed.holds:
            continue
        reason = max((one.reason for one in weighed.findings if one.reason), key=FURTHEST.index, default="UNSIGNED")
        if policy.spec.mode is not Mode.WARN:
            return _refused(reason, considered)
        warnings.append(Warned(policy.name, reason, TEXTS[reason]))
    # 6. Nothing unverified comes along. An attestation by a trusted key verified, though it signs nothing.
    kept = tuple(piece.evidence for piece in pieces if _comes_along(piece, frozenset(verified), policies))
    return Passed(kept, tuple(warnings), tuple(considered))


def _parts(dossier: Dossier) -> Iterator[Digest]:
    """Name everything that would be served."""
    served = (dossier.root, *(child.manifest for child in dossier.children if child.wanted))
    yield from (manifest.digest for manifest in served if isinstance(manifest, RawManifest))
    yield from (blob.digest for blob in dossier.blobs)


def _recalled(warnings: Iterable[Warned], before: Iterable[Warned]) -> tuple[Warned, ...]:
    """Keep what was found of a signature that was there and is not stored, for it did not count."""
    known = {one.policy: one for one in before if one.reason in OF_SIGNATURES}
    return tuple(known.get(one.policy, one) if one.reason == "UNSIGNED" else one for one in warnings)


def decide(
    dossier: Dossier, rules: Rules, moment: Moment = UNKNOWN, *, warned: Iterable[Warned] = ()
) -> Admission | Refused:
    """Judge a whole dossier: the one way to an `Admission`.

    Args:
        dossier: what was fetched, or of that what was stored.
        rules: what is in force.
        moment: the present time, as the site knows it.
        warned: what the verdict before warned of, where evidence is what was stored by it.
    """
    subject = Subject(dossier.source, dossier.repository, dossier.root.digest)
    if not rules.unreadable and not rules.blocks.digests.isdisjoint(_parts(dossier)):
        return _refused("BLOCKED")
    passed = weigh(subject, dossier.evidence, rules, moment)
    if isinstance(passed, Refused):
        return passed
    return admit(
        replace(dossier.without_verdict(), evidence=passed.evidence),
        policy_version=rules.policy_version,
        trust_version=rules.trust_version_at(moment),
        block_version=rules.block_version,
        warnings=_recalled(passed.warnings, warned),
        considered=passed.considered,
    )
