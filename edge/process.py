"""The process that `satellite run` becomes: it runs the site and holds nothing that only the command line needs.

`python -m edge.process FD`, where FD is a file with the settings; the process id stays what it was.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

from edge.settings import Settings, from_json

ENVIRONMENT = {
    # Each thread that allocates would get a heap of its own, which is never given back.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    # Forks of this process start programs and never use gRPC.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}


def become(settings: Settings) -> NoReturn:
    """Replace the program of this process by the lean one."""
    descriptor = os.memfd_create("settings")  # in memory: a registry's password may be among them
    told = replace(settings, agent_version=_agent_version())
    os.write(descriptor, told.to_json().encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    sys.stderr.flush()
    # -OO leaves docstrings out: 2.5 MB (measured). No invariant of ours is an assert.
    command = [sys.executable, "-OO", "-m", "edge.process", str(descriptor)]
    os.execve(sys.executable, command, {**ENVIRONMENT, **os.environ})  # noqa: S606 - a vector of our own


def _agent_version() -> str:
    """Say which version this is; asked here, because what knows takes 1 MB of memory."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - see above

    try:
        return version("harbor-satellite")
    except PackageNotFoundError:
        return ""


def _leave_out_http2() -> None:
    """Keep urllib3 from loading importlib.metadata, 0.8 MB, for an HTTP/2 that nobody here switches on.

    Only its package's own module is left out; what urllib3 asks whether HTTP/2 is on stays the real one.
    """
    found = find_spec("urllib3")
    if found is not None and found.submodule_search_locations:
        package = ModuleType("urllib3.http2")
        package.__path__ = [f"{place}/http2" for place in found.submodule_search_locations]
        sys.modules[package.__name__] = package


def main() -> int:
    """Run with the settings from the descriptor: `→ exit code`."""
    with os.fdopen(int(sys.argv[1])) as file:
        settings = from_json(file.read())
    if not sys.stderr.isatty():
        # structlog imports rich for pretty traces where it finds it: 6 MB that only a terminal needs.
        sys.modules["rich"] = None  # type: ignore[assignment] # the documented way to make an import fail
    _leave_out_http2()
    from edge.exits import run_to_exit  # noqa: PLC0415 - after the line above
    from fleet.log import configure_logging  # noqa: PLC0415 - after the line above

    configure_logging(program="satellite", level=settings.log_level)
    from edge.bootstrap import run  # noqa: PLC0415 - after the line above

    return run_to_exit(run(settings))


if __name__ == "__main__":
    sys.exit(main())
