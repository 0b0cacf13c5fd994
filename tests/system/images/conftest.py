"""One Ground Control, one central registry and a satellite of each kind, for all tests of images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.estate import Estate
from tests.rig.satellite import Satellite

KINDS = (
    pytest.param("distribution", marks=pytest.mark.needs_registry),
    pytest.param("zot", marks=pytest.mark.needs_zot),
)


@pytest.fixture(scope="package")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Estate(tmp_path_factory.mktemp("images")) as running:
        yield running


@pytest.fixture(params=KINDS, scope="package")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="package")
def site(estate: Estate, kind: str) -> Satellite:
    """The satellite of a kind, shared: a test uses repositories of its own, and leaves it running."""
    return estate.site(kind)
