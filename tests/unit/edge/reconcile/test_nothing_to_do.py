"""What is there is not asked for again: not when it is wanted anew, nor after a restart, nor when the link is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.domain.holding import Resource
from tests.rig.images import AMD64, make_image
from tests.rig.local_site import artifact, local_site, policy, source
from tests.rig.oci_layout import Client
from tests.rig.registries import Central
from tests.rig.signer import Signer, sign_v3

pytestmark = pytest.mark.needs_registry
IMAGES = 100


def push(central: Central, signer: Signer, name: str) -> Resource:
    """Push a small signed image: `→ the artifact that wants it`."""
    image = make_image(tag="1", platforms=(AMD64,), layer_sizes=())
    sign_v3(image, image.tags["1"], signer)
    Client(central.url).push(name, image)
    return artifact("hub", name, image.tags["1"], "1")


@pytest.mark.parametrize("kind", ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
async def test_the_source_hears_nothing_of_images_that_are_there(central: Central, directory: Path, kind: str) -> None:
    signer = Signer()
    there = [push(central, signer, f"{kind}-{number}") for number in range(IMAGES)]
    new = [push(central, signer, f"{kind}-{word}") for word in ("told-again", "restarted")]
    wanted = [source("hub", central.host), policy("base", signer), *there]
    async with local_site(directory, plain_hosts=[central.host], kind=kind) as site:
        site.want(*wanted)
        await site.published(*(one.name for one in there))
        asked = central.asked()
        # The plan that wants the new image passes over the others: when it has come, so they were.
        site.want(*wanted, new[0])
        site.reconciler.poke()
        await site.published(*(one.name for one in (*there, new[0])))
        assert set(central.asked() - asked) == {f"{kind}-told-again"}
    asked = central.asked()
    async with local_site(directory, plain_hosts=[central.host], kind=kind) as again:
        assert central.asked() == asked
        again.want(*wanted, *new)
        await again.published(*(one.name for one in (*there, *new)))
        assert set(central.asked() - asked) == {f"{kind}-restarted"}
