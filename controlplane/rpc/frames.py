"""Messages of StreamState as bytes: a small head per stream, and bodies that all streams share.

Serialized protobuf messages concatenate: head bytes followed by body bytes are one StreamStateResponse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from controlplane.domain.session import Staged
from controlplane.domain.state import Binding
from controlplane.rpc.wire import clean, write_duration, write_position, write_time
from fleet.position import Position
from fleet.protocol import Farewell
from fleet.v1 import state_pb2 as pb

CHUNK_BYTES = 256 * 1024


def head(sequence: int, position: Position | None, at: datetime, *, complete: bool) -> bytes:
    """Write what belongs to one stream."""
    return pb.StreamStateResponse(
        sequence=sequence,
        position=write_position(position) if position else None,
        server_time=write_time(at),
        update_complete=complete,
    ).SerializeToString()


def unchanged(state_digest: bytes) -> bytes:
    """Say that all is as it should be."""
    return pb.StreamStateResponse(unchanged=pb.Unchanged(state_digest=state_digest)).SerializeToString()


def bindings(bound: Sequence[Binding], state_digest: bytes) -> bytes:
    """List the scopes to hold."""
    scopes = [write_binding(binding) for binding in sorted(bound, key=lambda b: b.scope.encode())]
    return pb.StreamStateResponse(bindings=pb.Bindings(scopes=scopes, state_digest=state_digest)).SerializeToString()


def write_binding(binding: Binding) -> pb.ScopeBinding:
    """Show one scope that a satellite should hold."""
    return pb.ScopeBinding(
        scope=binding.scope, generation=binding.generation, digest=binding.digest, precedence=binding.precedence
    )


def inventory_request(scopes: Sequence[str]) -> bytes:
    """Ask what is held."""
    return pb.StreamStateResponse(inventory_request=pb.InventoryRequest(scopes=scopes)).SerializeToString()


def goodbye(why: Farewell, text: str, retry_after: timedelta | None) -> bytes:
    """End a stream."""
    message = pb.Goodbye(
        reason=pb.GoodbyeReason.ValueType(why.value),
        retry_after=write_duration(retry_after) if retry_after is not None else None,
        text=clean(text),
    )
    return pb.StreamStateResponse(goodbye=message).SerializeToString()


def delta_parts(binding: Binding, from_digest: bytes | None, delta: bytes, *, offset: int = 0) -> tuple[bytes, ...]:
    """Cut a serialized Delta into parts, from `offset` on; there is always a last one, if an empty one."""
    digest = hashlib.sha256(delta).digest()
    return tuple(
        pb.StreamStateResponse(
            delta_part=pb.DeltaPart(
                scope=binding.scope,
                from_digest=from_digest or b"",
                to_generation=binding.generation,
                to_digest=binding.digest,
                delta_digest=digest,
                delta_size_bytes=len(delta),
                offset=start,
                chunk=delta[start : start + CHUNK_BYTES],
                precedence=binding.precedence,
            )
        ).SerializeToString()
        for start in range(offset, max(len(delta), offset + 1), CHUNK_BYTES)
    )


def resume_at(staged: Staged | None, delta: bytes) -> int:
    """Say how much of a delta need not be sent again: nothing, unless it is the very same."""
    if staged is None or staged.received_bytes > len(delta):
        return 0
    return staged.received_bytes if staged.delta_digest == hashlib.sha256(delta).digest() else 0
