"""Where a registry is and how it is trusted, parsed once from local configuration."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from fleet.errors import FleetError, malformed

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a secret may be sent to."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The origin as a URL without a path; IPv6 addresses in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Read the origin of an absolute URL.

    Raises:
        FleetError: MALFORMED `REGISTRY_ADDRESS_MALFORMED` unless it is http or https with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _not_an_address(url) from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise _not_an_address(url)
    return Origin(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme])


def _not_an_address(url: str) -> FleetError:
    return malformed(
        "REGISTRY_ADDRESS_MALFORMED",
        "a registry's address is https://host[:port], without a user",
        subject=url.partition("@")[2][:120] if "@" in url else url[:120],
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One registry: its origin and, where it has one, the private authority that it is verified against."""

    origin: Origin
    ca_pem: str = ""

    def own_context(self) -> ssl.SSLContext:
        """Verify the registry itself: against its private authority alone where it has one."""
        return ssl.create_default_context(cadata=self.ca_pem or None)

    def foreign_context(self) -> ssl.SSLContext:
        """Verify hosts that it sends us to: against the public authorities, and its own."""
        context = ssl.create_default_context()
        if self.ca_pem:
            context.load_verify_locations(cadata=self.ca_pem)
        return context


def parse_endpoint(url: str, *, ca_pem: str = "", plaintext: bool = False) -> Endpoint:
    """Read an address; a bare `host[:port]` means https, or http where plain text is allowed.

    Raises:
        FleetError: MALFORMED `REGISTRY_ADDRESS_MALFORMED`, `PLAINTEXT_REFUSED` for http that the
            local configuration does not allow, `CA_MALFORMED`.
    """
    absolute = url if "://" in url else f"{'http' if plaintext else 'https'}://{url}"
    endpoint = Endpoint(origin_of(absolute), ca_pem)
    if urlsplit(absolute).path.strip("/"):
        raise _not_an_address(url)
    if endpoint.origin.scheme == "http" and not plaintext:
        raise malformed(
            "PLAINTEXT_REFUSED",
            "plain http is used only where the site's own configuration says so",
            subject=endpoint.origin.url,
        )
    if not ca_pem:
        return endpoint
    try:
        endpoint.own_context()
    except (ssl.SSLError, ValueError) as error:
        raise malformed("CA_MALFORMED", "not PEM certificates", subject=url, detail=str(error)) from error
    return endpoint
