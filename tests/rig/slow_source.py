"""A source whose layers come as slowly as a test says, and a site that trusts it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.estate import V2, V3, Estate, Image
from tests.rig.images import AMD64
from tests.rig.satellite import Satellite

LAYER_BYTES = 4 << 20
SLOW = 256 << 10
"""Bytes a second of each connection: a layer takes longer than what a test does meanwhile."""


@dataclass
class SlowSource:
    """What a test of something under way works with."""

    estate: Estate
    site: Satellite
    proxy: CuttingProxy
    name: str

    def admitted(self) -> Image:
        """Sign and assign an image, and wait until it is admitted and its layers are under way."""
        image = self.estate.image(platforms=(AMD64,), layer_sizes=(LAYER_BYTES,), source=self.name)
        image.sign(self.estate.release, V2, V3)
        self.estate.allow(self.site, image, self.estate.release)
        self.proxy.bytes_per_s = SLOW
        self.estate.assign(self.site, image)
        self.site.await_that(lambda: self.layers_come(image), "its layers are under way")
        return image

    def layers_come(self, image: Image) -> bool:
        row = self.row(image)
        return 0 < int(row.get("done_bytes", 0)) < int(row["total_bytes"])

    def row(self, image: Image) -> dict[str, Any]:
        """What `satellite status` says of an image; empty where it does not know it."""
        rows = [row for row in self.site.status().get("artifacts", ()) if row["name"] == image.name]
        return dict(rows[0]) if rows else {}

    def at_the_site(self, image: Image) -> str:
        """The repository as workloads name it."""
        return f"{self.name}/{image.repository}"


@contextmanager
def slow_source(estate: Estate, kind: str) -> Iterator[SlowSource]:
    """Stand a proxy before the central registry, and start a site of a kind that pulls through it."""
    with cutting_proxy(estate.central.url) as proxy:
        name = f"slow-{secrets.token_hex(4)}"
        host = proxy.url.removeprefix("http://")
        estate.add_source(name, host, prefix=name)
        yield SlowSource(estate, estate.site(kind, name, plain_hosts=[host]), proxy, name)
        proxy.bytes_per_s = 0
        estate.retire(name)
