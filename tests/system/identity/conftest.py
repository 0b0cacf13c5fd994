"""One Ground Control for each provider of identities; tests that share one have satellites of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.providers import built_in, real_spire
from tests.rig.registries import Central, running_central
from tests.rig.world import World

PROVIDERS = ["built_in", pytest.param("real_spire", marks=pytest.mark.needs_spire)]
REGISTRIES = ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)]


def start(provider: str, directory: Path, central: Central, key: KeyPair) -> AbstractContextManager[World]:
    """Start a Ground Control on a provider."""
    if provider == "built_in":
        return built_in(directory, central, key)
    return real_spire(directory, central, key)


@pytest.fixture(params=REGISTRIES)
def registry(request: pytest.FixtureRequest) -> str:
    """The site's registry."""
    return str(request.param)


@pytest.fixture(scope="package")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="package")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module", params=PROVIDERS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair
) -> Iterator[World]:
    """A Ground Control whose identities live for an hour."""
    with start(request.param, tmp_path_factory.mktemp("world"), central, key) as running:
        yield running
