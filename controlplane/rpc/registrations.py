"""Whose a satellite's name is, asked anew for every RPC: those of one moment are one query.

When ten thousand come back at once, this question comes twenty thousand times within seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from controlplane.domain.entities import Registered

BATCH = 500
"""Names in one query."""

Answer = asyncio.Future[Registered | None]


class Register(Protocol):
    """Knows the satellites: the fleet."""

    async def registered(self, satellites: Sequence[str]) -> Mapping[str, Registered]:
        """Say whose these names are; those that are nobody's are left out."""


class Registrations:
    """Answers for the RPCs of this process."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._asked: dict[str, Answer] = {}
        self._stirred = asyncio.Event()

    async def find(self, name: str) -> Registered | None:
        """Say whose a name is, no earlier than now; None where it is nobody's.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE`.
        """
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.get_running_loop().create_future()
            self._stirred.set()
        return await asyncio.shield(asked)  # another RPC of the same satellite may wait for it, too

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._stirred.wait()
            batch = {name: self._asked.pop(name) for name in list(self._asked)[:BATCH]}
            if not self._asked:
                self._stirred.clear()
            await self._answer(batch)

    async def _answer(self, batch: Mapping[str, Answer]) -> None:
        try:
            found = await self._register.registered(list(batch))
        except Exception as error:  # noqa: BLE001 - a defect ends the RPCs that asked, not the process
            for answer in batch.values():
                answer.set_exception(error)
                answer.exception()  # seen, even where the RPC that asked is gone
            return
        for name, answer in batch.items():
            answer.set_result(found.get(name))
