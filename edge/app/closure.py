"""What lies below an image's root: the manifests of an index, and the blobs of those that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge.domain.admission import Child
from edge.domain.content import (
    MAX_CHILDREN,
    MAX_INDEX_DEPTH,
    Descriptor,
    Image,
    Index,
    Platform,
    RawManifest,
    read_manifest,
)
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import Digest

Fetch = Callable[[Digest], RawManifest]
"""`digest → manifest`, checked; UNKNOWN where the source does not have it."""


@dataclass(slots=True)
class _Closure:
    fetch: Fetch
    platforms: tuple[Platform, ...]
    children: dict[Digest, Child] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)

    def wants(self, child: Descriptor) -> bool:
        """What names no platform cannot be left out by one."""
        stated = child.platform
        return not self.platforms or stated is None or any(p.admits(stated) for p in self.platforms)

    def add_image(self, image: Image) -> None:
        for blob in (image.config, *image.layers):
            if not blob.is_foreign:
                self.blobs.setdefault(blob.digest, blob)

    def add_index(self, index: Index, *, depth: int) -> bool:
        """Add an index's children, each before what names it; say whether any of them is wanted."""
        if depth > MAX_INDEX_DEPTH:
            raise malformed("INDEX_TOO_DEEP", f"indexes nest at most {MAX_INDEX_DEPTH} deep")
        wanted = [self._add_child(child, depth=depth) for child in index.children]
        return any(wanted)

    def _add_child(self, child: Descriptor, *, depth: int) -> bool:
        known = self.children.get(child.digest)
        if known and known.wanted:
            return True
        wanted = self.wants(child)
        manifest = self._fetched(child, wanted=wanted)
        if manifest is None:
            return False
        read = read_manifest(manifest.raw, manifest.media_type)
        if wanted and isinstance(read, Index):
            wanted = self.add_index(read, depth=depth + 1)
        elif wanted and isinstance(read, Image):
            self.add_image(read)
        self.children.pop(child.digest, None)
        self.children[child.digest] = Child(manifest, wanted=wanted)
        if len(self.children) > MAX_CHILDREN:
            raise malformed("INDEX_TOO_LARGE", f"an image has at most {MAX_CHILDREN} manifests below its root")
        return wanted

    def _fetched(self, child: Descriptor, *, wanted: bool) -> RawManifest | None:
        """Fetch a child; an unwanted one may be missing, as it is where the source itself was filtered."""
        try:
            manifest = self.fetch(child.digest)
        except FleetError as error:
            if error.kind is Kind.UNKNOWN and not wanted:
                return None
            raise
        if manifest.media_type != child.media_type:
            raise malformed("MANIFEST_MALFORMED", "a child is not of the media type that its index names")
        return manifest


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything below a root, in the order in which it is put."""

    children: tuple[Child, ...]
    blobs: tuple[Descriptor, ...]

    def __iter__(self) -> Iterator[Digest]:
        """Name every manifest."""
        return (child.manifest.digest for child in self.children)


def gather_closure(root: RawManifest, platforms: tuple[Platform, ...], fetch: Fetch) -> Closure:
    """Walk what `root` names; a platform filter leaves the index whole and its other children unwanted.

    Raises:
        FleetError: MALFORMED `INDEX_TOO_DEEP`, `INDEX_TOO_LARGE`, `PLATFORM_ABSENT`, or as `read_manifest` and
            `fetch`.
    """
    gathered = _Closure(fetch, platforms)
    match read_manifest(root.raw, root.media_type):
        case Image() as image:
            gathered.add_image(image)
        case Index() as index:
            if not gathered.add_index(index, depth=1) and index.children:
                raise malformed("PLATFORM_ABSENT", "the index has none of the platforms that are wanted")
    return Closure(tuple(gathered.children.values()), tuple(gathered.blobs.values()))
