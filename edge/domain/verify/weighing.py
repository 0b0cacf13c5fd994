"""What one policy makes of the evidence: its authorities one by one, each claim by each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge.domain.admission import Finding
from edge.domain.moment import Moment
from edge.domain.policy import Policy, Rules, TrustRoot
from edge.domain.verify.claims import Claim, Vouch
from edge.domain.verify.conditions import holds
from edge.domain.verify.evidence import Read
from edge.domain.verify.vouching import is_blocked, vouch
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    Notation,
    NotationLevel,
    RequiredAttestation,
    StaticVerdict,
    WhenClockUnknown,
    WhenExpired,
)
from fleet.reference import Digest


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


@dataclass(frozen=True, slots=True)
class Weighed:
    """What became of one policy."""

    policy: Policy
    holds: bool
    findings: tuple[Finding, ...]
    """Of every piece of evidence and authority, in the order of the policy."""
    verified: frozenset[Digest] = frozenset()
    """Evidence that one of its authorities made, whatever it says of the image."""
    warnings: tuple[str, ...] = ()
    """Reasons of what failed and is only to be reported."""


def is_empty(policy: Policy) -> bool:
    """Say whether nobody could satisfy it; an authority without keys beside others weakens nothing."""
    return not any(map(_is_satisfiable, policy.spec.authorities))


def _is_satisfiable(authority: Authority) -> bool:
    match authority.verifier:
        case StaticVerdict():
            return True
        case Notation(level=NotationLevel.SKIP):
            return True
        case KeySet(public_keys_pem=some) | Keyless(identities=some) | CertificateChain(subjects=some):
            return bool(some and authority.formats)
        case Notation(trusted_identities=identities):
            return bool(identities and authority.formats)
        case None:
            return False


def weigh_policy(policy: Policy, pieces: Sequence[Read], subject: Subject, rules: Rules, moment: Moment) -> Weighed:
    """Weigh all evidence by one policy: it holds where one authority does."""
    results = [_Weighing(policy, by, pieces, subject, rules, moment).result() for by in policy.spec.authorities]
    good = next((one for one in results if one.holds), None)
    unread = tuple(Finding(piece.digest, "", "EVIDENCE_MALFORMED") for piece in pieces if piece.reason)
    return Weighed(
        policy,
        good is not None,
        unread + tuple(finding for one in results for finding in one.findings),
        frozenset(digest for one in results for digest in one.verified),
        good.warnings if good else (),
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    """One claim that an authority's signers made."""

    piece: Read
    claim: Claim
    by: tuple[Vouch, ...]


@dataclass(frozen=True, slots=True)
class _Weighing:
    """One authority of one policy."""

    policy: Policy
    authority: Authority
    pieces: Sequence[Read]
    subject: Subject
    rules: Rules
    moment: Moment

    @property
    def name(self) -> str:
        return f"{self.policy.name}/{self.authority.name}"

    def result(self) -> Weighed:
        match self.authority.verifier:
            case StaticVerdict(passes=passes):
                return self._given(passes=passes, reason="STATIC_FAIL")
            case Notation(level=NotationLevel.SKIP):
                return self._given(passes=True, reason="")
        if not _is_satisfiable(self.authority):
            return self._given(passes=False, reason="POLICY_EMPTY")
        # 1. What everything rests on has not expired.
        trust = self.rules.trust_root_of(self.policy, self.authority)
        lapsed = self._lapsed(trust)
        if lapsed and self.policy.spec.when_expired is not WhenExpired.ACCEPT:
            return self._given(passes=False, reason=lapsed)
        # 2. What its signers said, and of that what is asked for.
        heard, findings = self._hear(trust)
        required = self.authority.attestations or (None,)
        answers = [self._answer(one, heard) for one in required]
        findings += [finding for answer in answers for finding in answer]
        return Weighed(
            self.policy,
            all(self._is_enough(answer) for answer in answers),
            tuple(findings + self._short(answers, required, findings)),
            frozenset(one.piece.digest for one in heard),
            tuple({*((lapsed,) if lapsed else ()), *(word for one in heard for by in one.by for word in by.warnings)}),
        )

    def _given(self, *, passes: bool, reason: str) -> Weighed:
        return Weighed(self.policy, passes, (Finding("", self.name, "" if passes else reason),))

    def _lapsed(self, trust: TrustRoot | None) -> str:
        """Say why policy or trust root may not be relied on now; empty where they may."""
        times = [one for one in (self.policy.expires_at, trust.expires_at if trust else None) if one]
        if not times:
            return ""
        is_served = self.moment.served_since is not None
        if self.moment.at >= min(times):
            return "" if is_served and self.policy.spec.when_expired is WhenExpired.REFUSE_NEW else "TRUST_EXPIRED"
        if self.moment.is_known or is_served or self.policy.spec.when_clock_unknown is WhenClockUnknown.USE_FLOOR:
            return ""
        return "CLOCK_UNKNOWN"

    def _moment(self) -> Moment:
        """Say which time stands for the present one where a certificate is judged at it."""
        if self.moment.served_since and self.policy.spec.when_expired is not WhenExpired.WITHDRAW:
            return Moment(self.moment.served_since)
        use_floor = self.policy.spec.when_clock_unknown is WhenClockUnknown.USE_FLOOR
        return replace(self.moment, is_known=self.moment.is_known or use_floor)

    def _hear(self, trust: TrustRoot | None) -> tuple[list[_Heard], list[Finding]]:
        heard: list[_Heard] = []
        findings: list[Finding] = []
        moment = self._moment()
        for piece, claim in ((one, claim) for one in self.pieces for claim in one.claims):
            if claim.form not in self.authority.formats:
                findings.append(Finding(piece.digest, self.name, "FORMAT_NOT_ALLOWED"))
                continue
            vouched = vouch(claim, self.authority, trust, moment)
            if isinstance(vouched, str):
                findings.append(Finding(piece.digest, self.name, vouched))
            elif by := tuple(one for one in vouched if not is_blocked(one, self.rules.blocks)):
                heard.append(_Heard(piece, claim, by))
            else:
                findings.append(Finding(piece.digest, self.name, "SIGNER_BLOCKED", vouched[0].signer))
        return heard, findings

    def _answer(self, required: RequiredAttestation | None, heard: Iterable[_Heard]) -> list[Finding]:
        """Say of all that was heard whether it is what is asked for."""
        return [
            Finding(one.piece.digest, self._about(required), self._lacks(one.claim, required), by.signer)
            for one in heard
            for by in one.by
        ]

    def _about(self, required: RequiredAttestation | None) -> str:
        return f"{self.name}/{required.name}" if required else self.name

    def _lacks(self, claim: Claim, required: RequiredAttestation | None) -> str:
        if self.subject.digest not in claim.digests:
            return "DIGEST_NOT_SIGNED"
        if required is None and not claim.is_signature:
            return "NOT_A_SIGNATURE"
        if required and claim.predicate_type != required.predicate_type:
            return "PREDICATE_OTHER"
        if self.policy.spec.check_reference and claim.repository != self.subject.repository:
            return "REFERENCE_NOT_SIGNED"
        return holds(required.condition, claim) if required and required.condition else ""

    def _threshold(self) -> int:
        return self.authority.verifier.threshold if isinstance(self.authority.verifier, KeySet) else 1

    def _is_enough(self, answer: Iterable[Finding]) -> bool:
        return len({finding.signer for finding in answer if not finding.reason}) >= self._threshold()

    def _short(
        self,
        answers: Sequence[Sequence[Finding]],
        required: Sequence[RequiredAttestation | None],
        findings: Sequence[Finding],
    ) -> list[Finding]:
        """Say what too few have signed, and which attestation nobody made, where nothing else explains it."""
        found: list[Finding] = []
        for answer, one in zip(answers, required, strict=True):
            if self._is_enough(answer):
                continue
            if any(not finding.reason for finding in answer):
                found.append(Finding("", self._about(one), "THRESHOLD_NOT_MET"))
            elif one and all(finding.reason in {"", "PREDICATE_OTHER"} for finding in findings):
                found.append(Finding("", self._about(one), "ATTESTATION_MISSING"))
        return found
