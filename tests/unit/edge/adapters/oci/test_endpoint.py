from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from edge.adapters.oci.auth import basic
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import Origin, parse_endpoint
from edge.adapters.oci.failures import SOURCE, parse_wait
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential
from fleet.errors import FleetError
from fleet.reference import digest_of
from tests.rig.http_source import Answer, Asked, http_source
from tests.rig.private_tls import private_tls


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("registry.example", Origin("https", "registry.example", 443)),
        ("https://registry.example:8443/", Origin("https", "registry.example", 8443)),
        ("[::1]:5000", Origin("https", "::1", 5000)),
    ],
)
def test_an_address_is_https_unless_it_says_otherwise(text: str, origin: Origin) -> None:
    assert parse_endpoint(text).origin == origin


@pytest.mark.parametrize("text", ["", "ftp://x", "https://", "https://u:p@x", "https://x/path", "x:port", "http://["])
def test_what_is_no_address_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse_endpoint(text)
    assert caught.value.reason == "REGISTRY_ADDRESS_MALFORMED"
    assert "u:p" not in str(caught.value)


def test_plain_http_needs_local_leave() -> None:
    with pytest.raises(FleetError) as caught:
        parse_endpoint("http://127.0.0.1:5000")
    assert caught.value.reason == "PLAINTEXT_REFUSED"
    assert parse_endpoint("127.0.0.1:5000", plaintext=True).origin.scheme == "http"


def test_an_authority_that_is_no_pem_is_refused_at_start() -> None:
    with pytest.raises(FleetError) as caught:
        parse_endpoint("https://x", ca_pem="nonsense")
    assert caught.value.reason == "CA_MALFORMED"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    return private_tls(tmp_path)


def test_a_private_authority_is_trusted_for_its_registry_and_a_stranger_s_is_not(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    context, pem = certificate
    with http_source(lambda _: Answer(200, b"{}"), tls=context) as source:
        known = OciUpstream(Client(parse_endpoint(source.url, ca_pem=pem), voice=SOURCE))
        assert known.manifest("a/b", "v1").raw == b"{}"
        with pytest.raises(FleetError) as caught:
            OciUpstream(Client(parse_endpoint(source.url), voice=SOURCE)).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_UNTRUSTED"


def test_a_redirect_from_https_to_plain_http_is_not_followed(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    context, pem = certificate
    with http_source(lambda _: Answer(200, b"{}")) as plain:
        away = Answer(307, headers={"Location": plain.url})
        with http_source(lambda _: away, tls=context) as source:
            reader = OciUpstream(Client(parse_endpoint(source.url, ca_pem=pem), voice=SOURCE))
            with pytest.raises(FleetError) as caught:
                reader.manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_REDIRECTS"
    assert plain.asked == []


def test_a_token_realm_elsewhere_over_tls_gets_the_credential_and_the_registry_only_the_token(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    context, pem = certificate
    login = Credential("puller", "secret")
    with http_source(lambda _: Answer(200, b'{"token": "granted"}'), tls=context) as realm:

        def script(asked: Asked) -> Answer:
            if asked.authorization == "Bearer granted":
                return Answer(200, b"{}")
            elsewhere = realm.url.replace("127.0.0.1", "localhost")
            return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{elsewhere}/token",service="s"'})

        with http_source(script, tls=context) as source:
            endpoint = parse_endpoint(source.url, ca_pem=pem)
            reader = OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: login))
            assert reader.manifest("a/b", "v1").raw == b"{}"
    assert [asked.authorization for asked in realm.asked] == [basic(login)]
    assert [asked.authorization for asked in source.asked] == [None, "Bearer granted"]


def test_a_private_registry_may_redirect_to_a_store_of_its_own_authority_without_the_secret(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    context, pem = certificate
    login = Credential("puller", "secret")
    with http_source(lambda _: Answer(200, b"layer"), tls=context) as store:

        def script(asked: Asked) -> Answer:
            if not asked.authorization:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            return Answer(307, headers={"Location": store.url + "/x"})

        with http_source(script, tls=context) as source:
            endpoint = parse_endpoint(source.url, ca_pem=pem)
            reader = OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: login))
            with reader.blob("a/b", digest_of(b"layer")) as chunks:
                assert b"".join(chunks) == b"layer"
    assert [asked.authorization for asked in store.asked] == [None]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 30), ("5", 5), ("0", 1), ("99999", 3600), ("9" * 400, 30), ("nonsense", 30), ("-1", 30)],
)
def test_a_wait_is_between_a_second_and_an_hour(header: str | None, seconds: int) -> None:
    assert parse_wait(header) == timedelta(seconds=seconds)


def test_a_wait_may_be_a_date() -> None:
    assert parse_wait("Wed, 21 Oct 2015 07:28:00 GMT") == timedelta(seconds=1)
    assert parse_wait("Fri, 31 Dec 2100 23:59:59 GMT") == timedelta(hours=1)
