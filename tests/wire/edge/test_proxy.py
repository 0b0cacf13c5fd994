"""Through a real proxy: CONNECT for https, its password for it alone, and a reason for each way that it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.proxy import Proxies, parse_proxy
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential
from fleet.errors import FleetError
from fleet.reference import digest_of
from tests.rig.http_source import Answer, Asked, HttpSource, http_source
from tests.rig.private_tls import private_tls
from tests.rig.tinyproxy import LOGIN, Tinyproxy, make_tinyproxy

pytestmark = pytest.mark.needs_tinyproxy

READER = Credential("puller", "secret")
BLOB = b"layer"


@pytest.fixture
def proxy(tmp_path: Path) -> Tinyproxy:
    return make_tinyproxy(tmp_path / "proxy")


class Through:
    """What a source does that redirects to a store, and how it is read through a proxy."""

    def __init__(self, source: HttpSource, store: HttpSource, pem: str) -> None:
        self.source, self.store, self.pem = source, store, pem

    @property
    def port(self) -> int:
        return int(self.source.url.rpartition(":")[2])

    def upstream(self, proxy: str) -> OciUpstream:
        found = parse_proxy(proxy)
        endpoint = parse_endpoint(self.source.url, ca_pem=self.pem, plaintext=not self.pem)
        proxies = Proxies(https=found, http=found, only=("127.0.0.1",))
        return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: READER, proxies=proxies))

    def read(self, proxy: str) -> bytes:
        with self.upstream(proxy).blob("a/b", digest_of(BLOB)) as chunks:
            return b"".join(chunks)


@pytest.fixture(params=["https", "http"])
def through(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Through]:
    context, pem = private_tls(tmp_path) if request.param == "https" else (None, "")
    with http_source(lambda _: Answer(200, BLOB), tls=context) as store:

        def script(asked: Asked) -> Answer:
            if not asked.authorization:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            return Answer(307, headers={"Location": store.url + "/x"})

        with http_source(script, tls=context) as source:
            yield Through(source, store, pem)


def test_source_and_store_are_reached_through_it(proxy: Tinyproxy, through: Through) -> None:
    with proxy.up():
        assert through.read(proxy.url()) == BLOB
    assert str(through.port) in proxy.log
    assert through.store.url.rpartition(":")[2] in proxy.log
    if through.pem:  # of plain http, tinyproxy passes on its own password
        asked = through.source.asked + through.store.asked
        assert not any("Proxy-Authorization" in one.headers for one in asked)


def test_a_wrong_password_is_a_refusal_of_the_proxy_s(proxy: Tinyproxy, through: Through) -> None:
    # Over plain http, tinyproxy answers a wrong password with 401, as if it were the source.
    logins = [None, Credential(LOGIN.username, "wrong-one")] if through.pem else [None]
    with proxy.up():
        for login in logins:
            with pytest.raises(FleetError) as caught:
                through.read(proxy.url(login))
            assert caught.value.reason == "PROXY_REFUSED"
            assert "wrong-one" not in f"{caught.value} {caught.value.detail}"
    assert through.source.asked == []


def test_a_proxy_that_is_down_is_named_and_comes_back(proxy: Tinyproxy, through: Through) -> None:
    with pytest.raises(FleetError) as caught:
        through.read(proxy.url())
    assert caught.value.reason == "PROXY_UNREACHABLE"
    assert LOGIN.password not in f"{caught.value} {caught.value.detail}"
    with proxy.up():
        assert through.read(proxy.url()) == BLOB


def test_a_source_that_the_proxy_cannot_reach_is_not_the_proxy_s_fault(proxy: Tinyproxy, tmp_path: Path) -> None:
    context, pem = private_tls(tmp_path)
    with http_source(lambda _: Answer(), tls=context) as source:
        gone = Through(source, source, pem)
    with proxy.up(), pytest.raises(FleetError) as caught:
        gone.read(proxy.url())
    assert caught.value.reason == "SOURCE_UNREACHABLE"


def test_a_port_that_the_proxy_does_not_let_through_is_a_refusal_of_its_own(proxy: Tinyproxy, tmp_path: Path) -> None:
    context, pem = private_tls(tmp_path)
    with (
        http_source(lambda _: Answer(), tls=context) as source,
        proxy.up(tunnels=(443,)),
        pytest.raises(FleetError) as caught,
    ):
        Through(source, source, pem).read(proxy.url())
    assert caught.value.reason == "PROXY_REFUSED"
    assert source.asked == []
