"""Errors on the wire: one table from kinds to gRPC codes, and google.rpc.Status details both ways.

    FleetError ⇄ grpc-status + google.rpc.Status{ErrorInfo{reason, domain `fleet.v1`, subject}, RetryInfo}

The server writes them, every client of ours (satellite, satctl, tests) reads them back, so that an error keeps its
reason across the wire.
"""

from __future__ import annotations

from datetime import timedelta

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from fleet.errors import FleetError, Kind

DOMAIN = "fleet.v1"
MAX_TEXT_CHARACTERS = 512
MAX_SUBJECT_CHARACTERS = 256
STATUS_KEY = "grpc-status-details-bin"

CODES: dict[Kind, grpc.StatusCode] = {
    Kind.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNIDENTIFIED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.REFUSED: grpc.StatusCode.PERMISSION_DENIED,
    Kind.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Kind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.CONFLICT: grpc.StatusCode.ABORTED,
    Kind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.CORRUPT: grpc.StatusCode.DATA_LOSS,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""The one table; satellites act by the code, people by the reason."""

_KINDS = {code: kind for kind, code in CODES.items()} | {
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Kind.UNAVAILABLE,
    grpc.StatusCode.OUT_OF_RANGE: Kind.MALFORMED,
    grpc.StatusCode.UNIMPLEMENTED: Kind.PRECONDITION,
}
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
_PLAIN_REASONS = {
    grpc.StatusCode.UNAVAILABLE: "GC_UNREACHABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "MESSAGE_TOO_LARGE",
    grpc.StatusCode.UNIMPLEMENTED: "RPC_UNKNOWN",
}
"""Reasons for what gRPC itself says: without our details, nobody of ours spoke."""
_WROTE_TOO_LATE = "Internal error from Core"
"""What grpcio says, in place of the server's own status, where a call ends while the client writes to it."""


def _clean(text: str, most: int) -> str:
    return text.translate(_CONTROL)[:most]


def to_status(error: FleetError) -> status_pb2.Status:
    """Write an error's public part: kind, reason, text, subject and when to try again."""
    status = status_pb2.Status(code=CODES[error.kind].value[0], message=_clean(error.public, MAX_TEXT_CHARACTERS))
    metadata = {"subject": _clean(error.subject, MAX_SUBJECT_CHARACTERS)} if error.subject else {}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _detail_bytes(error: grpc.aio.AioRpcError) -> bytes:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY:
            return value if isinstance(value, bytes) else value.encode()
    return b""


def _read(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = status_pb2.Status()
    try:
        status.ParseFromString(_detail_bytes(error))
    except Exception:  # noqa: BLE001 - protobuf's DecodeError has several classes; a bad detail is no detail
        return status_pb2.Status(code=code_pb2.UNKNOWN)
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> FleetError:
    """Read an error back from the wire: `AioRpcError → FleetError` of the same kind, reason and retry time.

    What gRPC itself says (no answer, deadline, an unknown RPC) gets a reason of its own.
    """
    code = error.code()
    kind = _KINDS.get(code, Kind.INTERNAL)
    reason, subject, retry_after = "", "", None
    for detail in _read(error).details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            reason, subject = info.reason, info.metadata.get("subject", "")
        elif detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            retry_after = timedelta(seconds=retry.retry_delay.seconds, microseconds=retry.retry_delay.nanos // 1000)
    text = (error.details() or "").removesuffix(f" ({subject})")
    if reason:
        return FleetError(kind, reason, text, subject=subject, retry_after=retry_after)
    if code is grpc.StatusCode.INTERNAL and text == _WROTE_TOO_LATE:
        ended = "Ground Control ended the call: the next one is told why"
        return FleetError(Kind.UNAVAILABLE, "CALL_ENDED", ended, detail=text)
    plain = _PLAIN_REASONS.get(code, code.name)
    return FleetError(kind, plain, _plain_text(code), detail=_clean(text, MAX_TEXT_CHARACTERS))


def _plain_text(code: grpc.StatusCode) -> str:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return "Ground Control cannot be reached: check the address, the network and the certificates"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return "Ground Control did not answer in time"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return "the message is larger than Ground Control takes"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "Ground Control does not know this call: one of the two is too old"
        case _:
            return "the call failed"
