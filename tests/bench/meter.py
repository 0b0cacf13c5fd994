"""`python -I -S meter.py FD program [argument...]`: run a program, write what it cost to a descriptor, end as it ends.

A process of its own, and a small one: the kernel counts the memory of whoever starts a program towards the program's
own peak, and the bench holds whole images.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> int:
    """Run and measure one program: `→ its exit code`."""
    begun = time.monotonic()
    child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
    _, status, used = os.wait4(child, 0)
    cost = {
        "wall_s": time.monotonic() - begun,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }
    os.write(int(sys.argv[1]), json.dumps(cost).encode())
    return os.waitstatus_to_exitcode(status) & 255


if __name__ == "__main__":
    sys.exit(main())
