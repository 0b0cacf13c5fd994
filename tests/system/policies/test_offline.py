"""All verification happens where nothing can be reached but the registry that holds the artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.policy import TrustRootSpec
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.images import make_image
from tests.rig.namespace import answer_of
from tests.rig.notation import NotationAuthority, attach, notation_signer
from tests.rig.sigstore import Sigstore
from tests.system.policies.conftest import DEVELOPER, Source

pytestmark = [
    pytest.mark.needs_cosign,
    pytest.mark.needs_registry,
    pytest.mark.needs_sigstore,
    pytest.mark.needs_netns,
    pytest.mark.needs_go,
]


def test_a_site_asks_nobody_but_the_registry(private: Sigstore, trust: TrustRootSpec, tmp_path: Path) -> None:
    key, notary = cosign.generate_key(tmp_path, "release"), NotationAuthority(tmp_path / "notary")
    with distribution(tmp_path / "registry") as url:
        source = Source(url)
        images = {name: source.push(name) for name in ("keyless", "keyed", "other")}
        private.sign(source.reference("keyless", images["keyless"]), DEVELOPER)
        private.sign(source.reference("other", images["other"]), "other@example.com")
        private.sign_with_key(source.reference("keyed", images["keyed"]), key)
        with notation_signer(tmp_path) as signer:
            for name, by, revocable in (
                ("notation", notary, False),
                ("revocable", notary, True),  # it says where to ask, and nobody is asked
                ("stranger", NotationAuthority(tmp_path / "stranger"), False),
            ):
                image = make_image(name)
                images[name] = root = image.tags["1.0"]
                attach(image, root, signer.sign(by.issue("release", revocable=revocable), image, root))
                source.push(name, image)
    keyless = {"trusted_root": trust.trusted_root_json.decode(), "issuer": private.issuer.url, "subject": DEVELOPER}
    question = {
        "content": str(tmp_path / "registry" / "content"),
        "rules": {
            "keyless": {"by": "keyless", **keyless},
            "keys": {"by": "keys", "key": key.pem.decode()},
            "notation": {"by": "notation", "ca": notary.pem, "identity": "x509.subject: C=DE, O=Example"},
        },
        "images": [
            {"repository": name, "digest": images[name], "rules": rules}
            for name, rules in (
                ("keyless", "keyless"),
                ("other", "keyless"),
                ("keyed", "keys"),
                ("notation", "notation"),
                ("revocable", "notation"),
                ("stranger", "notation"),
            )
        ],
    }
    answer = answer_of("tests.rig.offline_judge", question=question, timeout_s=120)
    assert answer["reasons"] == ["", "IDENTITY_OTHER", "", "", "REVOCATION_UNKNOWN", "CERTIFICATE_UNTRUSTED"]
    assert answer["reached"] == [], "it reached for something else"
    assert answer["asked"], "the watch sees what is reached"
