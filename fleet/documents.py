"""Foreign JSON, read strictly: any bytes become plain values of the type asked for, or our error."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fleet.errors import FleetError, malformed

Fields = Mapping[str, object]
"""A JSON object."""


class Duplicate(ValueError):  # noqa: N818 it never leaves this module
    """One object says a key twice: two readers could understand it differently."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Duplicate("a key is there twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


class Reader:
    """Takes typed fields out of one kind of document; every failure has that kind's reason."""

    def __init__(self, reason: str, what: str) -> None:
        """Name the reason of its errors and the thing that is read, for people."""
        self._reason = reason
        self._what = what

    def fail(self, detail: str) -> FleetError:
        """Make the error: the caller raises it."""
        return malformed(self._reason, f"not a {self._what}: {detail}")

    def parse(self, raw: bytes) -> Fields:
        """Read one JSON object: UTF-8, each key once, no NaN.

        Raises:
            FleetError: MALFORMED with this reader's reason.
        """
        try:
            found = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise self.fail("it is not strict JSON") from error
        if not isinstance(found, dict):
            raise self.fail("it is not a JSON object")
        return found

    def text(self, fields: Fields, key: str, *, default: str | None = None) -> str:
        """Take a string; `default` where the key is absent or null."""
        value = fields.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not _encodes(value):
            raise self.fail(f"{key} is not a string")
        return value

    def count(self, fields: Fields, key: str) -> int:
        """Take an integer that is not negative and fits 63 bits."""
        value = fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise self.fail(f"{key} is not a size")
        return value

    def fields(self, fields: Fields, key: str) -> Fields:
        """Take an object that must be there."""
        value = fields.get(key)
        if not isinstance(value, dict):
            raise self.fail(f"{key} is not an object")
        return value

    def maybe_fields(self, fields: Fields, key: str) -> Fields:
        """Take an object, empty where the key is absent or null."""
        return {} if fields.get(key) is None else self.fields(fields, key)

    def texts(self, fields: Fields, key: str) -> dict[str, str]:
        """Take an object of strings, empty where the key is absent or null."""
        found = self.maybe_fields(fields, key)
        return {name: self.text(found, name) for name in found}

    def objects(self, fields: Fields, key: str, *, limit: int) -> Sequence[Fields]:
        """Take an array of objects, at most `limit`; empty where the key is absent or null."""
        value = fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail(f"{key} is not an array of objects")
        if len(value) > limit:
            raise self.fail(f"{key} has more than {limit} entries")
        return value

    def base64_list(self, fields: Fields, key: str, *, limit: int) -> list[bytes]:
        """Take an array of base64 texts, at most `limit`; empty where the key is absent or null."""
        value = fields.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > limit:
            raise self.fail(f"{key} is not an array of at most {limit} entries")
        return [self.base64({key: one}, key) for one in value]

    def base64(self, fields: Fields, key: str) -> bytes:
        """Take standard base64 with its padding."""
        try:
            return base64.b64decode(self.text(fields, key), validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.fail(f"{key} is not base64") from error


def _encodes(text: str) -> bool:
    """Tell text from a string with half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
