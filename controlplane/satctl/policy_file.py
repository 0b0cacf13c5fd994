"""Policies, trust roots and blocks in YAML, as people keep them in git; docs/policies.md shows every field.

    name: base
    images: ["hub/**"]
    authorities:
      - name: release
        formats: [bundle, simple-signing]
        keys:
          - file: cosign.pub         # beside this file; or the PEM itself, as a block (|)

A document that begins with `kind: TrustRoot` or `kind: Block` is one of those; one without a kind is a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

import yaml

from controlplane.satctl.applying import Rule
from controlplane.satctl.authority_file import AuthorityReader, read_identities
from controlplane.satctl.reading import read_scope, read_signer
from controlplane.satctl.trust_files import read_certificates, read_document, read_revocation_lists
from controlplane.satctl.yaml_nodes import Fields, File
from fleet.identity import check_name
from fleet.policy import BlockSpec, Mode, PolicySpec, SignatureFormat, TrustRootSpec, WhenClockUnknown, WhenExpired
from fleet.policy_checks import check_block, check_glob, check_policy, check_text
from fleet.policy_wire import write_block, write_policy, write_trust_root
from fleet.reference import parse_digest
from fleet.trust_checks import check_trust_root
from fleet.v1 import fleet_pb2 as pb

T = TypeVar("T")
W = TypeVar("W", bound=IntEnum)
_WORDS = {"Policy": "policy", "TrustRoot": "trust root", "Block": "block"}
KINDS = tuple(_WORDS)
MODES = {"enforce": Mode.ENFORCE, "warn": Mode.WARN}
WHEN_EXPIRED = {
    "refuse-new": WhenExpired.REFUSE_NEW,
    "withdraw": WhenExpired.WITHDRAW,
    "accept": WhenExpired.ACCEPT,
}
WHEN_CLOCK_UNKNOWN = {"refuse": WhenClockUnknown.REFUSE, "use-floor": WhenClockUnknown.USE_FLOOR}

POLICY_FIELDS = (
    *("kind", "name", "images", "scopes", "check_reference", "referrer_types", "authorities"),
    *("mode", "fallback", "when_expired", "when_clock_unknown", "expires_at"),
)
TRUST_ROOT_FIELDS = (
    *("kind", "name", "scopes", "expires_at", "trusted_root", "ca", "signing_authority", "timestamp_authority"),
    "revocation_lists",
)
BLOCK_FIELDS = ("kind", "name", "scopes", "reason", "digests", "signers", "identities")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file holds, in its order, and what is allowed in it and probably not meant."""

    rules: tuple[Rule, ...]
    warnings: tuple[str, ...]


def read_rules(path: Path) -> Rules:
    """Read all policies, trust roots and blocks of a file.

    Raises:
        FleetError: MALFORMED `POLICY_FILE_MALFORMED`, whose text has the line; `FILE_UNREADABLE`.
    """
    file = File(path)
    reader = _Reader(file)
    rules = tuple(reader.rule(node) for node in file.documents("there is no policy in it: begin with `name:`"))
    return Rules(rules, tuple(file.warnings))


class _Reader:
    """Reads one document after the other."""

    def __init__(self, file: File) -> None:
        self._file = file

    def rule(self, node: yaml.Node) -> Rule:
        match self._kind(node):
            case "TrustRoot":
                return self._trust_root(node)
            case "Block":
                return self._block(node)
            case _:
                return self._policy(node)

    def _kind(self, node: yaml.Node) -> str:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        said = [value for key, value in pairs if key.value == "kind"]
        return self._file.word(said[0], {kind: kind for kind in KINDS}, "kind") if said else "Policy"

    def _policy(self, node: yaml.Node) -> pb.Policy:
        file, fields = self._file, self._file.fields(node, POLICY_FIELDS, required=("name", "images", "authorities"))
        images = [self._judged_text(item, check_glob) for item in file.items(fields["images"], at_least_one=True)]
        authorities = [
            AuthorityReader(file).read(item) for item in file.items(fields["authorities"], at_least_one=True)
        ]
        spec = PolicySpec(
            images=tuple(images),
            authorities=tuple(authorities),
            check_reference="check_reference" in fields and file.truth(fields["check_reference"]),
            referrer_types=tuple(file.texts(fields["referrer_types"])) if "referrer_types" in fields else (),
            mode=self._word(fields, "mode", MODES, Mode.ENFORCE),
            is_fallback="fallback" in fields and file.truth(fields["fallback"]),
            when_expired=self._word(fields, "when_expired", WHEN_EXPIRED, WhenExpired.REFUSE_NEW),
            when_clock_unknown=self._word(fields, "when_clock_unknown", WHEN_CLOCK_UNKNOWN, WhenClockUnknown.REFUSE),
        )
        with file.at(fields["authorities"]):
            check_policy(spec)
        self._warn_of_reference(fields, spec)
        made = pb.Policy(name=self._name(fields), spec=write_policy(spec), scopes=self._scopes(fields))
        self._expire(made, fields)
        return made

    def _word(self, fields: Fields, name: str, words: Mapping[str, W], default: W) -> W:
        return self._file.word(fields[name], words, name) if name in fields else default

    def _warn_of_reference(self, fields: Fields, spec: PolicySpec) -> None:
        formats = {each for authority in spec.authorities for each in authority.formats}
        if spec.check_reference and formats - {SignatureFormat.COSIGN_SIMPLE_SIGNING}:
            text = "only simple-signing names a repository: signatures of the other formats never count here"
            self._file.warn(fields["check_reference"], text)

    def _trust_root(self, node: yaml.Node) -> pb.TrustRoot:
        file, fields = self._file, self._file.fields(node, TRUST_ROOT_FIELDS, required=("kind", "name"))
        root = fields.get("trusted_root")
        spec = TrustRootSpec(
            trusted_root_json=self._material(root, read_document) if root else b"",
            ca_pem=self._certificates(fields, "ca"),
            signing_authority_pem=self._certificates(fields, "signing_authority"),
            timestamp_authority_pem=self._certificates(fields, "timestamp_authority"),
            revocation_lists=self._revocation_lists(fields),
        )
        with file.at(root or node):
            check_trust_root(spec)
        made = pb.TrustRoot(name=self._name(fields), spec=write_trust_root(spec), scopes=self._scopes(fields))
        self._expire(made, fields)
        return made

    def _certificates(self, fields: Fields, name: str) -> tuple[str, ...]:
        files = self._file.items(fields[name]) if name in fields else ()
        return tuple(self._material(one, read_certificates) for one in files)

    def _revocation_lists(self, fields: Fields) -> tuple[bytes, ...]:
        files = self._file.items(fields["revocation_lists"]) if "revocation_lists" in fields else ()
        return tuple(each for one in files for each in self._material(one, read_revocation_lists))

    def _material(self, node: yaml.Node, read: Callable[[Path], T]) -> T:
        """Read a file that is named here."""
        return self._file.judged(node, lambda: read(self._file.beside(node)))

    def _block(self, node: yaml.Node) -> pb.Block:
        file, fields = self._file, self._file.fields(node, BLOCK_FIELDS, required=("kind", "name"))
        spec = BlockSpec(
            digests=tuple(self._each(fields, "digests", parse_digest)),
            signers=tuple(map(self._signer, file.items(fields["signers"]) if "signers" in fields else ())),
            reason=self._judged_text(fields["reason"], check_text) if "reason" in fields else "",
            identities=read_identities(file, fields["identities"]) if "identities" in fields else (),
        )
        with file.at(node):
            check_block(spec)
        return pb.Block(name=self._name(fields), spec=write_block(spec), scopes=self._scopes(fields))

    def _signer(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.MappingNode):
            named = self._file.fields(node, ("file",), required=("file",))["file"]
            return self._material(named, lambda path: read_signer(str(path)))
        return self._judged_text(node, read_signer)

    def _name(self, fields: Fields) -> str:
        kind = self._file.text(fields["kind"]) if "kind" in fields else "Policy"
        return self._judged_text(fields["name"], lambda text: check_name(text, what=_WORDS[kind]))

    def _scopes(self, fields: Fields) -> list[str]:
        if "scopes" in fields:
            self._file.items(fields["scopes"], at_least_one=True)
        return self._each(fields, "scopes", read_scope) or ["fleet"]

    def _each(self, fields: Fields, name: str, read: Callable[[str], T]) -> list[T]:
        """Read each text of a list that may be absent."""
        items = self._file.items(fields[name]) if name in fields else ()
        return [self._judged_text(item, read) for item in items]

    def _judged_text(self, node: yaml.Node, read: Callable[[str], T]) -> T:
        return self._file.judged(node, lambda: read(self._file.text(node)))

    def _expire(self, made: pb.Policy | pb.TrustRoot, fields: Fields) -> None:
        if "expires_at" in fields:
            made.expires_at.FromDatetime(self._file.time(fields["expires_at"]))
