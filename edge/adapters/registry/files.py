"""Reading a registry's files one by one: absent, foreign and unreadable ones are answers, not errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from edge.app.disk import Copy
from fleet.errors import FleetError
from fleet.reference import Digest, parse_digest

_CHUNK = 1 << 20


def hex_of(digest: Digest) -> str:
    """Give a digest's hexadecimal digits, as directories are named."""
    return digest.removeprefix("sha256:")


def regular(path: Path | str, *, least: int = 0) -> os.stat_result | None:
    """Look at a regular file of at least `least` bytes, or None."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- asked for each blob of each image
    except OSError:
        return None
    return found if S_ISREG(found.st_mode) and found.st_size >= least else None


def copy_at(path: Path | str) -> Copy | None:
    """Look at the bytes of a blob, or None."""
    found = regular(path)
    return Copy(found.st_size, (found.st_dev, found.st_ino)) if found else None


@contextmanager
def reading(path: Path | str) -> Iterator[Iterator[bytes]]:
    """Read a file once, and tell the kernel so (6.3 and later heed it): what workloads pull stays in its cache."""

    def chunks(descriptor: int) -> Iterator[bytes]:
        with suppress(OSError):  # a disk that is going bad
            while chunk := os.read(descriptor, _CHUNK):
                yield chunk

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield iter(())
        return
    try:
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_NOREUSE)
        yield chunks(descriptor)
    finally:
        os.close(descriptor)


def names_in(directory: Path | str) -> list[str]:
    """List a directory; an absent one is empty."""
    try:
        return os.listdir(directory)  # noqa: PTH208 -- names, not paths: there are tens of thousands
    except OSError:
        return []


def is_older(path: Path, than: float) -> bool:
    """Say whether it was last written before a moment; what is absent was never written."""
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return True
    except OSError:
        return False


def remove(path: Path | str) -> None:
    """Remove a file, or leave it gone."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 -- paths are strings where there are many


def text_of(path: Path | str) -> str:
    """Read a small file; an absent one is empty."""
    try:
        with open(path, errors="replace", encoding="utf-8") as file:  # noqa: PTH123 -- as above
            return file.read()
    except OSError:
        return ""


def digest_in(text: str) -> Digest | None:
    """Read a digest, or None where the text is none."""
    try:
        return parse_digest(text.strip())
    except FleetError:
        return None
