"""Reading `WWW-Authenticate`: what a registry wants to see before it answers.

Source: RFC 9110, section 11.6.1; the distribution project's token authentication specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- HTTP's grammar of a token, not a secret
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$|(?=,))")
_MAX_HEADER = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in: `basic`, or `bearer` by a token from `realm`."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read every challenge of every header; what is not understood is left out."""
    return [challenge for header in headers for challenge in _of(header[:_MAX_HEADER])]


def _of(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = 0
    while scheme := _SCHEME.match(header, at):
        at = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, at):
            at = parameter.end()
            quoted = re.sub(r"\\(.)", r"\1", parameter[2] or "")
            parameters.setdefault(parameter[1].lower(), quoted or parameter[3] or "")
        found.append(
            Challenge(
                scheme[1].lower(),
                parameters.get("realm", ""),
                parameters.get("service", ""),
                parameters.get("scope", ""),
            )
        )
    return found
