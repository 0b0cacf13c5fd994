"""Reading the disk below a registry of our own: what the API does not list is there all the same.

Manifests without a tag, and whatever somebody put on the disk, are pullable by digest and by name. Repositories
are found by their directories, not by the catalog, which shows only those that look complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from fleet.errors import FleetError
from fleet.reference import Digest, parse_digest


class NoShelf:
    """A registry whose disk is not ours to read."""

    sees_blobs = False

    def repositories(self) -> None:
        """Leave it to the API."""

    def manifests(self, repository: str) -> None:
        """Leave it to the API."""

    def blob_bytes(self, repository: str, digest: Digest) -> None:
        """Leave it to the API."""

    def room(self) -> None:
        """Not to be known from here."""


class _Disk:
    sees_blobs = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def room(self) -> int | None:
        """Say how many bytes are free on its disk: none either where it cannot hold another file."""
        try:
            space = os.statvfs(self._directory)
        except OSError:
            return None
        has_files = space.f_files == 0 or space.f_favail > 0
        return space.f_bavail * space.f_frsize if has_files else 0


class DistributionShelf(_Disk):
    """CNCF Distribution's filesystem driver: a link per manifest under `_manifests/revisions`."""

    def repositories(self) -> list[str]:
        """List every directory that has manifests or layers."""
        return sorted(_below(self._root, marks=("_manifests", "_layers")))

    def manifests(self, repository: str) -> set[Digest]:
        """List every revision, and every digest that a tag points to."""
        manifests = self._root / repository / "_manifests"
        links = [*manifests.glob("revisions/*/*/link"), *manifests.glob("tags/*/current/link")]
        return {digest for link in links if (digest := _digest(_text(link)))}

    def blob_bytes(self, repository: str, digest: Digest) -> int | None:
        """Measure a blob that the repository links; the bytes are in one place for all of them."""
        link = self._root / repository / "_layers/sha256" / _hex(digest) / "link"
        return _size(self._blob(digest)) if _size(link) else None

    def _blob(self, digest: Digest) -> Path:
        return self._directory / "docker/registry/v2/blobs/sha256" / _hex(digest)[:2] / _hex(digest) / "data"

    @property
    def _root(self) -> Path:
        return self._directory / "docker/registry/v2/repositories"


class ZotShelf(_Disk):
    """Zot's storage: an OCI image layout per repository, whose `index.json` names every manifest."""

    def repositories(self) -> list[str]:
        """List every directory that has an index."""
        return sorted(_below(self._directory, marks=("index.json",)))

    def manifests(self, repository: str) -> set[Digest]:
        """List every manifest that the repository's index names."""
        try:
            entries = json.loads(_text(self._directory / repository / "index.json"))["manifests"] or ()
            names = [str(entry["digest"]) for entry in entries]
        except (ValueError, KeyError, TypeError, RecursionError):
            return set()
        return {digest for name in names if (digest := _digest(name))}

    def blob_bytes(self, repository: str, digest: Digest) -> int | None:
        """Measure a repository's own file: what another one has of the same bytes is a hard link's distance away.

        Zot says on such a question that it has the blob, and links it then (measured): we ask it to by `mount`.
        """
        return _size(self._directory / repository / "blobs/sha256" / _hex(digest))


def _below(root: Path, *, marks: tuple[str, ...]) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        if directory != str(root) and any(mark in names or mark in files for mark in marks):
            yield str(Path(directory).relative_to(root))
        content = {"blobs"} if "index.json" in files else set()  # elsewhere a repository may be called so
        names[:] = [name for name in names if not name.startswith(("_", ".")) and name not in content]


def _hex(digest: Digest) -> str:
    return digest.removeprefix("sha256:")


def _size(path: Path) -> int | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- asked for each blob of each image
    except OSError:
        return None
    return found.st_size if S_ISREG(found.st_mode) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text.strip())
    except FleetError:
        return None
