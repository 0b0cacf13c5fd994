"""Names of content: digests, repositories, tags, and the fleet's artifact names.

Source: OCI distribution specification 1.1, section "Pulling manifests" (name and tag grammar); OCI image
specification 1.1, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from fleet.errors import malformed

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits: the one algorithm that every registry accepts."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_OTHER_DIGEST = re.compile(r"(?:sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}|blake3:[0-9a-f]{64})\Z")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_MAX_REPOSITORY = 255


def digest_of(content: bytes) -> Digest:
    """Hash content: `bytes → Digest`."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def hash_of(chunks: Iterable[bytes]) -> Digest:
    """Hash content that comes in pieces: `chunks → Digest`."""
    hashed = hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
    return Digest("sha256:" + hashed.hexdigest())


def parse_digest(text: str) -> Digest:
    """Read a digest.

    Raises:
        FleetError: MALFORMED `DIGEST_MALFORMED` unless it is `sha256:` and 64 hexadecimal digits;
            `DIGEST_UNSUPPORTED` for one by another algorithm.
    """
    if _OTHER_DIGEST.match(text):
        raise malformed(
            "DIGEST_UNSUPPORTED", "digests by another algorithm than sha256 are not served", subject=text[:80]
        )
    if not _DIGEST.match(text):
        raise malformed("DIGEST_MALFORMED", "a digest is sha256: and 64 hexadecimal digits", subject=text[:80])
    return Digest(text)


def parse_repository(text: str) -> str:
    """Return a repository path if it is one.

    Raises:
        FleetError: MALFORMED `REPOSITORY_MALFORMED`.
    """
    if len(text) > _MAX_REPOSITORY or not _REPOSITORY.match(text):
        raise malformed("REPOSITORY_MALFORMED", "not an OCI repository path", subject=text[:80])
    return text


def parse_tag(text: str) -> str:
    """Return a tag if it is one.

    Raises:
        FleetError: MALFORMED `TAG_MALFORMED`.
    """
    if not _TAG.match(text):
        raise malformed("TAG_MALFORMED", "not an OCI tag", subject=text[:80])
    return text


@dataclass(frozen=True, slots=True)
class ArtifactName:
    """What an operator calls an artifact: `<source>/<repository>:<tag>`, `...@<digest>`, or both."""

    source: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        """Name it by its tag where it has one: the digest is the payload's to pin."""
        if self.tag:
            return f"{self.source}/{self.repository}:{self.tag}"
        return f"{self.source}/{self.repository}@{self.digest}"


def parse_artifact_name(text: str) -> ArtifactName:
    """Read `<source>/<repository>[:<tag>][@<digest>]`; one of tag and digest is there.

    Raises:
        FleetError: MALFORMED with the reason of the part that is wrong.
    """
    rest, at, digest = text.partition("@")
    source, slash, path = rest.partition("/")
    repository, colon, tag = path.partition(":")
    if not slash or not (colon or at):
        raise malformed(
            "ARTIFACT_MALFORMED",
            "an artifact is <source>/<repository>:<tag> or ...@<digest>",
            subject=text[:120],
        )
    return ArtifactName(
        source=source,
        repository=parse_repository(repository),
        tag=parse_tag(tag) if colon else "",
        digest=parse_digest(digest) if at else None,
    )
