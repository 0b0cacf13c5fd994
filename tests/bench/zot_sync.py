"""Zot's own sync as a peer: a Zot that fetches on demand what it is asked for, until it serves the manifest.

Registry and copier are one process there, so its CPU and memory stand for both and are set beside nobody's.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.costs import Cost, FailedError
from tests.bench.ends import Name, Site, Source
from tests.rig.zot import zot

_PATIENCE_S = 300.0
_POLL_S = 0.005


@contextmanager
def following_zot(source: Source) -> Iterator[Site]:
    """Run an empty Zot that knows the source."""
    upstream = {
        "urls": [source.url],
        "onDemand": True,
        "tlsVerify": bool(source.tls),
        "content": [{"prefix": "**"}],
    }
    if source.tls:
        upstream["certDir"] = str(source.tls.authority.parent)
    extensions = {"sync": {"enable": True, "registries": [upstream]}}
    with tempfile.TemporaryDirectory(prefix="bench-zot-") as scratch, zot(Path(scratch), extensions) as url:
        yield Site("zot", Path(scratch), url)


def ask_for(source: Source, site: Site, names: Sequence[Name], *, within_s: float = _PATIENCE_S) -> Cost:
    """Ask for images until they are there.

    Raises:
        FailedError: one is not there in time.
    """
    begun = time.monotonic()
    for name in names:
        while site.digest_of(name) != source.images[name]:
            if time.monotonic() - begun > within_s:
                said = (site.directory / "zot.log").read_text().splitlines()[-3:]
                raise FailedError(f"Zot does not have {name}: {json.dumps(said)[-1000:]}")
            time.sleep(_POLL_S)
    return Cost(time.monotonic() - begun)
