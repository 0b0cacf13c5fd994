"""Revoked on a full disk: the site knows it all the same, and does not serve again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge import bootstrap
from edge.adapters.journal.holdings import Holdings
from edge.adapters.journal.journal import Journal
from edge.app.status import IdentityStatus
from edge.exile import Exile
from edge.home import Home
from edge.identity import Identity
from edge.settings import Settings
from fleet.errors import FleetError, Kind
from fleet.svid import FixedRoots


@dataclass
class Disk:
    """What the journal remembers, while it has room."""

    holds: bool = False
    is_full: bool = True

    def is_revoked(self) -> bool:
        return self.holds

    def remember_revoked(self, *, is_revoked: bool) -> None:
        if self.is_full:
            raise FleetError(Kind.UNAVAILABLE, "JOURNAL_FULL", "free some space")
        self.holds = is_revoked


def test_what_was_told_counts_though_the_disk_is_full_and_is_written_when_it_has_room() -> None:
    disk = Disk()
    exile = Exile(disk)
    exile.told(is_revoked=True)
    assert exile.is_revoked
    assert not disk.holds
    disk.is_full = False
    exile.told(is_revoked=True)
    assert disk.holds


def test_a_site_that_is_taken_back_on_a_full_disk_is_back() -> None:
    exile = Exile(Disk(holds=True))
    assert exile.is_revoked
    exile.told(is_revoked=False)
    assert not exile.is_revoked


@asynccontextmanager
async def unidentified(_: Settings, home: Home, *, now: Callable[[], datetime]) -> AsyncIterator[Identity]:
    now()
    source = FixedRoots("fleet.test", ())
    yield Identity(source, "localhost:1", "spiffe://fleet.test/gc/main", home.workload_socket, IdentityStatus)


async def test_a_site_that_stops_when_it_is_revoked_does_not_serve_again_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went, stop = [], asyncio.Event()

    async def serve(base: Any) -> None:
        went.append("serves")
        bootstrap._Site(base, base).revoked(True)
        if len(went) > 1:
            stop.set()

    async def wait(_: object) -> None:
        went.append("waits")
        stop.set()

    monkeypatch.setattr(bootstrap, "identity", unidentified)
    monkeypatch.setattr(bootstrap, "_serve", serve)
    monkeypatch.setattr(bootstrap, "_await_reinstatement", wait)
    monkeypatch.setattr(Holdings, "remember_revoked", Disk().remember_revoked)
    journal = Journal.open(tmp_path / "journal.db")
    await bootstrap._run(Settings(tmp_path, on_revoked="stop"), Home(tmp_path), journal, stop)
    journal.close()
    assert went == ["serves", "waits"]
