"""What the figures were measured on and with: no names of hosts, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.rig.programs import find

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")
_BESIDE = re.compile(r'"(?:time|distribution-spec)":"[^"]*"')
"""Numbers in Zot's answer that are not its version, which is missing where it was built without one."""
_ASKED = {
    "registry": "--version",
    "zot": "--version",
    "crane": "version",
    "skopeo": "--version",
    "regctl": "version",
    "regsync": "version",
    "cosign": "version",
}
_PACKAGES = ("grpcio", "urllib3", "cryptography", "uvloop")


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _system() -> str:
    found = re.search(r'^PRETTY_NAME="(.+)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else platform.system()


def _program(name: str) -> str:
    """`name version`, as it says itself, or as its place in the cache of tools says."""
    path = find(name)
    if path is None:
        return f"{name} absent"
    done = subprocess.run([path, _ASKED[name]], capture_output=True, text=True, timeout=20, check=False)
    built = _VERSION.search(path.parts[-3]) if len(path.parts) > 2 else None
    said = built or _VERSION.search(_BESIDE.sub("", done.stdout + done.stderr))
    return f"{name} {said[0]}" if said else name


def load() -> float:
    """Say how many processes wanted a core during the last minute: over the number of cores, figures suffer."""
    return os.getloadavg()[0]


def description() -> list[str]:
    """Describe machine and software, a sentence each."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory",
        f"{_system()}, Linux {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}, {packages}",
        ", ".join(map(_program, _ASKED)),
    ]
