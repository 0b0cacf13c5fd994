"""What an attacker does at a source registry with real signatures: moves them to other images, and takes them away."""

from __future__ import annotations

import json

from edge.adapters.oci.descriptors import ACCEPT
from edge.domain.content import OCI_INDEX, OCI_MANIFEST, RawManifest, raw_manifest, referrer_descriptor
from edge.domain.verify.simple_signing import signature_tag
from fleet.reference import Digest
from tests.rig.estate import Image


def _get(image: Image, reference: str) -> RawManifest:
    path = f"/v2/{image.repository}/manifests/{reference}"
    answer = image.central.request("GET", path, Accept=ACCEPT)
    assert answer.status == 200, (path, answer.status)
    return raw_manifest(answer.data, answer.headers["Content-Type"])


def fallback_tag(digest: Digest) -> str:
    """Where a registry without the referrers API keeps the list of them."""
    return digest.replace(":", "-")


def list_referrers(image: Image, *referrers: RawManifest) -> None:
    """Write the list of an image's referrers at the source."""
    entries = [
        {"mediaType": one.media_type, "digest": one.digest, "size": one.size_bytes, "artifactType": one.artifact_type}
        for one in map(referrer_descriptor, referrers)
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    image.central.push_manifest(image.repository, raw_manifest(index, OCI_INDEX), fallback_tag(image.root))


def bundle_of(image: Image) -> RawManifest:
    """Fetch the manifest of the newer kind of signature."""
    listed = json.loads(_get(image, fallback_tag(image.root)).raw)["manifests"]
    return _get(image, listed[0]["digest"])


def move_signatures(signed: Image, to: Image) -> None:
    """Let the signatures of one image, in both formats, stand beside another one of the same repository."""
    tagged = _get(signed, signature_tag(signed.root))
    to.central.push_manifest(to.repository, tagged, signature_tag(to.root))
    target = to.content.manifests[to.root]
    subject = {"mediaType": target.media_type, "digest": to.root, "size": len(target.raw)}
    forged = json.dumps({**json.loads(bundle_of(signed).raw), "subject": subject}).encode()
    moved = raw_manifest(forged, OCI_MANIFEST)
    to.central.push_manifest(to.repository, moved)
    list_referrers(to, moved)


def strip_bundles(image: Image) -> None:
    """Take the newer kind of signature away, and leave what else there is."""
    for gone in (bundle_of(image).digest, _get(image, fallback_tag(image.root)).digest):
        answer = image.central.request("DELETE", f"/v2/{image.repository}/manifests/{gone}")
        assert answer.status == 202, answer.status


def strip_signatures(image: Image) -> None:
    """Take both kinds of signature away."""
    strip_bundles(image)
    tagged = _get(image, signature_tag(image.root)).digest
    answer = image.central.request("DELETE", f"/v2/{image.repository}/manifests/{tagged}")
    assert answer.status == 202, answer.status
