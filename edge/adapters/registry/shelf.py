"""The disk below a registry of our own: what the API does not list is there all the same.

Manifests without a tag, and whatever somebody put on the disk, are pullable by digest and by name. Repositories
are found by their directories, not by the catalog, which shows only those that look complete.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge.adapters.registry.files import (
    copy_at,
    digest_in,
    hex_of,
    is_older,
    names_in,
    reading,
    regular,
    remove,
    text_of,
)
from edge.app.disk import Copy, OpenUpload
from fleet.reference import Digest

_LINK_BYTES = len("sha256:") + 64
_TAG = "org.opencontainers.image.ref.name"


class NoShelf:
    """A registry whose disk is not ours to read."""

    disk = None

    def repositories(self) -> None:
        """Leave it to the API."""

    def references(self, repository: str) -> None:
        """Leave it to the API."""

    def room(self) -> None:
        """Not to be known from here."""


class _Disk:
    """What both kinds have in common."""

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
    """CNCF Distribution's filesystem driver: bytes in one place, and a link per repository that has them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._root = directory / "docker/registry/v2/repositories"
        self._blobs = directory / "docker/registry/v2/blobs/sha256"

    @property
    def disk(self) -> DistributionShelf:
        """Its files are ours to mend."""
        return self

    def repositories(self) -> list[str]:
        """List every directory that has manifests or layers."""
        return sorted(_below(self._root, marks=("_manifests", "_layers")))

    def references(self, repository: str) -> dict[str, Digest]:
        """List every revision and tag that can be read."""
        manifests = self._root / repository / "_manifests"
        revisions = (digest_in(f"sha256:{name}") for name in names_in(manifests / "revisions/sha256"))
        found = {str(one): one for one in revisions if one and self.copy_of(repository, one)}
        tags = {tag: digest_in(text_of(manifests / f"tags/{tag}/current/link")) for tag in names_in(manifests / "tags")}
        return found | {tag: digest for tag, digest in tags.items() if digest in found}

    def copy_of(self, repository: str, digest: Digest) -> Copy | None:
        """Look at a blob that a repository links."""
        links = _links(f"{self._root}/{repository}", digest)
        return copy_at(self._data(digest)) if any(regular(link, least=1) for link in links) else None

    @contextmanager
    def read(self, repository: str, digest: Digest) -> Iterator[Iterator[bytes]]:  # noqa: ARG002 -- see its text
        """Read the bytes that all repositories share."""
        with reading(self._data(digest)) as chunks:
            yield chunks

    def discard(self, digest: Digest) -> None:
        """Remove the bytes; the links stay, and stand for what is sent again."""
        remove(self._data(digest))

    def set_aside(self, repository: str, digest: Digest) -> None:
        """Do nothing: a link goes whatever names it."""

    def clear(self, repository: str, *, idle_s: float) -> list[str]:
        """Remove links that hold no digest, as a power cut leaves them: it answers 500 for those."""
        before = time.time() - idle_s
        place = f"{self._root}/{repository}"
        shelves = [f"{place}/{kind}/sha256" for kind in ("_layers", "_manifests/revisions")]
        links = [f"{shelf}/{name}/link" for shelf in shelves for name in names_in(shelf)]
        links += [f"{place}/_manifests/tags/{tag}/current/link" for tag in names_in(f"{place}/_manifests/tags")]
        odd = [Path(link) for link in links if (found := regular(link)) and found.st_size != _LINK_BYTES]
        broken = [link for link in odd if digest_in(text_of(link)) is None and is_older(link, before)]
        for link in broken:
            remove(link)
        return [str(link.relative_to(self._root)) for link in broken]

    def litter(self) -> set[Digest]:
        """List bytes that no link stands for, and what deletions leave of links: directories."""
        linked, hollow = self._survey()
        stored = {name for part in names_in(self._blobs) for name in names_in(self._blobs / part)}
        return {digest for name in (stored - linked) | hollow.keys() if (digest := digest_in(f"sha256:{name}"))}

    def free(self, digests: Collection[Digest]) -> int:
        """Remove what is left of links and, where no repository has one, the bytes."""
        linked, hollow = self._survey()
        for digest in digests:
            for directory in hollow.get(hex_of(digest), ()):
                with suppress(OSError):
                    directory.rmdir()  # an empty one alone
        return sum(self._drop(digest) for digest in digests if hex_of(digest) not in linked)

    def _drop(self, digest: Digest) -> int:
        data = self._data(digest)
        found = regular(data)
        shutil.rmtree(Path(data).parent, ignore_errors=True)
        return found.st_size if found else 0

    def _survey(self) -> tuple[set[str], dict[str, list[Path]]]:
        """Walk every link: `→ what is linked, and directories that no longer hold a link`."""
        linked, hollow = set[str](), dict[str, list[Path]]()
        for repository in self.repositories():
            for kind in ("_layers/sha256", "_manifests/revisions/sha256"):
                shelf = f"{self._root}/{repository}/{kind}"
                for name in names_in(shelf):
                    if regular(f"{shelf}/{name}/link"):
                        linked.add(name)
                    else:
                        hollow.setdefault(name, []).append(Path(shelf, name))
        return linked, hollow

    def uploads(self, *, idle_s: float) -> list[OpenUpload]:
        """List what is below `_uploads`: a cancelled upload leaves its directory too (measured)."""
        before = time.time() - idle_s
        return [
            OpenUpload(repository, name)
            for repository in self.repositories()
            for name in names_in(self._root / repository / "_uploads")
            if is_older(self._root / repository / "_uploads" / name, before)
            and is_older(self._root / repository / "_uploads" / name / "data", before)
        ]

    def drop_upload(self, upload: OpenUpload) -> None:
        """Remove its directory."""
        shutil.rmtree(self._root / upload.repository / "_uploads" / upload.name, ignore_errors=True)

    def _data(self, digest: Digest) -> str:
        name = hex_of(digest)
        return f"{self._blobs}/{name[:2]}/{name}/data"


class ZotShelf(_Disk):
    """Zot's storage: an OCI image layout per repository, whose `index.json` names every manifest."""

    @property
    def disk(self) -> ZotShelf:
        """Its files are ours to mend."""
        return self

    def repositories(self) -> list[str]:
        """List every directory that has an index."""
        return sorted(_below(self._directory, marks=("index.json",)))

    def references(self, repository: str) -> dict[str, Digest]:
        """List every manifest and tag that the repository's index names and that has its bytes."""
        found: dict[str, Digest] = {}
        for entry in _entries(text_of(self._directory / repository / "index.json")) or ():
            digest = digest_in(str(entry.get("digest")))
            if digest is None or not regular(self._data(repository, digest)):
                continue
            found[digest] = digest
            tag = (entry.get("annotations") or {}).get(_TAG)
            if tag:
                found[str(tag)] = digest
        return found

    def copy_of(self, repository: str, digest: Digest) -> Copy | None:
        """Look at a repository's own file: what another one has of the same bytes is a hard link away.

        Asked over the API, Zot says that it has such a blob, and links it then (measured): `mount` asks it to.
        """
        return copy_at(self._data(repository, digest))

    @contextmanager
    def read(self, repository: str, digest: Digest) -> Iterator[Iterator[bytes]]:
        """Read a repository's own file."""
        with reading(self._data(repository, digest)) as chunks:
            yield chunks

    def discard(self, digest: Digest) -> None:
        """Remove the file in every repository: Zot makes a new link to whichever it still knows of."""
        for repository in self.repositories():
            remove(self._data(repository, digest))

    def set_aside(self, repository: str, digest: Digest) -> None:
        """Remove its file: Zot reads what an index names to see what must stay (measured), and asks for it no more."""
        remove(self._data(repository, digest))

    def clear(self, repository: str, *, idle_s: float) -> list[str]:
        """Remove an index that is no JSON: Zot answers 500 for all of the repository, and makes it anew once gone."""
        index = self._directory / repository / "index.json"
        if _entries(text_of(index)) is not None or not is_older(index, time.time() - idle_s):
            return []
        remove(index)
        return [str(index.relative_to(self._directory))]

    def litter(self) -> set[Digest]:
        """Find none: Zot removes a blob's file when the blob is deleted, and counts hard links by their nature."""
        return set()

    def free(self, digests: Collection[Digest]) -> int:  # noqa: ARG002 -- there is nothing to be done
        """Do nothing: see `litter`."""
        return 0

    def uploads(self, *, idle_s: float) -> list[OpenUpload]:
        """List what is below `.uploads`."""
        before = time.time() - idle_s
        return [
            OpenUpload(repository, name)
            for repository in self.repositories()
            for name in names_in(self._directory / repository / ".uploads")
            if is_older(self._directory / repository / ".uploads" / name, before)
        ]

    def drop_upload(self, upload: OpenUpload) -> None:
        """Remove its file."""
        remove(self._directory / upload.repository / ".uploads" / upload.name)

    def _data(self, repository: str, digest: Digest) -> str:
        return f"{self._directory}/{repository}/blobs/sha256/{hex_of(digest)}"


def _below(root: Path, *, marks: tuple[str, ...]) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        if directory != str(root) and any(mark in names or mark in files for mark in marks):
            yield str(Path(directory).relative_to(root))
        content = {"blobs"} if "index.json" in files else set()  # elsewhere a repository may be called so
        names[:] = [name for name in names if not name.startswith(("_", ".")) and name not in content]


def _links(repository: str, digest: Digest) -> Iterable[str]:
    name = hex_of(digest)
    return (f"{repository}/_layers/sha256/{name}/link", f"{repository}/_manifests/revisions/sha256/{name}/link")


def _entries(text: str) -> list[Any] | None:
    try:
        return [dict(entry) for entry in json.loads(text)["manifests"] or ()]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
