"""Who signs, as a ClusterImagePolicy says it: a key, short-lived certificates, or nobody."""

from __future__ import annotations

import re

import yaml

from controlplane.satctl.reading import check_public_key
from controlplane.satctl.yaml_nodes import Fields, File
from fleet.policy import Keyless, KeySet, SignerIdentity, StaticVerdict, TextMatch, Verifier
from fleet.signer_checks import check_match, is_anchored

_ACTIONS = {"pass": True, "fail": False}
KEYLESS = ("url", "identities", "ca-cert", "trustRootRef", "insecureIgnoreSCT")
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL)


def read_verifier(file: File, node: yaml.Node, fields: Fields) -> Verifier:
    """Read who signs: exactly one of key, keyless and static."""
    kinds = [kind for kind in ("key", "keyless", "static") if kind in fields]
    match kinds:
        case ["key"]:
            return _key(file, fields["key"])
        case ["keyless"]:
            return _keyless(file, fields["keyless"])
        case ["static"]:
            return _static(file, fields)
        case _:
            raise file.wrong(node, "an authority has exactly one of key, keyless or static")


def _key(file: File, node: yaml.Node) -> KeySet:
    fields = file.fields(node, ("data", "secretRef", "kms", "hashAlgorithm"))
    for kind in ("secretRef", "kms"):
        if kind in fields:
            file.fail(fields[kind], f"sites reach no {kind}: write the public key itself into `data`")
    if "data" not in fields:
        file.fail(node, "`data` is missing: add the public key")
    if "hashAlgorithm" in fields and file.text(fields["hashAlgorithm"]).lower() != "sha256":
        file.fail(fields["hashAlgorithm"], "keys are used with the hash of their kind: take hashAlgorithm out")
    text = file.judged(fields["data"], lambda: check_public_key(file.text(fields["data"]), subject="key.data"))
    return KeySet(tuple(found.group() for found in _PEM.finditer(text)))


def _keyless(file: File, node: yaml.Node) -> Keyless:
    fields = file.fields(node, KEYLESS)
    if "ca-cert" in fields:
        text = "a certificate alone proves no log entry: make a trust root of it and the logs (`satctl trust create`)"
        file.fail(fields["ca-cert"], f"{text} and write trustRootRef in its place")
    if "identities" not in fields:
        file.fail(node, "`identities` is missing, so that anybody could sign: add it")
    return Keyless(tuple(_identity(file, item) for item in file.items(fields["identities"], at_least_one=True)))


def _identity(file: File, node: yaml.Node) -> SignerIdentity:
    fields = file.fields(node, ("issuer", "issuerRegExp", "subject", "subjectRegExp"))
    return SignerIdentity(_match(file, node, fields, "issuer"), _match(file, node, fields, "subject"))


def _match(file: File, node: yaml.Node, fields: Fields, name: str) -> TextMatch:
    exact, regexp = fields.get(name), fields.get(f"{name}RegExp")
    if exact and not regexp:
        return TextMatch(file.text(exact))
    if not regexp or exact:
        raise file.wrong(node, f"an identity has one of `{name}` and `{name}RegExp`: for any, write {name}RegExp: .*")
    match = TextMatch(file.text(regexp), is_regexp=True)
    if not is_anchored(match.text):
        file.warn(regexp, "this expression is found anywhere in a text: write ^(…)$")
    return file.judged(regexp, lambda: check_match(match))


def _static(file: File, fields: Fields) -> StaticVerdict:
    inside = file.fields(fields["static"], ("action", "message"), required=("action",))
    for name in ("attestations", "ctlog", "rfc3161timestamp", "source", "signatureFormat"):
        if name in fields:
            file.fail(fields[name], f"static looks at no signature: take `{name}` out")
    message = file.text(inside["message"]) if "message" in inside else ""
    return StaticVerdict(file.word(inside["action"], _ACTIONS, "action"), message)
