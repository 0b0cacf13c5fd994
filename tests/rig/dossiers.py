"""Admissions for tests of what comes after the verdict: sealed without one."""

from __future__ import annotations

import json

from edge.app.closure import gather_closure
from edge.app.ports import Upstream
from edge.domain.admission import Admission, Dossier, Evidence, admit
from edge.domain.content import OCI_MANIFEST, Descriptor, Platform, RawManifest, raw_manifest
from fleet.reference import digest_of

EMPTY = b"{}"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def admission(
    upstream: Upstream,
    repository: str,
    root: RawManifest,
    *tags: str,
    platforms: tuple[Platform, ...] = (),
    evidence: tuple[Evidence, ...] = (),
    local_repository: str = "",
) -> Admission:
    """Admit an image that is at the source."""
    closure = gather_closure(root, platforms, lambda digest: upstream.manifest(repository, digest))
    dossier = Dossier(
        name=f"central/{repository}:{','.join(tags)}",
        source="central",
        repository=repository,
        local_repository=local_repository or repository,
        tags=tags,
        root=root,
        children=closure.children,
        blobs=closure.blobs,
        evidence=evidence,
    )
    return admit(dossier, policy_version=b"p", trust_version=b"t", block_version=b"b")


def referrer(subject: RawManifest, content: bytes = b"a bundle") -> Evidence:
    """Make evidence of cosign 3's shape: a manifest that names its subject."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": BUNDLE,
        "config": _descriptor("application/vnd.oci.empty.v1+json", EMPTY),
        "layers": [_descriptor(BUNDLE, content)],
        "subject": {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": len(subject.raw),
        },
    }
    return _evidence(manifest, BUNDLE, content)


def signature(subject: RawManifest, content: bytes = b"a payload") -> Evidence:
    """Make evidence of cosign 2's shape: a manifest under a tag."""
    payload = "application/vnd.dev.cosign.simplesigning.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", EMPTY),
        "layers": [_descriptor(payload, content)],
    }
    return _evidence(manifest, payload, content, tag=f"{subject.digest.replace(':', '-')}.sig")


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _evidence(manifest: dict[str, object], media_type: str, content: bytes, *, tag: str = "") -> Evidence:
    raw = raw_manifest(json.dumps(manifest).encode(), OCI_MANIFEST)
    empty = Descriptor("application/vnd.oci.empty.v1+json", digest_of(EMPTY), len(EMPTY))
    blob = Descriptor(media_type, digest_of(content), len(content))
    return Evidence((raw,), ((empty, EMPTY), (blob, content)), tag)
