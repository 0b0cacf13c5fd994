"""Identities that live for seconds: a hundred rotations cost no stream and no byte of state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import pytest

from tests.rig.cosign import KeyPair
from tests.rig.identity import utc_now
from tests.rig.providers import built_in, real_spire
from tests.rig.registries import Central
from tests.rig.satellite import Satellite
from tests.rig.spire import SECONDS
from tests.rig.world import World
from tests.system.identity.conftest import PROVIDERS

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

SITES = 4
ROTATIONS = 25
"""Of each: a hundred together."""
STREAM = "/fleet.v1.StateService/StreamState"
STAMPED = timedelta(milliseconds=25)
"""How much later than its duration was taken a log line may be stamped, where the machine is busy."""


@dataclass(frozen=True, slots=True)
class Span:
    """When one stream was served, as Ground Control's log has it."""

    begun: datetime
    ended: datetime
    code: str


@pytest.fixture(params=PROVIDERS)
def brief(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair
) -> Iterator[World]:
    """A Ground Control that lives on identities of four seconds, as its satellites do."""
    directory = tmp_path_factory.mktemp("brief")
    if request.param == "built_in":
        with built_in(directory, central, key, svid_ttl="4s") as world:
            yield world
    else:
        with real_spire(directory, central, key, lives=SECONDS) as world:
            yield world


@pytest.mark.timeout(420)
def test_a_hundred_rotations_leave_no_gap_and_resend_nothing(brief: World) -> None:
    artifact = brief.push("rotating")
    brief.pin(artifact)
    names = [f"kiosk-{number}" for number in range(SITES)]
    with ExitStack() as stack:
        sites = [stack.enter_context(brief.satellite(name)) for name in names]
        for name in names:
            brief.admit(name)
            brief.assign(artifact, name)
        for site in sites:
            site.await_published(artifact)
            site.await_link()
        applied = [count(site, "state.applied") for site in sites]
        first = [session(site) for site in sites]
        began = utc_now()
        for site, number in zip(sites, first, strict=True):
            site.await_that(partial(has_come_to, site, number + ROTATIONS), "rotations", within_s=300)
        finished = utc_now()
        assert [count(site, "state.applied") for site in sites] == applied
        for site in sites:
            assert site.status()["link"]["state"] == "CONNECTED"
            for trouble in ("stream.ended", "bridge.connection_failed", "bridge.connection_cut", "rotation.failed"):
                assert not count(site, trouble), site.log()[-3000:]
            assert site.pull("rotating", "1")[0] == 200
    for name in names:
        spans = served(brief, name)
        assert len(spans) > ROTATIONS
        assert gaps(spans, began, finished) == []


def count(site: Satellite, event: str) -> int:
    """How often a satellite logged an event."""
    return site.log().count(f'"event": "{event}"')


def has_come_to(site: Satellite, number: int) -> bool:
    return session(site) >= number


def session(site: Satellite) -> int:
    """The number of the stream that counts: one more for each rotation."""
    return int(site.status()["link"]["session"])


def served(world: World, satellite: str) -> list[Span]:
    """The streams of a satellite that Ground Control served, in order."""
    lines = (json.loads(line) for line in world.gc.log().splitlines() if STREAM in line and line.startswith("{"))
    spans = []
    for line in lines:
        if line["event"] != "rpc.finished" or not line["caller"].endswith(f"/{satellite}") or line["reason"]:
            continue
        ended = datetime.fromisoformat(line["timestamp"])
        spans.append(Span(ended - timedelta(milliseconds=line["duration_ms"]), ended, line["code"]))
    return sorted(spans, key=lambda span: span.begun)


def gaps(spans: list[Span], since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Find the times at which no stream was served; one that begins after a break does so 50 ms later at the least."""
    found, covered = [], since
    for span in spans:
        if span.begun - covered > STAMPED and covered < until:
            found.append((covered, min(span.begun, until)))
        covered = max(covered, span.ended)
    if covered < until:
        found.append((covered, until))
    return found
