"""The end of every failed RPC: our errors as google.rpc.Status, all else as one constant sentence.

grpcio sends an uncaught exception's type and text to the peer, so whatever is not a FleetError ends here.
"""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio

from fleet.errors import FleetError
from fleet.rpc_errors import CODES, STATUS_KEY, to_status

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: FleetError) -> NoReturn:
    """End an RPC with an error's public part.

    Raises:
        grpc.aio.AbortError: always.
    """
    status = to_status(error)
    await context.abort(CODES[error.kind], status.message, ((STATUS_KEY, status.SerializeToString()),))
