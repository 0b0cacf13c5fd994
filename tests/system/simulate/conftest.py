"""A real Ground Control on either database, for a fleet that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.postgres import running_postgres
from tests.rig.satctl import Satctl

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)]


@pytest.fixture(params=DATABASES)
def ground_control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GroundControl]:
    with ExitStack() as stack:
        options = {}
        if request.param == "postgres":
            options = {"database_url": stack.enter_context(running_postgres()).make_database(), "workers": "2"}
        yield stack.enter_context(GroundControl(tmp_path, options))


@pytest.fixture
def admin(ground_control: GroundControl, tmp_path: Path) -> Satctl:
    satctl = Satctl(tmp_path / "admin")
    satctl.ok("login", ground_control.operator_string("admin"))
    return satctl
