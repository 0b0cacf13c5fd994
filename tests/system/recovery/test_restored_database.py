"""A database restored from yesterday: satellites hold on to what they have until an operator decides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl
from tests.rig.registries import Central
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite
from tests.rig.vertical import Pushed, Vertical, open_vertical, until

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair) -> Iterator[Vertical]:
    """A fleet of its own: the restore takes from everybody what came later."""
    with open_vertical(tmp_path_factory.mktemp("own"), central, key) as opened:
        yield opened


def move(gc: GroundControl, away: Path, *, back: bool) -> None:
    """Copy the database of a Ground Control that does not run."""
    source, target = (away, gc.data_dir) if back else (gc.data_dir, away)
    for stale in target.glob("ground-control.db*"):
        stale.unlink()
    target.mkdir(exist_ok=True)
    for part in source.glob("ground-control.db*"):
        shutil.copy2(part, target)


def told_behind(fleet: Vertical, name: str) -> bool:
    return fleet.status(name).store_behind


def is_gone(site: Satellite, image: Pushed) -> bool:
    return image.at() not in site.states()


def stopped(gc: GroundControl, work: Callable[[], None]) -> None:
    """Do something while Ground Control is stopped."""
    assert gc.stop() == 0
    work()
    gc.start()


def test_a_restored_database_takes_nothing_from_a_site_until_recover(
    own: Vertical, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    gc, old, new = own.gc, own.push("kept/old"), own.push("kept/new")
    satctl = Satctl(tmp_path / "satctl")
    satctl.ok("login", gc.operator_string("robin"))
    with ExitStack() as stack:
        sites = {f"site-{kind}": own.satellite(f"site-{kind}", kind) for kind in kinds}
        for name, site in sites.items():
            stack.enter_context(site)
            site.await_published(own.assign(old, f"satellite/{name}"))
        stopped(gc, lambda: move(gc, tmp_path / "yesterday", back=False))
        for name, site in sites.items():
            site.await_published(own.assign(new, f"satellite/{name}"))
        stopped(gc, lambda: move(gc, tmp_path / "yesterday", back=True))

        for name, site in sites.items():
            site.await_link("STORE_BEHIND")
            assert "STORE_BEHIND" in site.run("status").stdout
            until(partial(told_behind, own, name), "Ground Control tells its operators")
            assert "STORE_BEHIND" in satctl.ok("status", name)
            assert [site.pull(image.repository, "1")[0] for image in (old, new)] == [200, 200]

        recovered = gc.run("recover", "--json")
        assert json.loads(recovered.stdout)["epoch"] == 2
        for name, site in sites.items():
            site.stop()  # it would come by itself within the minute that it was told to wait
            site.start()
            site.await_link()
            site.await_that(partial(is_gone, site, new), "the restored state is desired")
            assert site.states()[old.at()][0] == "published"
            assert site.pull(old.repository, "1")[0] == 200
            until(partial(own.is_converged, name), "Ground Control hears that all is well")
            assert not own.status(name).store_behind
