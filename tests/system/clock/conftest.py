"""One Ground Control and one central registry for sites whose clocks are wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.estate import Estate

KINDS = (
    pytest.param("distribution", marks=pytest.mark.needs_registry),
    pytest.param("zot", marks=pytest.mark.needs_zot),
)


@pytest.fixture(scope="package")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Estate(tmp_path_factory.mktemp("clock")) as running:
        yield running


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
