"""One central registry, and one Ground Control that is killed and started again; each test's sites are its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.programs import find
from tests.rig.registries import Central, running_central
from tests.rig.vertical import Vertical, open_vertical


@pytest.fixture(params=["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
def kind(request: pytest.FixtureRequest) -> str:
    """The site's registry."""
    return str(request.param)


def _side_by_side() -> list[Any]:
    """Both registries at once where they can be: what costs time is to start Ground Control again."""
    if find("zot"):
        return [("distribution", "zot")]
    return [("distribution",), pytest.param(("zot",), marks=pytest.mark.needs_zot)]


@pytest.fixture(params=_side_by_side(), ids="+".join)
def kinds(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The registries of sites that go through the same; one that is not at hand is a test skipped, and said so."""
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture(scope="package")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="package")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair) -> Iterator[Vertical]:
    with open_vertical(tmp_path_factory.mktemp("fleet"), central, key) as opened:
        yield opened
