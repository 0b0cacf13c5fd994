"""A little DER: just enough to put a timestamp token's certificates into the order that DER demands.

Authorities list them as they were issued; they are no part of what is signed. Source: RFC 5652, section 5.1
(SignedData); X.690, section 11.6 (set-of components).
"""

from __future__ import annotations

_SEQUENCE, _CERTIFICATES = 0x30, 0xA0
_SHORT = 0x80
_LONGEST = 4


def elements(content: bytes) -> list[bytes]:
    """Split a content into its elements.

    Raises:
        ValueError: it is not DER.
    """
    found: list[bytes] = []
    while content:
        start, size = _measured(content)
        if start + size > len(content):
            raise ValueError("an element is cut short")
        found.append(content[: start + size])
        content = content[start + size :]
    return found


def inside(encoded: bytes) -> bytes:
    """Take an element's content."""
    return encoded[_measured(encoded)[0] :]


def element(tag: int, content: bytes) -> bytes:
    """Write an element."""
    size = len(content)
    if size < _SHORT:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT | len(length)]) + length + content


def _measured(encoded: bytes) -> tuple[int, int]:
    """Say where an element's content begins and how long it is."""
    if len(encoded) < 2:  # noqa: PLR2004 -- a tag and a length
        raise ValueError("an element has a tag and a length")
    size = encoded[1]
    if size < _SHORT:
        return 2, size
    count = size & 0x7F
    if not 1 <= count <= _LONGEST or len(encoded) < 2 + count:
        raise ValueError("a length is none")
    return 2 + count, int.from_bytes(encoded[2 : 2 + count], "big")


def with_sorted_certificates(token: bytes) -> bytes:
    """Write a signed message (ContentInfo) anew, with the certificates that come with it in DER's order.

    Raises:
        ValueError: it is none.
    """
    kind, wrapped = elements(inside(token))
    signed = [
        element(_CERTIFICATES, b"".join(sorted(elements(inside(part))))) if part[0] == _CERTIFICATES else part
        for part in elements(inside(inside(wrapped)))
    ]
    return element(_SEQUENCE, kind + element(_CERTIFICATES, element(_SEQUENCE, b"".join(signed))))
