"""A journal that somebody overwrote: set aside for a person to look at, and made anew from what is desired."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig.vertical import Vertical, until

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def overwrite(journal: Path) -> None:
    """Write noise over all but the first page; what the write-ahead log holds besides goes too."""
    for side in journal.parent.glob("journal.db-*"):
        side.unlink()
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(max(size, 8192) - 4096))


def test_a_damaged_journal_is_set_aside_and_the_site_comes_back(fleet: Vertical, kind: str) -> None:
    name, image = f"hurt-{kind}", fleet.push(f"{kind}/app")
    with fleet.satellite(name, kind) as site:
        artifact = fleet.assign(image, f"satellite/{name}")
        site.await_published(artifact)
        device_key = (site.data_dir / "device.key").read_bytes()
        site.stop()
        overwrite(site.data_dir / "journal.db")
        site.start()
        assert '"JOURNAL_CORRUPT"' in site.log()
        assert list(site.data_dir.glob("journal.db.damaged-*"))
        site.await_published(artifact)
        assert "JOURNAL_CORRUPT" in site.run("status").stdout
        assert site.pull(image.repository, image.digest)[0] == 200
        assert (site.data_dir / "device.key").read_bytes() == device_key
        until(lambda: fleet.is_converged(name), "Ground Control hears that all is well")
