from __future__ import annotations

import pytest

from edge.adapters.oci.auth import basic
from edge.adapters.oci.endpoint import Origin
from edge.adapters.oci.proxy import Proxies, Proxy, parse_proxy
from edge.app.ports import Credential
from fleet.errors import FleetError

PROXY, PLAIN = Proxy("http://proxy.example:3128"), Proxy("http://plain.example:3128")
HUB = Origin("https", "hub.example.com", 443)


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("proxy.example:3128", "http://proxy.example:3128", None),
        ("https://proxy.example", "https://proxy.example:443", None),
        ("http://[fd00::1]:3128/", "http://[fd00::1]:3128", None),
        ("http://site:pa%40ss%3A%2F@proxy.example", "http://proxy.example:80", Credential("site", "pa@ss:/")),
    ],
)
def test_an_address_is_read_and_its_password_kept_apart(text: str, url: str, login: Credential | None) -> None:
    found = parse_proxy(text)
    assert (found.url, found.authorization) == (url, basic(login) if login else "")
    assert not login or login.password not in repr(found)


@pytest.mark.parametrize(
    "text", ["socks5://u:secret@h:1", "http://", "http://u:secret@", "http://u:secret@h:port", "http://u:secret@h/path"]
)
def test_what_is_no_proxy_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse_proxy(text)
    assert caught.value.reason == "PROXY_MALFORMED"
    assert "secret" not in f"{caught.value} {caught.value.detail}"
    assert caught.value.__cause__ is None


def test_each_scheme_has_its_proxy() -> None:
    proxies = Proxies(https=PROXY, http=PLAIN)
    assert proxies.towards(HUB) == PROXY
    assert proxies.towards(Origin("http", "hub.example.com", 80)) == PLAIN
    assert Proxies(http=PLAIN).towards(HUB) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "hub.localhost"])
def test_loopback_is_reached_directly_unless_it_is_named(host: str) -> None:
    origin = Origin("https", host, 5000)
    assert Proxies(https=PROXY).towards(origin) is None
    assert Proxies(https=PROXY, only=(host,)).towards(origin) == PROXY


@pytest.mark.parametrize(
    ("pattern", "is_direct"),
    [
        ("*", True),
        ("hub.example.com", True),
        ("HUB.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("hub.example.com:443", True),
        ("hub.example.com:5000", False),
        ("ample.com", False),
        ("other.com", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_what_no_proxy_names_is_reached_directly(pattern: str, is_direct: bool) -> None:
    assert (Proxies(https=PROXY, but=(pattern,)).towards(HUB) is None) == is_direct


@pytest.mark.parametrize(
    ("pattern", "host", "is_direct"),
    [
        ("10.0.0.0/8", "10.2.3.4", True),
        ("10.0.0.0/8", "11.2.3.4", False),
        ("10.2.3.4", "10.2.3.4", True),
        ("10.2.3.4:443", "10.2.3.4", True),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:444", "fd00::1", False),
        ("nonsense/8", "10.2.3.4", False),
    ],
)
def test_addresses_and_networks_are_matched_too(pattern: str, host: str, is_direct: bool) -> None:
    assert (Proxies(https=PROXY, but=(pattern,)).towards(Origin("https", host, 443)) is None) == is_direct


def test_only_the_hosts_that_are_named_go_through() -> None:
    proxies = Proxies(https=PROXY, only=("hub.example.com",), but=("hub.example.com",))
    assert proxies.towards(HUB) == PROXY
    assert proxies.towards(Origin("https", "mirror.example.com", 443)) is None
