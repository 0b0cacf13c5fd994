"""What a verdict does not need is not loaded: sites that judge by keys alone pay for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
OTHERS = ("rfc3161_client", "sigstore", "edge.domain.verify.by_certificate", "edge.domain.verify.sigstore.proofs")
NOTATION = ("edge.domain.verify.notation.verifying", "edge.domain.verify.notation.cose")
_JUDGE = """
import json, sys
import edge.bootstrap
from tests.rig.images import make_image
from tests.rig.judging import judged, policy, policy_of
from tests.rig.signer import Signer, sign_v2, sign_v3
from edge.domain.admission import Admission
from edge.domain.policy import Rules, TrustRoot
from fleet.policy import Authority, Keyless, SignatureFormat, SignerIdentity, TextMatch, TrustRootSpec
image, signer = make_image(), Signer()
for sign in (sign_v2, sign_v3):
    sign(image, image.tags["1.0"], signer)
keyed = judged(image, policy(signer.pem))
after_keys = list(sys.modules)
who = Keyless((SignerIdentity(TextMatch("i"), TextMatch("s")),))
by = Authority("a", who, (SignatureFormat.SIGSTORE_BUNDLE,), trust_root="r")
roots = {("fleet", "r"): TrustRoot("r", TrustRootSpec(b"{}"))}
judged(image, rules=Rules((policy_of(by),), roots))
print(json.dumps([isinstance(keyed, Admission), after_keys, list(sys.modules)]))
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[set[str], set[str]]:
    """Judge by a key, then keyless, in a fresh process: `→ modules after each`."""
    done = subprocess.run([sys.executable, "-c", _JUDGE], capture_output=True, text=True, cwd=ROOT, check=True)
    is_admitted, after_keys, after_all = json.loads(done.stdout)
    assert is_admitted
    return set(after_keys), set(after_all)


def test_a_verdict_by_keys_loads_nothing_of_certificates(loaded: tuple[set[str], set[str]]) -> None:
    assert loaded[0].isdisjoint((*OTHERS, *NOTATION))


def test_a_keyless_verdict_loads_its_own_and_nothing_of_notation(loaded: tuple[set[str], set[str]]) -> None:
    assert "edge.domain.verify.by_certificate" in loaded[1] - loaded[0], "what is not loaded is named as it is here"
    assert loaded[1].isdisjoint(NOTATION)
