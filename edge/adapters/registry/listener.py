"""Where workloads pull: the address that a registry of our own listens on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from fleet.errors import malformed

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listener:
    """An address, and a port or 0 for one of the kernel's choice."""

    host: str = LOOPBACK
    port: int = 0

    @property
    def authority(self) -> str:
        """`host:port`, IPv6 addresses in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """How to reach it from this very host."""
        host = ip_address(self.host)
        if not host.is_unspecified:
            return f"http://{self.authority}"
        return f"http://{replace(self, host='::1' if host.version == 6 else LOOPBACK).authority}"  # noqa: PLR2004


def parse_listener(text: str, *, plaintext: bool = False) -> Listener:
    """Read `address:port`.

    Raises:
        FleetError: MALFORMED `LISTENER_MALFORMED`; MALFORMED `SITE_PLAINTEXT_REFUSED` for an address that others
            can reach while plain http is not allowed.
    """
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
        number = range(65536).index(int(port))
    except ValueError as error:
        raise malformed("LISTENER_MALFORMED", "a listener is <IP address>:<port>", subject=text) from error
    if not address.is_loopback and not plaintext:
        words = "the site's registry serves plain http beyond loopback only with --site-plaintext"
        raise malformed("SITE_PLAINTEXT_REFUSED", words, subject=text)
    return Listener(str(address), number)
