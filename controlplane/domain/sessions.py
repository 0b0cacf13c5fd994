"""Which of a satellite's streams counts: the newest, and what a second process on one identity gives away."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.errors import FleetError, Kind

REMEMBERED_BOOTS = 8


@dataclass(frozen=True, slots=True)
class Held:
    """The session that counts, open or not, and the boot ids that it and its like have superseded."""

    boot_id: bytes
    number: int
    earlier: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Takeover:
    """The session that counts from now on."""

    held: Held
    duplicate: bool


def take_over(held: Held | None, boot_id: bytes, number: int) -> Takeover:
    """Let a new stream win.

    A process that died is succeeded by another boot id and never comes back. A boot id that does come back after it
    was superseded is alive, and so is the one that superseded it: the identity was copied.

    Raises:
        FleetError: PRECONDITION `SESSION_SUPERSEDED` where this process has opened a stream of this number, or a
            later one: two streams of one number would share a session, and the first to end would close it.
    """
    if held is None or not held.boot_id:
        return Takeover(Held(boot_id, number, ()), duplicate=False)
    if held.boot_id == boot_id:
        if number <= held.number:
            text = "a stream of this number, or a later one, was opened by this process already"
            raise FleetError(Kind.PRECONDITION, "SESSION_SUPERSEDED", text)
        return Takeover(Held(boot_id, number, held.earlier), duplicate=False)
    earlier = (held.boot_id, *(boot for boot in held.earlier if boot not in {held.boot_id, boot_id}))[:REMEMBERED_BOOTS]
    return Takeover(Held(boot_id, number, earlier), duplicate=boot_id in held.earlier)
