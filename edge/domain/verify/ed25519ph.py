"""Ed25519ph: what cosign 3 signs with when it is given an Ed25519 key, and `cryptography` does not offer.

Verification handles public values only, so nothing here needs constant time; 5 ms a signature. Pure Ed25519
is `cryptography`'s own. Source: RFC 8032, sections 5.1.3 (decoding), 5.1.4 (group), 5.1.7 (verify), with the
prefix dom2(1, "") of section 2 and SHA-512 as the pre-hash.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_DOM2 = b"SigEd25519 no Ed25519 collisions" + bytes([1, 0])
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


class _Point(NamedTuple):
    """Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z."""

    x: int
    y: int
    z: int
    t: int


_NEUTRAL = _Point(0, 1, 1, 0)


def _recover_x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    return x if x & 1 == sign else _P - x


def _decode(encoded: bytes) -> _Point | None:
    number = int.from_bytes(encoded, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= _P:
        return None
    x = _recover_x(y, sign)
    return None if x is None else _Point(x, y, 1, x * y % _P)


def _encode(point: _Point) -> bytes:
    inverse = pow(point.z, -1, _P)
    x, y = point.x * inverse % _P, point.y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(_KEY_BYTES, "little")


def _add(p: _Point, q: _Point) -> _Point:
    a = (p.y - p.x) * (q.y - q.x) % _P
    b = (p.y + p.x) * (q.y + q.x) % _P
    c = 2 * p.t * q.t * _D % _P
    d = 2 * p.z * q.z % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return _Point(e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int, point: _Point) -> _Point:
    result = _NEUTRAL
    for bit in f"{scalar:b}":
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


_BASE_Y = 4 * pow(5, -1, _P) % _P
_BASE_X = _recover_x(_BASE_Y, 0) or 0
_BASE = _Point(_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether `signature` (64 bytes) is the key's (32 bytes) over `message`, pre-hashed with SHA-512."""
    if len(signature) != _SIGNATURE_BYTES or len(public_key) != _KEY_BYTES:
        return False
    key = _decode(public_key)
    commitment, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if key is None or scalar >= _L:
        return False
    hashed = hashlib.sha512(message).digest()
    challenge = int.from_bytes(hashlib.sha512(_DOM2 + commitment + public_key + hashed).digest(), "little") % _L
    minus_key = _Point(_P - key.x, key.y, 1, _P - key.t)
    return _encode(_add(_times(scalar, _BASE), _times(challenge, minus_key))) == commitment
