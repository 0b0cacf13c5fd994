"""A registry of the user's own: found running, written to by others too, never stopped by us."""

from __future__ import annotations

import asyncio

from edge.adapters.oci.client import Client, anonymous
from edge.adapters.oci.endpoint import Endpoint
from edge.adapters.oci.failures import SITE
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.probe import probe
from edge.adapters.registry.shelf import NoShelf
from edge.app.ports import Credential, SiteRegistry
from fleet.errors import FleetError, Kind


class ExternalRegistry:
    """Implements `edge.app.ports.SupervisedRegistry`; only what we published there is vouched for.

    Args:
        endpoint: where it is, and its authority.
        credential: how the satellite writes there; None where anybody may.
        prefix: put before every repository's path.
        why: why it is this registry.
    """

    kind = "external"

    def __init__(self, endpoint: Endpoint, credential: Credential | None, *, prefix: str = "", why: str = "") -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._prefix = prefix
        self._client: Client | None = None
        self._site: OciSite | None = None
        self.public_url = ""
        self.why = why

    @property
    def site(self) -> SiteRegistry:
        """The writer's door."""
        if self._site is None:
            raise FleetError(Kind.PRECONDITION, "REGISTRY_STOPPED", "the site's registry is not in use")
        return self._site

    async def start_private(self) -> None:
        """Probe what it can do; it is there already, and open."""
        credential = self._credential
        known = (lambda _: credential) if credential else anonymous
        client = Client(self._endpoint, voice=SITE, credential=known)
        capabilities = await asyncio.to_thread(probe, client, self._prefix)
        self._client = client
        self._site = OciSite(client, capabilities, NoShelf(), prefix=self._prefix)

    async def open_public(self) -> None:
        """Say where it is; whether it is open is its owner's affair."""
        self.public_url = self._endpoint.origin.url

    async def stop(self) -> None:
        """Let go of it."""
        if self._client:
            self._client.close()
        self._client = self._site = None
        self.public_url = ""
