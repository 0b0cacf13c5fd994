"""`python -m tests.rig.fixtures`: remake the images and keys under tests/fixtures with the real cosign.

The images are the same bytes each time; signatures are not, because ECDSA draws a random number.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleet.policy import SignatureFormat
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.images import make_image
from tests.rig.oci_layout import Client, write_layout
from tests.rig.programs import ProgramMissingError

FIXTURES = Path(__file__).parent.parent / "fixtures"
IMAGES = FIXTURES / "images"
KEYS = FIXTURES / "keys"
OPERATOR = cosign.KeyPair(KEYS / "operator.key", KEYS / "operator.pub")
STRANGER = cosign.KeyPair(KEYS / "stranger.key", KEYS / "stranger.pub")
TAG = "1.0"
_V2 = SignatureFormat.COSIGN_SIMPLE_SIGNING
_V3 = SignatureFormat.SIGSTORE_BUNDLE


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image and who signs it how."""

    name: str
    signatures: tuple[tuple[cosign.KeyPair, SignatureFormat], ...] = ()
    docker: bool = False


RECIPES = (
    Recipe("signed-v2", ((OPERATOR, _V2),)),
    Recipe("signed-v3", ((OPERATOR, _V3),)),
    Recipe("signed-both", ((OPERATOR, _V2), (OPERATOR, _V3))),
    Recipe("signed-docker", ((OPERATOR, _V2), (OPERATOR, _V3)), docker=True),
    Recipe("signed-by-stranger", ((STRANGER, _V2), (STRANGER, _V3))),
    Recipe("unsigned"),
)


def _keys() -> None:
    """Make the two key pairs where they are not there: keys that stay keep old clones' policies right."""
    KEYS.mkdir(parents=True, exist_ok=True)
    for pair in (OPERATOR, STRANGER):
        if not pair.private.exists():
            cosign.generate_key(KEYS, pair.private.stem)


def _make(recipe: Recipe, registry: str, directory: Path) -> None:
    image, repository = make_image(recipe.name, tag=TAG, docker=recipe.docker), f"demo/{recipe.name}"
    client = Client(registry)
    client.push(repository, image)
    reference = f"{registry.removeprefix('http://')}/{repository}@{image.tags[TAG]}"
    for key, form in recipe.signatures:
        cosign.sign(reference, key, form)
    write_layout(client.pull(repository), directory)


def main() -> int:
    """Remake everything; return the exit code."""
    try:
        _keys()
        with tempfile.TemporaryDirectory() as scratch, distribution(Path(scratch)) as registry:
            for recipe in RECIPES:
                shutil.rmtree(IMAGES / recipe.name, ignore_errors=True)
                _make(recipe, registry, IMAGES / recipe.name)
                print(f"{IMAGES.name}/{recipe.name}")
    except ProgramMissingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
