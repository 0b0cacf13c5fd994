"""The bridge from a command to its calls.

gRPC and the certificates' packages take half a second to import: help and completion must not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from controlplane.satctl.options import options_of

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

T = TypeVar("T")


def run(context: typer.Context, work: Callable[[FleetClient], Awaitable[T]]) -> T:
    """Connect, do one command's work, and end the connection."""
    from controlplane.satctl.client import connect  # noqa: PLC0415 - see above

    async def connected() -> T:
        async with connect(options_of(context)) as client:
            return await work(client)

    return asyncio.run(connected())
