"""An authority of a policy in YAML: who signs, in which formats, with what evidence, and what must be attested."""

from __future__ import annotations

import yaml

from controlplane.satctl.reading import FORMATS, check_public_key, read_text
from controlplane.satctl.yaml_nodes import Fields, File, either
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Notation,
    NotationLevel,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    StaticVerdict,
    TextMatch,
    Verifier,
)
from fleet.policy_checks import (
    check_attestation,
    check_attestations,
    check_authority,
    check_evidence,
    check_text,
)
from fleet.reference import parse_repository
from fleet.signer_checks import check_keys, check_match, check_notation_identities, is_anchored

VERIFIERS = ("keys", "keyless", "certificates", "notation", "static")
AUTHORITY_FIELDS = (
    *("name", "formats", "trust_root", "log_evidence", "attestations", "signature_repository"),
    *("keys", "threshold", "keyless", "certificates", "notation", "static"),
)
EVIDENCE_FIELDS = ("log_entries", "timestamps", "observed_times", "certificate_timestamps")
PREDICATES = {
    "slsa-provenance": "https://slsa.dev/provenance/v1",
    "slsa-provenance-0.2": "https://slsa.dev/provenance/v0.2",
    "spdx": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
}
"""Short words for predicate types; cosign's `--type` knows the same ones."""
LEVELS = {level.name.lower(): level for level in NotationLevel}
ACTIONS = {"pass": True, "fail": False}


class AuthorityReader:
    """Reads one authority's nodes."""

    def __init__(self, file: File) -> None:
        self._file = file

    def read(self, node: yaml.Node) -> Authority:
        """Read an authority; what nobody could satisfy is an error here, at the line that says it."""
        file, fields = self._file, self._file.fields(node, AUTHORITY_FIELDS, required=("name",))
        kinds = [kind for kind in VERIFIERS if kind in fields]
        if len(kinds) != 1:
            file.fail(node, f"an authority verifies by exactly one of {either(VERIFIERS)}: this has {len(kinds)}")
        if "threshold" in fields and kinds != ["keys"]:
            file.fail(fields["threshold"], "a threshold is of keys: leave it out")
        authority = Authority(
            file.text(fields["name"]),
            self._verifier(kinds[0], fields),
            self._formats(fields),
            file.text(fields["trust_root"]) if "trust_root" in fields else "",
        )
        return file.judged(node, lambda: check_authority(self._rest(authority, fields)))

    def _rest(self, authority: Authority, fields: Fields) -> Authority:
        """Add what can only be judged together with who signs."""
        evidence = self._evidence(authority, fields["log_evidence"]) if "log_evidence" in fields else None
        attestations = self._attestations(authority, fields["attestations"]) if "attestations" in fields else ()
        repository = ""
        if "signature_repository" in fields:
            named = fields["signature_repository"]
            repository = self._file.judged(named, lambda: parse_repository(self._file.text(named)))
        return Authority(
            authority.name,
            authority.verifier,
            authority.formats,
            authority.trust_root,
            evidence,
            attestations,
            repository,
        )

    def _verifier(self, kind: str, fields: Fields) -> Verifier:
        node = fields[kind]
        match kind:
            case "keys":
                return self._keys(node, fields.get("threshold"))
            case "keyless":
                inside = self._file.fields(node, ("identities",), required=("identities",))
                return Keyless(read_identities(self._file, inside["identities"]))
            case "certificates":
                inside = self._file.fields(node, ("subjects",), required=("subjects",))
                subjects = self._file.items(inside["subjects"], at_least_one=True)
                return CertificateChain(tuple(self._subject(item) for item in subjects))
            case "notation":
                return self._notation(node)
            case _:
                return self._static(node)

    def _keys(self, node: yaml.Node, threshold: yaml.Node | None) -> KeySet:
        file, at = self._file, threshold or node
        keys = tuple(read_key(file, item) for item in file.items(node, at_least_one=True))
        wanted = file.number(threshold) if threshold else 1
        with file.at(at):
            check_keys(keys, wanted, subject="")
        return KeySet(keys, wanted)

    def _subject(self, node: yaml.Node) -> TextMatch:
        if isinstance(node, yaml.ScalarNode):
            return TextMatch(self._file.text(node))
        fields = self._file.fields(node, ("regexp",), required=("regexp",))
        return read_regexp(self._file, fields["regexp"])

    def _notation(self, node: yaml.Node) -> Notation:
        file, fields = self._file, self._file.fields(node, ("level", "trusted_identities"))
        level = file.word(fields["level"], LEVELS, "level") if "level" in fields else NotationLevel.STRICT
        identities: tuple[str, ...] = ()
        if "trusted_identities" in fields:
            named = fields["trusted_identities"]
            identities = tuple(file.texts(named, at_least_one=True))
            with file.at(named):
                check_notation_identities(identities, "")
        return Notation(identities, level)

    def _static(self, node: yaml.Node) -> StaticVerdict:
        if isinstance(node, yaml.ScalarNode):
            return StaticVerdict(self._file.word(node, ACTIONS, "verdict"))
        fields = self._file.fields(node, ("action", "message"), required=("action",))
        message = ""
        if "message" in fields:
            said = fields["message"]
            message = self._file.judged(said, lambda: check_text(self._file.text(said)))
        return StaticVerdict(self._file.word(fields["action"], ACTIONS, "verdict"), message)

    def _formats(self, fields: Fields) -> tuple[SignatureFormat, ...]:
        if "formats" not in fields:
            return ()
        words = self._file.items(fields["formats"], at_least_one=True)
        return tuple(SignatureFormat(self._file.word(item, FORMATS, "format")) for item in words)

    def _evidence(self, authority: Authority, node: yaml.Node) -> LogEvidence:
        fields = self._file.fields(node, EVIDENCE_FIELDS)
        asked = LogEvidence(**{name: self._file.number(value) for name, value in fields.items()})
        with self._file.at(node):
            check_evidence(Authority(authority.name, authority.verifier, log_evidence=asked))
        return asked

    def _attestations(self, authority: Authority, node: yaml.Node) -> tuple[RequiredAttestation, ...]:
        found = tuple(self._attestation(item) for item in self._file.items(node, at_least_one=True))
        with self._file.at(node):
            check_attestations(Authority(authority.name, authority.verifier, attestations=found))
        return found

    def _attestation(self, node: yaml.Node) -> RequiredAttestation:
        file, fields = self._file, self._file.fields(node, ("name", "type", "condition"), required=("name", "type"))
        kind = file.text(fields["type"])
        if kind not in PREDICATES and ":" not in kind:
            file.word(fields["type"], PREDICATES | {"<a URI>": ""}, "predicate type")
        condition = file.text(fields["condition"]) if "condition" in fields else ""
        required = RequiredAttestation(file.text(fields["name"]), PREDICATES.get(kind, kind), condition.strip())
        with file.at(fields.get("condition", node)):
            return check_attestation(required)


def read_key(file: File, node: yaml.Node) -> str:
    """Read a public key: `{file: cosign.pub}`, or the PEM itself."""
    if isinstance(node, yaml.MappingNode):
        named = file.fields(node, ("file",), required=("file",))["file"]
        return file.judged(node, lambda: check_public_key(read_text(file.beside(named)), subject=file.text(named)))
    return file.judged(node, lambda: check_public_key(file.text(node), subject="keys"))


_IDENTITY = ("issuer", "issuer_regexp", "subject", "subject_regexp")


def read_identities(file: File, node: yaml.Node) -> tuple[SignerIdentity, ...]:
    """Read `[{issuer, subject}]`, each of the two by its text or as `issuer_regexp`, `subject_regexp`."""
    return tuple(_identity(file, item) for item in file.items(node, at_least_one=True))


def _identity(file: File, node: yaml.Node) -> SignerIdentity:
    fields = file.fields(node, _IDENTITY)
    return SignerIdentity(_either_way(file, node, fields, "issuer"), _either_way(file, node, fields, "subject"))


def _either_way(file: File, node: yaml.Node, fields: Fields, name: str) -> TextMatch:
    exact, regexp = fields.get(name), fields.get(f"{name}_regexp")
    if exact and not regexp:
        return TextMatch(file.text(exact))
    if regexp and not exact:
        return read_regexp(file, regexp)
    raise file.wrong(node, f"an identity has either `{name}` or `{name}_regexp`: write one of them")


def read_regexp(file: File, node: yaml.Node) -> TextMatch:
    """Read an expression; one that is not anchored is worth a warning."""
    match = TextMatch(file.text(node), is_regexp=True)
    file.judged(node, lambda: check_match(match))
    if not is_anchored(match.text):
        text = "this expression is found anywhere in a text, so that others may register a name that contains it"
        file.warn(node, f"{text}: write ^(…)$")
    return match
