"""Credentials of a source: token realms, expiry, rotation; a secret goes where it belongs and nowhere else."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from edge.adapters.oci.auth import basic
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.exchange import Request, discard
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential
from edge.domain.content import OCI_MANIFEST
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of
from tests.rig.http_source import Answer, Asked, HttpSource, http_source

LOGIN = Credential("puller", "secret")
BASIC = "Basic " + b64encode(b"puller:secret").decode()
RAW = b'{"schemaVersion": 2}'
MANIFEST = Answer(200, RAW, {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"})
SUBJECT = digest_of(b"subject")


def upstream(source: HttpSource, login: Credential | None = LOGIN) -> OciUpstream:
    endpoint = parse_endpoint(source.url, plaintext=True)
    return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: login))


class TokenSource:
    """Wants a bearer token from its own `/token`; `valid` is the one that it takes."""

    def __init__(self) -> None:
        self.valid = "token-1"
        self.life_s = 300
        self.realm = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            granted = {"token": self.valid, "expires_in": self.life_s}
            return Answer(200, json.dumps(granted).encode())
        if asked.authorization == f"Bearer {self.valid}":
            return MANIFEST
        realm = self.realm or f"http://{asked.headers['Host']}/token"
        words = f'Bearer realm="{realm}",service="s",scope="repository:a/b:pull"'
        return Answer(401, headers={"WWW-Authenticate": words})


def test_a_token_is_fetched_once_with_the_credential_and_used_from_then_on() -> None:
    with http_source(TokenSource()) as source:
        reader = upstream(source)
        for _ in range(3):
            assert reader.manifest("a/b", "v1").raw == RAW
    tokens = [asked for asked in source.asked if asked.path.startswith("/token")]
    assert [asked.authorization for asked in tokens] == [BASIC]
    assert "service=s" in tokens[0].path
    assert len(source.asked) == 5
    assert all(asked.authorization != BASIC for asked in source.asked if asked not in tokens)


def test_a_token_that_is_refused_on_the_way_is_renewed_once() -> None:
    script = TokenSource()
    with http_source(script) as source:
        reader = upstream(source)
        reader.manifest("a/b", "v1")
        script.valid = "token-2"
        assert reader.manifest("a/b", "v1").raw == RAW
    assert sum(asked.path.startswith("/token") for asked in source.asked) == 2


def test_a_realm_elsewhere_over_plain_http_gets_no_secret() -> None:
    thief = TokenSource()
    script = TokenSource()
    with http_source(thief) as elsewhere, http_source(script) as source:
        script.realm = elsewhere.url.replace("127.0.0.1", "localhost") + "/token"
        with pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_REFUSED"
    assert elsewhere.asked == []


def test_without_a_credential_a_token_is_asked_for_anonymously() -> None:
    with http_source(TokenSource()) as source:
        assert upstream(source, None).manifest("a/b", "v1").raw == RAW
    assert [asked.authorization for asked in source.asked if asked.path.startswith("/token")] == [None]


def test_a_bearer_credential_is_sent_as_it_is() -> None:
    with http_source(TokenSource()) as source:
        assert upstream(source, Credential(bearer="token-1")).manifest("a/b", "v1").raw == RAW
    assert not any(asked.path.startswith("/token") for asked in source.asked)


def test_a_credential_that_is_refused_is_not_sent_again_and_again() -> None:
    refusal = Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
    with http_source(lambda _: refusal) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert (caught.value.kind, caught.value.reason) == (Kind.REFUSED, "SOURCE_REFUSED")
    assert len(source.asked) == 2
    assert "secret" not in str(caught.value) + caught.value.detail


@dataclass
class Issuer:
    """Whoever knows the credential: gives `kept` until one is refused."""

    kept: Credential
    current: Credential
    renewals: int = 0

    def renewed(self, refused: Credential) -> Credential:
        self.renewals += 1
        self.kept = self.current
        return self.kept

    def upstream(self, source: HttpSource) -> OciUpstream:
        endpoint = parse_endpoint(source.url, plaintext=True)
        return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: self.kept, renewed=self.renewed))


class PasswordSource:
    """Takes one password: by Basic itself, or at its own `/token` for a token that ends with the password."""

    def __init__(self, *, by_token: bool) -> None:
        self.by_token = by_token
        self.login = LOGIN

    def __call__(self, asked: Asked) -> Answer:
        valid = basic(self.login)
        if asked.path.startswith("/token"):
            answer = json.dumps({"token": self.login.password, "expires_in": 300}).encode()
            return Answer(200, answer) if asked.authorization == valid else Answer(401)
        if asked.authorization == (f"Bearer {self.login.password}" if self.by_token else valid):
            return MANIFEST
        bearer = f'Bearer realm="http://{asked.headers["Host"]}/token",service="s"'
        return Answer(401, headers={"WWW-Authenticate": bearer if self.by_token else 'Basic realm="r"'})


@pytest.mark.parametrize("by_token", [False, True], ids=["basic", "token"])
@pytest.mark.parametrize("is_known", [False, True], ids=["at-first", "under-way"])
def test_a_credential_that_was_replaced_is_picked_up_within_the_request(by_token: bool, is_known: bool) -> None:
    script, other = PasswordSource(by_token=by_token), Credential("puller", "another")
    issuer = Issuer(LOGIN, LOGIN)
    with http_source(script) as source:
        reader = issuer.upstream(source)
        if is_known:
            reader.manifest("a/b", "v1")
        script.login = issuer.current = other
        assert reader.manifest("a/b", "v1").raw == RAW
        assert reader.manifest("a/b", "v1").raw == RAW
    assert issuer.renewals == 1


@pytest.mark.parametrize("by_token", [False, True], ids=["basic", "token"])
def test_a_credential_that_stays_wrong_ends_as_refused(by_token: bool) -> None:
    script, wrong = PasswordSource(by_token=by_token), Credential("puller", "wrong")
    issuer = Issuer(wrong, wrong)
    with http_source(script) as source:
        for renewals in (1, 2):
            with pytest.raises(FleetError) as caught:
                issuer.upstream(source).manifest("a/b", "v1")
            assert (caught.value.kind, caught.value.reason) == (Kind.REFUSED, "SOURCE_REFUSED")
            assert issuer.renewals == renewals
    assert len(source.asked) <= 8


def test_what_can_be_sent_only_once_is_sent_when_there_is_a_token() -> None:
    script = TokenSource()
    sent: list[bool] = []

    def body() -> Iterator[bytes]:
        sent.append(True)
        yield b"layer"

    with http_source(script) as source:
        client = Client(parse_endpoint(source.url, plaintext=True), voice=SOURCE, credential=lambda _: LOGIN)

        def send() -> int:
            request = Request("POST", "/v2/x", "a/b", headers={"Content-Length": "5"}, body=body())
            answer = client.send(request)
            discard(answer)
            return answer.status

        assert (send(), sent) == (200, [True])
        script.valid = "token-2"
        with pytest.raises(FleetError) as caught:
            send()
        assert caught.value.reason == "SOURCE_FAILED"
        assert (send(), sent) == (200, [True] * 3)
        client.close()


def test_a_store_that_it_redirects_to_cannot_name_the_realm_that_gets_the_password() -> None:
    thief = TokenSource()
    with http_source(thief) as elsewhere:
        away = Answer(307, headers={"Location": elsewhere.url + "/v2/x"})
        with http_source(lambda _: away) as source, pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_REFUSED"
    assert [asked.authorization for asked in elsewhere.asked] == [None]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(401), "SOURCE_REFUSED"),
        (Answer(500), "SOURCE_FAILED"),
        (Answer(429, headers={"Retry-After": "7"}), "SOURCE_BUSY"),
        (Answer(200, b"no token"), "SOURCE_FAILED"),
        (Answer(307, headers={"Location": "http://127.0.0.1:1/"}), "SOURCE_FAILED"),
    ],
    ids=["refuses", "fails", "is-busy", "babbles", "redirects"],
)
def test_a_token_realm_s_failure_has_its_reason(answer: Answer, reason: str) -> None:
    script = TokenSource()
    with http_source(lambda _: answer) as realm, http_source(script) as source:
        script.realm = realm.url + "/token"
        with pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == reason
    assert (caught.value.retry_after == timedelta(seconds=7)) == (reason == "SOURCE_BUSY")


def test_a_token_realm_that_is_not_there_is_a_source_that_is_unreachable() -> None:
    script = TokenSource()
    with http_source(script) as realm:
        script.realm = realm.url + "/token"
    with http_source(script) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_UNREACHABLE"
