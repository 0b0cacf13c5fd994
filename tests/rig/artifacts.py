"""Everything that an OCI registry may hold, one of each kind, of fresh content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge.domain.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    RawManifest,
    raw_manifest,
)
from fleet.reference import Digest, digest_of

EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
TAR = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
Entry = dict[str, object]


@dataclass
class Artifact:
    """What is to be pushed, each piece after what it names; the last manifest is the root."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: list[RawManifest] = field(default_factory=list)
    elsewhere: set[Digest] = field(default_factory=set)
    """Layers that are named and not to be handed on."""

    @property
    def root(self) -> RawManifest:
        return self.manifests[-1]

    def blob(self, content: bytes, media_type: str, **more: object) -> Entry:
        """Add a blob and describe it."""
        self.blobs[digest_of(content)] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}

    def manifest(self, media_type: str, **fields: object) -> RawManifest:
        """Add a manifest, with white space of its own: bytes are never rewritten."""
        document = {"schemaVersion": 2, "mediaType": media_type, **fields}
        made = raw_manifest(json.dumps(document, indent=3).encode(), media_type)
        self.manifests.append(made)
        return made

    def image(self, *layers: Entry, media_type: str = OCI_MANIFEST, config: str = CONFIG, **fields: object) -> Entry:
        """Add an image of layers, random ones where none are given, and describe it."""
        words = json.dumps({"os": "linux", "architecture": "amd64", "x": os.urandom(8).hex()}).encode()
        described = self.blob(words, config)
        made = self.manifest(
            media_type, config=described, layers=list(layers) or [self.blob(os.urandom(2000), TAR)], **fields
        )
        return describe(made)

    def artifact(self, kind: str, *layers: Entry, **fields: object) -> Entry:
        """Add an artifact with the empty config."""
        config = self.blob(EMPTY, EMPTY_TYPE)
        made = self.manifest(OCI_MANIFEST, artifactType=kind, config=config, layers=list(layers), **fields)
        return describe(made)


def describe(manifest: RawManifest, **more: object) -> Entry:
    return {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw), **more}


def _helm(into: Artifact) -> None:
    chart = into.blob(os.urandom(3000), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    proof = into.blob(os.urandom(300), "application/vnd.cncf.helm.chart.provenance.v1.prov")
    config = into.blob(b'{"name": "a-chart", "version": "1.0.0"}', "application/vnd.cncf.helm.config.v1+json")
    into.manifest(OCI_MANIFEST, config=config, layers=[chart, proof], annotations={"a": "ä"})


def _wasm(into: Artifact) -> None:
    config = into.blob(b'{"layerDigests": []}', "application/vnd.wasm.config.v0+json")
    into.manifest(OCI_MANIFEST, config=config, layers=[into.blob(b"\0asm" + os.urandom(500), "application/wasm")])


def _sbom(into: Artifact) -> None:
    into.artifact("application/spdx+json", into.blob(b'{"x": "%s"}' % os.urandom(8).hex().encode(), "text/spdx+json"))


def _empty(into: Artifact) -> None:
    into.artifact("application/vnd.example.flag", into.blob(EMPTY, EMPTY_TYPE), annotations={"x": os.urandom(8).hex()})


def _no_layers(into: Artifact) -> None:
    into.artifact("application/vnd.example.note", annotations={"x": os.urandom(8).hex()})


def _with_subject(into: Artifact) -> None:
    subject = raw_manifest(b'{"somewhere": "else", "x": "%s"}' % os.urandom(8).hex().encode(), OCI_MANIFEST)
    into.artifact("application/vnd.example.report", into.blob(os.urandom(50), "a/b"), subject=describe(subject))


def _index_of_artifacts(into: Artifact) -> None:
    kinds = ("application/vnd.example.model", "application/vnd.example.weights")
    children = [into.artifact(kind, into.blob(os.urandom(500), kind)) | {"artifactType": kind} for kind in kinds]
    into.manifest(OCI_INDEX, artifactType="application/vnd.example.bundle", manifests=children)


def _nested(into: Artifact) -> None:
    into.manifest(OCI_INDEX, manifests=[into.image(), into.image()])
    inner = describe(into.root)
    into.manifest(OCI_INDEX, manifests=[inner, into.image()])


def _empty_index(into: Artifact) -> None:
    into.manifest(OCI_INDEX, manifests=[], annotations={"x": os.urandom(8).hex()})


def _docker(into: Artifact) -> None:
    layer = into.blob(os.urandom(2000), "application/vnd.docker.image.rootfs.diff.tar.gzip")
    into.image(layer, media_type=DOCKER_MANIFEST, config="application/vnd.docker.container.image.v1+json")


def _docker_list(into: Artifact) -> None:
    children = []
    for architecture in ("amd64", "arm64"):
        _docker(into)
        children.append(describe(into.root, platform={"os": "linux", "architecture": architecture}))
    into.manifest(DOCKER_LIST, manifests=children)


def _foreign(into: Artifact, media_type: str, layer: str, config: str, own: str) -> None:
    entry = into.blob(os.urandom(100), layer, urls=["https://layers.invalid/base"])
    digest = Digest(str(entry["digest"]))
    del into.blobs[digest]
    into.elsewhere.add(digest)
    into.image(entry, into.blob(os.urandom(2000), own), media_type=media_type, config=config)


def _foreign_docker(into: Artifact) -> None:
    prefix = "application/vnd.docker.image.rootfs"
    config = "application/vnd.docker.container.image.v1+json"
    _foreign(into, DOCKER_MANIFEST, f"{prefix}.foreign.diff.tar.gzip", config, f"{prefix}.diff.tar.gzip")


def _foreign_oci(into: Artifact) -> None:
    _foreign(into, OCI_MANIFEST, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", CONFIG, TAR)


def _zero_bytes(into: Artifact) -> None:
    into.image(into.blob(b"", TAR), into.blob(os.urandom(100), TAR))


def _same_layer_twice(into: Artifact) -> None:
    layer = into.blob(os.urandom(2000), TAR)
    into.image(layer, layer)


def _huge(into: Artifact) -> None:
    """Come as close to the limit as annotations can."""
    into.image(annotations={"fill": "x" * (MAX_MANIFEST_BYTES - 2000)})
    assert MAX_MANIFEST_BYTES - 2000 < len(into.root.raw) <= MAX_MANIFEST_BYTES


MAKERS: Mapping[str, Callable[[Artifact], None]] = {
    "helm-chart": _helm,
    "wasm": _wasm,
    "sbom": _sbom,
    "empty-config-and-layer": _empty,
    "no-layers": _no_layers,
    "subject": _with_subject,
    "index-of-artifacts": _index_of_artifacts,
    "nested-index": _nested,
    "empty-index": _empty_index,
    "docker-schema-2": _docker,
    "docker-list": _docker_list,
    "foreign-docker-layer": _foreign_docker,
    "foreign-oci-layer": _foreign_oci,
    "zero-bytes": _zero_bytes,
    "same-layer-twice": _same_layer_twice,
    "four-mebibytes": _huge,
}


def make(kind: str) -> Artifact:
    """Make one of a kind."""
    made = Artifact()
    MAKERS[kind](made)
    return made
