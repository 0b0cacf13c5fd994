"""A server's refusal as the error it was: `gRPC status with google.rpc.ErrorInfo → FleetError`."""

from __future__ import annotations

from datetime import timedelta

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from fleet.errors import FleetError, Kind

_KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.MALFORMED,
    grpc.StatusCode.UNAUTHENTICATED: Kind.UNIDENTIFIED,
    grpc.StatusCode.PERMISSION_DENIED: Kind.REFUSED,
    grpc.StatusCode.NOT_FOUND: Kind.UNKNOWN,
    grpc.StatusCode.ALREADY_EXISTS: Kind.EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION: Kind.PRECONDITION,
    grpc.StatusCode.ABORTED: Kind.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE: Kind.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS: Kind.CORRUPT,
}
_DETAILS = "grpc-status-details-bin"
_MAX_TEXT = 512


def from_rpc(error: grpc.aio.AioRpcError) -> FleetError:
    """Read what a server said; a bare status has its code's name as reason."""
    reason, subject, retry_after = error.code().name, "", None
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            status.MergeFromString(value)
    for detail in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, subject = info.reason or reason, info.metadata.get("subject", "")
        elif detail.Unpack(retry):
            retry_after = timedelta(milliseconds=retry.retry_delay.ToMilliseconds())
    return FleetError(
        _KINDS.get(error.code(), Kind.INTERNAL),
        reason,
        (error.details() or "")[:_MAX_TEXT],
        subject=subject,
        retry_after=retry_after,
    )
