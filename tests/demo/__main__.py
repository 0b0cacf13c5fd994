"""`make demo`: the whole system on this machine, live on the terminal.

SPIRE=1 uses a real spire-server and agents; REGISTRY=zot|distribution says what the sites run; JSON=1 ends with one
line of JSON. On a terminal the demo stays open until Ctrl-C; elsewhere it plays through and exits 0, or 1 with the
reason.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from fleet.errors import FleetError
from fleet.log import configure_logging
from tests.demo.options import Options, read_options
from tests.demo.play import DemoFailedError, play
from tests.demo.screen import Screen
from tests.rig.programs import ProgramMissingError


async def _until_told(options: Options, screen: Screen, directory: Path) -> None:
    """Play; SIGTERM and Ctrl-C end it as its own end would, so that nothing is left behind."""
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    await play(options, screen, directory)


def main() -> int:
    """Run the demo; return the exit code."""
    configure_logging(program="demo", level="warning")  # to stderr: standard output ends with the line of JSON
    screen = Screen()
    try:
        options = read_options(os.environ, terminal=sys.stdout.isatty())
        with tempfile.TemporaryDirectory(prefix="hs-demo-") as scratch:
            asyncio.run(_until_told(options, screen, Path(scratch)))
    except asyncio.CancelledError:
        screen.say("ended; nothing is left behind")
        return 0 if screen.played else 130
    except KeyboardInterrupt:
        return 0 if screen.played else 130
    except (DemoFailedError, ProgramMissingError, FleetError, ValueError) as error:
        screen.fail(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
