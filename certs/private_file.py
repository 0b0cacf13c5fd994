"""Files and sockets that only their owner may read: keys and what protects them.

A secret is never visible under its final name before it is complete and on disk, and never in a place or with
a mode that another user can read.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from fleet.errors import FleetError, Kind

MAX_SOCKET_PATH_BYTES = 107
"""sockaddr_un holds 108 bytes, the last of them zero."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _exposed(path: Path) -> FleetError:
    return FleetError(
        Kind.PRECONDITION,
        "PRIVATE_PATH_EXPOSED",
        "only this program's user may own this path and have access to it (chown, chmod go=): ask who has read it",
        subject=str(path),
    )


def private_directory(path: Path) -> Path:
    """Make a directory 0700, or check that the one there is, and ours.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others own it or have access to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        raise _exposed(path)
    return path


def read_private(path: Path, *, limit_bytes: int = 64 * 1024) -> bytes | None:
    """Read a secret, or None where there is none.

    Raises:
        FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others may read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & _OTHERS:
            raise _exposed(path)
        return file.read(limit_bytes)


def create_private(path: Path, content: bytes) -> bool:
    """Write a secret 0600, complete or not at all; False where the name is taken."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(staged, path)  # unlike rename, it never replaces what another process has just made
        except FileExistsError:
            return False
    finally:
        staged.unlink()
    _sync_directory(path.parent)
    return True


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_socket_path(path: Path) -> Path:
    """Return the path of a unix socket if it is short enough for the kernel.

    Raises:
        FleetError: PRECONDITION `SOCKET_PATH_LONG`.
    """
    if len(str(path).encode()) > MAX_SOCKET_PATH_BYTES:
        raise FleetError(
            Kind.PRECONDITION,
            "SOCKET_PATH_LONG",
            "a unix socket's path has at most 107 bytes: use a shorter data directory",
            subject=str(path),
        )
    return path
