"""One central registry and one Ground Control; each test's site and link are its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig import cosign
from tests.rig.registries import Central, running_central
from tests.rig.vertical import Vertical, open_vertical


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, central: Central) -> Iterator[Vertical]:
    key = cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")
    with open_vertical(tmp_path_factory.mktemp("fleet"), central, key) as opened:
        yield opened
