"""Sources that are down, want a password or serve rubbish: each its reason, and beside them an image that comes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge.app.ports import Credential
from fleet.reference import digest_of
from fleet.v1 import fleet_pb2 as pb
from tests.rig.registries import Central, running_central
from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical, until

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

LOGIN = Credential("robot", "s3cret-of-the-source")
LARGE = 3_000_000
"""More than is sent in one request: it takes the other way through the code."""


@pytest.fixture(scope="module")
def guarded(central: Central, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """The central registry's content behind Basic authentication."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "data").symlink_to(central.directory / "data")
    with running_central(directory, login=LOGIN) as running:
        yield running


def spoil(blob: Path, *, cut: bool = False) -> bytes:
    """Damage a blob in the registry's own storage: `→ what it was`."""
    whole = blob.read_bytes()
    half = len(whole) // 2
    blob.write_bytes(whole[:half] if cut else whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    return whole


def set_credential(fleet: Vertical, source: str, login: Credential) -> None:
    request = pb.SetSourceCredentialRequest(source=source, username=login.username, password=login.password)
    fleet.call(lambda stub: stub.SetSourceCredential(request))


def told(fleet: Vertical, site: str) -> dict[str, str]:
    """What a satellite told Ground Control of its artifacts."""
    return {one.name: one.reason for one in fleet.status(site).report.exceptions}


@dataclass
class Gone:
    """A source that is down: the central registry's content once more, on a port of its own."""

    directory: Path
    host: str = ""

    @contextmanager
    def up(self) -> Iterator[None]:
        with running_central(self.directory, port=int(self.host.rpartition(":")[2] or 0)) as running:
            self.host = running.host
            yield


@pytest.fixture(scope="module")
def gone(central: Central, tmp_path_factory: pytest.TempPathFactory) -> Gone:
    made = Gone(tmp_path_factory.mktemp("gone"))
    (made.directory / "data").symlink_to(central.directory / "data")
    with made.up():
        pass
    return made


def test_each_failure_has_its_reason_and_the_rest_goes_on(
    fleet: Vertical, guarded: Central, gone: Gone, kind: str
) -> None:
    scope = f"satellite/sources-{kind}"
    for source, host in (
        (f"locked-{kind}", guarded.host),
        (f"wrong-{kind}", guarded.host),
        (f"dead-{kind}", gone.host),
    ):
        fleet.add_source(source, host)
    set_credential(fleet, f"wrong-{kind}", Credential("robot", "not-the-password"))
    with fleet.satellite(f"sources-{kind}", kind, hosts=[guarded.host, gone.host]) as site:
        good = fleet.push(f"{kind}/good")
        reasons = {
            fleet.assign(good, scope, source=f"dead-{kind}"): "SOURCE_UNREACHABLE",
            fleet.assign(good, scope, source=f"locked-{kind}"): "SOURCE_REFUSED",
            fleet.assign(good, scope, source=f"wrong-{kind}"): "SOURCE_REFUSED",
        }
        site.await_published(fleet.assign(good, scope))
        for artifact, reason in reasons.items():
            site.await_that(partial(stands, site, artifact, ("failed", reason)), f"{artifact}: {reason}")
            assert site.pull(artifact.partition(":")[0], "1")[0] == 404
        until(lambda: told(fleet, f"sources-{kind}") == reasons, "Ground Control knows the reasons")
        assert site.pull(good.repository, "1")[0] == 200

        set_credential(fleet, f"locked-{kind}", LOGIN)
        with gone.up():
            site.await_published(good.at(f"dead-{kind}"), good.at(f"locked-{kind}"))


def test_a_blob_that_is_not_what_was_signed_never_becomes_pullable(
    fleet: Vertical, central: Central, kind: str
) -> None:
    scope = f"satellite/spoiled-{kind}"
    rotten = fleet.push(f"{kind}/rotten")
    large, short = (fleet.push(f"{kind}/{name}", layers=(os.urandom(LARGE),)) for name in ("large", "short"))
    files = {image: central.blob_file(image.layers[0]) for image in (rotten, large, short)}
    whole = {file: spoil(file, cut=image is short) for image, file in files.items()}
    reasons = {rotten: "DIGEST_MISMATCH", large: "DIGEST_MISMATCH", short: "BODY_TRUNCATED"}
    with fleet.satellite(f"spoiled-{kind}", kind) as site:
        for image, reason in reasons.items():
            fleet.assign(image, scope)
            site.await_that(partial(stands, site, image.at(), ("failed", reason)), f"{image.at()}: {reason}")
        beside = fleet.push(f"{kind}/beside")
        site.await_published(fleet.assign(beside, scope))
        for image in reasons:
            assert site.pull(image.repository, image.digest)[0] == 404
            assert site.pull_blob(image.repository, image.layers[0])[0] == 404
        until(
            lambda: told(fleet, f"spoiled-{kind}").keys() == {image.at() for image in reasons}, "Ground Control knows"
        )
        for file, content in whole.items():
            file.write_bytes(content)
        site.await_published(*(image.at() for image in reasons))
        assert digest_of(site.pull_blob(large.repository, large.layers[0])[1]) == large.layers[0]


def stands(site: Satellite, artifact: str, state: tuple[str, str]) -> bool:
    return site.states().get(artifact) == state
