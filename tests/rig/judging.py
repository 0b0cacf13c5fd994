"""Verdicts in one line: policies, wants and the judgement of what a repository in memory holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edge.app.judge import WantedArtifact, judge
from edge.domain.admission import Admission, Refused
from edge.domain.content import Platform
from edge.domain.policy import Policy, Rules
from fleet.policy import Authority, KeySet, PolicySpec, SignatureFormat
from fleet.reference import Digest
from tests.rig.repository import Repository
from tests.rig.upstream import MemoryUpstream

BOTH = frozenset({SignatureFormat.COSIGN_SIMPLE_SIGNING, SignatureFormat.SIGSTORE_BUNDLE})


def key_authority(name: str, *keys: bytes, formats: Iterable[SignatureFormat] = BOTH, threshold: int = 1) -> Authority:
    """Trust keys, of which so many must have signed."""
    return Authority(name, KeySet(tuple(key.decode() for key in keys), threshold), tuple(sorted(formats)))


def policy_of(*authorities: Authority, images: str = "**", name: str = "signed", **more: object) -> Policy:
    """Trust some authorities; `more` are fields of PolicySpec."""
    return Policy(name, PolicySpec((images,), authorities, **more))  # type: ignore[arg-type]  # its own fields


def policy(
    *keys: bytes,
    formats: Iterable[SignatureFormat] = BOTH,
    images: str = "central/**",
    version: bytes = b"",
    **more: object,
) -> Policy:
    """Trust keys with one authority, any one of them."""
    by = key_authority("operator", *keys, formats=formats)
    made = policy_of(by, images=images, **more)  # type: ignore[arg-type]  # PolicySpec's own fields
    return replace(made, version=version)


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
