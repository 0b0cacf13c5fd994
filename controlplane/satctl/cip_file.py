"""ClusterImagePolicies of sigstore's policy-controller, read as policies of this fleet.

Their meaning: https://docs.sigstore.dev/policy-controller/overview/ and the API's own documentation, v1alpha1 and
v1beta1. What cannot be said here is an error with its line and the remedy, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from controlplane.satctl.cip_images import Sources
from controlplane.satctl.cip_signers import KEYLESS, read_verifier
from controlplane.satctl.policy_file import MODES, Rules
from controlplane.satctl.yaml_nodes import Fields, File
from fleet.identity import check_name
from fleet.policy import (
    Authority,
    Keyless,
    KeySet,
    LogEvidence,
    Mode,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    StaticVerdict,
    Verifier,
)
from fleet.policy_checks import check_authority, check_policy
from fleet.policy_wire import write_policy
from fleet.v1 import fleet_pb2 as pb

VERSIONS = {f"policy.sigstore.dev/{version}": version for version in ("v1alpha1", "v1beta1")}
PREDICATES = {
    "custom": "https://cosign.sigstore.dev/attestation/v1",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "link": "https://in-toto.io/Link/v1",
    "openvex": "https://openvex.dev/ns",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
}
"""cosign's words for predicate types."""
FORMATS = {"simplesigning": SignatureFormat.COSIGN_SIMPLE_SIGNING, "bundle": SignatureFormat.SIGSTORE_BUNDLE}

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC = ("images", "authorities", "mode", "match", "policy")
_AUTHORITY = (
    *("name", "key", "keyless", "static", "source", "ctlog", "attestations", "rfc3161timestamp", "signatureFormat"),
)
_IN_CEL = (
    "CUE and Rego cannot be carried over: take `policy` out, import, and write it in CEL as the `condition` of an "
    "attestation (docs/policies.md)"
)


def read_cluster_policies(path: Path, sources: Sequence[pb.Source], *, trust_root: str, scopes: list[str]) -> Rules:
    """Read all ClusterImagePolicies of a file.

    Args:
        path: the file.
        sources: the fleet's; their addresses say which source a glob's host is.
        trust_root: what authorities rely on that name none: there it would be the public sigstore; empty for nothing.
        scopes: who is to hold the policies.

    Raises:
        FleetError: MALFORMED `CLUSTER_POLICY_MALFORMED`, whose text has the line; `FILE_UNREADABLE`.
    """
    file = File(path, "CLUSTER_POLICY_MALFORMED")
    reader = _Reader(file, Sources.of(sources), trust_root, scopes)
    policies = tuple(reader.policy(node) for node in file.documents("there is no ClusterImagePolicy in it"))
    return Rules(policies, tuple(file.warnings))


class _Reader:
    """Reads one ClusterImagePolicy after the other."""

    def __init__(self, file: File, sources: Sources, trust_root: str, scopes: list[str]) -> None:
        self._file = file
        self._sources = sources
        self._trust_root = trust_root
        self._scopes = scopes

    def policy(self, node: yaml.Node) -> pb.Policy:
        file, fields = self._file, self._file.fields(node, _TOP, required=("apiVersion", "kind", "metadata", "spec"))
        file.word(fields["apiVersion"], VERSIONS, "version of this API")
        if file.text(fields["kind"]) != "ClusterImagePolicy":
            file.fail(fields["kind"], "this is no ClusterImagePolicy: a trust root is made by `satctl trust create`")
        name = file.loose(fields["metadata"], "name")
        return pb.Policy(
            name=file.judged(name, lambda: check_name(file.text(name), what="policy")),
            spec=write_policy(self._spec(fields["spec"])),
            scopes=self._scopes,
        )

    def _spec(self, node: yaml.Node) -> PolicySpec:
        file, fields = self._file, self._file.fields(node, _SPEC, required=("images", "authorities"))
        if "match" in fields:
            file.fail(fields["match"], "sites know no Kubernetes resources to match: use images, and --scope")
        if "policy" in fields:
            file.fail(fields["policy"], _IN_CEL)
        globs = [glob for item in file.items(fields["images"], at_least_one=True) for glob in self._globs(item)]
        items = file.items(fields["authorities"], at_least_one=True)
        hosts = {glob.partition("/")[0] for glob in globs}
        spec = PolicySpec(
            images=tuple(dict.fromkeys(globs)),
            authorities=tuple(self._authority(item, at, hosts) for at, item in enumerate(items)),
            mode=file.word(fields["mode"], MODES, "mode") if "mode" in fields else Mode.ENFORCE,
        )
        with file.at(node):
            return check_policy(spec)

    def _globs(self, node: yaml.Node) -> list[str]:
        glob = self._file.fields(node, ("glob",), required=("glob",))["glob"]
        return self._file.judged(glob, lambda: self._sources.globs(self._file.text(glob)))

    def _authority(self, node: yaml.Node, at: int, used: set[str]) -> Authority:
        file, fields = self._file, self._file.fields(node, _AUTHORITY)
        name = file.text(fields["name"]) if "name" in fields else f"authority-{at}"
        verifier = read_verifier(file, node, fields)
        if isinstance(verifier, StaticVerdict):
            return file.judged(node, lambda: check_authority(Authority(name, verifier)))
        evidence = self._evidence(fields, verifier)
        needs_root = evidence is not None
        authority = Authority(
            name,
            verifier,
            (self._format(node, fields),),
            self._root(node, fields) if needs_root else "",
            evidence,
            tuple(map(self._attestation, file.items(fields["attestations"]) if "attestations" in fields else ())),
            self._source(fields["source"], used) if "source" in fields else "",
        )
        return file.judged(node, lambda: check_authority(authority))

    def _format(self, node: yaml.Node, fields: Fields) -> SignatureFormat:
        if "signatureFormat" in fields:
            return self._file.word(fields["signatureFormat"], FORMATS, "format")
        text = "cosign 3 makes bundles, which do not count by default there, nor here now: add `bundle` to formats"
        self._file.warn(node, text)
        return SignatureFormat.COSIGN_SIMPLE_SIGNING

    def _evidence(self, fields: Fields, verifier: Verifier) -> LogEvidence | None:
        """Say what policy-controller asks for: keys need no log unless one is named, nor does what has a timestamp."""
        stamped = "rfc3161timestamp" in fields
        logged = "ctlog" in fields or (isinstance(verifier, Keyless) and not stamped)
        if isinstance(verifier, KeySet):
            return LogEvidence(log_entries=int(logged), timestamps=int(stamped)) if logged or stamped else None
        inside = self._file.fields(fields["keyless"], KEYLESS)
        ignores = "insecureIgnoreSCT" in inside and self._file.truth(inside["insecureIgnoreSCT"])
        return LogEvidence(int(logged), int(stamped), 1, int(not ignores))

    def _root(self, node: yaml.Node, fields: Fields) -> str:
        """Name the one trust root that an authority relies on; its parts name it each for itself there."""
        file = self._file
        named: dict[str, yaml.Node] = {}
        for part in ("keyless", "ctlog", "rfc3161timestamp"):
            if part not in fields:
                continue
            inside = file.fields(fields[part], KEYLESS if part == "keyless" else ("url", "trustRootRef"))
            if "url" in inside:
                file.warn(inside["url"], "sites ask nobody: what counts is in the trust root, whatever is at this URL")
            if "trustRootRef" in inside:
                named[file.text(inside["trustRootRef"])] = inside["trustRootRef"]
        if len(named) > 1:
            file.fail(next(reversed(named.values())), "an authority has one trust root here: join the two in one")
        if not (named or self._trust_root):
            text = "this relies on the public sigstore there, of which sites know nothing: make a trust root of its"
            file.fail(
                node, f"{text} trusted_root.json (`satctl trust create sigstore …`) and give --trust-root sigstore"
            )
        return next(iter(named), self._trust_root)

    def _attestation(self, node: yaml.Node) -> RequiredAttestation:
        known = ("name", "predicateType", "policy")
        file, fields = self._file, self._file.fields(node, known, required=("name", "predicateType"))
        if "policy" in fields:
            file.fail(fields["policy"], _IN_CEL)
        kind = file.text(fields["predicateType"])
        if ":" not in kind:
            kind = file.word(fields["predicateType"], PREDICATES, "predicate type")
        return RequiredAttestation(file.text(fields["name"]), kind)

    def _source(self, node: yaml.Node, used: set[str]) -> str:
        file, items = self._file, self._file.items(node, at_least_one=True)
        if items[1:]:
            file.fail(items[1], "signatures of an authority lie in one repository: make an authority of each")
        fields = file.fields(items[0], ("oci", "signaturePullSecrets", "tagPrefix"), required=("oci",))
        if "signaturePullSecrets" in fields:
            text = "sites pull with the source's own credential: `satctl source set-credential`, and take this out"
            file.fail(fields["signaturePullSecrets"], text)
        if "tagPrefix" in fields:
            file.fail(fields["tagPrefix"], "signatures are found by their own tags alone: take tagPrefix out")
        oci = fields["oci"]
        return file.judged(oci, lambda: self._sources.repository(file.text(oci), used))
