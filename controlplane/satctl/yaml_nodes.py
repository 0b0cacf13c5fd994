"""YAML as nodes that know their lines, read strictly: what is wrong is said with its line and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import yaml

from controlplane.satctl.reading import read_text
from fleet.errors import FleetError, malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

Fields = dict[str, yaml.Node]
T = TypeVar("T")


class File:
    """One file's documents, and how its nodes are read.

    Attributes:
        path: where it is; files that it names are beside it.
        warnings: what is allowed and probably not meant, with its line.
    """

    def __init__(self, path: Path, reason: str = "POLICY_FILE_MALFORMED") -> None:
        self.path = path
        self.warnings: list[str] = []
        self._reason = reason

    def documents(self, nothing: str) -> list[yaml.Node]:
        """Read all documents.

        Raises:
            FleetError: MALFORMED with the file's reason, whose text has the line; `FILE_UNREADABLE`.
        """
        text = read_text(self.path)
        try:
            found = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise self.error(mark.line + 1 if mark else 1, f"this is not YAML: {error.problem}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise self.error(1, "this is not YAML") from error
        if not found:
            raise self.error(1, nothing)
        return found

    def error(self, line: int, what: str) -> FleetError:
        """Make the error for a line."""
        return malformed(self._reason, f"{self.path}:{line}: {what}")

    def fail(self, node: yaml.Node, what: str) -> NoReturn:
        """Say what is wrong with a node."""
        raise self.wrong(node, what)

    def wrong(self, node: yaml.Node, what: str) -> FleetError:
        """Make the error for a node."""
        return self.error(line_of(node), what)

    def warn(self, node: yaml.Node, what: str) -> None:
        """Remember what is allowed and probably not meant."""
        self.warnings.append(f"{self.path}:{line_of(node)}: {what}")

    def fields(self, node: yaml.Node, known: tuple[str, ...], *, required: tuple[str, ...] = ()) -> Fields:
        """Read a mapping, every key of which is known and there once."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"expected fields here: {either(known)}")
        fields: Fields = {}
        for key, value in node.value:
            name = self.text(key)
            if name not in known:
                self.fail(key, f"`{name[:40]}` is unknown: write {either(known)}{guess(name, known)}")
            if name in fields:
                self.fail(key, f"`{name}` is there twice: remove one")
            fields[name] = value
        if missing := [name for name in required if name not in fields]:
            self.fail(node, f"`{missing[0]}` is missing: add it")
        return fields

    def loose(self, node: yaml.Node, name: str) -> yaml.Node:
        """Find one field of a mapping whose other fields mean nothing here."""
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value == name:
                found: yaml.Node = value
                return found
        raise self.wrong(node, f"`{name}` is missing: add it")

    def items(self, node: yaml.Node, *, at_least_one: bool = False) -> list[yaml.Node]:
        """Read a list."""
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, "expected a list here: write [a, b] or lines that begin with -")
        if at_least_one and not node.value:
            self.fail(node, "this list is empty, so nothing would ever be admitted: name at least one")
        return list(node.value)

    def texts(self, node: yaml.Node, *, at_least_one: bool = False) -> list[str]:
        """Read a list of texts."""
        return [self.text(item) for item in self.items(node, at_least_one=at_least_one)]

    def text(self, node: yaml.Node) -> str:
        """Read a text that is not empty."""
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self.fail(node, "expected a text here")
        return str(node.value)

    def truth(self, node: yaml.Node) -> bool:
        """Read true or false."""
        if not isinstance(node, yaml.ScalarNode) or node.value not in {"true", "false"}:
            self.fail(node, "expected true or false here")
        return bool(node.value == "true")

    def number(self, node: yaml.Node) -> int:
        """Read a whole number of at most nine digits."""
        if not isinstance(node, yaml.ScalarNode) or not node.value.isascii() or not node.value.isdecimal():
            self.fail(node, "expected a whole number here")
        if len(node.value) > 9:  # noqa: PLR2004 - said above; every number in a policy is below 100
            self.fail(node, "this number is too large")
        return int(node.value)

    def word(self, node: yaml.Node, words: Mapping[str, T], what: str) -> T:
        """Read one of some words as what it stands for."""
        found = self.text(node)
        if found not in words:
            known = tuple(words)
            self.fail(node, f"`{found[:40]}` is no {what}: write {either(known)}{guess(found, known)}")
        return words[found]

    def time(self, node: yaml.Node) -> datetime:
        """Read a date, which begins at midnight in UTC, or a time with its zone."""
        text = self.text(node)
        try:
            found = datetime.fromisoformat(text)
            in_utc = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            found = None
        if found is None or (found.tzinfo is None and "T" in text.upper().replace(" ", "T")):
            self.fail(node, "expected a time here: write 2030-12-31 or 2030-12-31T18:00:00Z")
        return in_utc

    def judged(self, node: yaml.Node, judge: Callable[[], T]) -> T:
        """Do what may refuse, and say the line where it does."""
        with self.at(node):
            return judge()

    @contextmanager
    def at(self, node: yaml.Node) -> Iterator[None]:
        """Say the line of what is refused meanwhile."""
        try:
            yield
        except FleetError as error:
            if error.reason == self._reason:
                raise
            raise self.error(line_of(node), error.public) from error

    def beside(self, node: yaml.Node) -> Path:
        """Read the path of a file that is named here."""
        return self.path.parent / self.text(node)


def line_of(node: yaml.Node) -> int:
    """Say where a node begins: 1 is the first line."""
    return int(node.start_mark.line) + 1


def either(words: tuple[str, ...]) -> str:
    """Write alternatives for people: `a, b or c`."""
    return ", ".join(words[:-1]) + f" or {words[-1]}" if words[1:] else words[0]


def guess(word: str, known: tuple[str, ...]) -> str:
    """Say which of the known words was probably meant."""
    close = get_close_matches(word, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""
