"""Skip what needs a program that is not here, with the sentence that says how to get it.

`REQUIRE=zot,spire` turns that into a failure.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.rig.programs import PROGRAMS, find

NEEDS = {
    "needs_zot": ("zot",),
    "needs_spire": ("spire-server", "spire-agent"),
    "needs_cosign": ("cosign",),
    "needs_registry": ("registry",),
    "needs_crane": ("crane",),
    "needs_postgres": ("postgres", "initdb", "pg_ctl"),
    "needs_containerd": ("containerd", "ctr"),
    "needs_grpcurl": ("grpcurl",),
    "needs_go": ("go",),
    "needs_skopeo": ("skopeo",),
    "needs_toxiproxy": ("toxiproxy",),
    "needs_tinyproxy": ("tinyproxy",),
    "needs_faketime": ("faketime",),
    "needs_iptables": ("iptables",),
    "needs_sigstore": ("fulcio", "rekor", "timestamp-server"),
}
"""Which programs a marker stands for."""
_WANT = "for want of "


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_registry: runs CNCF Distribution's registry")
    config.addinivalue_line("markers", "needs_crane: runs crane")
    if unknown := _required() - {marker.removeprefix("needs_") for marker in (*NEEDS, "needs_netns")}:
        raise pytest.UsageError(f"REQUIRE names what no test needs: {', '.join(sorted(unknown))}")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh directory under a short name: programs put unix sockets below it, whose paths have 107 bytes at most."""
    return tmp_path_factory.mktemp("t")


def _wants(marker: str) -> str:
    """Say what is missing for a marker, or nothing."""
    if marker == "needs_netns":
        able = os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip")
        return "" if able else f"{_WANT}netns: network namespaces take root, unshare and ip (iproute2)."
    for name in NEEDS.get(marker, ()):
        if find(name) is None:
            return f"{_WANT}{marker.removeprefix('needs_')}: {PROGRAMS[name].sentence}"
    return ""


def _required() -> set[str]:
    return {word.strip() for word in os.environ.get("REQUIRE", "").split(",") if word.strip()}


def pytest_runtest_setup(item: pytest.Item) -> None:
    markers = {marker.name for marker in item.iter_markers() if marker.name.startswith("needs_")}
    for marker in sorted(markers):
        if want := _wants(marker):
            if marker.removeprefix("needs_") in _required():
                pytest.fail(f"REQUIRE: {want}", pytrace=False)
            pytest.skip(want)


def _names(reports: Iterable[pytest.TestReport]) -> Iterable[str]:
    for report in reports:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _WANT in text:
            yield text.split(_WANT, 1)[1].split(":", 1)[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counted = Counter(_names(terminalreporter.getreports("skipped")))
    if counted:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(counted.items()))
        noun = "test" if counted.total() == 1 else "tests"
        terminalreporter.write_line(f"{counted.total()} {noun} skipped for want of: {names}", yellow=True)
