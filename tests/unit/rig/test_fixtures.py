"""The images that are checked in: what they are, and that a registry filled from them is as good as the first."""

from __future__ import annotations

import gzip
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge.adapters.oci.client import Client as OciClient
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.domain.admission import Admission
from edge.domain.policy import Rules
from fleet.policy import SignatureFormat
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.fixtures import IMAGES, OPERATOR, RECIPES, STRANGER, TAG, Recipe
from tests.rig.images import make_image, program
from tests.rig.judging import policy, reason, wanted
from tests.rig.oci_layout import layouts, read_layout, seed, write_layout
from tests.rig.zot import zot

START: dict[str, Callable[[Path], AbstractContextManager[str]]] = {"distribution": distribution, "zot": zot}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("distribution", marks=pytest.mark.needs_registry),
        pytest.param("zot", marks=pytest.mark.needs_zot),
    ],
)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running: AbstractContextManager[str] = START[request.param](tmp_path_factory.mktemp(request.param))
    with running as url:
        seed(url, *(IMAGES / recipe.name for recipe in RECIPES))
        yield url


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_an_image_made_again_has_the_same_bytes(recipe: Recipe) -> None:
    name, docker = recipe.name, recipe.docker
    made, held = make_image(name, tag=TAG, docker=docker), read_layout(IMAGES / name)
    assert made.tags[TAG] == held.tags[TAG]
    assert made.manifests.items() <= held.manifests.items()


def test_a_layout_written_again_reads_the_same(tmp_path: Path) -> None:
    for name, held in layouts(IMAGES):
        write_layout(held, tmp_path / name)
        assert read_layout(tmp_path / name) == held


def test_an_image_without_a_seed_is_fresh() -> None:
    assert make_image().tags != make_image().tags


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is for amd64")
def test_the_program_in_an_image_runs(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(program("amd64", b"hello\n"))
    path.chmod(0o755)
    assert subprocess.run([path], capture_output=True, check=True).stdout == b"hello\n"


def test_layers_carry_no_time() -> None:
    _, held = next(layouts(IMAGES))
    packed = [blob for blob in held.blobs.values() if blob.startswith(b"\x1f\x8b")]
    assert packed
    assert all(gzip.decompress(blob) and blob[4:8] == bytes(4) for blob in packed)


@pytest.mark.needs_cosign
@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.signatures], ids=lambda recipe: recipe.name)
def test_cosign_verifies_what_a_registry_was_filled_with(recipe: Recipe, registry: str) -> None:
    name = recipe.name
    reference = f"{registry.removeprefix('http://')}/demo/{name}@{read_layout(IMAGES / name).tags[TAG]}"
    for key, form in recipe.signatures:
        cosign.verify(reference, key, form)
        with pytest.raises(cosign.CosignError):
            cosign.verify(reference, STRANGER if key is OPERATOR else OPERATOR, form)


@pytest.mark.parametrize(
    ("name", "form", "refusal"),
    [
        ("signed-v2", SignatureFormat.COSIGN_SIMPLE_SIGNING, ""),
        ("signed-v2", SignatureFormat.SIGSTORE_BUNDLE, "FORMAT_NOT_ALLOWED"),
        ("signed-v3", SignatureFormat.SIGSTORE_BUNDLE, ""),
        ("signed-docker", SignatureFormat.SIGSTORE_BUNDLE, ""),
        ("signed-by-stranger", SignatureFormat.SIGSTORE_BUNDLE, "SIGNATURE_INVALID"),
        ("unsigned", SignatureFormat.SIGSTORE_BUNDLE, "UNSIGNED"),
    ],
)
def test_a_registry_filled_from_layouts_is_judged_alike(
    name: str, form: SignatureFormat, refusal: str, registry: str
) -> None:
    upstream = OciUpstream(OciClient(parse_endpoint(registry, plaintext=True), voice=SOURCE))
    artifact = wanted(read_layout(IMAGES / name).tags[TAG], repository=f"demo/{name}")
    verdict = judge(artifact, upstream, Rules((policy(OPERATOR.pem, formats=[form]),)))
    assert reason(verdict) == refusal
    assert isinstance(verdict, Admission) is (not refusal)


def test_private_keys_are_not_readable_without_cosign() -> None:
    for pair in (OPERATOR, STRANGER):
        assert b"ENCRYPTED" in pair.private.read_bytes()
        assert os.access(pair.public, os.R_OK)
