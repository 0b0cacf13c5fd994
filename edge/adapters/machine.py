"""What the operating system says of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from edge.domain.health import Machine


class LocalMachine:
    """Measures; the share of CPU is since the measurement before."""

    def __init__(self, storage: Path) -> None:
        """`storage` is where the registry of ours stores."""
        self._storage = storage
        self._process = psutil.Process()
        psutil.cpu_percent(interval=None)

    def measure(self) -> Machine:
        """Measure now."""
        memory = psutil.virtual_memory()
        try:
            disk = shutil.disk_usage(self._storage)
            total, free = disk.total, disk.free
        except OSError:
            total = free = 0
        return Machine(
            cpu_fraction=min(1.0, max(0.0, psutil.cpu_percent(interval=None) / 100)),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            satellite_rss_bytes=self._process.memory_info().rss,
            disk_free_bytes=free,
            disk_total_bytes=total,
        )
