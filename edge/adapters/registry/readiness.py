"""Asking a registry whether it is up."""

from __future__ import annotations

import asyncio

from edge.adapters.oci.client import Client, Request, discard
from edge.adapters.oci.endpoint import Endpoint, Origin
from edge.adapters.oci.failures import SITE
from edge.app.ports import Credential
from fleet.errors import FleetError


def site_client(origin: Origin, writer: Credential | None = None) -> Client:
    """Make a client for a registry of our own, which knows the writer from the first request on."""
    return Client(Endpoint(origin), voice=SITE, eager=writer)


async def answers(origin: Origin, writer: Credential | None = None) -> bool:
    """Say whether it answers `GET /v2/` as it should: the writer, or anybody where there is none."""
    client = site_client(origin, writer)
    try:
        response = await asyncio.to_thread(client.send, Request("GET", "/v2/", ""))
        await asyncio.to_thread(discard, response)
    except FleetError:
        return False
    else:
        return response.status == 200  # noqa: PLR2004 -- OK
    finally:
        client.close()
