"""OCI content as values: descriptors and manifests, read from raw bytes that are never rewritten.

Source: OCI image specification 1.1 (image manifest, image index, descriptor); Docker image manifest version
2, schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.domain.documents import Fields, Reader
from fleet.errors import malformed
from fleet.reference import Digest, digest_of, parse_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_CONFIGS = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
"""Config media types that make a manifest runnable."""
_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)
"""Layers that may not be handed on; both kinds are deprecated and still in registries."""
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")

MAX_MANIFEST_BYTES = 4 << 20
EMPTY_JSON = b"{}"
"""The config of what needs none. Source: OCI image specification 1.1, "Guidance for an Empty Descriptor"."""
EMPTY_JSON_DIGEST = digest_of(EMPTY_JSON)
MAX_CHILDREN = 64
"""Children of one index."""
MAX_INDEX_DEPTH = 2
"""An index, and indexes that it names."""
_MAX_LAYERS = 1024


@dataclass(frozen=True, slots=True)
class Platform:
    """What a child of an index runs on; an empty variant matches any."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def admits(self, other: Platform) -> bool:
        """Say whether `other` is what this one, as wanted, asks for."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and self.variant in {"", other.variant}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference from one piece of content to another."""

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    """Where else it can be fetched from."""

    @property
    def is_foreign(self) -> bool:
        """Say whether it may not be handed on: whoever pulls the image fetches it from where its owner has it."""
        return bool(self.urls) and self.media_type.lower().startswith(_FOREIGN)

    @property
    def is_image_layer(self) -> bool:
        """Say whether a runtime would unpack it."""
        return self.media_type.lower().startswith(_LAYERS)


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest as it came: the bytes are what its digest is over."""

    raw: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest of a config and layers: an image, or an artifact that borrows the shape."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What it says it is: its artifact type, else its config's media type (OCI, "Listing Referrers")."""
        return self.artifact_type or self.config.media_type

    @property
    def is_runnable(self) -> bool:
        """Say whether any runtime could take it for an image: by config, by layers, or by saying nothing."""
        by_layers = any(layer.is_image_layer for layer in self.layers)
        return by_layers or not self.kind or self.config.media_type.lower() in IMAGE_CONFIGS


@dataclass(frozen=True, slots=True)
class Index:
    """A manifest of manifests."""

    media_type: str
    children: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


Manifest = Image | Index

_READER = Reader("MANIFEST_MALFORMED", "manifest")


def _platform(fields: Fields) -> Platform | None:
    if fields.get("platform") is None:
        return None
    found = _READER.fields(fields, "platform")
    return Platform(
        os=_READER.text(found, "os", default=""),
        architecture=_READER.text(found, "architecture", default=""),
        variant=_READER.text(found, "variant", default=""),
    )


def _descriptor(fields: Fields) -> Descriptor:
    return Descriptor(
        media_type=_READER.text(fields, "mediaType"),
        digest=parse_digest(_READER.text(fields, "digest")),
        size_bytes=_READER.count(fields, "size"),
        platform=_platform(fields),
        artifact_type=_READER.text(fields, "artifactType", default=""),
        annotations=_READER.texts(fields, "annotations"),
        urls=_urls(fields),
    )


def _urls(fields: Fields) -> tuple[str, ...]:
    found = fields.get("urls") or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _READER.fail("urls is not an array of strings")
    return tuple(found)


def _subject(fields: Fields) -> Descriptor | None:
    return None if fields.get("subject") is None else _descriptor(_READER.fields(fields, "subject"))


def _image(fields: Fields, media_type: str) -> Image:
    if "manifests" in fields:
        raise _READER.fail("an image has no manifests")
    return Image(
        media_type=media_type,
        config=_descriptor(_READER.fields(fields, "config")),
        layers=tuple(_descriptor(item) for item in _READER.objects(fields, "layers", limit=_MAX_LAYERS)),
        subject=_subject(fields),
        artifact_type=_READER.text(fields, "artifactType", default=""),
        annotations=_READER.texts(fields, "annotations"),
    )


def _index(fields: Fields, media_type: str) -> Index:
    if "config" in fields or "layers" in fields:
        raise _READER.fail("an index has neither config nor layers")
    return Index(
        media_type=media_type,
        children=tuple(_descriptor(item) for item in _READER.objects(fields, "manifests", limit=MAX_CHILDREN)),
        subject=_subject(fields),
        artifact_type=_READER.text(fields, "artifactType", default=""),
        annotations=_READER.texts(fields, "annotations"),
    )


def _media_type(fields: Fields, header: str) -> str:
    """Agree on what it is: two readers must not take one manifest for two things."""
    said = _READER.text(fields, "mediaType", default="")
    given = header.partition(";")[0].strip()
    if said and given and said != given:
        raise _READER.fail("its mediaType and its Content-Type disagree")
    return said or given or (OCI_INDEX if "manifests" in fields else OCI_MANIFEST)


def read_manifest(raw: bytes, media_type: str) -> Manifest:
    """Read a manifest: `bytes and the Content-Type (or "") → Image | Index`.

    Raises:
        FleetError: MALFORMED `MANIFEST_MALFORMED`, `MANIFEST_TOO_LARGE` past 4 MiB, `SCHEMA1_UNSUPPORTED`, or
            `DIGEST_MALFORMED` for a digest within.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise malformed("MANIFEST_TOO_LARGE", "a manifest has at most 4 MiB")
    fields = _READER.parse(raw)
    if fields.get("schemaVersion") == 1:
        raise malformed("SCHEMA1_UNSUPPORTED", "Docker schema 1 cannot be verified: push the image again")
    if fields.get("schemaVersion") != 2:  # noqa: PLR2004 the specification's constant
        raise _READER.fail("its schemaVersion is not 2")
    agreed = _media_type(fields, media_type)
    if agreed in _INDEXES:
        return _index(fields, agreed)
    if agreed in _IMAGES:
        return _image(fields, agreed)
    raise _READER.fail("its media type is none of OCI's or Docker's")


def referrer_descriptor(manifest: RawManifest) -> Descriptor:
    """Describe a referrer as its registry lists it (OCI distribution 1.1, "Listing Referrers").

    Raises:
        FleetError: as `read_manifest`.
    """
    read = read_manifest(manifest.raw, manifest.media_type)
    return Descriptor(
        media_type=read.media_type,
        digest=manifest.digest,
        size_bytes=len(manifest.raw),
        artifact_type=read.kind if isinstance(read, Image) else read.artifact_type,
        annotations=read.annotations,
    )


def raw_manifest(raw: bytes, media_type: str) -> RawManifest:
    """Take bytes for a manifest: the digest is computed here."""
    return RawManifest(raw=raw, media_type=media_type, digest=digest_of(raw))
