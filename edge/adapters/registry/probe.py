"""Finding out what a registry of the user's own can do, by asking it.

What it refuses tells as much as what it takes, so the probe writes: a few hundred bytes into a repository of its
own below the prefix, removed again at once.
"""

from __future__ import annotations

import json

from edge.adapters.oci.client import Client
from edge.adapters.oci.descriptors import INDEX
from edge.adapters.oci.exchange import Request, discard
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.shelf import NoShelf
from edge.app.ports import Capabilities, Gc
from edge.domain.content import OCI_MANIFEST, RawManifest, raw_manifest
from fleet.errors import FleetError
from fleet.reference import digest_of

PROBE = "harbor-satellite-probe"
"""The repository, below the prefix, that a probe writes to."""

_CHILD = (
    b'{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.empty.v1+json",'
    % (OCI_MANIFEST.encode())
    + b'"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}'
)


def probe(client: Client, prefix: str = "") -> Capabilities:
    """Ask a registry that others write to as well: `→ what it can do`.

    Raises:
        FleetError: UNAVAILABLE `REGISTRY_UNREACHABLE`; REFUSED `REGISTRY_REFUSED` where it does not let us write.
    """
    cautious = Capabilities(
        referrers=False,
        sparse_index=False,
        child_blobs=False,
        keeps_untagged=False,
        keeps_cut_uploads=False,
        takes_whole=False,
        checks_digests=False,
        gc=Gc.NONE,
        sole_writer=False,
    )
    site = OciSite(client, cautious, NoShelf(), prefix=prefix)
    sparse = _takes(site, _index())
    child_blobs = False
    if not sparse:
        site.put_blob(PROBE, digest_of(_CHILD), _CHILD)
        child_blobs = _takes(site, _index())
        site.delete_blob(PROBE, digest_of(_CHILD))
    return Capabilities(
        referrers=_lists_referrers(client, prefix),
        sparse_index=sparse,
        child_blobs=child_blobs,
        keeps_cut_uploads=False,
        keeps_untagged=False,  # neither is worth a probe: the doubt costs a few requests when a tag moves
        takes_whole=False,
        checks_digests=False,
        gc=Gc.NONE,
        sole_writer=False,
    )


def _index() -> RawManifest:
    child = {"mediaType": OCI_MANIFEST, "digest": digest_of(_CHILD), "size": len(_CHILD)}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
    return raw_manifest(json.dumps(index).encode(), INDEX)


def _takes(site: OciSite, index: RawManifest) -> bool:
    try:
        site.put_manifest(PROBE, index.digest, index)
    except FleetError as error:
        if error.reason != "MANIFEST_REFUSED":
            raise
        return False
    site.delete_manifest(PROBE, index.digest)
    return True


def _lists_referrers(client: Client, prefix: str) -> bool:
    repository = f"{prefix.strip('/')}/{PROBE}".lstrip("/")
    path = f"/v2/{repository}/referrers/{digest_of(b'')}"
    response = client.send(Request("GET", path, repository, "pull,push,delete", {"Accept": INDEX}))
    discard(response)
    return (
        response.status == 200  # noqa: PLR2004 -- OK
        and response.headers.get("Content-Type", "").partition(";")[0].strip() == INDEX
    )
