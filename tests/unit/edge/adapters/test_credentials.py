"""A source's credential: asked for when it is needed, kept for a moment, asked for anew when it is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from edge.adapters.credentials import KEPT_S, RENEWED_S, Credentials
from edge.app.ground_control import SourceCredential
from edge.app.ports import Credential
from fleet.errors import FleetError

OLD, NEW = Credential("robot", "old"), Credential("robot", "new")


@dataclass
class World:
    """Ground Control as it issues credentials: implements `edge.adapters.credentials.Issuer`."""

    now: float = 0.0
    current: Credential = OLD
    asked: int = 0
    linked: bool = True

    def __post_init__(self) -> None:
        self.credentials = Credentials(
            lambda: self if self.linked else None, asyncio.get_running_loop(), monotonic=lambda: self.now
        )

    async def source_credential(self, source: str) -> SourceCredential:
        self.asked += 1
        return SourceCredential(self.current, None)

    async def issue(self, refused: Credential | None = None) -> Credential | None:
        return await asyncio.to_thread(self.credentials.issue, "hub", refused)


async def test_one_answer_serves_for_a_moment() -> None:
    world = World()
    assert [await world.issue() for _ in range(3)] == [OLD] * 3
    assert world.asked == 1
    world.now, world.current = KEPT_S, NEW
    assert await world.issue() == NEW


async def test_one_that_the_source_refuses_is_asked_for_anew_at_once() -> None:
    world = World()
    await world.issue()
    world.current = NEW
    assert await world.issue() == OLD
    assert await world.issue(OLD) == NEW
    assert await world.issue() == NEW
    assert world.asked == 2


async def test_one_that_is_wrong_is_not_asked_for_at_each_refusal() -> None:
    world = World()
    await world.issue()
    for _ in range(10):
        assert await world.issue(OLD) == OLD
    assert world.asked == 2
    world.now = RENEWED_S
    assert await world.issue(OLD) == OLD
    assert world.asked == 3


async def test_a_refusal_of_one_that_was_replaced_meanwhile_asks_nobody() -> None:
    world = World(current=NEW)
    await world.issue()
    assert await world.issue(OLD) == NEW
    assert world.asked == 1


async def test_without_a_link_it_says_so() -> None:
    world = World(linked=False)
    with pytest.raises(FleetError) as caught:
        await world.issue()
    assert caught.value.reason == "CREDENTIAL_UNAVAILABLE"
