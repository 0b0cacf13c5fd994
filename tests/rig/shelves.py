"""The files below a site's registry, for tests that damage them: by kind, since each keeps them in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Files:
    """What a registry of a kind keeps below its `data`."""

    kind: str
    data: Path

    def copies(self, digest: Digest) -> list[Path]:
        """Every file that holds the bytes of a blob or manifest."""
        name = digest.removeprefix("sha256:")
        if self.kind == "distribution":
            return [one for one in (self._root / f"blobs/sha256/{name[:2]}/{name}/data",) if one.exists()]
        return [path for path in self.data.rglob(name) if path.parent.name == "sha256"]

    def link(self, repository: str, digest: Digest, *, manifest: bool = False) -> Path:
        """Distribution's word that a repository has a blob or manifest."""
        shelf = "_manifests/revisions" if manifest else "_layers"
        return self._root / "repositories" / repository / shelf / "sha256" / digest.removeprefix("sha256:") / "link"

    def tag(self, repository: str, tag: str) -> Path:
        """Distribution's word on a tag."""
        return self._root / "repositories" / repository / "_manifests/tags" / tag / "current/link"

    def index(self, repository: str) -> Path:
        """Zot's word on a whole repository."""
        return self.data / repository / "index.json"

    @property
    def used_bytes(self) -> int:
        """What content takes on the disk: hard links count once; a directory counts too."""
        found = {(stat.st_dev, stat.st_ino): stat.st_blocks for stat in (one.stat() for one in self.data.rglob("*"))}
        return sum(found.values()) * 512

    @property
    def _root(self) -> Path:
        return self.data / "docker/registry/v2"


def unlink(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    """Leave the first half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Change one bit in the middle, in place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


Damage = Callable[[Path], None]
