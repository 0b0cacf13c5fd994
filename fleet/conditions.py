"""Conditions on attestations: CEL over `predicate` and `subject`, compiled once, with bounds on what they may cost.

Ground Control checks them when they are written, satellites evaluate them; both by this. Source: the Common Expression
Language's specification, https://github.com/google/cel-spec, "Macros" and "List of Standard Definitions".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from fleet.errors import malformed

if TYPE_CHECKING:
    import cel

MAX_CHARACTERS = 4096
MAX_NESTING = 2
"""Macros that walk a list, one within another: each multiplies the cost by the length of its list."""
VARIABLES = frozenset({"predicate", "subject"})
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_FUNCTIONS = frozenset(
    (
        *("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"),
        *("contains", "endsWith", "matches", "size", "startsWith"),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth"),
        *("getHours", "getMilliseconds", "getMinutes", "getSeconds"),
    )
)
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_TEXT = re.compile(
    r"""(?:[rR][bB]?|[bB][rR])(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"]*"|'[^']*')"""
    r"""|\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|//[^\n]*""",
    re.DOTALL,
)
"""Strings, raw ones and others, and comments: what is in them is not the expression's own."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that can be evaluated."""

    program: cel.Program
    nesting: int
    """How deep macros that walk lists lie in each other."""


@lru_cache(maxsize=64)
def compile_condition(expression: str) -> Condition:
    """Compile an expression over `predicate` and `subject`.

    Raises:
        FleetError: MALFORMED `CONDITION_MALFORMED`, whose text says what is wrong with it.
    """
    # Its package brings a command line along, and with it rich, which a satellite has not: nobody asks for it.
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    import cel  # noqa: PLC0415 - memory that a site without conditions does without

    if len(expression) > MAX_CHARACTERS:
        text = "a condition has at most 4,096 characters"
        raise malformed("CONDITION_MALFORMED", text, subject=f"{len(expression)}")
    bare = _TEXT.sub('""', expression)
    nesting = max(_nesting(bare), default=0)
    if nesting > MAX_NESTING:
        text = f"at most {MAX_NESTING} macros that walk lists lie in each other in a condition"
        raise malformed("CONDITION_MALFORMED", text)
    try:
        program = cel.compile(expression)
    except ValueError as error:
        said = " ".join(str(error).partition("ERROR:")[2].split("|", 1)[0].split())
        raise malformed("CONDITION_MALFORMED", "a condition is a CEL expression", subject=said[:200]) from error
    _check_names(set(program.variables()), {match[1] for match in _MACRO.finditer(bare)})
    _check_functions({name for name in program.functions() if name.isidentifier() and not name.startswith("_")})
    return Condition(program, nesting)


def check_condition(expression: str) -> str:
    """Return a condition that can be evaluated.

    Raises:
        FleetError: as `compile_condition`.
    """
    compile_condition(expression)
    return expression


def _check_names(used: set[str], own: set[str]) -> None:
    if unknown := sorted(used - VARIABLES - _TYPES - own):
        known = "a condition knows `predicate` and `subject`: write predicate.… or subject.…"
        raise malformed("CONDITION_MALFORMED", known, subject=unknown[0][:80])


def _check_functions(used: set[str]) -> None:
    if unknown := sorted(used - _FUNCTIONS):
        from difflib import get_close_matches  # noqa: PLC0415 - for people, where something is wrong

        close = get_close_matches(unknown[0], _FUNCTIONS, n=1)
        guess = f": did you mean {close[0]}?" if close else ""
        raise malformed("CONDITION_MALFORMED", f"a condition has CEL's standard functions{guess}", subject=unknown[0])


def _nesting(bare: str) -> Iterator[int]:
    """Say, for each macro that walks a list, in how many such it lies, itself included."""
    starts = {match.start() + match[0].index("(") for match in _MACRO.finditer(bare)}
    open_at: list[bool] = []
    for position, character in enumerate(bare):
        if character == "(":
            open_at.append(position in starts)
            if open_at[-1]:
                yield sum(open_at)
        elif character == ")" and open_at:
            open_at.pop()
