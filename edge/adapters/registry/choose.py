"""Which registry a site runs, and why.

Zot where the program is at hand, else CNCF Distribution; `zot`, `distribution` or a URL forces one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.registry.distribution import DistributionRegistry
from edge.adapters.registry.external import ExternalRegistry
from edge.adapters.registry.listener import Listener
from edge.adapters.registry.zot import ZotRegistry
from edge.app.ports import Credential, SupervisedRegistry
from fleet.errors import FleetError, Kind, malformed

_HOW = {
    "zot": "install Zot 2.1.18 or newer from its project's releases, or set ZOT_BIN",
    "registry": "run `make tools`, install CNCF Distribution 3 as `registry`, or set REGISTRY_BIN",
}


@dataclass(frozen=True, slots=True)
class External:
    """What is configured of a registry of the user's own."""

    ca_pem: str = ""
    credential: Credential | None = None
    prefix: str = ""
    plaintext: bool = False


def find_program(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find a registry's program: named by `<NAME>_BIN`, on PATH, or where `make tools` leaves it.

    Raises:
        FleetError: PRECONDITION `PROGRAM_ABSENT` where the variable names no program.
    """
    variable = f"{name.upper()}_BIN"
    named = environment.get(variable)
    if named:
        found = shutil.which(named)
        if not found:
            raise FleetError(Kind.PRECONDITION, "PROGRAM_ABSENT", f"{variable} names no program", subject=named)
        return Path(found).absolute()
    on_path = shutil.which(name, path=environment.get("PATH"))
    if on_path:
        return Path(on_path).absolute()
    return _in_cache(name, environment)


def _in_cache(name: str, environment: Mapping[str, str]) -> Path | None:
    base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = (base / "harbor-satellite/tools").glob(f"{name}-*/bin/{name}")
    runnable = [path for path in built if os.access(path, os.X_OK)]
    return max(runnable, key=lambda path: path.stat().st_mtime, default=None)


def choose_registry(
    directory: Path,
    listener: Listener,
    *,
    wanted: str = "",
    external: External | None = None,
    environment: Mapping[str, str] = os.environ,
) -> SupervisedRegistry:
    """Choose the site's registry: `zot`, `distribution`, a URL, or the empty string for what is at hand.

    Args:
        directory: where a registry of ours keeps its content, one directory below for each kind.
        listener: where workloads will pull.
        wanted: what was asked for.
        external: what is configured beside a URL.
        environment: where programs are looked up.

    Raises:
        FleetError: PRECONDITION `PROGRAM_ABSENT` with the sentence on how to get it; MALFORMED
            `REGISTRY_UNKNOWN`, or as `parse_endpoint`.
    """
    if "://" in wanted:
        given = external or External()
        endpoint = parse_endpoint(wanted, ca_pem=given.ca_pem, plaintext=given.plaintext)
        return ExternalRegistry(
            endpoint, given.credential, prefix=given.prefix, why="a registry of your own is configured"
        )
    if wanted not in {"", "zot", "distribution"}:
        raise malformed("REGISTRY_UNKNOWN", "a registry is zot, distribution or a URL", subject=wanted[:80])
    zot = None if wanted == "distribution" else find_program("zot", environment)
    if zot:
        why = "it was asked for" if wanted else f"Zot was found at {zot}"
        return ZotRegistry(zot, directory / "zot", listener, why=why)
    if wanted == "zot":
        raise _absent("zot")
    program = find_program("registry", environment)
    if program is None:
        raise _absent("registry")
    why = "it was asked for" if wanted else f"no zot program was found, and this one is at {program}"
    return DistributionRegistry(program, directory / "distribution", listener, why=why)


def _absent(name: str) -> FleetError:
    text = f"no {name} program to run as the site's registry: {_HOW[name]}"
    return FleetError(Kind.PRECONDITION, "PROGRAM_ABSENT", text)
