"""A rate cap holds on the wire itself, over all transfers together."""

from __future__ import annotations

import pytest

from tests.system.link.conftest import Metered

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

RATE = 2_000_000
MIB = 1 << 20


def _rate_of(samples: list[tuple[float, int]]) -> float:
    """Bytes a second of the wire between a tenth and nine tenths of what came."""
    first, last = samples[0][1], samples[-1][1]
    bulk = [(at, size) for at, size in samples if 0.1 <= (size - first) / (last - first) <= 0.9]
    (began, low), (ended, high) = bulk[0], bulk[-1]
    return (high - low) / (ended - began)


@pytest.mark.parametrize("layers", [(14 * MIB,), (4 * MIB, 4 * MIB, 4 * MIB, 2 * MIB)], ids=["one layer", "four"])
def test_the_wire_sees_the_rate_within_five_percent(metered: Metered, layers: tuple[int, ...]) -> None:
    image = metered.image(*layers)
    metered.set("--rate", "2MB/s")
    metered.want(image)
    samples = metered.samples(lambda: metered.is_published(image))
    assert 0.95 * RATE <= _rate_of(samples) <= 1.05 * RATE
    metered.retire(image)
