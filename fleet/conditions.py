"""Conditions on attestations: CEL over `predicate` and `subject`, compiled once, with bounds on what they may cost.

Ground Control checks them when they are written, satellites evaluate them; both by this. Source: the Common Expression
Language's specification, https://github.com/google/cel-spec, "Macros" and "List of Standard Definitions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from fleet.errors import FleetError, malformed

if TYPE_CHECKING:
    import cel

MAX_CHARACTERS = 4096
MAX_NESTING = 2
"""Macros that walk a list, one within another: each multiplies the cost by the length of its list."""
VARIABLES = frozenset({"predicate", "subject"})
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
    import cel  # noqa: PLC0415 - 8 MB that a site without conditions does without

    if len(expression) > MAX_CHARACTERS:
        raise _malformed(f"it has more than {MAX_CHARACTERS} characters")
    bare = _TEXT.sub('""', expression)
    nesting = max(_nesting(bare), default=0)
    if nesting > MAX_NESTING:
        raise _malformed(f"more than {MAX_NESTING} macros that walk lists lie in each other")
    try:
        program = cel.compile(expression)
    except ValueError as error:
        raise _malformed(str(error).partition("ERROR: ")[2].partition("\n")[0] or "it does not parse") from error
    own = {match[1] for match in _MACRO.finditer(bare)}
    if unknown := set(program.variables()) - VARIABLES - own:
        raise _malformed(f"`{min(unknown)}` is unknown: it may use predicate and subject")
    if unknown := set(filter(_is_named, program.functions())) - _FUNCTIONS:
        raise _malformed(f"the function `{min(unknown)}` is unknown")
    return Condition(program, nesting)


def _is_named(function: str) -> bool:
    """Tell a function's name from an operator's, as `_==_` or `@in`."""
    return function.isidentifier() and not function.startswith("_")


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


def _malformed(what: str) -> FleetError:
    return malformed("CONDITION_MALFORMED", f"the condition cannot be used: {what[:300]}")
