from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edge.domain.admission import Admission
from tests.rig.judging import judged, policy
from tests.rig.repository import Repository
from tests.rig.signer import Signer, sign_v3

EDGE = Path(__file__).parents[4] / "edge"


def test_an_admission_is_not_made_by_hand(image: Repository, signer: Signer) -> None:
    sign_v3(image, image.tags["1.0"], signer)
    verdict = judged(image, policy(signer.pem))
    assert isinstance(verdict, Admission)
    held = {field.name: getattr(verdict, field.name) for field in fields(Admission)}
    with pytest.raises(TypeError, match="verdict"):
        Admission(**held, seal=object())


def test_only_the_verdict_seals() -> None:
    importing = re.compile(r"edge\.domain\.admission import [^\n]*\b(admit|_SEAL)\b|edge\.domain import admission")
    found = {path.relative_to(EDGE).as_posix() for path in EDGE.rglob("*.py") if importing.search(path.read_text())}
    assert found == {"domain/verify/verdict.py"}
