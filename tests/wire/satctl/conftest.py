"""One real Ground Control for these tests, and an admin who has logged in to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.satctl import Satctl


@pytest.fixture(scope="package")
def ground_control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GroundControl]:
    with GroundControl(tmp_path_factory.mktemp("ground-control")) as running:
        yield running


@pytest.fixture(scope="package")
def admin(ground_control: GroundControl, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    satctl = Satctl(tmp_path_factory.mktemp("admin"))
    satctl.ok("login", ground_control.operator_string("admin"))
    return satctl


@pytest.fixture
def stranger(tmp_path: Path) -> Satctl:
    """Somebody who has not logged in."""
    return Satctl(tmp_path / "stranger")
