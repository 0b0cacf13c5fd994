"""Whether a text is one that a policy accepts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fleet.policy import TextMatch

if TYPE_CHECKING:
    from collections.abc import Callable


def matches(wanted: TextMatch, text: str) -> bool:
    """Say whether `text` is wanted; an expression that cannot be read accepts nothing."""
    if not wanted.is_regexp:
        return bool(text) and wanted.text == text
    found = _compiled(wanted.text)
    return found is not None and bool(found(text))


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Callable[[str], Any] | None:
    """Compile for RE2, whose time is linear in the text whatever the expression."""
    import re2  # noqa: PLC0415 - 3 MB that a site without expressions does without

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        search: Callable[[str], Any] = re2.compile(expression, options).search
    except re2.error:
        return None
    return search
