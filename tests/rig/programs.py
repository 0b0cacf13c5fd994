"""Where the real programs are that tests, demo and bench run, and what to say where one is missing.

A program named by its environment variable wins, then PATH, then the cache that `make tools` fills.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from glob import glob
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """One program: what it is for, and either the Go package that makes it or words on how to get it."""

    name: str
    purpose: str
    version: str = ""
    package: str = ""
    """What `go install` makes it from; empty for what a user gets upstream or from the distribution."""
    remedy: str = ""
    seconds: int = 0
    """How long the build takes on two cores with nothing cached."""
    says: str = ""
    """A word in `--version`'s answer, for a name that other programs have too."""
    places: tuple[str, ...] = ()
    """Globs of directories beside PATH where distributions put it."""

    @property
    def variable(self) -> str:
        """The environment variable that names the program."""
        return self.name.upper().replace("-", "_") + "_BIN"

    @property
    def built_as(self) -> str:
        """The file that `go install` leaves behind."""
        last = self.package.rsplit("/", 1)[-1]
        return self.package.rsplit("/", 2)[-2] if last.startswith("v") and last[1:].isdigit() else last

    @property
    def home(self) -> Path:
        """Its place in the per-user cache."""
        return cache_directory() / f"{self.name}-{self.version}" / "bin" / self.name

    @property
    def sentence(self) -> str:
        """One sentence: what it is for and how to get it."""
        how = self.remedy or f"`make tools` builds version {self.version} with Go 1.26 or newer"
        return f"{self.name} {self.purpose}: {how}, or set {self.variable}."


def cache_directory() -> Path:
    """The per-user cache of programs, keyed by version: shared by every checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "harbor-satellite" / "tools"


def _go(name: str, version: str, package: str, seconds: int, purpose: str, *, says: str = "") -> Program:
    return Program(name, purpose, version=version, package=package, seconds=seconds, says=says)


_ZOT = "install Zot 2.1.18 or newer as its documentation says (https://zotregistry.dev, Install Guide)"
_SPIRE = "install SPIRE 1.15 or newer as its documentation says (https://spiffe.io/docs/latest/spire, Install)"
_POSTGRES = "on Debian `apt-get install postgresql`"
_POSTGRES_PLACES = ("/usr/lib/postgresql/*/bin",)

_ALL = (
    _go(
        "registry",
        "3.1.2",
        "github.com/distribution/distribution/v3/cmd/registry",
        68,
        "(CNCF Distribution) is the demo's central registry and the embedded default at a site",
        says="distribution/distribution",
    ),
    _go("crane", "0.21.9", "github.com/google/go-containerregistry/cmd/crane", 15, "pulls as a foreign client"),
    _go(
        "cosign",
        "3.1.2",
        "github.com/sigstore/cosign/v3/cmd/cosign",
        162,
        "signs and verifies images in tests",
    ),
    _go(
        "grpcurl",
        "1.9.3",
        "github.com/fullstorydev/grpcurl/cmd/grpcurl",
        39,
        "calls the API as a foreign client",
    ),
    _go("regctl", "0.11.7", "github.com/regclient/regclient/cmd/regctl", 7, "is a peer in the benchmarks"),
    _go("regsync", "0.11.7", "github.com/regclient/regclient/cmd/regsync", 7, "is a peer in the benchmarks"),
    _go("toxiproxy", "2.5.0", "github.com/Shopify/toxiproxy/v2/cmd/server", 8, "makes links bad in tests"),
    _go("fulcio", "1.8.8", "github.com/sigstore/fulcio", 39, "is part of a private sigstore for keyless tests"),
    _go(
        "rekor",
        "2.3.0",
        "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
        18,
        "is part of a private sigstore for keyless tests",
    ),
    _go(
        "timestamp-server",
        "2.1.3",
        "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server",
        25,
        "is part of a private sigstore for keyless tests",
    ),
    Program("zot", "is the registry that a satellite runs where it is found", remedy=_ZOT),
    Program("spire-server", "issues real SVIDs in tests and in `make demo SPIRE=1`", remedy=_SPIRE),
    Program("spire-agent", "serves the Workload API in tests and in `make demo SPIRE=1`", remedy=_SPIRE),
    Program("postgres", "is the database of larger sites", remedy=_POSTGRES, places=_POSTGRES_PLACES),
    Program("initdb", "makes the tests' PostgreSQL", remedy=_POSTGRES, places=_POSTGRES_PLACES),
    Program("pg_ctl", "starts the tests' PostgreSQL", remedy=_POSTGRES, places=_POSTGRES_PLACES),
    Program("skopeo", "pulls as a foreign client", remedy="on Debian `apt-get install skopeo`"),
    Program("containerd", "pulls through the site's mirror", remedy="on Debian `apt-get install containerd`"),
    Program("ctr", "drives containerd", remedy="on Debian `apt-get install containerd`"),
    Program("faketime", "gives a satellite another time", remedy="on Debian `apt-get install faketime`"),
    Program("tinyproxy", "is the proxy between a site and its sources", remedy="on Debian `apt-get install tinyproxy`"),
    Program("iptables", "loses packets in a network namespace", remedy="on Debian `apt-get install iptables`"),
    Program(
        "go",
        "builds the other programs and a foreign client",
        remedy="install Go 1.26 or newer (https://go.dev/doc/install)",
        places=("/usr/local/go/bin",),
    ),
)

PROGRAMS: Mapping[str, Program] = {program.name: program for program in _ALL}
"""Every program by its name."""


class ProgramMissingError(Exception):
    """A program is not on this machine; the text says what it is for and how to get it."""


def _is_it(program: Program, path: Path) -> bool:
    """Tell Distribution's `registry` from another program of that name."""
    if not program.says:
        return True
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return program.says in (answer.stdout + answer.stderr)


def _named_by_environment(program: Program) -> Path | None:
    value = os.environ.get(program.variable)
    if not value:
        return None
    found = shutil.which(value)
    if found is None:
        raise ProgramMissingError(f"{program.variable} names no program that can be run: {value}")
    return Path(found)


@cache
def find(name: str) -> Path | None:
    """Find a program by its variable, on PATH, or in the cache.

    Raises:
        ProgramMissingError: its variable is set and names nothing that can be run.
    """
    program = PROGRAMS[name]
    if named := _named_by_environment(program):
        return named
    on_path = shutil.which(name)
    if on_path and _is_it(program, Path(on_path)):
        return Path(on_path)
    for directory in (place for pattern in program.places for place in sorted(glob(pattern), reverse=True)):  # noqa: PTH207 absolute patterns
        if there := shutil.which(name, path=directory):
            return Path(there)
    return program.home if program.package and program.home.exists() else None


def require(name: str) -> Path:
    """Find a program that there is no doing without.

    Raises:
        ProgramMissingError: with the sentence.
    """
    found = find(name)
    if found is None:
        raise ProgramMissingError(PROGRAMS[name].sentence)
    return found
