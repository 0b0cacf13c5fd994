"""What came over a slow link and is not in the registry yet, in files: a kill -9 does not reach the page cache.

Power failure does, and leaves anything in such a file; what was written before the machine started is not believed.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KEPT_S = 7 * 24 * 3600
_HEAD_LIMIT = 128


class StagingFiles:
    """Implements `edge.app.ports.Staging`: a file per blob, which grows until the registry has taken it.

    Args:
        directory: ours alone. What lies there for a week is of nobody's image any more and goes.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        for path in directory.iterdir():
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink(missing_ok=True)

    def load(self, key: str) -> tuple[int, bytes]:
        """Read what is staged of a blob: `key → where in the blob it begins, bytes`; none where none can be used."""
        try:
            head, _, content = self._path(key).read_bytes().partition(b"\n")
            boot, offset = head[:_HEAD_LIMIT].decode().split(" ")
            return (int(offset), content) if boot == self._boot else (0, b"")
        except (OSError, ValueError):
            return 0, b""

    def append(self, key: str, offset: int, content: memoryview, *, after: int) -> bool:
        """Add bytes to the first `after` ones, which begin at `offset` of the blob: `→ whether all are there`.

        Where the disk does not take all of them, or the file is not the one that was left, nothing is staged: what
        follows a gap would be taken for what belongs there.
        """
        head = f"{self._boot} {offset}\n".encode()
        try:
            with self._path(key).open("ab" if after else "wb", buffering=0) as file:
                if not after:
                    file.write(head)
                file.write(content)
                if file.tell() == len(head) + after + len(content):
                    return True
        except OSError:
            pass
        self.clear(key)
        return False

    def clear(self, key: str) -> None:
        """Forget what is staged of a blob."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / hashlib.sha256(key.encode()).hexdigest()
