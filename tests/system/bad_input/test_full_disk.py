"""A site's disk is full: said with a reason, nothing lost, what fits comes, and room ends it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig.cutting_proxy import cutting_proxy
from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical, until

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cosign, pytest.mark.needs_registry]

DISK_BYTES = 24 * 1024 * 1024
LARGE = 10 * 1024 * 1024
SLOW = 4 * 1024 * 1024
AGAIN_S = 150.0
"""The registries hold on to the space of a dropped upload until Go collects its file: up to two minutes."""


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system of its own."""
    directory = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(disk: Path, *, but: int = 0) -> Path:
    """Take what room there is, less some bytes: `→ the file that takes it`."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with ballast.open("wb", buffering=0) as file:
        left = free.f_bavail * free.f_frsize - but
        while left > 0:
            try:
                left -= file.write(bytes(min(left, 1 << 20)))
            except OSError:
                break
    return ballast


def told(fleet: Vertical, site: str) -> set[str]:
    """The reasons that a satellite told Ground Control."""
    return {one.reason for one in fleet.status(site).report.exceptions}


def row(site: Satellite, artifact: str) -> dict[str, Any]:
    return next(one for one in site.status()["artifacts"] if one["name"] == artifact)


def stands(site: Satellite, artifact: str, state: tuple[str, str]) -> bool:
    return site.states().get(artifact) == state


def test_an_image_that_does_not_fit_says_so_and_a_small_one_comes(fleet: Vertical, kind: str, disk: Path) -> None:
    name = f"small-{kind}"
    first, small = fleet.push(f"{kind}/first"), fleet.push(f"{kind}/small")
    large = fleet.push(f"{kind}/large", layers=(os.urandom(LARGE),))
    with fleet.satellite(name, kind, directory=disk) as site:
        site.await_published(fleet.assign(first, f"satellite/{name}"))
        ballast = fill(disk, but=LARGE // 2)
        artifact = fleet.assign(large, f"satellite/{name}")
        site.await_that(lambda: stands(site, artifact, ("failed", "REGISTRY_FULL")), "it does not fit")
        until(lambda: "REGISTRY_FULL" in told(fleet, name), "Ground Control knows")
        site.await_published(fleet.assign(small, f"satellite/{name}"))
        assert [site.pull(image.repository, "1")[0] for image in (first, small, large)] == [200, 200, 404]
        ballast.unlink()
        site.await_published(artifact)


def test_a_disk_that_runs_full_under_way_stops_nothing_for_good(fleet: Vertical, kind: str, disk: Path) -> None:
    name = f"full-{kind}"
    first, large = fleet.push(f"{kind}/kept"), fleet.push(f"{kind}/growing", layers=(os.urandom(LARGE),))
    later = fleet.push(f"{kind}/later")
    with cutting_proxy(fleet.central.url) as link:
        host = link.url.removeprefix("http://")
        fleet.add_source(f"slow-{kind}", host)
        with fleet.satellite(name, kind, hosts=[host], directory=disk) as site:
            site.await_published(fleet.assign(first, f"satellite/{name}"))
            before, link.bytes_per_s = link.received, SLOW
            artifact = fleet.assign(large, f"satellite/{name}", source=f"slow-{kind}")
            site.await_that(lambda: link.received - before > LARGE // 3, "a third of the layer")
            ballast = fill(disk)
            link.bytes_per_s = 0
            until(lambda: '"reconcile.failed"' in site.log(), "the failure is noticed")
            assert site.pull(first.repository, "1")[0] == 200
            assert site.process is not None
            assert site.process.poll() is None
            next_one = fleet.assign(later, f"satellite/{name}")
            ballast.unlink()
            site.await_published(next_one)
            site.await_that(lambda: site.states()[artifact][0] == "published", "the large one comes", within_s=AGAIN_S)
            assert site.pull(first.repository, first.digest)[0] == 200
            until(lambda: fleet.is_converged(name), "Ground Control hears that all is well")


def test_images_that_fit_alone_and_not_together_come_one_after_the_other(
    fleet: Vertical, kind: str, disk: Path
) -> None:
    name = f"together-{kind}"
    slow, other = (fleet.push(f"{kind}/{one}", layers=(os.urandom(LARGE),)) for one in ("slow", "other"))
    small = fleet.push(f"{kind}/beside")
    with cutting_proxy(fleet.central.url) as link:
        host = link.url.removeprefix("http://")
        fleet.add_source(f"together-{kind}", host)
        with fleet.satellite(name, kind, hosts=[host], directory=disk) as site:
            before, link.bytes_per_s = link.received, SLOW
            ballast = fill(disk, but=LARGE + LARGE // 2)
            first = fleet.assign(slow, f"satellite/{name}", source=f"together-{kind}")
            site.await_that(lambda: link.received - before > LARGE // 8, "some of the layer")
            link.bytes_per_s = SLOW // 8
            second = fleet.assign(other, f"satellite/{name}")
            site.await_that(lambda: stands(site, second, ("failed", "REGISTRY_FULL")), "it does not fit beside")
            assert "MiB more" in row(site, second)["text"]
            site.await_published(fleet.assign(small, f"satellite/{name}"))
            assert site.states()[first][0] == "waiting", "it goes on"
            link.bytes_per_s = 0
            site.await_published(first)
            assert site.states()[second] == ("failed", "REGISTRY_FULL")
            ballast.unlink()
            site.await_published(second)


def test_what_is_no_longer_wanted_makes_room_for_what_is(fleet: Vertical, kind: str, disk: Path) -> None:
    name = f"swap-{kind}"
    old, new = (fleet.push(f"{kind}/{one}", layers=(os.urandom(LARGE),)) for one in ("old", "new"))
    with fleet.satellite(name, kind, directory=disk) as site:
        gone = fleet.assign(old, f"satellite/{name}")
        site.await_published(gone)
        fill(disk, but=LARGE // 2)
        wanted = fleet.assign(new, f"satellite/{name}")
        site.await_that(lambda: stands(site, wanted, ("failed", "REGISTRY_FULL")), "it does not fit")
        assert site.pull(old.repository, "1")[0] == 200, "what is desired is never evicted"
        fleet.unassign(gone, f"satellite/{name}")
        site.await_published(wanted)
        assert site.pull(old.repository, "1")[0] == 404


def test_a_site_restarts_on_a_full_disk_and_serves_what_it_had(fleet: Vertical, kind: str, disk: Path) -> None:
    name = f"restart-{kind}"
    kept, later = fleet.push(f"{kind}/still"), fleet.push(f"{kind}/afterwards", layers=(os.urandom(2 << 20),))
    with fleet.satellite(name, kind, directory=disk) as site:
        site.await_published(fleet.assign(kept, f"satellite/{name}"))
        site.kill()
        ballast = fill(disk)
        site.start()
        assert site.pull(kept.repository, "1")[0] == 200
        next_one = fleet.assign(later, f"satellite/{name}")
        site.await_that(lambda: stands(site, next_one, ("failed", "REGISTRY_FULL")), "it says why nothing comes")
        assert site.pull(kept.repository, "1")[0] == 200
        ballast.unlink()
        site.await_published(next_one)
