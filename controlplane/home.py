"""Ground Control's data directory: private, one supervisor at a time, with the key that seals what is stored."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from certs.private_file import create_private, private_directory, read_private
from controlplane.config import Settings
from fleet.errors import FleetError, Kind

KEY_BYTES = 32


def make_home(settings: Settings) -> None:
    """Make the data directory and the sealing key where they are absent.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others can read them.
    """
    private_directory(settings.data_dir)
    if settings.key_file is None:
        create_private(settings.key_path, secrets.token_bytes(KEY_BYTES))  # one that is there already stays


def sealing_key(settings: Settings) -> bytes:
    """Read the key that seals stored credentials.

    Raises:
        FleetError: PRECONDITION `SEALING_KEY_ABSENT`.
    """
    key = read_private(settings.key_path)
    if key is None or len(key) != KEY_BYTES:
        text = "the sealing key is missing or not of 32 bytes: restore it, stored credentials cannot be read without"
        raise FleetError(Kind.PRECONDITION, "SEALING_KEY_ABSENT", text, subject=str(settings.key_path))
    return key


def challenge_secret(settings: Settings) -> bytes:
    """Derive what challenges are made with: every worker that shares the key accepts another's."""
    return hmac.new(sealing_key(settings), b"fleet.v1.challenge-secret", hashlib.sha256).digest()


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
