"""Dossiers as bytes: what a verdict rested on, kept so that it can be judged again without the network.

zlib over JSON; raw bytes are base64, so that they come back as they were. Every digest is computed again on reading.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from typing import Any

from edge.domain.admission import Child, Dossier, Evidence
from edge.domain.content import Descriptor, Platform, RawManifest, raw_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of, parse_digest

_LEVEL = 1


def write_dossier(dossier: Dossier) -> bytes:
    """Write all but its tags, which belong to the site and not to the verdict: `Dossier → bytes`."""
    document = {
        "name": dossier.name,
        "source": dossier.source,
        "repository": dossier.repository,
        "local_repository": dossier.local_repository,
        "root": _manifest(dossier.root),
        "children": [[*_manifest(child.manifest), child.wanted] for child in dossier.children],
        "blobs": [_descriptor(blob) for blob in dossier.blobs],
        "evidence": [
            {
                "manifests": [_manifest(manifest) for manifest in one.manifests],
                "blobs": [[_descriptor(blob), b64encode(content).decode()] for blob, content in one.blobs],
                "tag": one.tag,
            }
            for one in dossier.evidence
        ],
    }
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), _LEVEL)


def read_dossier(stored: bytes) -> Dossier:
    """Read it back, without tags: `bytes → Dossier`.

    Raises:
        FleetError: CORRUPT `DOSSIER_CORRUPT`: it must be judged afresh.
    """
    try:
        return _read(json.loads(zlib.decompress(stored)))
    except (zlib.error, ValueError, LookupError, TypeError, FleetError) as error:
        text = "a stored verdict's evidence is damaged"
        raise FleetError(Kind.CORRUPT, "DOSSIER_CORRUPT", text, detail=repr(error)[:400]) from error


def _read(document: Any) -> Dossier:  # noqa: ANN401 - JSON of our own
    return Dossier(
        name=document["name"],
        source=document["source"],
        repository=document["repository"],
        local_repository=document["local_repository"],
        tags=(),
        root=_read_manifest(document["root"]),
        children=tuple(Child(_read_manifest(child), wanted=bool(child[2])) for child in document["children"]),
        blobs=tuple(_read_descriptor(blob) for blob in document["blobs"]),
        evidence=tuple(
            Evidence(
                manifests=tuple(_read_manifest(manifest) for manifest in one["manifests"]),
                blobs=tuple(_read_blob(*blob) for blob in one["blobs"]),
                tag=one["tag"],
            )
            for one in document["evidence"]
        ),
    )


def _manifest(manifest: RawManifest) -> list[str]:
    return [b64encode(manifest.raw).decode(), manifest.media_type]


def _read_manifest(written: Any) -> RawManifest:  # noqa: ANN401 - JSON of our own
    return raw_manifest(b64decode(written[0], validate=True), str(written[1]))


def _descriptor(descriptor: Descriptor) -> list[object]:
    platform = descriptor.platform
    return [
        descriptor.media_type,
        descriptor.digest,
        descriptor.size_bytes,
        [platform.os, platform.architecture, platform.variant] if platform else None,
        descriptor.artifact_type,
        dict(descriptor.annotations),
    ]


def _read_descriptor(written: Any) -> Descriptor:  # noqa: ANN401 - JSON of our own
    media_type, digest, size_bytes, platform, artifact_type, annotations = written
    return Descriptor(
        media_type, parse_digest(digest), size_bytes, Platform(*platform) if platform else None, artifact_type,
        annotations,
    )  # fmt: skip


def _read_blob(descriptor: Any, content: str) -> tuple[Descriptor, bytes]:  # noqa: ANN401 - JSON of our own
    described, raw = _read_descriptor(descriptor), b64decode(content, validate=True)
    if digest_of(raw) != described.digest:
        raise ValueError("a blob is not what its digest says")
    return described, raw
