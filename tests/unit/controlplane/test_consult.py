"""What a thousand streams ask at once, and how often the store hears it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from controlplane.domain.state import Binding
from controlplane.rpc.consult import Consultant, SharedParts
from fleet.errors import FleetError, Kind

STREAMS = 1000
HELD = b"h" * 32


class Fleet:
    """Knows one generation, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.error: Exception | None = None

    async def knows(self, scope: str, digest: bytes) -> bool:
        self.asked.append((scope, digest))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return digest == HELD


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@asynccontextmanager
async def consulting(fleet: Fleet) -> AsyncIterator[Consultant]:
    consultant = Consultant(fleet)  # type: ignore[arg-type] # the half of it that is asked here
    running = asyncio.create_task(consultant.run())
    try:
        yield consultant
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_streams_that_one_change_wakes_ask_the_store_once(fleet: Fleet) -> None:
    async with consulting(fleet) as consultant:
        answers = await asyncio.gather(*(consultant.knows("group/a", HELD) for _ in range(STREAMS)))
        assert all(answers)
        assert await consultant.knows("group/a", HELD)
    assert fleet.asked == [("group/a", HELD)], "and a generation that is known stays so"


async def test_what_is_unknown_is_asked_again_another_time(fleet: Fleet) -> None:
    async with consulting(fleet) as consultant:
        answers = await asyncio.gather(*(consultant.knows("fleet", b"?") for _ in range(STREAMS)))
        assert not any(answers)
        assert not await consultant.knows("fleet", b"?")
    assert len(fleet.asked) == 2


async def test_a_stream_that_is_cut_while_it_asks_leaves_the_answer_to_the_others(fleet: Fleet) -> None:
    async with consulting(fleet) as consultant:
        first, second = (asyncio.create_task(consultant.knows("fleet", HELD)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
    assert first.cancelled()


@pytest.mark.parametrize(
    ("raised", "reason"),
    [(FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "away"), "STORE_UNAVAILABLE"), (KeyError("x"), "INTERNAL")],
)
async def test_a_store_that_fails_fails_those_who_asked_and_no_later_one(
    fleet: Fleet, raised: Exception, reason: str
) -> None:
    async with consulting(fleet) as consultant:
        fleet.error = raised
        failed = await asyncio.gather(*(consultant.knows("fleet", HELD) for _ in range(3)), return_exceptions=True)
        assert [error.reason for error in failed if isinstance(error, FleetError)] == [reason] * 3
        fleet.error = None
        assert await consultant.knows("fleet", HELD)


async def test_a_generation_that_comes_again_after_a_restore_is_another_step() -> None:
    shared = SharedParts()

    async def made(binding: Binding) -> tuple[bytes, ...]:
        return (binding.digest,)

    for digest in (b"lost", b"new"):
        bound = Binding("group/shops", 2, digest)
        parts = await shared.get(("group/shops", b"before", bound), partial(made, bound))
        assert parts == (digest,)
