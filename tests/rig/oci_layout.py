"""OCI image layouts on disk, and registries filled from them over plain HTTP.

Source: OCI image specification 1.1, "Image Layout"; OCI distribution specification 1.1, "Push".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import urllib3

from edge.domain.content import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, referrer_descriptor
from fleet.reference import Digest, parse_digest
from tests.rig.repository import Repository, blobs_of

_REF_NAME = "org.opencontainers.image.ref.name"
_ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"


def write_layout(repository: Repository, directory: Path) -> None:
    """Write a layout; every manifest is in index.json, tagged ones by their tag."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    contents = {**repository.blobs, **{m.digest: m.raw for m in repository.manifests.values()}}
    for digest, content in contents.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    names = {digest: tag for tag, digest in repository.tags.items()}
    entries = [
        {"mediaType": m.media_type, "digest": m.digest, "size": len(m.raw)}
        | ({"annotations": {_REF_NAME: names[m.digest]}} if m.digest in names else {})
        for m in repository.in_order()
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    (directory / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}\n')


def read_layout(directory: Path) -> Repository:
    """Read a layout that `write_layout` wrote."""
    found = Repository()
    for entry in json.loads((directory / "index.json").read_text())["manifests"]:
        raw = (directory / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        tag = entry.get("annotations", {}).get(_REF_NAME, "")
        manifest = found.add_manifest(raw, entry["mediaType"], tag=tag)
        for blob in blobs_of(manifest):
            path = directory / "blobs" / "sha256" / blob.digest.removeprefix("sha256:")
            found.blobs[blob.digest] = path.read_bytes()
    return found


class RegistryError(Exception):
    """A registry said no to the rig."""


@dataclass(slots=True)
class Client:
    """Speaks to one registry as the rig: `http://host:port`, with basic authentication where given."""

    url: str
    user: str = ""
    _pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)

    def send(
        self, method: str, path: str, *, expect: tuple[int, ...], body: bytes = b"", kind: str = ""
    ) -> urllib3.BaseHTTPResponse:
        headers = urllib3.make_headers(basic_auth=self.user) if self.user else {}
        headers |= {"Accept": _ACCEPT} | ({"Content-Type": kind} if kind else {})
        url = urljoin(self.url, path)
        response = self._pool.request(method, url, body=body or None, headers=headers, redirect=False)
        if response.status not in expect:
            raise RegistryError(f"{method} {path}: {response.status} {response.data[:300]!r}")
        return response

    def push_blob(self, name: str, digest: Digest, content: bytes) -> None:
        if self.send("HEAD", f"/v2/{name}/blobs/{digest}", expect=(200, 404)).status == 200:
            return
        location = self.send("POST", f"/v2/{name}/blobs/uploads/", expect=(202,)).headers["Location"]
        target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        self.send("PUT", target, expect=(201,), body=content, kind="application/octet-stream")

    def push(self, name: str, repository: Repository) -> None:
        """Push everything; where the registry has no referrers API, its fallback tags too."""
        for digest, content in repository.blobs.items():
            self.push_blob(name, digest, content)
        unlisted: set[Digest] = set()
        for manifest in repository.in_order():
            path = f"/v2/{name}/manifests/{manifest.digest}"
            answer = self.send("PUT", path, expect=(201,), body=manifest.raw, kind=manifest.media_type)
            subject = json.loads(manifest.raw).get("subject")
            if subject and "OCI-Subject" not in answer.headers:
                unlisted.add(parse_digest(subject["digest"]))
        for tag, digest in repository.tags.items():
            manifest = repository.manifests[digest]
            self.send("PUT", f"/v2/{name}/manifests/{tag}", expect=(201,), body=manifest.raw, kind=manifest.media_type)
        for subject in unlisted:
            self._push_fallback(name, repository, subject)

    def _push_fallback(self, name: str, repository: Repository, subject: Digest) -> None:
        entries = []
        for referrer in map(referrer_descriptor, repository.referrers(subject)):
            entry = {"mediaType": referrer.media_type, "digest": referrer.digest, "size": referrer.size_bytes}
            entries.append({**entry, "artifactType": referrer.artifact_type})
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        tag = subject.replace(":", "-")
        self.send("PUT", f"/v2/{name}/manifests/{tag}", expect=(201,), body=raw, kind=OCI_INDEX)

    def pull(self, name: str) -> Repository:
        """Pull everything that tags lead to; a fallback tag's index becomes the referrers that it lists."""
        found = Repository()
        for tag in self.tags(name):
            fallback = tag.startswith("sha256-") and "." not in tag
            self._pull_manifest(name, tag, found, tag="" if fallback else tag, keep=not fallback)
        return found

    def tags(self, name: str) -> list[str]:
        answer = self.send("GET", f"/v2/{name}/tags/list", expect=(200, 404))
        return (answer.json()["tags"] or []) if answer.status == 200 else []

    def _pull_manifest(self, name: str, reference: str, into: Repository, *, tag: str = "", keep: bool = True) -> None:
        answer = self.send("GET", f"/v2/{name}/manifests/{reference}", expect=(200,))
        document = json.loads(answer.data)
        for child in document.get("manifests", ()):
            self._pull_manifest(name, child["digest"], into)
        if not keep:
            return
        manifest = into.add_manifest(answer.data, answer.headers["Content-Type"], tag=tag)
        for blob in blobs_of(manifest):
            content = self.send("GET", f"/v2/{name}/blobs/{blob.digest}", expect=(200,)).data
            into.blobs[blob.digest] = content


def layouts(directory: Path) -> Iterator[tuple[str, Repository]]:
    """Read every layout in a directory: `(its name, its content)`."""
    for marker in sorted(directory.glob("*/oci-layout")):
        yield marker.parent.name, read_layout(marker.parent)


def seed(url: str, *directories: Path, prefix: str = "demo/", user: str = "") -> list[str]:
    """Fill a registry from layouts: each becomes the repository `<prefix><directory's name>`.

    Returns:
        The repositories.
    """
    client, names = Client(url, user), []
    for directory in directories:
        names.append(f"{prefix}{directory.name}")
        client.push(names[-1], read_layout(directory))
    return names
