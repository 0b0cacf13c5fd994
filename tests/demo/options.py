"""What the environment asks of the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How to play."""

    spire: bool
    registry: str
    """`zot`, `distribution`, or empty: Zot where it is found."""
    as_json: bool
    stays: bool
    """Stay open at the end, to be played with."""


def read_options(environment: Mapping[str, str], *, terminal: bool) -> Options:
    """Read SPIRE, REGISTRY and JSON.

    Raises:
        ValueError: naming the variable whose value is wrong.
    """
    registry = environment.get("REGISTRY", "")
    if registry not in {"", "zot", "distribution"}:
        raise ValueError(f"REGISTRY is zot or distribution, not {registry}")
    as_json = _flag(environment, "JSON")
    return Options(
        spire=_flag(environment, "SPIRE"), registry=registry, as_json=as_json, stays=terminal and not as_json
    )


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "")
    if value not in {"", "0", "1"}:
        raise ValueError(f"{name} is 1 or absent, not {value}")
    return value == "1"
