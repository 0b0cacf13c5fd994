"""The three kinds of registry, each run once per module: one suite holds for all of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.registry.choose import find_program
from edge.adapters.registry.distribution import DistributionRegistry
from edge.adapters.registry.external import ExternalRegistry
from edge.adapters.registry.listener import Listener
from edge.adapters.registry.zot import ZotRegistry
from edge.app.ports import Credential, SupervisedRegistry
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.registries import Central, RunningSite, running_central, running_site
from tests.rig.zot import zot

OURS = (
    pytest.param("distribution", marks=pytest.mark.needs_registry),
    pytest.param("zot", marks=pytest.mark.needs_zot),
)
KINDS = (
    *OURS,
    pytest.param("external", marks=pytest.mark.needs_registry),
    pytest.param("external-zot", marks=[pytest.mark.needs_registry, pytest.mark.needs_zot]),
)


def supervised(kind: str, directory: Path, listener: Listener | None = None) -> SupervisedRegistry:
    """Make a registry of our own, not yet started."""
    program = find_program({"zot": "zot", "distribution": "registry"}[kind])
    assert program is not None
    maker = ZotRegistry if kind == "zot" else DistributionRegistry
    return maker(program, directory / kind, listener or Listener(), why="a test")


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """One registry of each kind, open to the public."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "external":
        login = Credential("owner", secrets.token_hex(16))
        with running_central(directory, login=login) as running:
            endpoint = parse_endpoint(running.url, plaintext=True)
            registry = ExternalRegistry(endpoint, login, prefix="edge/site-1")
            with running_site(registry, directory) as site:
                site.owner = login
                site.open()
                yield site
        return
    if request.param == "external-zot":
        with zot(directory) as url:
            registry = ExternalRegistry(parse_endpoint(url, plaintext=True), None, prefix="edge/site-1")
            with running_site(registry, directory) as site:
                site.open()
                yield site
        return
    with running_site(supervised(request.param, directory), directory) as site:
        site.open()
        yield site


@pytest.fixture(params=OURS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningSite]:
    """A fresh registry of our own, still private."""
    with running_site(supervised(request.param, tmp_path), tmp_path) as site:
        yield site


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """A source with Basic authentication."""
    login = Credential("puller", secrets.token_hex(16))
    with running_central(tmp_path_factory.mktemp("central"), login=login) as running:
        yield running


@pytest.fixture
def repository() -> str:
    """A repository that no other test writes to."""
    return f"library/{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """A source that anybody may read, cosign too, and that takes layers that are elsewhere."""
    with running_central(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")
