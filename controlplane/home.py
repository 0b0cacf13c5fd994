"""Ground Control's data directory: private, one supervisor at a time, with the key that seals what is stored."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certs.private_file import check_socket_path, create_private, private_directory, read_private
from controlplane.config import Settings
from fleet.errors import FleetError, Kind

KEY_BYTES = 32
_CHALLENGE_KEY = "challenge.key"


def make_home(settings: Settings) -> None:
    """Make the data directory and the keys that workers share, where they are absent.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others can read them, `SOCKET_PATH_LONG`.
    """
    check_socket_path(settings.workload_socket)
    private_directory(settings.data_dir)
    keys = private_directory(settings.secrets_directory)
    create_private(keys / _CHALLENGE_KEY, secrets.token_bytes(KEY_BYTES))  # one that is there already stays


def challenge_secret(settings: Settings) -> bytes:
    """Read what challenges are made with: every worker that shares it accepts another's.

    Raises:
        FleetError: PRECONDITION `CHALLENGE_KEY_ABSENT`.
    """
    path = settings.secrets_directory / _CHALLENGE_KEY
    key = read_private(path)
    if key is None or len(key) != KEY_BYTES:
        text = "the key that signs challenges is missing or not of 32 bytes: remove the file to have it made anew"
        raise FleetError(Kind.PRECONDITION, "CHALLENGE_KEY_ABSENT", text, subject=str(path))
    return key


def meter_socket(settings: Settings, worker: str) -> Path:
    """Where a worker tells its numbers to the process that answers over HTTP."""
    return settings.data_dir.absolute() / "metrics" / f"{worker}.sock"


@contextmanager
def sole_supervisor(settings: Settings) -> Iterator[None]:
    """Hold the data directory for this process; the kernel lets go of it however the process ends.

    Raises:
        FleetError: PRECONDITION `ALREADY_RUNNING`.
    """
    descriptor = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = "another Ground Control runs on this data directory"
            raise FleetError(Kind.PRECONDITION, "ALREADY_RUNNING", text, subject=str(settings.data_dir)) from error
        yield
    finally:
        os.close(descriptor)
