"""What an image is made of at a site: every manifest, tag and blob that publishing it puts there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge.app.ports import Capabilities
from edge.domain.admission import Dossier
from edge.domain.content import OCI_INDEX, RawManifest, raw_manifest, read_manifest, referrer_descriptor
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is, or may be, in one repository of the site's registry for good reason."""

    manifests: frozenset[Digest] = frozenset()
    tags: Mapping[str, Digest] = field(default_factory=dict)
    blobs: frozenset[Digest] = frozenset()

    def __or__(self, other: Footprint) -> Footprint:
        """Unite two; of a tag that both have, the other's meaning counts."""
        return Footprint(self.manifests | other.manifests, {**self.tags, **other.tags}, self.blobs | other.blobs)


def united(footprints: Iterable[Footprint]) -> Footprint:
    """Unite any number of footprints in one repository."""
    whole = Footprint()
    for footprint in footprints:
        whole |= footprint
    return whole


def fallback_indexes(dossier: Dossier, capabilities: Capabilities) -> dict[str, RawManifest]:
    """Build the lists of referrers that a registry without the referrers API needs: `tag → index`.

    They are made of admitted evidence alone, never copied from the source.
    Source: OCI distribution specification 1.1, "Referrers Tag Schema".
    """
    if capabilities.referrers:
        return {}
    listed: dict[Digest, list[RawManifest]] = {}
    for manifest in (manifest for evidence in dossier.evidence for manifest in evidence.manifests):
        subject = read_manifest(manifest.raw, manifest.media_type).subject
        if subject:
            listed.setdefault(subject.digest, []).append(manifest)
    return {subject.replace(":", "-"): _index(manifests) for subject, manifests in listed.items()}


def _index(manifests: list[RawManifest]) -> RawManifest:
    unique = {manifest.digest: manifest for manifest in manifests}
    described = (referrer_descriptor(unique[digest]) for digest in sorted(unique))
    entries = [
        {
            "mediaType": found.media_type,
            "digest": found.digest,
            "size": found.size_bytes,
            "artifactType": found.artifact_type,
            "annotations": dict(found.annotations),
        }
        for found in described
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return raw_manifest(json.dumps(index, separators=(",", ":"), sort_keys=True).encode(), OCI_INDEX)


def footprint(dossier: Dossier, capabilities: Capabilities) -> Footprint:
    """Say what publishing this dossier puts into its local repository."""
    indexes = fallback_indexes(dossier, capabilities)
    evidence = [manifest for one in dossier.evidence for manifest in one.manifests]
    wanted = [child.manifest for child in dossier.children if child.wanted]
    unwanted = [child.manifest for child in dossier.children if not child.wanted]
    blobs = [blob.digest for blob in dossier.blobs]
    blobs += [blob.digest for one in dossier.evidence for blob, _ in one.blobs]
    if capabilities.child_blobs:
        blobs += [manifest.digest for manifest in unwanted]
    return Footprint(
        frozenset(manifest.digest for manifest in (dossier.root, *wanted, *evidence, *indexes.values())),
        {
            **dict.fromkeys(dossier.tags, dossier.root.digest),
            **{one.tag: one.manifests[-1].digest for one in dossier.evidence if one.tag},
            **{tag: index.digest for tag, index in indexes.items()},
        },
        frozenset(blobs),
    )


def sizes(dossier: Dossier, capabilities: Capabilities) -> dict[Digest, int]:
    """Say how many bytes each manifest and blob of this dossier has at the site."""
    indexes = fallback_indexes(dossier, capabilities)
    evidence = [manifest for one in dossier.evidence for manifest in one.manifests]
    children = [child.manifest for child in dossier.children if child.wanted or capabilities.child_blobs]
    manifests = (dossier.root, *children, *evidence, *indexes.values())
    blobs = (*dossier.blobs, *(blob for one in dossier.evidence for blob, _ in one.blobs))
    return {one.digest: len(one.raw) for one in manifests} | {blob.digest: blob.size_bytes for blob in blobs}
