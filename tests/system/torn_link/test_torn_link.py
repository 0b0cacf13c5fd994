"""A link that is cut every 8 MiB, and a satellite that is killed on the way: nothing is lost, and hardly a byte again.

`KILLS=200` makes the long run of it; by itself it is a few kills on each registry.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.registries import Central
from tests.rig.satellite import Satellite
from tests.rig.toxic_link import toxic_link
from tests.rig.vertical import Pushed, Vertical

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry, pytest.mark.needs_toxiproxy]

KILLS = int(os.environ.get("KILLS", "4"))
MIB = 1024 * 1024
CUT_BYTES = 8 * MIB
BYTES_PER_S = 500_000
"""Of one connection; four are open: 16 Mbit/s."""
LAYERS = (12 * MIB, 7 * MIB, 900_000, 40_000)
KILL_AFTER = (2 * MIB, 14 * MIB)
"""A kill comes after so many bytes, by chance."""
AGAIN = 0.01


class Torn:
    """A site, what it should have, and what has come to it."""

    def __init__(self, fleet: Vertical, name: str, site: Satellite, link: CuttingProxy) -> None:
        self.fleet, self.name, self.site, self.link = fleet, name, site, link
        self.wanted: dict[str, Pushed] = {}
        self.there: set[str] = set()
        self.due_bytes = 0
        self.bad = fleet.central.push_image(f"{name}/unsigned", "1", layers=(os.urandom(MIB),))
        fleet.assign(Pushed(f"{name}/unsigned", "1", self.bad.digest, ()), f"satellite/{name}", source=name)

    def want_another(self) -> None:
        layers = tuple(os.urandom(size) for size in LAYERS)
        image = self.fleet.push(f"{self.name}/app-{len(self.wanted)}", layers=layers)
        self.wanted[self.fleet.assign(image, f"satellite/{self.name}", source=self.name)] = image
        self.due_bytes += sum(LAYERS)

    def look(self) -> None:
        """Note what has come, and see that all that ever came is there, and nothing that must not be."""
        states = self.site.states()
        self.there |= {name for name in self.wanted if states.get(name, ("", ""))[0] == "published"}
        for image in (self.wanted[name] for name in self.there):
            status, raw = self.site.pull(f"{self.name}/{image.repository}", "1")
            assert (status, len(raw) > 0) == (200, True), image
        for reference in ("1", self.bad.digest):
            assert self.site.pull(f"{self.name}/{self.name}/unsigned", reference)[0] == 404

    def kill_somewhere(self, after_bytes: int) -> None:
        before = self.link.received
        with self.site:
            self.look()
            self.site.await_that(
                lambda: self.link.received - before > after_bytes or not self.open(), f"{after_bytes} bytes more"
            )
            self.look()
            self.site.kill()

    def open(self) -> set[str]:
        states = self.site.states()
        return {name for name in self.wanted if states.get(name, ("", ""))[0] != "published"}


@pytest.mark.timeout(240 + 20 * KILLS)
@pytest.mark.parametrize("kind", ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
def test_whatever_is_cut_and_killed_all_images_arrive_and_hardly_a_byte_twice(
    fleet: Vertical, central: Central, tmp_path: Path, kind: str
) -> None:
    name, chance = f"torn-{kind}", random.Random(kind)
    with toxic_link(central.host, tmp_path) as toxic, cutting_proxy(toxic.url) as link:
        toxic.poison("limit_data", {"bytes": CUT_BYTES})
        toxic.poison("bandwidth", {"rate": BYTES_PER_S // 1000})
        host = link.url.removeprefix("http://")
        fleet.add_source(name, host)
        torn = Torn(fleet, name, fleet.satellite(name, kind, hosts=[host]), link)
        for _ in range(KILLS):
            while len(torn.wanted) - len(torn.there) < 2:
                torn.want_another()
            torn.kill_somewhere(chance.randrange(*KILL_AFTER))
        with torn.site as site:
            site.await_published(*torn.wanted)
            torn.look()
        again = link.received - torn.due_bytes
        print(f"{kind}: {KILLS} kills, {torn.due_bytes / 1e6:.1f} MB due, {again / torn.due_bytes:.3%} again")
        assert again < AGAIN * torn.due_bytes
