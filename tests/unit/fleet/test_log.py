"""Logs as the programs write them."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_A_READER = """
import os, sys
import structlog
from fleet.log import configure_logging
configure_logging(program="test", terminal=False)
log = structlog.get_logger("test")
log.info("seen")
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
log.info("lost")
sys.stderr.close()
log.info("lost as well")
print("done")
"""


def test_work_goes_on_where_nobody_takes_the_log() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_READER], capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    assert '"event": "seen"' in done.stderr
    assert "lost" not in done.stderr
