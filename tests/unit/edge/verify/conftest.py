from __future__ import annotations

import pytest

from fleet.reference import Digest
from tests.rig.images import make_image
from tests.rig.repository import Repository
from tests.rig.signer import Signer


@pytest.fixture
def image() -> Repository:
    return make_image()


@pytest.fixture
def root(image: Repository) -> Digest:
    return image.tags["1.0"]


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()
