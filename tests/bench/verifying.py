"""What a verdict costs, by kind of signer: in itself, with the registry's round trips, and the first one of a process.

Every image is judged as a new one: what is remembered of certificates is forgotten before each verdict, and what a
satellite has at hand (its code, the policy's keys, the trust root) stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.app.ports import Upstream
from edge.domain.admission import Refused
from edge.domain.content import Descriptor, RawManifest
from edge.domain.moment import Moment
from edge.domain.verify.chains import load_certificate
from edge.process import ENVIRONMENT
from fleet.errors import FleetError
from fleet.reference import Digest
from tests.bench.costs import FailedError, cost_of
from tests.bench.figures import Figure, Measured, median_of
from tests.bench.signing import Signed, question, signed_by_key, signed_by_notary, signed_by_somebody
from tests.rig.judging import wanted
from tests.rig.question import rules_of

T = TypeVar("T")
_IMAGES, _QUICK_IMAGES = 20, 5
_ROUNDS, _QUICK_ROUNDS = 9, 3
_EXPECTED_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class _Kind:
    """Who signs, and how many milliseconds of CPU a verdict may take."""

    sign: Callable[[Path, int], AbstractContextManager[Signed]]
    most_ms: float


KINDS: Mapping[str, _Kind] = {
    "verify-keyed": _Kind(signed_by_key, 2.0),
    "verify-keyless": _Kind(signed_by_somebody, 10.0),
    "verify-notation": _Kind(signed_by_notary, 10.0),
}


def measure(name: str, quick: bool, console: Console) -> list[Figure]:
    """Measure one kind of signer."""
    kind, rounds = KINDS[name], _QUICK_ROUNDS if quick else _ROUNDS
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        count = _QUICK_IMAGES if quick else _IMAGES
        console.print(f"{name}: signing {count} images")
        with kind.sign(Path(scratch), count) as signed:
            return _figures(name, kind, signed, rounds)


def _figures(name: str, kind: _Kind, signed: Signed, rounds: int) -> list[Figure]:
    source = OciUpstream(Client(parse_endpoint(signed.url, plaintext=True), voice=SOURCE))
    remembered = _Remembered(source)
    _judge_all(signed, remembered)  # fetched once, and the code is there
    alone = [ms for _ in range(rounds) for ms in _judge_all(signed, remembered)]
    fetched = [ms for _ in range(rounds) for ms in _judge_all(signed, source)]
    first = [_first(signed, repository) for repository in list(signed.images)[:rounds]]
    theirs = [_peer_ms(signed, repository) for repository in list(signed.images)[:rounds]] if signed.peer else []
    return [
        Figure(f"{name}/verdict/cpu", "ms", median_of(alone), most=kind.most_ms),
        Figure(
            f"{name}/with-registry/cpu",
            "ms",
            median_of(fetched),
            peer="cosign verify" if theirs else "",
            theirs=median_of(theirs) if theirs else None,
            most_ratio=_EXPECTED_RATIO if theirs else None,
        ),
        Figure(f"{name}/first/cpu", "ms", _of(first, "cpu_ms")),
        Figure(f"{name}/first/memory", "MB", _of(first, "memory_mb")),
        Figure(f"{name}/first/modules-loaded", "", _of(first, "modules")),
    ]


def _of(runs: list[dict[str, float]], what: str) -> Measured:
    return median_of([run[what] for run in runs])


def _judge_all(signed: Signed, upstream: Upstream) -> list[float]:
    """Judge each image once: `→ milliseconds of CPU, each`.

    Raises:
        FailedError: one is refused.
    """
    rules, taken = rules_of(signed.asked), list[float]()
    for repository, digest in signed.images.items():
        load_certificate.cache_clear()
        begun = time.process_time()
        verdict = judge(wanted(digest, repository=repository), upstream, rules, Moment(datetime.now(UTC)))
        taken.append((time.process_time() - begun) * 1000)
        if isinstance(verdict, Refused):
            raise FailedError(f"refused: {verdict.reason}")
    return taken


def _first(signed: Signed, repository: str) -> dict[str, float]:
    """Judge one image in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "tests.bench.first_verdict"],
        input=question(signed, repository),
        env={**ENVIRONMENT, **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(done.stderr[-2000:])
    taken: dict[str, float] = json.loads(done.stdout)
    return taken


def _peer_ms(signed: Signed, repository: str) -> float:
    return 1000 * (cost_of((*signed.peer, signed.reference(repository)), {"COSIGN_PASSWORD": ""}).cpu_s or 0)


@dataclass(slots=True)
class _Remembered:
    """Implements `edge.app.ports.Upstream`: what another one answered once, and what it had not."""

    upstream: Upstream
    _answers: dict[tuple[str, ...], object] = field(default_factory=dict)

    def manifest(self, repository: str, reference: str) -> RawManifest:
        return self._once(("manifest", repository, reference), partial(self.upstream.manifest, repository, reference))

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        return self._once(("referrers", repository, digest), partial(self.upstream.referrers, repository, digest))

    @contextmanager
    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        def read() -> list[bytes]:
            with self.upstream.blob(
                repository, digest, offset=offset, size_bytes=size_bytes, dropped=dropped
            ) as chunks:
                return list(chunks)

        yield iter(self._once(("blob", repository, digest), read))

    def _once(self, key: tuple[str, ...], ask: Callable[[], T]) -> T:
        if key not in self._answers:
            try:
                self._answers[key] = ask()
            except FleetError as error:
                self._answers[key] = error
        answer = self._answers[key]
        if isinstance(answer, FleetError):
            raise answer
        return answer  # type: ignore[return-value]  # of the same question
