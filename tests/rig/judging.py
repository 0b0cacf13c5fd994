"""Verdicts in one line: policies, wants and the judgement of what a repository in memory holds."""

from __future__ import annotations

from collections.abc import Iterable

from edge.app.judge import WantedArtifact, judge
from edge.domain.admission import Admission, Refused
from edge.domain.content import Platform
from edge.domain.policy import KeyAuthority, Policy, Rules, SignatureFormat
from fleet.reference import Digest
from tests.rig.repository import Repository
from tests.rig.upstream import MemoryUpstream

BOTH = frozenset(SignatureFormat)


def policy(
    *keys: bytes, formats: Iterable[SignatureFormat] = BOTH, images: str = "central/**", **more: object
) -> Policy:
    """Trust keys with one authority."""
    authority = KeyAuthority("operator", keys, frozenset(formats))
    return Policy("signed", (images,), (authority,), **more)  # type: ignore[arg-type]  # the policy's own fields


def wanted(digest: Digest, *platforms: Platform, repository: str = "demo/app") -> WantedArtifact:
    return WantedArtifact(
        name=f"central/{repository}:1.0",
        source="central",
        repository=repository,
        digest=digest,
        local_repository=repository,
        tag="1.0",
        platforms=platforms,
    )


def judged(
    held: Repository, *policies: Policy, repository: str = "demo/app", rules: Rules | None = None
) -> Admission | Refused:
    """Judge the image tagged 1.0 of a repository at the source."""
    artifact = wanted(held.tags["1.0"], repository=repository)
    return judge(artifact, MemoryUpstream({repository: held}), rules or Rules(policies))


def reason(verdict: Admission | Refused) -> str:
    """Name the refusal; empty where it was admitted."""
    return verdict.reason if isinstance(verdict, Refused) else ""
