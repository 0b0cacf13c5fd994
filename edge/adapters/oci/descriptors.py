"""Reading the descriptors of an index that lists referrers; anything else in it is left out.

Source: OCI distribution specification 1.1, "Listing Referrers"; OCI image specification 1.1, descriptors.
"""

from __future__ import annotations

import json
from typing import Any

from edge.domain.content import Descriptor
from fleet.errors import FleetError
from fleet.reference import parse_digest

INDEX = "application/vnd.oci.image.index.v1+json"

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPT = ", ".join(MANIFEST_TYPES)


def read_descriptors(body: bytes) -> list[Descriptor]:
    """Read the entries of an index, leaving out those that are no descriptors.

    Raises:
        ValueError: it is no JSON object with a list of manifests.
    """
    try:
        listed = json.loads(body)["manifests"]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("no index") from error
    if not isinstance(listed, list):
        raise ValueError("no index")  # noqa: TRY004 -- it is the bytes that are wrong, not a caller
    return [found for entry in listed if (found := _read(entry))]


def _read(entry: Any) -> Descriptor | None:  # noqa: ANN401 -- any JSON at all
    if not isinstance(entry, dict):
        return None
    media_type, size = entry.get("mediaType"), entry.get("size")
    artifact_type, annotations = entry.get("artifactType") or "", entry.get("annotations") or {}
    if not isinstance(media_type, str) or not isinstance(artifact_type, str) or type(size) is not int:
        return None
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        return None
    try:
        digest = parse_digest(str(entry.get("digest")))
    except FleetError:
        return None
    return Descriptor(media_type, digest, size, artifact_type=artifact_type, annotations=annotations)
