"""Room kept for the day the disk is full: what a start has to write is little, but without it nothing is served.

A site that restarts on a full disk still has to write its registry's configuration, its addresses and its status. A
file of a fixed size is given up then, and made again when there is plenty of room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

RESERVE_BYTES = 2 << 20
_SHORT_BYTES = RESERVE_BYTES // 2
_PLENTY_BYTES = RESERVE_BYTES * 6


class Reserve:
    """One file beside what needs the room."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def settle(self) -> None:
        """Give the file up where the disk is full, make it where there is plenty: cheap, for every few seconds."""
        try:
            space = os.statvfs(self._path.parent)
        except OSError:
            return
        free = space.f_bavail * space.f_frsize
        if free < _SHORT_BYTES and self._path.exists():
            with suppress(OSError):
                self._path.unlink()
            _log.error("disk.full", directory=str(self._path.parent), free_bytes=free)
        elif free > _PLENTY_BYTES and not self._path.exists():
            self._make()

    def _make(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)
        except OSError:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
