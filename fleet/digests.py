"""The hashes of the state model: resource version, scope digest, state digest.

Every hash is SHA-256 over length-prefixed parts, the first of which names what is hashed, so that no two kinds
of input can collide:

    H(domain, p1, ..., pn) = SHA-256( u32be(len(domain)) domain  u32be(len(p1)) p1 ... u32be(len(pn)) pn )

    version(kind, payload)  = H("fleet.v1.resource", u32be(kind), payload)
    scope digest            = H("fleet.v1.scope", then for each resource in the order of (kind, name, version):
                                u32be(kind), UTF-8 name, version)
    state digest            = H("fleet.v1.state", then for each scope in the order of its name:
                                UTF-8 scope name, scope digest)

Names order by their UTF-8 bytes. The same text, with test vectors, is the comment of `Resource` in
proto/fleet/v1/resource.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

SIZE_BYTES = 32
"""Length of every hash here."""


def _hash(domain: bytes, parts: Iterable[bytes]) -> bytes:
    hasher = hashlib.sha256(len(domain).to_bytes(4, "big") + domain)
    for part in parts:
        hasher.update(len(part).to_bytes(4, "big") + part)
    return hasher.digest()


def resource_version(kind: int, payload: bytes) -> bytes:
    """Hash a resource's kind and payload: `(kind, payload) → 32 bytes`."""
    return _hash(b"fleet.v1.resource", (kind.to_bytes(4, "big"), payload))


def scope_digest(resources: Iterable[tuple[int, str, bytes]]) -> bytes:
    """Hash a scope's content: `(kind, name, version)... → 32 bytes`, whatever the order given."""
    parts: list[bytes] = []
    for kind, name, version in sorted((kind, name.encode(), version) for kind, name, version in resources):
        parts += (kind.to_bytes(4, "big"), name, version)
    return _hash(b"fleet.v1.scope", parts)


EMPTY_SCOPE = scope_digest(())
"""The digest of a scope that holds nothing."""


def state_digest(scopes: Mapping[str, bytes]) -> bytes:
    """Hash a whole state: `{scope name: scope digest} → 32 bytes`."""
    parts: list[bytes] = []
    for name, digest in sorted((name.encode(), digest) for name, digest in scopes.items()):
        parts += (name, digest)
    return _hash(b"fleet.v1.state", parts)
