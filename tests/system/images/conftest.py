"""One Ground Control, one central registry and a satellite of each kind, for all tests of images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical

KINDS = (
    pytest.param("distribution", marks=pytest.mark.needs_registry),
    pytest.param("zot", marks=pytest.mark.needs_zot),
)


@pytest.fixture(scope="package")
def vertical(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vertical]:
    with Vertical(tmp_path_factory.mktemp("images")) as running:
        yield running


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(vertical: Vertical, kind: str) -> Satellite:
    """The satellite of a kind, shared: a test uses repositories of its own, and leaves it running."""
    return vertical.site(kind)
