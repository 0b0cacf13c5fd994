"""Sources that are down, want a password or serve rubbish: each its reason, and beside them an image that comes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge.app.ports import Credential
from fleet.reference import digest_of
from fleet.v1 import fleet_pb2 as pb
from tests.rig.http_source import Answer, Asked, http_source
from tests.rig.registries import Central, running_central
from tests.rig.satellite import Satellite
from tests.rig.tinyproxy import LOGIN as PROXY_LOGIN
from tests.rig.tinyproxy import make_tinyproxy
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


class IllSource:
    """The central registry's content, served with an ailment of each repository's own until it `is_well`."""

    def __init__(self, central: Central, layers: set[str]) -> None:
        self.central = central
        self.layers = layers
        self.is_well = False

    def __call__(self, asked: Asked) -> Answer:
        ailment = asked.path.removeprefix("/v2/").partition("/")[0]
        if not self.is_well and ailment in ANSWERS:
            return ANSWERS[ailment](asked)
        wanted = {name: asked.headers[name] for name in ("Accept", "Range") if name in asked.headers}
        if ailment == "ignores-range":
            wanted.pop("Range", None)
        got = self.central.request(asked.method, asked.path, None, **wanted)
        told = {name: got.headers[name] for name in ("Content-Type", "Content-Range") if name in got.headers}
        is_layer = asked.path.rpartition("/")[2] in self.layers
        spoil = SPOILED.get(ailment) if is_layer and not self.is_well else None
        body, cut = spoil(got.data) if spoil else (got.data, 0)
        return Answer(got.status, body, told, cut=cut)


ANSWERS: dict[str, Callable[[Asked], Answer]] = {
    "circles": lambda asked: Answer(302, headers={"Location": asked.path}),
    "fails": lambda _: Answer(500),
    "rests": lambda _: Answer(503, headers={"Retry-After": "1"}),
    "is-busy": lambda _: Answer(429, headers={"Retry-After": "1"}),
}
SPOILED: dict[str, Callable[[bytes], tuple[bytes, int]]] = {
    "breaks-off": lambda body: (body, len(body) // 2),
    "ignores-range": lambda body: (body, len(body) // 2),
    "is-short": lambda body: (body[:-1], 0),
    "is-long": lambda body: (body + b"!", 0),
    "flips": lambda body: (b"!" + body[1:], 0),
}
REASONS = {
    "circles": "SOURCE_REDIRECTS",
    "fails": "SOURCE_FAILED",
    "rests": "SOURCE_FAILED",
    "is-busy": "SOURCE_BUSY",
    "ignores-range": "SOURCE_CUT",
    "is-short": "BODY_TRUNCATED",
    "is-long": "DIGEST_MISMATCH",
    "flips": "DIGEST_MISMATCH",
}


def test_every_ailment_of_a_source_has_its_reason_holds_up_nobody_and_passes(
    fleet: Vertical, central: Central, kind: str
) -> None:
    name = f"ill-{kind}"
    images = {ailment: fleet.push(f"{ailment}/{kind}", layers=(os.urandom(LARGE),)) for ailment in REASONS}
    cut = fleet.push(f"breaks-off/{kind}", layers=(os.urandom(LARGE),))
    script = IllSource(central, {image.layers[0] for image in (cut, *images.values())})
    with http_source(script) as source:
        fleet.add_source(name, source.host)
        with fleet.satellite(name, kind, hosts=[source.host]) as site:
            reasons = {
                fleet.assign(image, f"satellite/{name}", source=name): REASONS[ailment]
                for ailment, image in images.items()
            }
            beside = fleet.push(f"{kind}/beside-the-ill")
            site.await_published(fleet.assign(beside, f"satellite/{name}"))
            site.await_published(fleet.assign(cut, f"satellite/{name}", source=name))
            for artifact, reason in reasons.items():
                site.await_that(partial(stands, site, artifact, ("failed", reason)), f"{artifact}: {reason}")
            for image in images.values():
                assert site.pull(f"{name}/{image.repository}", image.digest)[0] == 404
                assert site.pull_blob(f"{name}/{image.repository}", image.layers[0])[0] == 404
            until(lambda: told(fleet, name) == reasons, "Ground Control knows the reasons")
            script.is_well = True
            site.await_published(*reasons)
            assert site.pull(beside.repository, "1")[0] == 200


def test_a_source_that_never_answers_holds_up_nobody(fleet: Vertical, central: Central, kind: str) -> None:
    name = f"hangs-{kind}"
    images = [fleet.push(f"{kind}/hung-{n}", layers=tuple(os.urandom(LARGE) for _ in range(4))) for n in range(5)]
    layers = {layer for image in images for layer in image.layers}
    answers, hung = threading.Event(), threading.Semaphore(0)

    def script(asked: Asked) -> Answer:
        if asked.path.rpartition("/")[2] in layers:
            hung.release()
            assert answers.wait(60)
        return relay(asked)

    relay = IllSource(central, set())
    with http_source(script) as source:
        fleet.add_source(name, source.host)
        with fleet.satellite(name, kind, hosts=[source.host]) as site:
            try:
                waiting = [fleet.assign(image, f"satellite/{name}", source=name) for image in images]
                assert hung.acquire(timeout=30)
                beside = [fleet.push(f"{kind}/beside-hung-{n}", layers=(os.urandom(LARGE),)) for n in range(2)]
                site.await_published(*(fleet.assign(image, f"satellite/{name}") for image in beside))
            finally:
                answers.set()
            site.await_published(*waiting)


def test_a_password_that_is_replaced_under_way_is_picked_up_without_a_failure(
    fleet: Vertical, central: Central, kind: str, tmp_path: Path
) -> None:
    name = f"rotated-{kind}"
    (tmp_path / "data").symlink_to(central.directory / "data")
    first, second = fleet.push(f"{kind}/before-the-change"), fleet.push(f"{kind}/after-the-change")
    with running_central(tmp_path, login=LOGIN) as guarded:
        fleet.add_source(name, guarded.host)
        set_credential(fleet, name, LOGIN)
        with fleet.satellite(name, kind, hosts=[guarded.host]) as site:
            site.await_published(fleet.assign(first, f"satellite/{name}", source=name))
            other = Credential(LOGIN.username, "the-next-secret")
            set_credential(fleet, name, other)
            guarded.take(other)
            site.await_published(fleet.assign(second, f"satellite/{name}", source=name))
            assert "SOURCE_REFUSED" not in site.log()
            assert other.password not in site.log() + (site.data_dir / "status.json").read_text()


@pytest.mark.needs_tinyproxy
def test_what_is_behind_a_proxy_waits_for_it_and_the_rest_goes_on(
    fleet: Vertical, guarded: Central, kind: str, tmp_path: Path
) -> None:
    name = f"proxied-{kind}"
    proxy = make_tinyproxy(tmp_path / "proxy")
    image = fleet.push(f"{kind}/behind-a-proxy")
    fleet.add_source(name, guarded.host)
    set_credential(fleet, name, LOGIN)
    with fleet.satellite(name, kind, hosts=[guarded.host], proxy=proxy.url(), proxy_hosts=guarded.host) as site:
        behind = fleet.assign(image, f"satellite/{name}", source=name)
        site.await_published(fleet.assign(image, f"satellite/{name}"))
        site.await_that(partial(stands, site, behind, ("failed", "PROXY_UNREACHABLE")), "the proxy is named")
        until(lambda: told(fleet, name) == {behind: "PROXY_UNREACHABLE"}, "Ground Control knows")
        with proxy.up():
            site.await_published(behind)
            assert guarded.host.rpartition(":")[2] in proxy.log
        assert PROXY_LOGIN.password not in site.log() + (site.data_dir / "status.json").read_text()
        assert PROXY_LOGIN.password not in str(fleet.status(name))


def stands(site: Satellite, artifact: str, state: tuple[str, str]) -> bool:
    return site.states().get(artifact) == state
