"""How the program ends: errors as one sentence with a remedy, and exit codes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from fleet.errors import FleetError, Kind

EXIT_CODES = {Kind.MALFORMED: 2, Kind.REFUSED: 3, Kind.UNIDENTIFIED: 3, Kind.UNAVAILABLE: 4}
"""0 done, 1 failed, 2 usage, 3 refused, 4 unreachable."""
_INTERRUPTED = 130


def run_to_exit(work: Coroutine[Any, Any, int]) -> int:
    """Run a program's coroutine: `→ exit code`, with errors told on standard error."""
    try:
        return asyncio.run(work)
    except FleetError as error:
        return tell(error)
    except BaseExceptionGroup as errors:
        known, others = errors.split(FleetError)
        if known is None or others is not None:
            raise
        return tell(_first(known))
    except KeyboardInterrupt:
        return _INTERRUPTED


def tell(error: FleetError) -> int:
    """Say what went wrong: `→ exit code`."""
    say(f"satellite: {error.public} [{error.reason}]")
    if error.detail:
        say(f"  {error.detail}")
    return EXIT_CODES.get(error.kind, 1)


def say(text: str) -> None:
    """Talk to a person."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - standard error is for talk


def _first(errors: BaseExceptionGroup[FleetError]) -> FleetError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
