"""A satellite is killed in the middle of a layer, on a slow link to a source that wants a password."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from edge.app.ports import Credential
from fleet.v1 import fleet_pb2 as pb
from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.registries import Central, running_central
from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

LOGIN = Credential("robot", "s3cret-of-the-source")
LAYER_BYTES = 12_000_000
SLOW = 3_000_000
"""Bytes in a second: slow enough to be killed half-way, quick enough for a test."""
AGAIN_BYTES = 1_500_000
"""What a kill may cost: the bytes of a tenth of a second, what kernels and registry had in hand, and manifests."""


@pytest.fixture(scope="module")
def guarded(central: Central, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """The central registry's content behind Basic authentication."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "data").symlink_to(central.directory / "data")
    with running_central(directory, login=LOGIN) as running:
        yield running


@pytest.fixture
def link(guarded: Central) -> Iterator[CuttingProxy]:
    with cutting_proxy(guarded.url) as proxy:
        yield proxy


def journal_bytes(site: Satellite) -> bytes:
    return b"".join(path.read_bytes() for path in site.data_dir.glob("journal.db*"))


def test_a_layer_goes_on_where_the_kill_left_it(fleet: Vertical, kind: str, link: CuttingProxy) -> None:
    name, source = f"{kind}-3", f"vault-{kind}"
    small, large = fleet.push(f"{kind}/small"), fleet.push(f"{kind}/large", layers=(os.urandom(LAYER_BYTES),))
    fleet.add_source(source, link.url.removeprefix("http://"))
    secret = pb.SetSourceCredentialRequest(source=source, username=LOGIN.username, password=LOGIN.password)
    fleet.call(lambda stub: stub.SetSourceCredential(secret))
    with fleet.satellite(name, kind, hosts=[link.url.removeprefix("http://")]) as site:
        site.await_published(fleet.assign(small, f"satellite/{name}", source=source))
        before, link.bytes_per_s = link.received, SLOW
        artifact = fleet.assign(large, f"satellite/{name}", source=source)
        site.await_that(lambda: link.received - before > LAYER_BYTES // 2, "half of the layer")
        site.kill()
        assert link.received - before < LAYER_BYTES
        assert LOGIN.password.encode() not in journal_bytes(site)
        link.bytes_per_s = 0
        site.start()
        assert site.pull(f"{source}/{small.repository}", "1")[0] == 200
        site.await_published(artifact)
        assert site.pull(f"{source}/{large.repository}", large.digest)[0] == 200
        assert link.received - before < LAYER_BYTES + AGAIN_BYTES
        assert site.log().count('"artifact.published"') == 2
