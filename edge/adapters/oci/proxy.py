"""Through which proxy, if any, a host is reached.

A proxy's address may hold a user and a password: those go to the proxy alone, and are in no error and no log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from edge.adapters.oci.auth import basic
from edge.adapters.oci.endpoint import Origin
from edge.app.ports import Credential
from fleet.errors import FleetError, malformed

_PORT = re.compile(r"(.*?):([0-9]{1,5})\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy: where it is, and what lets us in."""

    url: str
    """`http[s]://host:port`, without the user."""
    authorization: str = field(default="", repr=False)
    """Of the kind Basic; empty where it wants none."""


def parse_proxy(text: str) -> Proxy:
    """Read `[http[s]://][user:password@]host[:port]`; without a scheme it is http.

    Raises:
        FleetError: MALFORMED `PROXY_MALFORMED`; the text is not in it, for the secret's sake.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise _malformed() from None
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise _malformed()
    url = Origin(parts.scheme, parts.hostname, port).url
    if parts.username is None:
        return Proxy(url)
    return Proxy(url, basic(Credential(unquote(parts.username), unquote(parts.password or ""))))


def _malformed() -> FleetError:
    return malformed("PROXY_MALFORMED", "a proxy is http[s]://[user:password@]host:port")


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which hosts are reached through which proxy; without one, all are reached directly."""

    https: Proxy | None = None
    """For https, by CONNECT: it sees names and bytes, and no content."""
    http: Proxy | None = None
    """For plain http."""
    only: tuple[str, ...] = ()
    """Hosts that alone go through, loopback too where it is named. Empty: all others than loopback and `but`."""
    but: tuple[str, ...] = ()
    """What NO_PROXY says: hosts that are reached directly."""

    def towards(self, origin: Origin) -> Proxy | None:
        """Say through which proxy an origin is reached; None for directly."""
        proxy = self.https if origin.scheme == "https" else self.http
        if proxy is None:
            return None
        if self.only:
            return proxy if any(_matches(pattern, origin) for pattern in self.only) else None
        is_direct = _is_loopback(origin.host) or any(_matches(pattern, origin) for pattern in self.but)
        return None if is_direct else proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _matches(pattern: str, origin: Origin) -> bool:
    """Match as curl and Go do: `*`, a name and all below it, an address, a network; each with a port or without."""
    if pattern == "*":
        return True
    if "/" in pattern:
        return _is_within(pattern, origin.host)
    name = pattern
    if (ported := _PORT.match(pattern)) and (pattern.startswith("[") or pattern.count(":") == 1):
        if int(ported[2]) != origin.port:
            return False
        name = ported[1]
    name = name.strip("[]").lstrip(".").lower()
    return bool(name) and (origin.host == name or origin.host.endswith(f".{name}"))


def _is_within(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
