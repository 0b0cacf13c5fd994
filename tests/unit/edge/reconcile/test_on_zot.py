"""The same loop on Zot: publish, move a tag, withdraw, restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.cosign import KeyPair
from tests.rig.local_site import artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.unit.edge.reconcile.conftest import Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry, pytest.mark.needs_zot]


async def test_an_image_comes_its_tag_moves_and_it_goes(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    first, second = push("zotted", "1"), push("zotted", "1")
    base = (source("hub", central.host), policy("base", key))
    async with local_site(directory, plain_hosts=[central.host], kind="zot") as site:
        site.want(*base, artifact("hub", "zotted", first.digest, "1"))
        await site.published("hub/zotted:1")
        assert site.pull("zotted", "1") == (200, first.raw)
        site.want(*base, artifact("hub", "zotted", second.digest, "1"))
        await site.until(lambda: site.pull("zotted", "1") == (200, second.raw), "moved")
        await site.until(lambda: site.pull("zotted", first.digest)[0] == 404, "the old one withdrawn")
    async with local_site(directory, kind="zot") as again:
        assert again.pull("zotted", "1") == (200, second.raw)
        again.want(*base)
        await again.published()
        assert again.pull("zotted", second.digest)[0] == 404
