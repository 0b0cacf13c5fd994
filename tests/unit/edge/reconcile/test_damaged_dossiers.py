"""A stored verdict's evidence that the disk damaged: that image is judged afresh, and no other one suffers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.rig.cosign import KeyPair
from tests.rig.local_site import artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.unit.edge.reconcile.conftest import Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def damage(directory: Path, name: str) -> None:
    """Overwrite the middle of what is stored for an image."""
    with closing(sqlite3.connect(directory / "journal.db")) as journal, journal:
        (stored,) = journal.execute("SELECT dossier FROM edition WHERE name = ?", (name,)).fetchone()
        half = len(stored) // 2
        spoiled = stored[:half] + bytes(8) + stored[half + 8 :]
        journal.execute("UPDATE edition SET dossier = ? WHERE name = ?", (spoiled, name))


async def test_a_start_goes_on_without_it_and_it_comes_again(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    kept, hurt = push("unhurt", "1"), push("hurt", "1")
    wanted = (artifact("hub", "unhurt", kept.digest, "1"), artifact("hub", "hurt", hurt.digest, "1"))
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(source("hub", central.host), policy("base", key), *wanted)
        await site.published("hub/unhurt:1", "hub/hurt:1")
    damage(directory, "hub/hurt:1")
    async with local_site(directory) as alone:  # the source may not be asked
        assert alone.pull("unhurt", "1") == (200, kept.raw)
        assert alone.pull("hurt", "1")[0] == 404  # nothing says any more that it may be served
        assert alone.pull("hurt", hurt.digest)[0] == 404
    async with local_site(directory, plain_hosts=[central.host]) as again:
        await again.published("hub/unhurt:1", "hub/hurt:1")
        assert again.pull("hurt", "1") == (200, hurt.raw)
        assert again.pull("unhurt", "1") == (200, kept.raw)


async def test_one_that_is_not_wanted_any_more_goes_whole(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    kept, gone = push("staying", "1"), push("going", "1")
    base = (source("hub", central.host), policy("base", key), artifact("hub", "staying", kept.digest, "1"))
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(*base, artifact("hub", "going", gone.digest, "1"))
        await site.published("hub/staying:1", "hub/going:1")
        damage(directory, "hub/going:1")
        site.want(*base)
        await site.published("hub/staying:1")
        site.reconciler.look()
        await site.until(lambda: site.pull("going", gone.digest)[0] == 404, "gone")
        assert site.pull("going", "1")[0] == 404
        assert site.pull("staying", "1") == (200, kept.raw)
