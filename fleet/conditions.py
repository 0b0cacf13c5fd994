"""Conditions of attestations, judged before anybody evaluates them: would a satellite understand them at all?

The language is CEL (https://cel.dev, its language definition). Two names are known: `predicate` and `subject`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from fleet.errors import malformed

MAX_CONDITION = 4096
"""Characters."""
VARIABLES = frozenset({"predicate", "subject"})
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "type", "dyn"}
    | {"timestamp", "duration", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
"""CEL's standard functions, operators aside."""
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


def check_condition(text: str) -> str:
    """Return a condition that can be evaluated.

    Raises:
        FleetError: MALFORMED `CONDITION_MALFORMED`, with what CEL says of it.
    """
    import cel  # noqa: PLC0415 - 9 MB that a site without conditions does without

    if len(text) > MAX_CONDITION:
        raise malformed("CONDITION_MALFORMED", "a condition has at most 4,096 characters", subject=f"{len(text)}")
    try:
        program = cel.compile(text)
    except ValueError as error:
        said = " ".join(str(error).partition("ERROR:")[2].split("|", 1)[0].split())
        raise malformed("CONDITION_MALFORMED", "a condition is a CEL expression", subject=said[:200]) from error
    _check_names(text, set(program.variables()))
    _check_functions({name for name in program.functions() if name.isidentifier()})
    return text


def _check_names(text: str, used: set[str]) -> None:
    unknown = sorted(used - VARIABLES - _TYPES - set(_BOUND.findall(text)))
    if unknown:
        known = "a condition knows `predicate` and `subject`: write predicate.… or subject.…"
        raise malformed("CONDITION_MALFORMED", known, subject=unknown[0][:80])


def _check_functions(used: set[str]) -> None:
    unknown = sorted(used - _FUNCTIONS)
    if unknown:
        close = get_close_matches(unknown[0], _FUNCTIONS, n=1)
        guess = f": did you mean {close[0]}?" if close else ""
        raise malformed("CONDITION_MALFORMED", f"a condition has CEL's standard functions{guess}", subject=unknown[0])
