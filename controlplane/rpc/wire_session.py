"""A satellite's stream messages → session events, with the contract's limits."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.domain import session
from controlplane.domain.state import Key
from controlplane.rpc.wire import read_position, within
from controlplane.rpc.wire_status import read_report
from fleet.errors import malformed
from fleet.v1 import state_pb2 as pb

BOOT_ID_BYTES = 16
MAX_SCOPES = 1000
"""Scopes that one satellite holds: it is in fewer groups."""
_HASH_BYTES = 32


def _hash(value: bytes, what: str) -> bytes:
    if len(value) != _HASH_BYTES:
        raise malformed("DIGEST_MALFORMED", "a digest here has 32 bytes", subject=what)
    return value


def check_boot_id(boot_id: bytes) -> bytes:
    """Return a boot id if it is one.

    Raises:
        FleetError: MALFORMED `BOOT_ID_MALFORMED`.
    """
    if len(boot_id) != BOOT_ID_BYTES:
        raise malformed("BOOT_ID_MALFORMED", "a boot id has 16 bytes, made at each start of the process")
    return boot_id


def read_subscribe(message: pb.Subscribe) -> session.Subscribed:
    """Read how a session opens.

    Raises:
        FleetError: MALFORMED `BOOT_ID_MALFORMED`, `SESSION_NUMBER`, `TOO_LONG`, `DIGEST_MALFORMED`.
    """
    check_boot_id(message.boot_id)
    if message.session_number == 0:
        raise malformed("SESSION_NUMBER", "sessions count from 1 within one boot")
    held = within(message.held, MAX_SCOPES, what="the list of scopes held")
    staged = within(message.staged, MAX_SCOPES, what="the list of deltas half received")
    return session.Subscribed(
        protocol_version=message.protocol_version,
        held={scope.scope: session.Held(_hash(scope.digest, scope.scope[:80]), scope.precedence) for scope in held},
        position=read_position(message, "position"),
        staged={
            part.scope: session.Staged(_hash(part.delta_digest, part.scope[:80]), part.received_bytes)
            for part in staged
        },
    )


def _inventory(entries: Iterable[pb.InventoryEntry]) -> dict[Key, bytes]:
    return {(int(entry.kind), entry.name): _hash(entry.version, entry.name[:80]) for entry in entries}


def read_request(message: pb.StreamStateRequest) -> session.Event | None:
    """Read one message; None for what a newer satellite says and this server does not know: it is ignored.

    Raises:
        FleetError: MALFORMED as the parts.
    """
    match message.WhichOneof("body"):
        case "subscribe":
            return read_subscribe(message.subscribe)
        case "inventory":
            inventory = message.inventory
            return session.InventoryPart(inventory.scope, _inventory(inventory.entries), inventory.complete)
        case "report":
            return session.Reported(read_report(message.report))
        case "resync":
            return session.ResyncAsked(message.resync.scope, message.resync.digest)
        case _:
            return None
