"""Pull as a container runtime would: by tag or digest, every byte checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import urllib3

_KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join(_KINDS)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought."""

    digest: str
    blobs: int
    size_bytes: int


class Puller:
    """Pulls anonymously from one registry, `http://host:port`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(timeout=5.0, retries=False)

    def digest(self, repository: str, reference: str) -> str:
        """Ask what a tag or digest stands for: empty where it cannot be pulled."""
        response = self._pool.request(
            "GET", f"{self.url}/v2/{repository}/manifests/{reference}", headers={"Accept": _ACCEPT}
        )
        return f"sha256:{hashlib.sha256(response.data).hexdigest()}" if response.status == 200 else ""

    def pull(self, repository: str, reference: str, *, architecture: str = "amd64") -> Pulled:
        """Pull an image for one architecture.

        Raises:
            ValueError: something is absent, or is not what its digest says.
        """
        raw = self._get(f"/v2/{repository}/manifests/{reference}")
        document: dict[str, Any] = json.loads(raw)
        root = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if "manifests" in document:
            children = [c for c in document["manifests"] if c["platform"]["architecture"] == architecture]
            document = json.loads(self._checked(f"/v2/{repository}/manifests/", children[0]["digest"]))
        blobs = [document["config"], *document["layers"]]
        sizes = [len(self._checked(f"/v2/{repository}/blobs/", blob["digest"])) for blob in blobs]
        return Pulled(root, len(blobs), sum(sizes))

    def _checked(self, path: str, digest: str) -> bytes:
        content = self._get(path + digest)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise ValueError(f"{digest} came with other bytes")
        return content

    def _get(self, path: str) -> bytes:
        response = self._pool.request("GET", self.url + path, headers={"Accept": _ACCEPT})
        if response.status != 200:
            raise ValueError(f"{self.url}{path} answered {response.status}")
        return response.data
