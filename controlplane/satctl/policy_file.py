"""Policies in YAML, as people keep them in git; what is wrong is said with its line and the remedy.

name: base
images: ["hub/**"]
scopes: [fleet]                  # this is the default
check_reference: false           # this is the default
referrer_types: []               # this is the default
authorities:
  - name: release
    formats: [bundle, simple-signing]
    keys:
      - file: cosign.pub         # beside this file; or the PEM itself, as a block (|)
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import yaml

from controlplane.satctl.reading import FORMATS, check_public_key, read_formats, read_scope, read_text
from fleet.errors import FleetError, malformed
from fleet.identity import check_name
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import Authority, KeySet, PolicySpec, SignatureFormat

_POLICY = ("name", "images", "scopes", "check_reference", "referrer_types", "authorities")
_AUTHORITY = ("name", "formats", "keys")
Fields = dict[str, yaml.Node]


def read_policies(path: Path) -> list[pb.Policy]:
    """Read all policies of a file.

    Raises:
        FleetError: MALFORMED `POLICY_FILE_MALFORMED`, whose text has the line; `FILE_UNREADABLE`.
    """
    text = read_text(path)
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise _error(path, line, f"this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise _error(path, 1, "this is not YAML") from error
    if not documents:
        raise _error(path, 1, "there is no policy in it: begin with `name:`")
    return [_Reader(path).policy(node) for node in documents]


def _error(path: Path, line: int, what: str) -> FleetError:
    return malformed("POLICY_FILE_MALFORMED", f"{path}:{line}: {what}")


class _Reader:
    """Reads one document's nodes, which know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def policy(self, node: yaml.Node) -> pb.Policy:
        fields = self._fields(node, _POLICY, required=("name", "images", "authorities"))
        authorities = [self._authority(item) for item in self._items(fields["authorities"], at_least_one=True)]
        spec = PolicySpec(
            images=self._texts(fields["images"], at_least_one=True),
            authorities=authorities,
            check_reference="check_reference" in fields and self._truth(fields["check_reference"]),
            referrer_types=self._texts(fields["referrer_types"]) if "referrer_types" in fields else (),
        )
        scopes = self._scopes(fields["scopes"]) if "scopes" in fields else ["fleet"]
        return pb.Policy(name=self._name(fields["name"]), spec=spec, scopes=scopes)

    def _authority(self, node: yaml.Node) -> Authority:
        fields = self._fields(node, _AUTHORITY, required=_AUTHORITY)
        keys = [self._key(item) for item in self._items(fields["keys"], at_least_one=True)]
        formats = self._items(fields["formats"], at_least_one=True)
        return Authority(
            name=self._text(fields["name"]),
            formats=[number for item in formats for number in self._format(item)],
            keys=KeySet(public_keys_pem=keys),
        )

    def _format(self, node: yaml.Node) -> list[SignatureFormat.ValueType]:
        word = self._text(node)
        if word not in FORMATS:
            self._fail(node, f"`{word[:40]}` is no format: write {_or(tuple(FORMATS))}{_guess(word, tuple(FORMATS))}")
        return read_formats([word])

    def _key(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.MappingNode):
            named = self._text(self._fields(node, ("file",), required=("file",))["file"])
            return self._judged(node, lambda: check_public_key(read_text(self._path.parent / named), subject=named))
        return self._judged(node, lambda: check_public_key(self._text(node), subject="keys"))

    def _name(self, node: yaml.Node) -> str:
        return self._judged(node, lambda: check_name(self._text(node), what="policy"))

    def _scopes(self, node: yaml.Node) -> list[str]:
        def scope(item: yaml.Node) -> str:
            return self._judged(item, lambda: read_scope(self._text(item)))

        return [scope(item) for item in self._items(node, at_least_one=True)]

    def _judged(self, node: yaml.Node, judge: Callable[[], str]) -> str:
        try:
            return judge()
        except FleetError as error:
            raise _error(self._path, _line(node), error.public) from error

    def _fields(self, node: yaml.Node, known: tuple[str, ...], *, required: tuple[str, ...]) -> Fields:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"expected fields here: {_or(known)}")
        fields: Fields = {}
        for key, value in node.value:
            name = self._text(key)
            if name not in known:
                self._fail(key, f"`{name[:40]}` is unknown: write {_or(known)}{_guess(name, known)}")
            if name in fields:
                self._fail(key, f"`{name}` is there twice: remove one")
            fields[name] = value
        if missing := [name for name in required if name not in fields]:
            self._fail(node, f"`{missing[0]}` is missing: add it")
        return fields

    def _items(self, node: yaml.Node, *, at_least_one: bool = False) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            self._fail(node, "expected a list here: write [a, b] or lines that begin with -")
        if at_least_one and not node.value:
            self._fail(node, "this list is empty, so nothing would ever be admitted: name at least one")
        return list(node.value)

    def _texts(self, node: yaml.Node, *, at_least_one: bool = False) -> list[str]:
        return [self._text(item) for item in self._items(node, at_least_one=at_least_one)]

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self._fail(node, "expected a text here")
        return str(node.value)

    def _truth(self, node: yaml.Node) -> bool:
        if not isinstance(node, yaml.ScalarNode) or node.value not in {"true", "false"}:
            self._fail(node, "expected true or false here")
        return bool(node.value == "true")

    def _fail(self, node: yaml.Node, what: str) -> NoReturn:
        raise _error(self._path, _line(node), what)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _or(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}" if words[1:] else words[0]


def _guess(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""
