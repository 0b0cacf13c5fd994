"""All verification happens where nothing can be reached but the registry that holds the artifact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.policy import TrustRootSpec
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.sigstore import Sigstore
from tests.system.policies.conftest import DEVELOPER, Source

pytestmark = [
    pytest.mark.needs_cosign,
    pytest.mark.needs_registry,
    pytest.mark.needs_sigstore,
    pytest.mark.needs_netns,
]
ROOT = Path(__file__).parents[3]


def test_a_site_asks_nobody_but_the_registry(private: Sigstore, trust: TrustRootSpec, tmp_path: Path) -> None:
    key = cosign.generate_key(tmp_path, "release")
    with distribution(tmp_path / "registry") as url:
        source = Source(url)
        images = {name: source.push(name) for name in ("keyless", "keyed", "other")}
        private.sign(source.reference("keyless", images["keyless"]), DEVELOPER)
        private.sign(source.reference("other", images["other"]), "other@example.com")
        private.sign_with_key(source.reference("keyed", images["keyed"]), key)
    question = {
        "content": str(tmp_path / "registry" / "content"),
        "trusted_root": trust.trusted_root_json.decode(),
        "issuer": private.issuer.url,
        "subject": DEVELOPER,
        "key": key.pem.decode(),
        "images": [
            {"repository": "keyless", "digest": images["keyless"], "by": "keyless"},
            {"repository": "keyed", "digest": images["keyed"], "by": "keys"},
            {"repository": "other", "digest": images["other"], "by": "keyless"},
        ],
    }
    command = f"ip link set lo up && exec {sys.executable} -m tests.rig.offline_judge"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["reasons"] == ["", "", "IDENTITY_OTHER"]
    assert answer["reached"] == [], "it reached for something else"
    assert answer["asked"], "the watch sees what is reached"
