"""Hashes of what was said: etags of entities, and the content behind a request id."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum


def _plain(value: object) -> object:
    """Reduce a value of the domain to what JSON can say, without a loss that could make two of them equal."""
    match value:
        case Enum():
            return value.value
        case bytes():
            return {"bytes": value.hex()}
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return [_plain(item) for item in value]
        case None | str() | int() | float():
            return value
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {type(value).__name__: named}
    raise TypeError(type(value).__name__)


def content_hash(*parts: object) -> bytes:
    """Hash values of the domain: equal content, equal hash; 32 bytes."""
    text = json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def etag_of(*parts: object) -> str:
    """Name a content: 32 hexadecimal digits."""
    return content_hash(*parts).hex()[:32]
