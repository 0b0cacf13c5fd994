"""ClusterImagePolicies as policies of the fleet: what is carried over, and that nothing is left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.satctl.cip_file import read_cluster_policies
from controlplane.satctl.policy_file import read_rules
from controlplane.satctl.policy_yaml import write_yaml
from fleet.errors import FleetError, Kind
from fleet.policy import (
    Authority,
    Keyless,
    KeySet,
    LogEvidence,
    Mode,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    StaticVerdict,
    TextMatch,
)
from fleet.policy_wire import read_policy
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import SourceSpec
from tests.rig.policy_signing import PolicySigner

ONE, TWO = PolicySigner(), PolicySigner()
SOURCES = [
    pb.Source(name="hub", spec=SourceSpec(address="docker.io")),
    pb.Source(name="acme", spec=SourceSpec(address="ghcr.io")),
    pb.Source(name="acme-eu", spec=SourceSpec(address="eu.gcr.io")),
    pb.Source(name="acme-us", spec=SourceSpec(address="us.gcr.io")),
]


def block(text: str, indent: int) -> str:
    return "".join(" " * indent + line + "\n" for line in text.splitlines())


WHOLE = f"""\
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: acme
  annotations: {{kept-by: platform}}
spec:
  images:
    - glob: ghcr.io/acme/**
    - glob: ghcr.io/other/tools:**
  mode: warn
  authorities:
    - name: release
      key:
        hashAlgorithm: sha256
        data: |
{block(ONE.pem + TWO.pem, 10)}\
      ctlog:
        url: https://rekor.example.com
        trustRootRef: private
      source:
        - oci: ghcr.io/acme/signatures
      attestations:
        - name: sbom
          predicateType: spdxjson
        - name: scan
          predicateType: https://example.com/scan/v1
    - keyless:
        url: https://fulcio.example.com
        trustRootRef: private
        identities:
          - issuer: https://token.example.com
            subjectRegExp: ^https://github\\.com/acme/.*$
      rfc3161timestamp:
        trustRootRef: private
      signatureFormat: bundle
    - name: nobody
      static:
        action: fail
        message: ask the platform team
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cip.yaml"


def read(file: Path, text: str, *, trust_root: str = "") -> pb.Policy:
    file.write_text(text)
    (policy,) = read_cluster_policies(file, SOURCES, trust_root=trust_root, scopes=["fleet"]).rules
    assert isinstance(policy, pb.Policy)
    return policy


def wrong(file: Path, text: str) -> str:
    with pytest.raises(FleetError) as raised:
        read(file, text)
    assert (raised.value.kind, raised.value.reason) == (Kind.MALFORMED, "CLUSTER_POLICY_MALFORMED")
    return raised.value.public.removeprefix(str(file) + ":")


def minimal(authority: str, *, glob: str = "ghcr.io/acme/**", version: str = "v1alpha1") -> str:
    return f"""\
apiVersion: policy.sigstore.dev/{version}
kind: ClusterImagePolicy
metadata: {{name: acme}}
spec:
  images: [{{glob: "{glob}"}}]
  authorities:
    - {authority}
"""


def test_a_whole_policy_is_carried_over(file: Path) -> None:
    policy = read(file, WHOLE)
    release = Authority(
        "release",
        KeySet((ONE.pem, TWO.pem)),
        (SignatureFormat.COSIGN_SIMPLE_SIGNING,),
        "private",
        LogEvidence(log_entries=1),
        (
            RequiredAttestation("sbom", "https://spdx.dev/Document"),
            RequiredAttestation("scan", "https://example.com/scan/v1"),
        ),
        "acme/signatures",
    )
    who = SignerIdentity(
        TextMatch("https://token.example.com"), TextMatch(r"^https://github\.com/acme/.*$", is_regexp=True)
    )
    keyless = Authority(
        "authority-1",
        Keyless((who,)),
        (SignatureFormat.SIGSTORE_BUNDLE,),
        "private",
        LogEvidence(timestamps=1, observed_times=1, certificate_timestamps=1),
    )
    nobody = Authority("nobody", StaticVerdict(passes=False, message="ask the platform team"))
    assert (policy.name, list(policy.scopes)) == ("acme", ["fleet"])
    assert read_policy(policy.spec) == PolicySpec(
        ("acme/acme/**", "acme/other/tools"), (release, keyless, nobody), mode=Mode.WARN
    )


def test_what_is_written_as_yaml_is_read_as_the_same(file: Path) -> None:
    policy = read(file, WHOLE)
    file.write_text(write_yaml([policy]))
    assert read_rules(file).rules == (policy,)


@pytest.mark.parametrize(
    ("glob", "images"),
    [
        ("**", ["**"]),
        ("**/nginx", ["**/nginx"]),
        ("ghcr.io/**", ["acme/**"]),
        ("ghcr.io/acme/app*", ["acme/acme/app*"]),
        ("ghcr.io/acme/app@sha256:*", ["acme/acme/app"]),
        ("index.docker.io/library/nginx", ["hub/library/nginx"]),
        ("docker.io/acme/*:*", ["hub/acme/*"]),
        ("*", ["hub/library/*"]),
        ("*/*", ["hub/*/*"]),
        ("*.gcr.io/acme/*", ["acme-eu/acme/*", "acme-us/acme/*"]),
    ],
)
def test_a_registrys_host_becomes_the_sources_that_have_its_address(file: Path, glob: str, images: list[str]) -> None:
    policy = read(file, minimal("static: {action: pass}", glob=glob))
    assert list(policy.spec.images) == images


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("quay.io/acme/**", "5: no source has this registry's address: `satctl source create NAME --address quay.io`"),
        ("nginx*", "5: a glob begins with a registry's host and a slash"),
        ("library/nginx", "5: a glob begins with a registry's host and a slash"),
        ("gcr.io**/acme", "5: a glob begins with a registry's host and a slash"),
        ("ghcr.io/acme/app:1.2", "5: policies match repositories, not tags or digests"),
        ("ghcr.io/Acme/**", "5: a glob is over SOURCE/REPOSITORY, in lower case"),
    ],
)
def test_a_glob_that_means_nothing_here_is_an_error(file: Path, glob: str, said: str) -> None:
    assert wrong(file, minimal("static: {action: pass}", glob=glob)).startswith(said)


KEYLESS = "keyless: {identities: [{issuer: https://i.example, subject: a@b.c}]}"


def test_the_public_sigstore_is_a_trust_root_that_the_operator_names(file: Path) -> None:
    (authority,) = read_policy(read(file, minimal(KEYLESS), trust_root="sigstore").spec).authorities
    assert authority.trust_root == "sigstore"
    assert authority.log_evidence == LogEvidence(1, 0, 1, 1)
    ignores = KEYLESS.replace("{identities", "{insecureIgnoreSCT: true, identities")
    (authority,) = read_policy(read(file, minimal(ignores), trust_root="sigstore").spec).authorities
    assert authority.log_evidence == LogEvidence(1, 0, 1, 0)
    said = wrong(file, minimal(KEYLESS))
    assert said.startswith("7: this relies on the public sigstore there, of which sites know nothing")
    assert "--trust-root sigstore" in said


def test_a_key_without_a_log_needs_none(file: Path) -> None:
    (authority,) = read_policy(read(file, minimal(f"key:\n        data: |\n{block(ONE.pem, 10)}")).spec).authorities
    assert (authority.log_evidence, authority.trust_root) == (None, "")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("v1beta1", "v1", "1: `policy.sigstore.dev/v1` is no version of this API: write policy.sigstore.dev/v1alpha1"),
        ("ClusterImagePolicy", "TrustRoot", "2: this is no ClusterImagePolicy: a trust root is made by `satctl trust"),
        ("name: acme\n", "name: ACME\n", "4: a policy's name is 1 to 63 of a-z"),
        ("  mode: warn", "  mode: audit", "10: `audit` is no mode: write enforce or warn"),
        ("  mode: warn", "  match: [{resource: pods}]", "10: sites know no Kubernetes resources to match"),
        ("  mode: warn", "  policy: {type: cue}", "10: CUE and Rego cannot be carried over"),
        ("predicateType: spdxjson", "predicateType: spdxjson\n          policy: {type: rego}", "32: CUE and Rego"),
        ("predicateType: spdxjson", "predicateType: sbom", "31: `sbom` is no predicate type: write custom,"),
        ("hashAlgorithm: sha256", "kms: awskms:///x", "14: sites reach no kms: write the public key itself"),
        ("hashAlgorithm: sha256", "secretRef: {name: x}", "14: sites reach no secretRef: write the public key"),
        ("hashAlgorithm: sha256", "hashAlgorithm: sha512", "14: keys are used with the hash of their kind"),
        ("        - oci: ghcr.io", "        - oci: quay.io", "28: no source has this registry's address"),
        ("        - oci: ghcr.io", "        - oci: docker.io", "28: signatures lie at the artifact's own source here"),
        ("signatures\n", "signatures\n          tagPrefix: x\n", "29: signatures are found by their own tags alone"),
        ("signatures\n", "signatures\n        - oci: ghcr.io/b\n", "29: signatures of an authority lie in one repos"),
        ("signatures\n", "signatures\n          signaturePullSecrets: [{name: x}]\n", "29: sites pull with the source"),
        (
            "rfc3161timestamp:\n        trustRootRef: private",
            "ctlog: {trustRootRef: b}",
            "40: an authority has one",
        ),
        ("            subjectRegExp: ^https://github\\.com/acme/.*$\n", "", "38: an identity has one of `subject` and"),
        (
            "        identities:",
            "        ca-cert: {data: x}\n        identities:",
            "37: a certificate alone proves",
        ),
        ("action: fail", "action: deny", "45: `deny` is no action: write pass or fail"),
        (
            "    - name: nobody\n",
            "    - name: nobody\n      ctlog: {}\n",
            "44: static looks at no signature",
        ),
        ("signatureFormat: bundle", "signatureFormat: jws", "42: `jws` is no format: write simplesigning or bundle"),
        ("signatureFormat: bundle", "sigformat: bundle", "42: `sigformat` is unknown: write name, key, keyless"),
    ],
)
def test_what_cannot_be_carried_over_is_said_with_its_line(file: Path, before: str, after: str, said: str) -> None:
    assert before in WHOLE
    assert wrong(file, WHOLE.replace(before, after, 1)).startswith(said)


def test_what_is_probably_not_meant_is_a_warning_with_its_line(file: Path) -> None:
    file.write_text(minimal(KEYLESS.replace("subject: a@b.c", "subjectRegExp: acme")))
    rules = read_cluster_policies(file, SOURCES, trust_root="sigstore", scopes=["fleet"])
    said = [warning.removeprefix(f"{file}:") for warning in rules.warnings]
    assert [one.partition(":")[0] for one in said] == ["7", "7"]
    assert "found anywhere" in said[0]
    assert "cosign 3 makes bundles" in said[1]
