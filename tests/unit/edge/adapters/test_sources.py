"""Sources as desired state describes them: who gets the credential, and what opens anew."""

from __future__ import annotations

import pytest

from edge.adapters.oci.auth import basic
from edge.adapters.sources import SourceRegistries
from edge.app.ports import Credential
from edge.domain.content import OCI_MANIFEST
from fleet import resources
from fleet.errors import FleetError
from fleet.reference import digest_of
from tests.rig.http_source import Answer, Asked, http_source

LOGIN = Credential("robot", "secret")
RAW = b"{}"
MANIFEST = Answer(200, RAW, {"Content-Type": OCI_MANIFEST})
PLAIN = frozenset({"127.0.0.1"})


def spec(address: str, *mirrors: str) -> resources.Source:
    return resources.Source(
        address=address, ca_pem="", mirrors=mirrors, local_prefix="", needs_credential=True, plain_http=True
    )


def guarded(asked: Asked) -> Answer:
    if asked.authorization == basic(LOGIN):
        return MANIFEST
    return Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})


def test_a_mirror_is_asked_without_the_source_s_credential() -> None:
    with (
        http_source(lambda _: Answer(500)) as own,
        http_source(guarded) as locked,
        http_source(lambda _: MANIFEST) as free,
    ):
        sources = SourceRegistries(lambda *_: LOGIN, plain_hosts=PLAIN)
        upstream = sources.open("hub", spec(own.host, locked.host, free.host))
        assert upstream.manifest("a/b", digest_of(RAW)).raw == RAW
    assert [asked.authorization for asked in (*locked.asked, *free.asked)] == [None, None]


def test_the_source_itself_gets_it_and_a_refused_one_is_told() -> None:
    wrong, asked = Credential("robot", "former"), []

    def issue(name: str, refused: Credential | None) -> Credential:
        asked.append((name, refused))
        return LOGIN if refused else wrong

    with http_source(guarded) as own:
        upstream = SourceRegistries(issue, plain_hosts=PLAIN).open("hub", spec(own.host))
        assert upstream.manifest("a/b", digest_of(RAW)).raw == RAW
    assert asked[0] == ("hub", None)
    assert asked[-1] == ("hub", wrong)


def test_it_stays_open_until_its_description_changes() -> None:
    sources = SourceRegistries(lambda *_: None, plain_hosts=PLAIN)
    first = sources.open("hub", spec("127.0.0.1:1"))
    assert sources.open("hub", spec("127.0.0.1:1")) is first
    assert sources.open("hub", spec("127.0.0.1:2")) is not first


def test_plain_http_is_spoken_to_nobody_whom_the_site_does_not_name() -> None:
    sources = SourceRegistries(lambda *_: None, plain_hosts=PLAIN)
    for one in (spec("hub.example"), spec("127.0.0.1:1", "mirror.example")):
        with pytest.raises(FleetError) as caught:
            sources.open("hub", one)
        assert caught.value.reason == "PLAINTEXT_REFUSED"
