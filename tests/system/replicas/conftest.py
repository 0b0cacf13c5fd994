"""Ground Control on PostgreSQL, and hollow satellites: what happens to all that a real site is not needed for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.postgres import Postgres, running_postgres
from tests.rig.satctl import Satctl


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def ground_control(tmp_path: Path, postgres: Postgres) -> Iterator[GroundControl]:
    options = {"database_url": postgres.make_database(), "workers": "2", "metrics": "127.0.0.1:0"}
    with GroundControl(tmp_path, options) as running:
        yield running


@pytest.fixture
def admin(ground_control: GroundControl, tmp_path: Path) -> Satctl:
    satctl = Satctl(tmp_path / "admin")
    satctl.ok("login", ground_control.operator_string("admin"))
    return satctl
