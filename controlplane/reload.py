"""`ground-control reload`: ask the supervisor to replace its workers, and wait until it has."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from controlplane.config import Settings
from fleet.errors import FleetError, Kind

POLL_S = 0.1


def reload(settings: Settings) -> dict[str, Any]:
    """Have the workers of the Ground Control on this data directory replaced: `→ its facts afterwards`.

    Raises:
        FleetError: UNAVAILABLE `NOT_RUNNING`, also where it ends meanwhile; UNAVAILABLE `RELOAD_FAILED` where a worker
            could not be replaced.
    """
    facts = _running(settings.ready_file)
    before = facts["reloads"]["begun"]  # one under way may have replaced some of them before we asked
    os.kill(facts["pid"], signal.SIGHUP)
    while (facts := _running(settings.ready_file))["reloads"]["ended"] <= before:
        time.sleep(POLL_S)
    if facts["reloads"]["failed"]:
        text = "a worker could not be replaced; what ran before runs on, and its log says more"
        raise FleetError(Kind.UNAVAILABLE, "RELOAD_FAILED", text, detail=facts["reloads"]["failed"])
    return facts


def _running(ready_file: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(ready_file.read_text())
        os.kill(facts["pid"], 0)
    except (OSError, ValueError, KeyError) as error:
        text = "no Ground Control runs on this data directory, or it does not serve yet"
        raise FleetError(Kind.UNAVAILABLE, "NOT_RUNNING", text, subject=str(ready_file.parent)) from error
    return facts
