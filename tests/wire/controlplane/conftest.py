"""Ground Control's listeners in this process, on a real SQLite store, with real mutual TLS and identities made here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.opening import open_fleet
from controlplane.adapters.sql.migrate import migrate
from tests.rig.identity import Realm
from tests.wire.controlplane.site import Site, serving


@pytest.fixture
def realm() -> Realm:
    return Realm()


@pytest.fixture
async def site(tmp_path: Path, realm: Realm) -> AsyncIterator[Site]:
    url = f"sqlite:///{tmp_path / 'gc.db'}"
    await asyncio.to_thread(migrate, url)
    private = tmp_path / "private"
    async with (
        open_fleet(url, private=private, trust_domain=realm.root.trust_domain) as opened,
        serving(realm, opened, url=url, private=private) as running,
    ):
        await running.fleet.init("admin")
        yield running


@pytest.fixture
def boot_id() -> bytes:
    return secrets.token_bytes(16)
