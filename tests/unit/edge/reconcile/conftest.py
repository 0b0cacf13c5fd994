"""A central registry, two cosign keys, and signed images in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edge.domain.content import RawManifest
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.registries import Central, running_central
from tests.unit.edge.reconcile.scenes import Play, scene

Push = Callable[..., RawManifest]


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "stranger")


@pytest.fixture
def push(central: Central, key: KeyPair) -> Push:
    """Push an image of fresh content and sign it: `(repository, tag, signer=key, layer=b"", layers=()) → manifest`."""

    def pushed(
        repository: str, tag: str, *, signer: KeyPair | None = key, layer: bytes = b"", layers: tuple[bytes, ...] = ()
    ) -> RawManifest:
        made = central.push_image(repository, tag, layers=(layer,) if layer else layers)
        if signer:
            cosign.sign(f"{central.host}/{repository}@{made.digest}", signer)
        return made

    return pushed


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "site"
    made.mkdir()
    return made


@pytest.fixture
def play(central: Central, key: KeyPair, push: Push, directory: Path) -> Play:
    """Open a scene: `(kind, *repositories)`."""
    return partial(scene, central, key, push, directory)
