"""The verdict on one image, in numbered steps: what was fetched and the rules in, admitted or refused out.

1. HOLD resources that cannot be read keep everything new out.
2. What is blocked is refused, whoever signed it.
3. Some policy matches, and each that does has an authority with keys and formats.
4. The evidence is within its bounds; each piece is read, and one that cannot be is no evidence.
5. Every policy that matches holds: one of its authorities signed this digest in a format that it counts.
6. Only what verified, or is of a type that every such policy lists, comes along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge.domain.admission import Admission, Dossier, Evidence, Finding, Refused, admit
from edge.domain.content import RawManifest
from edge.domain.policy import KeyAuthority, Policy, Rules
from edge.domain.verify.claims import Claim
from edge.domain.verify.evidence import MAX_OBJECTS, Read, is_past_limits, read_evidence
from edge.domain.verify.keys import load_key
from fleet.errors import FleetError
from fleet.reference import Digest

TEXTS = {
    "AGENT_TOO_OLD": "a policy, trust root or block is newer than this satellite can read: upgrade the satellite",
    "BLOCKED": "the image or a part of it is blocked",
    "NO_POLICY": "no policy matches the image: add one that says who must have signed it",
    "POLICY_EMPTY": "a policy that matches has no authority with keys and formats",
    "EVIDENCE_LIMIT": "more than 100 signatures and referrers, or more than 32 MiB of them",
    "UNSIGNED": "no signature was found for the image",
    "EVIDENCE_MALFORMED": "the signatures that were found cannot be read",
    "FORMAT_NOT_ALLOWED": "it is signed only in a format that the policy does not count",
    "KEY_UNUSABLE": "the policy's key cannot be read",
    "SIGNATURE_INVALID": "no signature was made by a key that the policy trusts",
    "NOT_A_SIGNATURE": "a trusted key attests something about the image but does not sign it",
    "DIGEST_NOT_SIGNED": "the signature is a trusted key's but for another digest",
    "REFERENCE_NOT_SIGNED": "the signature does not name the repository, which the policy demands",
}
"""The public text of each reason."""
_FURTHEST = tuple(TEXTS)
"""Of several failures the one that came furthest is told: it is the one to mend."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that is judged, by the names that matter."""

    source: str
    repository: str
    digest: Digest

    @property
    def image(self) -> str:
        """What policies' globs are matched with."""
        return f"{self.source}/{self.repository}"


def _refused(reason: str, considered: Iterable[Finding] = ()) -> Refused:
    return Refused(reason, TEXTS[reason], tuple(considered))


def forejudge(subject: Subject, rules: Rules) -> Refused | None:
    """Take steps 1 to 3, which need no evidence: the refusal, or None where evidence decides."""
    if rules.unreadable:
        return _refused("AGENT_TOO_OLD")
    if subject.digest in rules.blocks:
        return _refused("BLOCKED")
    policies = rules.matching(subject.image)
    if not policies:
        return _refused("NO_POLICY")
    if any(_is_empty(policy) for policy in policies):
        return _refused("POLICY_EMPTY")
    return None


def _is_empty(policy: Policy) -> bool:
    """Say whether nobody could satisfy it; an authority without keys beside others weakens nothing."""
    return not any(by.public_keys and by.formats for by in policy.authorities)


def _signed_by(authority: KeyAuthority, claim: Claim) -> str:
    """Say why no key of the authority made the claim; empty where one did."""
    reason = "KEY_UNUSABLE"
    for encoded in authority.public_keys:
        try:
            verifies = load_key(encoded)
        except FleetError:
            continue  # the resource was reported when it came; a key that cannot be read signs nothing
        if any(verifies(signature, claim.signed) for signature in claim.signatures):
            return ""
        reason = "SIGNATURE_INVALID"
    return reason


def _weigh(claim: Claim, authority: KeyAuthority, policy: Policy, subject: Subject) -> str:
    """Say why a claim does not satisfy an authority; empty where it does."""
    if claim.form not in authority.formats:
        return "FORMAT_NOT_ALLOWED"
    if reason := _signed_by(authority, claim):
        return reason
    if subject.digest not in claim.digests:
        return "DIGEST_NOT_SIGNED"
    if not claim.is_signature:
        return "NOT_A_SIGNATURE"
    if policy.check_reference and claim.repository != subject.repository:
        return "REFERENCE_NOT_SIGNED"
    return ""


def _findings(policy: Policy, pieces: Sequence[Read], subject: Subject) -> Iterator[Finding]:
    """Say of every piece and authority what came of it."""
    for piece in pieces:
        if piece.reason:
            yield Finding(piece.digest, "", "EVIDENCE_MALFORMED")
        for claim in piece.claims:
            for authority in policy.authorities:
                reason = _weigh(claim, authority, policy, subject)
                yield Finding(piece.digest, f"{policy.name}/{authority.name}", reason)


def _comes_along(piece: Read, verified: frozenset[Digest], policies: Sequence[Policy]) -> bool:
    if piece.claims:
        return piece.digest in verified
    return bool(piece.artifact_type) and all(piece.artifact_type in p.referrer_types for p in policies)


def weigh(subject: Subject, evidence: Sequence[Evidence], rules: Rules) -> tuple[Evidence, ...] | Refused:
    """Take steps 1 to 6: the evidence that comes along, or the refusal."""
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
    for policy in policies:
        findings = list(_findings(policy, pieces, subject))
        considered += findings
        reasons = {finding.reason for finding in findings}
        if "" not in reasons:
            return _refused(max(reasons, key=_FURTHEST.index, default="UNSIGNED"), considered)
    # 6. Nothing unverified comes along. An attestation by a trusted key verified, though it signs nothing.
    verified = frozenset(f.evidence for f in considered if f.reason in {"", "NOT_A_SIGNATURE"})
    return tuple(piece.evidence for piece in pieces if _comes_along(piece, verified, policies))


def _parts(dossier: Dossier) -> Iterator[Digest]:
    """Name everything that would be served."""
    served = (dossier.root, *(child.manifest for child in dossier.children if child.wanted))
    yield from (manifest.digest for manifest in served if isinstance(manifest, RawManifest))
    yield from (blob.digest for blob in dossier.blobs)


def decide(dossier: Dossier, rules: Rules) -> Admission | Refused:
    """Judge a whole dossier: the one way to an `Admission`."""
    subject = Subject(dossier.source, dossier.repository, dossier.root.digest)
    if not rules.unreadable and not rules.blocks.isdisjoint(_parts(dossier)):
        return _refused("BLOCKED")
    kept = weigh(subject, dossier.evidence, rules)
    if isinstance(kept, Refused):
        return kept
    return admit(
        replace(dossier.without_verdict(), evidence=kept),
        policy_version=rules.policy_version,
        trust_version=rules.trust_version,
        block_version=rules.block_version,
    )
