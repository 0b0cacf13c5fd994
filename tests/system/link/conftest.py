"""A site whose source stands behind a proxy that counts: what crosses the wire, as the wire itself sees it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.estate import Estate, Image
from tests.rig.images import AMD64
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite

KINDS = (
    pytest.param("distribution", marks=pytest.mark.needs_registry),
    pytest.param("zot", marks=pytest.mark.needs_zot),
)
_SAMPLE_S = 0.01


@pytest.fixture(scope="package")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Estate(tmp_path_factory.mktemp("link")) as running:
        yield running


@pytest.fixture(scope="package")
def satctl(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    """An admin on the command line."""
    admin = Satctl(tmp_path_factory.mktemp("satctl"))
    admin.ok("login", estate.ground_control.operator_string("linus"))
    return admin


@dataclass
class Metered:
    """A site, its link's settings, and the counter on its wire."""

    estate: Estate
    site: Satellite
    proxy: CuttingProxy
    satctl: Satctl
    name: str

    def image(self, *layer_sizes: int) -> Image:
        """Push and sign an image of this source, and let it be served at the site."""
        image = self.estate.image(platforms=(AMD64,), layer_sizes=layer_sizes, source=self.name)
        image.sign(self.estate.release)
        self.estate.allow(self.site, image, self.estate.release)
        return image

    def want(self, image: Image, *, priority: int = 0) -> None:
        """Assign it."""
        name = self.estate.assign(self.site, image)
        if priority:
            self.satctl.ok("artifact", "update", name, "--priority", str(priority))

    def set(self, *options: str) -> None:
        """Set the site's link by satctl, and wait until the site holds that."""
        self.satctl.ok("link", "set", "--satellite", self.name, *options)
        self.await_held()

    def clear(self) -> None:
        """Take all limits away."""
        self.satctl.run("link", "clear", "--satellite", self.name, "--yes")
        self.await_held()

    def await_held(self) -> None:
        self.site.await_that(self._holds_what_it_should, "it holds what it should")

    def _holds_what_it_should(self) -> bool:
        wanted = self.estate.status(self.site).desired_digest.hex()
        return bool(self.site.status().get("state", {}).get("held") == wanted)

    def retire(self, image: Image) -> None:
        """Let a test leave nothing behind that still wants to come."""
        self.clear()
        self.estate.unassign(self.site, image)

    def samples(self, until: Callable[[], bool], *, within_s: float = 60) -> list[tuple[float, int]]:
        """Read the wire's counter again and again: `→ [(second, bytes)]`, one for each change."""
        seen = [(time.monotonic(), self.proxy.received)]
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, f"it takes too long: {seen[-1]}"
            time.sleep(_SAMPLE_S)
            if self.proxy.received != seen[-1][1]:
                seen.append((time.monotonic(), self.proxy.received))
        return seen

    def is_published(self, image: Image) -> bool:
        return self.site.states().get(image.name, ("",))[0] == "published"

    def waits_for(self, image: Image) -> str:
        """The reason that an artifact waits for; empty where it does not."""
        state, reason = self.site.states().get(image.name, ("", ""))
        return reason if state == "waiting" else ""


@contextmanager
def metered_site(estate: Estate, satctl: Satctl, kind: str) -> Iterator[Metered]:
    """Run a site that has fetched nothing yet."""
    with cutting_proxy(estate.central.url) as proxy:
        name = f"{kind}-{secrets.token_hex(4)}"
        host = proxy.url.removeprefix("http://")
        estate.add_source(name, host, prefix=name)
        yield Metered(estate, estate.site(kind, name, plain_hosts=[host]), proxy, satctl, name)
        estate.retire(name)


@pytest.fixture(params=KINDS, scope="module")
def metered(request: pytest.FixtureRequest, estate: Estate, satctl: Satctl) -> Iterator[Metered]:
    with metered_site(estate, satctl, str(request.param)) as site:
        yield site
