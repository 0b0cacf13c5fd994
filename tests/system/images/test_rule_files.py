"""What people write in files, by satctl, as a site obeys it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import cosign
from tests.rig.estate import V3, Estate, Image
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

SCANNED = """\
name: {name}
images: [{image}]
scopes: [satellite/{site}]
authorities:
  - name: scanner
    formats: [bundle]
    keys: [{{file: scanner.pub}}]
    attestations:
      - name: clean
        type: https://example.com/scan/v1
        condition: predicate.findings.all(found, found.severity != 'critical')
"""
CLUSTER_POLICY = """\
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {{name: {name}}}
spec:
  images: [{{glob: "{image}:**"}}]
  authorities:
    - name: release
      signatureFormat: bundle
      key:
        data: |
{key}
"""


@pytest.fixture(scope="module")
def satctl(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    person = Satctl(tmp_path_factory.mktemp("person"))
    person.ok("login", estate.ground_control.operator_string("author"))
    return person


@pytest.fixture
def image(estate: Estate, site: Satellite) -> Iterator[Image]:
    """An image that is wanted, and which nothing was said of yet."""
    image = estate.image()
    estate.assign(site, image)
    yield image
    estate.unassign(site, image)


def attest(image: Image, by: cosign.KeyPair, directory: Path, *severities: str) -> None:
    predicate = directory / "scan.json"
    predicate.write_text(json.dumps({"findings": [{"severity": one} for one in severities]}))
    reference = f"{image.central.host}/{image.repository}@{image.root}"
    cosign.attest(reference, by, predicate, "https://example.com/scan/v1")


def test_a_condition_in_a_file_holds_at_the_site(
    estate: Estate, site: Satellite, satctl: Satctl, image: Image, tmp_path: Path
) -> None:
    name = image.repository.replace("/", "-")
    (tmp_path / "scanner.pub").write_bytes(estate.release.pem)
    file = tmp_path / "policy.yaml"
    file.write_text(SCANNED.format(name=name, image=f"hub/{image.repository}", site=site.directory.name))
    attest(image, estate.release, tmp_path, "low", "critical")
    satctl.ok("policy", "apply", "-f", str(file))
    site.await_refused(image.name, "CONDITION_FALSE")
    attest(image, estate.release, tmp_path, "low")
    file.write_text(file.read_text().replace("'critical'", "'severe'"))
    satctl.ok("policy", "apply", "-f", str(file))
    site.await_published(image.name)
    satctl.ok("policy", "delete", name)
    site.await_refused(image.name, "NO_POLICY")


def test_an_imported_policy_holds_at_the_site(
    estate: Estate, site: Satellite, satctl: Satctl, image: Image, tmp_path: Path
) -> None:
    name = image.repository.replace("/", "-")
    key = "\n".join(" " * 10 + line for line in estate.release.pem.decode().splitlines())
    file = tmp_path / "cip.yaml"
    file.write_text(CLUSTER_POLICY.format(name=name, image=f"{image.central.host}/{image.repository}", key=key))
    satctl.ok("policy", "import", "-f", str(file), "--scope", f"satellite/{site.directory.name}")
    site.await_refused(image.name, "UNSIGNED")
    image.sign(estate.release, V3)
    satctl.ok("policy", "delete", name)
    satctl.ok("policy", "import", "-f", str(file), "--scope", f"satellite/{site.directory.name}")
    site.await_published(image.name)
    satctl.ok("policy", "delete", name)
