"""The little of HCL that SPIRE's configuration files need: blocks, strings, numbers, booleans and lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from fleet.errors import malformed

Value = str | Path | int | bool | timedelta | Sequence[str]
Block = Mapping[str, "Value | Block"]
"""Names to values or inner blocks. A block's name may carry its label: `KeyManager "memory"`."""


def _text(text: str) -> str:
    """Quote a string so that neither the parser nor interpolation reads anything into it.

    Raises:
        FleetError: MALFORMED `SPIRE_VALUE_MALFORMED` for control characters, or what HCL would interpolate.
    """
    if not text.isprintable() or "${" in text:
        raise malformed("SPIRE_VALUE_MALFORMED", "SPIRE's configuration cannot hold this", subject=text[:80])
    return json.dumps(text, ensure_ascii=False)


def _value(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case timedelta():
            return f'"{value // timedelta(milliseconds=1)}ms"'
        case str() | Path():
            return _text(str(value))
        case _:
            return f"[{', '.join(_text(item) for item in value)}]"


def render(block: Block, *, depth: int = 0) -> str:
    """Write a block's inside, one name a line."""
    indent = "    " * depth
    lines = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            inside = render(value, depth=depth + 1)
            lines.append(f"{indent}{name} {{\n{inside}{indent}}}\n")
        else:
            lines.append(f"{indent}{name} = {_value(value)}\n")
    return "".join(lines)
