"""Asking a registry whether it is up."""

from __future__ import annotations

import asyncio

from edge.adapters.oci.endpoint import Origin
from edge.adapters.oci.exchange import Request, discard
from edge.adapters.oci.near import NearClient
from edge.app.ports import Credential
from fleet.errors import FleetError


async def answers(origin: Origin, writer: Credential | None = None) -> bool:
    """Say whether it answers `GET /v2/` as it should: the writer, or anybody where there is none."""
    return await asyncio.to_thread(_answers, origin, writer)


def _answers(origin: Origin, writer: Credential | None) -> bool:
    client = NearClient(origin, writer)
    try:
        response = client.send(Request("GET", "/v2/", ""))
        discard(response)
    except FleetError:
        return False
    else:
        return response.status == 200  # noqa: PLR2004 -- OK
    finally:
        client.close()
