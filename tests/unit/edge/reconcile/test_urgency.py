"""An urgent image does not wait behind large ones, on a link that they fill for a long time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig.cosign import KeyPair
from tests.rig.cutting_proxy import cutting_proxy
from tests.rig.local_site import artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.unit.edge.reconcile.conftest import Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]
MIB = 1024 * 1024


@pytest.mark.parametrize("kind", ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
async def test_an_urgent_image_overtakes_what_is_under_way_and_no_byte_of_that_is_lost(
    central: Central, key: KeyPair, push: Push, directory: Path, kind: str
) -> None:
    large = {f"large-{number}": push(f"large-{number}", "1", layers=(os.urandom(5 * MIB),)) for number in range(5)}
    urgent = push("urgent", "1", layers=(os.urandom(MIB),))
    with cutting_proxy(central.url) as link:
        link.bytes_per_s = MIB  # on each connection: the four of a source are taken for five seconds
        host = link.url.removeprefix("http://")
        async with local_site(directory, plain_hosts=[host], kind=kind) as site:
            base = (source("hub", host), policy("base", key))
            wanted = [artifact("hub", name, image.digest, "1") for name, image in large.items()]
            site.want(*base, *wanted)
            await site.until(lambda: link.received > 2 * MIB, "under way")
            site.want(*base, *wanted, artifact("hub", "urgent", urgent.digest, "1", priority=90))
            await site.until(lambda: site.pull("urgent", "1")[0] == 200, "the urgent one")
            assert not site.standing.site.published & {one.edition for one in site.standing.enforced.wanted[1:]}
            link.bytes_per_s = 0
            await site.published("hub/urgent:1", *(f"hub/{name}:1" for name in large))
        assert link.received < 26 * MIB * 1.04  # what a stream that gives way leaves in sockets' buffers is lost


@pytest.mark.parametrize("kind", ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
async def test_what_is_no_longer_wanted_stops_coming_in_mid_layer_and_leaves_nothing(
    central: Central, key: KeyPair, push: Push, directory: Path, kind: str
) -> None:
    image, other = push("unwanted", "1", layers=(os.urandom(12 * MIB),)), push("wanted", "1")
    with cutting_proxy(central.url) as link:
        link.bytes_per_s = 2 * MIB
        host = link.url.removeprefix("http://")
        async with local_site(directory, plain_hosts=[host], kind=kind) as site:
            base = (source("hub", host), policy("base", key))
            site.want(*base, artifact("hub", "unwanted", image.digest, "1"))
            await site.until(lambda: link.received > 2 * MIB, "under way")
            site.want(*base, artifact("hub", "wanted", other.digest, "1"))
            await site.published("hub/wanted:1")
            await site.until(lambda: not site.standing.site.admitted.keys() - site.standing.site.published, "forgotten")
            assert list(site.journal.transfers.open_uploads()) == []
            assert not site.standing.site.setbacks
        assert link.received < 8 * MIB
