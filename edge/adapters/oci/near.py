"""The site's own registry, next door: its one writer, or anybody, over plain HTTP on this machine."""

from __future__ import annotations

from edge.adapters.oci.auth import basic
from edge.adapters.oci.connections import Connections
from edge.adapters.oci.endpoint import Origin
from edge.adapters.oci.exchange import AGENT, Answer, ExchangeError, Request
from edge.adapters.oci.failures import SITE
from edge.app.ports import Credential


class NearClient:
    """Speaks to the site's own registry as its writer, or as anybody; implements `exchange.Carrier`."""

    voice = SITE

    def __init__(self, origin: Origin, writer: Credential | None = None) -> None:
        self.origin = origin
        self._headers = {**AGENT, "Authorization": basic(writer)} if writer else AGENT
        self._connections = Connections(origin)

    def send(self, request: Request) -> Answer:
        """Send a request and return the answer with its body unread.

        Raises:
            FleetError: UNAVAILABLE `REGISTRY_UNREACHABLE`.
        """
        try:
            return self._connections.request(
                request.method, request.path, body=request.body, headers={**self._headers, **(request.headers or {})}
            )
        except ExchangeError as error:
            raise self.voice.unreachable(self.origin.host, str(error)) from error

    def close(self) -> None:
        """Drop every connection."""
        self._connections.close()
