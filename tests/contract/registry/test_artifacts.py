"""Any OCI artifact: signed by cosign, judged, brought to a site of every kind, and pulled back byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.app.judge import judge
from edge.domain.admission import Admission, Refused
from edge.domain.content import OCI_INDEX
from edge.domain.policy import Rules
from fleet.errors import FleetError
from fleet.reference import Digest
from tests.contract.registry.test_replication import Rig
from tests.rig import cosign
from tests.rig.artifacts import MAKERS, Artifact, Entry, describe, make
from tests.rig.cosign import KeyPair
from tests.rig.judging import policy, wanted
from tests.rig.programs import require
from tests.rig.registries import Central, RunningSite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_crane, pytest.mark.needs_registry]

SBOM = "application/spdx+json"


@pytest.fixture
def rig(opened: RunningSite) -> Iterator[Rig]:
    rig = Rig(opened)
    yield rig
    rig.replicator.close()


class Crane:
    """Pulls from a site as a foreign client that may know a password."""

    def __init__(self, site: RunningSite, directory: Path) -> None:
        self.host = site.registry.public_url.removeprefix("http://")
        self.prefix = "edge/site-1/" if site.kind == "external" else ""
        known = site.owner and b64encode(f"{site.owner.username}:{site.owner.password}".encode()).decode()
        auths = {self.host: {"auth": known}} if known else {}
        (directory / "config.json").write_text(json.dumps({"auths": auths}))
        self.environment = {**os.environ, "DOCKER_CONFIG": str(directory)}

    def __call__(self, verb: str, repository: str, reference: str) -> bytes:
        joint = "@" if ":" in reference else ":"
        place = f"{self.host}/{self.prefix}{repository}{joint}{reference}"
        command: list[str | Path] = [require("crane"), verb, "--insecure", place]
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()[-1000:]
        return done.stdout


@dataclass
class Kit:
    """A source, a site, a key, and a repository of one test's own."""

    hub: Central
    rig: Rig
    key: KeyPair
    crane: Crane
    repository: str

    def push(self, artifact: Artifact) -> None:
        for content in artifact.blobs.values():
            self.hub.push_blob(self.repository, content)
        for manifest in artifact.manifests:
            self.hub.push_manifest(self.repository, manifest)

    def push_signed(self, artifact: Artifact) -> None:
        self.push(artifact)
        cosign.sign(f"{self.hub.host}/{self.repository}@{artifact.root.digest}", self.key)

    def bring(self, root: Digest, *referrer_types: str) -> Admission:
        rules = Rules((policy(self.key.pem, referrer_types=referrer_types),))
        verdict = judge(wanted(root, repository=self.repository), self.hub.upstream(), rules)
        assert not isinstance(verdict, Refused), verdict
        self.rig.publish(verdict, self.hub.upstream())
        return verdict


@pytest.fixture
def kit(rig: Rig, hub: Central, key: KeyPair, repository: str, tmp_path: Path) -> Kit:
    return Kit(hub, rig, key, Crane(rig.site, tmp_path), repository)


NOT_AT_ZOT = "foreign-docker-layer"
"""Zot wants the bytes of Docker's foreign layers."""


@pytest.mark.parametrize("kind", MAKERS)
def test_it_comes_as_it_is_with_its_signature(kit: Kit, kind: str) -> None:
    artifact, crane, repository = make(kind), kit.crane, kit.repository
    kit.push_signed(artifact)
    if kind == NOT_AT_ZOT and kit.rig.site.site.capabilities.child_blobs:
        with pytest.raises(FleetError) as caught:
            kit.bring(artifact.root.digest)
        assert caught.value.reason == "MANIFEST_REFUSED"
        assert kit.rig.head(repository, artifact.root.digest) is None
        return
    admitted = kit.bring(artifact.root.digest)
    assert crane("manifest", repository, "1.0") == artifact.root.raw
    for manifest in artifact.manifests:
        assert crane("manifest", repository, manifest.digest) == manifest.raw
    for digest, content in artifact.blobs.items():
        assert crane("blob", repository, digest) == content
    place = f"{crane.host}/{crane.prefix}{repository}@{artifact.root.digest}"
    cosign.verify(place, kit.key, login=kit.rig.site.owner)
    assert not any(kit.rig.site.site.has_blob(repository, digest) for digest in artifact.elsewhere)
    kit.rig.withdraw(admitted)
    assert not any(kit.rig.head(repository, manifest.digest) for manifest in artifact.manifests)


def test_a_referrer_of_a_type_that_policy_lists_comes_along_unsigned(kit: Kit) -> None:
    image = make("docker-schema-2")
    kit.push_signed(image)
    referrers = {SBOM: Artifact(), "application/vnd.example.other": Artifact()}
    for kind, one in referrers.items():
        one.artifact(kind, one.blob(os.urandom(100), kind), subject=describe(image.root))
        kit.push(one)
    refer(kit, image.root.digest, *(describe(one.root, artifactType=kind) for kind, one in referrers.items()))
    kit.bring(image.root.digest, SBOM)
    listed, other = (one.root for one in referrers.values())
    assert kit.crane("manifest", kit.repository, listed.digest) == listed.raw
    assert kit.rig.head(kit.repository, other.digest) is None


def refer(kit: Kit, subject: Digest, *entries: Entry) -> None:
    """Add to the list of referrers, as clients do where the registry does not keep it."""
    path = f"/v2/{kit.repository}/manifests/{subject.replace(':', '-')}"
    index = json.loads(kit.hub.request("GET", path).data)
    index["manifests"] += entries
    put = kit.hub.request("PUT", path, json.dumps(index).encode(), Content_Type=OCI_INDEX)
    assert put.status == 201
