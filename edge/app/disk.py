"""The disk below a registry of ours, as use cases see it: what the API does not tell, and what it cannot mend.

Neither Zot nor Distribution replaces bytes that are there: sent again, they are taken for granted, damaged or not
(measured). The file has to go first; then a new upload puts it where it was, under manifests that never went.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of a blob or manifest in one repository."""

    size_bytes: int
    identity: tuple[int, int]
    """The same for all repositories that share one file: by hard links with Zot, by design with Distribution."""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that a registry keeps on its disk."""

    repository: str
    name: str
    """The last part of its path, as the API has it too."""


class SiteDisk(Protocol):
    """Files of the site's registry; usable from many threads. Nothing here raises because of what it finds."""

    def references(self, repository: str) -> dict[str, Digest]:
        """List the manifests and tags of a repository that can be served: `digest or tag → digest`."""

    def copy_of(self, repository: str, digest: Digest) -> Copy | None:
        """Look at a blob or manifest of a repository without reading it; None where it is absent."""

    def read(self, repository: str, digest: Digest) -> AbstractContextManager[Iterator[bytes]]:
        """Read one, leaving other files in the kernel's cache; what cannot be read ends early."""

    def discard(self, digest: Digest) -> None:
        """Remove every copy of these bytes, so that the registry takes them again."""

    def set_aside(self, repository: str, digest: Digest) -> None:
        """Remove a repository's own copy of a manifest's bytes where the registry keeps what they name for it (Zot)."""

    def clear(self, repository: str, *, idle_s: float) -> list[str]:
        """Remove links and indexes that no registry can read, unless just written: `→ what was removed`."""

    def litter(self) -> set[Digest]:
        """List the content that a repository has dropped and the registry has kept."""

    def free(self, digests: Collection[Digest]) -> int:
        """Remove what no repository links of these: `→ bytes`; what one links after all stays."""

    def uploads(self, *, idle_s: float) -> list[OpenUpload]:
        """List uploads to which nothing was written for a while."""

    def drop_upload(self, upload: OpenUpload) -> None:
        """Remove an upload with its bytes."""
