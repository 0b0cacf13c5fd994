"""Globs over `<source>/<repository>`: `*` is any text without a slash, `**` any text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WILD = {"**": ".*", "*": "[^/]*"}


def is_matched(image: str, globs: Iterable[str]) -> bool:
    """Say whether an image falls under one of the globs."""
    return any(_compiled(glob).match(image) for glob in globs)


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join(_WILD.get(part) or re.escape(part) for part in parts) + r"\Z", re.DOTALL)
