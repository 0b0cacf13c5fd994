"""A private sigstore and both kinds of source registry, one of each for all tests here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge.adapters.oci.client import Client as OciClient
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.judge import judge
from edge.domain.admission import Admission, Refused
from edge.domain.content import OCI_MANIFEST, Image, read_manifest
from edge.domain.policy import Policy, Rules, TrustRoot
from fleet.policy import Authority, Keyless, LogEvidence, SignatureFormat, SignerIdentity, TextMatch, TrustRootSpec
from fleet.reference import Digest
from tests.rig.distribution import distribution
from tests.rig.images import make_image
from tests.rig.judging import policy_of, wanted
from tests.rig.oci_layout import Client
from tests.rig.repository import Repository
from tests.rig.sigstore import Sigstore, sigstore
from tests.rig.zot import zot

V2, V3 = SignatureFormat.COSIGN_SIMPLE_SIGNING, SignatureFormat.SIGSTORE_BUNDLE
DEVELOPER = "developer@example.com"
ROOT = "private"


@dataclass(frozen=True, slots=True)
class Source:
    """A registry that is signed in and judged from."""

    url: str

    @property
    def upstream(self) -> OciUpstream:
        return OciUpstream(OciClient(parse_endpoint(self.url, plaintext=True), voice=SOURCE))

    def reference(self, repository: str, digest: Digest) -> str:
        return f"{self.url.removeprefix('http://')}/{repository}@{digest}"

    def push(self, repository: str, image: Repository | None = None) -> Digest:
        """Push an image of its own kind, or this one: `→ its digest`."""
        image = image or make_image(repository)
        Client(self.url).push(repository, image)
        return image.tags["1.0"]

    def bundles(self, repository: str, digest: Digest) -> list[bytes]:
        """Read the bundles that refer to an image."""
        upstream, found = self.upstream, list[bytes]()
        for referrer in upstream.referrers(repository, digest):
            manifest = read_manifest(upstream.manifest(repository, referrer.digest).raw, OCI_MANIFEST)
            assert isinstance(manifest, Image)
            with upstream.blob(repository, manifest.layers[0].digest) as chunks:
                found.append(b"".join(chunks))
        return found

    def judged(
        self, repository: str, digest: Digest, *policies: Policy, trust: TrustRootSpec | None = None
    ) -> Admission | Refused:
        """Judge as a satellite does, over HTTP."""
        roots = {("fleet", ROOT): TrustRoot(ROOT, trust)} if trust else {}
        return judge(wanted(digest, repository=repository), self.upstream, Rules(policies, roots))


def reason(verdict: Admission | Refused) -> str:
    return verdict.reason if isinstance(verdict, Refused) else ""


def keyless(
    issuer: str,
    subject: str = DEVELOPER,
    *,
    formats: tuple[SignatureFormat, ...] = (V3,),
    log: LogEvidence | None = None,
) -> Authority:
    """Trust one person of one issuer, as cosign asks for by default."""
    who = SignerIdentity(TextMatch(issuer), TextMatch(subject))
    return Authority("developers", Keyless((who,)), formats, trust_root=ROOT, log_evidence=log)


def keyless_policy(issuer: str, subject: str = DEVELOPER) -> Policy:
    return policy_of(keyless(issuer, subject))


def without(trust: TrustRootSpec, part: str) -> TrustRootSpec:
    """Take a part of a trusted root away."""
    document = json.loads(trust.trusted_root_json)
    del document[part]
    return replace(trust, trusted_root_json=json.dumps(document).encode())


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with sigstore(tmp_path_factory.mktemp("sigstore")) as running:
        yield running


@pytest.fixture(scope="module")
def trust(private: Sigstore) -> TrustRootSpec:
    return TrustRootSpec(private.trusted_root.read_bytes())


@pytest.fixture(scope="session", params=["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    directory: Path = tmp_path_factory.mktemp(request.param)
    with distribution(directory) if request.param == "distribution" else zot(directory) as url:
        yield Source(url)
