"""What is copied: images by size and shape, what is at the site before, and which peers do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.bench.ends import Name
from tests.rig.images import AMD64, ARM64, RISCV64, make_image
from tests.rig.repository import Repository

APP = Name("app")
Make = Callable[[], dict[Name, Repository]]
_ONE = ("crane copy", "skopeo copy", "regctl image copy")
_MANY = ("crane copy", "skopeo sync", "regsync once")
_FLEET = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        images: makes what the source holds.
        names: what is to be brought.
        before: what is at the site before the clock starts.
        tls: the source is spoken to over TLS.
        peers: who copies beside us.
        rounds: how often, unless in a hurry.
    """

    images: Make
    names: tuple[Name, ...] = (APP,)
    before: tuple[Name, ...] = ()
    tls: bool = False
    peers: tuple[str, ...] = _ONE
    rounds: int = 5


def _one(seed: str, *layer_sizes: int) -> dict[Name, Repository]:
    return {APP: make_image(seed, platforms=(AMD64,), layer_sizes=layer_sizes)}


def _index() -> dict[Name, Repository]:
    return {APP: make_image("index", platforms=(AMD64, ARM64, RISCV64), layer_sizes=(8_000_000, 3_000_000, 500_000))}


def _change() -> dict[Name, Repository]:
    """Make two tags of one repository; the second has one layer of its own, beside the program that greets."""
    sizes = (20_000_000, 20_000_000, 20_000_000, 5_000_000)
    old = make_image("old", tag="1.0", platforms=(AMD64,), layer_sizes=sizes, layer_seeds=("base",) * 4)
    new = make_image("new", tag="1.1", platforms=(AMD64,), layer_sizes=sizes, layer_seeds=("base",) * 3 + ("new",))
    return {APP: old, Name("app", "1.1"): new}


_FAMILY = tuple(Name(f"app-{number:02}") for number in range(_FLEET))


def _family() -> dict[Name, Repository]:
    """Make images that share a base of 36 MB and have 600 kB each of their own."""
    sizes = (20_000_000, 10_000_000, 5_000_000, 1_000_000, 600_000)
    return {
        name: make_image(
            str(name), platforms=(AMD64,), layer_sizes=sizes, layer_seeds=("base",) * 4 + (name.repository,)
        )
        for name in _FAMILY
    }


_FIVE = partial(_one, "5-layers", *(55_000_000,) * 4)
_SIXTY = partial(_one, "60-layers", *(780_000,) * 59)

CASES: Mapping[str, Case] = {
    "copy-220mb-5-layers": Case(_FIVE),
    "copy-220mb-5-layers-tls": Case(_FIVE, tls=True),
    "copy-46mb-60-layers": Case(_SIXTY),
    "copy-46mb-60-layers-tls": Case(_SIXTY, tls=True),
    "copy-600mb-1-layer": Case(partial(_one, "1-layer", 600_000_000), rounds=3),
    "copy-3-platforms": Case(_index),
    "one-layer-change": Case(_change, (Name("app", "1.1"),), (APP,)),
    "no-op": Case(_FIVE, (APP,), (APP,)),
    "20-images": Case(_family, _FAMILY, peers=_MANY, rounds=3),
}
