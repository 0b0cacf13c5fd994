"""Every key that cosign makes or takes, in both formats, signed by the real cosign and judged over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.oci.client import Client as OciClient
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.domain.admission import Admission, Refused
from edge.domain.policy import Rules
from fleet.policy import SignatureFormat
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.images import make_image
from tests.rig.judging import policy, wanted
from tests.rig.oci_layout import Client
from tests.rig.signer import Signer

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]
KINDS = ("generated", "p256", "p384", "p521", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with distribution(tmp_path_factory.mktemp("registry")) as url:
        yield url


def _key(directory: Path, kind: str) -> cosign.KeyPair:
    return cosign.generate_key(directory, kind) if kind == "generated" else cosign.import_key(directory, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cosign_signs_is_admitted_and_only_for_its_key(kind: str, registry: str, tmp_path: Path) -> None:
    key, image, repository = _key(tmp_path, kind), make_image(), f"keys/{kind}"
    Client(registry).push(repository, image)
    root = image.tags["1.0"]
    upstream = OciUpstream(OciClient(parse_endpoint(registry, plaintext=True), voice=SOURCE))
    for form in (SignatureFormat.COSIGN_SIMPLE_SIGNING, SignatureFormat.SIGSTORE_BUNDLE):
        trusted = Rules((policy(key.pem, formats=[form]),))
        unsigned = judge(wanted(root, repository=repository), upstream, trusted)
        assert isinstance(unsigned, Refused)
        cosign.sign(f"{registry.removeprefix('http://')}/{repository}@{root}", key, form)
        verdict = judge(wanted(root, repository=repository), upstream, trusted)
        assert isinstance(verdict, Admission), verdict
        foreign = Rules((policy(Signer().pem, formats=[form]),))
        refused = judge(wanted(root, repository=repository), upstream, foreign)
        assert isinstance(refused, Refused)
        assert refused.reason == "SIGNATURE_INVALID"
