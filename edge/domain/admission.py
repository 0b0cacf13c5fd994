"""The verdict that lets one image be published, with everything that it rests on.

A `Dossier` is what was fetched about an image and says nothing of whether it may be served. An `Admission` is
a dossier that passed; publishing takes nothing else, by digest, and never resolves a tag or a referrer again.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, fields
from typing import Literal

from edge.domain.content import Descriptor, RawManifest
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Child:
    """A manifest below the root. An unwanted one (another platform's) is held by its bytes alone."""

    manifest: RawManifest
    wanted: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """A signature or another referrer that travels with the image, small enough to be held in memory."""

    manifests: tuple[RawManifest, ...]
    """What is put, in this order; the last one is the signature or referrer itself."""
    blobs: tuple[tuple[Descriptor, bytes], ...]
    """Their configs and layers, with the digests checked."""
    tag: str = ""
    """The cosign 2 tag (`sha256-<hex>.sig`), or empty where the manifest names its subject."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one piece of evidence under one authority."""

    evidence: Digest | Literal[""]
    """Empty where it is about none in particular."""
    authority: str
    """Policy, authority, and the attestation that is asked for, with slashes."""
    reason: str
    """Empty where it verified."""
    signer: str = ""
    """Who signed, where that is known."""


@dataclass(frozen=True, slots=True)
class Warned:
    """What a policy found wrong without keeping the image from being served."""

    policy: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The verdict that keeps an image from being served."""

    reason: str
    """Stable UPPER_SNAKE word."""
    text: str
    considered: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that was fetched about one image, less its layers; every digest was checked against its bytes."""

    name: str
    """The artifact resource's name."""
    source: str
    repository: str
    """The path at the source."""
    local_repository: str
    """The path at the site: the source's local prefix and the repository."""
    tags: tuple[str, ...]
    root: RawManifest
    children: tuple[Child, ...]
    """All below the root, in the order in which they are put: what an index names comes before the index."""
    blobs: tuple[Descriptor, ...]
    """Configs and layers of the root and the wanted children, each digest once."""
    evidence: tuple[Evidence, ...]

    def without_verdict(self) -> Dossier:
        """Take the dossier alone: what is stored, and judged again later."""
        return Dossier(**{name: getattr(self, name) for name in Dossier.__slots__})


_SEAL = object()


@dataclass(frozen=True, slots=True)
class Admission(Dossier):
    """A dossier that passed every policy that matches it; made by `edge.domain.verify` alone.

    The three versions say which rules were in force. Where one has changed since, the dossier is judged again
    (`edge.app.judge.rejudge`) before anything is published.
    """

    policy_version: bytes
    trust_version: bytes
    block_version: bytes
    warnings: tuple[Warned, ...]
    considered: tuple[Finding, ...]
    """What became of each piece of evidence; not stored."""
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        """Refuse whoever makes one without a verdict.

        Raises:
            TypeError: a defect of ours.
        """
        if seal is not _SEAL:
            raise TypeError("an Admission is made by a verdict, not by hand")


def admit(
    dossier: Dossier,
    *,
    policy_version: bytes,
    trust_version: bytes,
    block_version: bytes,
    warnings: tuple[Warned, ...] = (),
    considered: tuple[Finding, ...] = (),
) -> Admission:
    """Seal a dossier that passed: for `edge.domain.verify.verdict` alone, as a test checks."""
    return Admission(
        **{field.name: getattr(dossier, field.name) for field in fields(Dossier)},
        policy_version=policy_version,
        trust_version=trust_version,
        block_version=block_version,
        warnings=warnings,
        considered=considered,
        seal=_SEAL,
    )
