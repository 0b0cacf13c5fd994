"""What a satellite judges by: policies, blocks, and the versions of both.

The semantics are those of sigstore's ClusterImagePolicy: every policy that matches an image must hold, and
one authority suffices for a policy. What is empty admits nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique
from functools import lru_cache

from fleet.reference import Digest


@unique
class SignatureFormat(Enum):
    """How a signature is stored and what it is over."""

    COSIGN_SIMPLE_SIGNING = "cosign-simple-signing"
    """cosign 2: the tag `sha256-<hex>.sig`, a simple-signing payload."""
    SIGSTORE_BUNDLE = "sigstore-bundle"
    """cosign 3: a referrer, a DSSE envelope over an in-toto statement."""


@dataclass(frozen=True, slots=True)
class KeyAuthority:
    """Keys, any of which may sign, in the formats that count."""

    name: str
    public_keys: tuple[bytes, ...]
    """SubjectPublicKeyInfo each, PEM or DER."""
    formats: frozenset[SignatureFormat]


@dataclass(frozen=True, slots=True)
class Policy:
    """Who must have signed the images that it matches."""

    name: str
    images: tuple[str, ...]
    """Globs over `<source>/<repository>`: `*` is any text without a slash, `**` any text."""
    authorities: tuple[KeyAuthority, ...]
    referrer_types: tuple[str, ...] = ()
    """Artifact types that may come along unsigned, such as SBOMs."""
    check_reference: bool = False
    """The signed reference must name the image's repository; the digest alone is the claim otherwise."""
    version: bytes = b""
    """Its resource's version."""

    def matches(self, image: str) -> bool:
        """Say whether `<source>/<repository>` falls under it."""
        return any(_compiled(glob).match(image) for glob in self.images)


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", glob)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts) + r"\Z", re.DOTALL)


def _joined(domain: bytes, versions: Iterable[bytes]) -> bytes:
    hasher = hashlib.sha256(domain)
    for version in sorted(versions):
        hasher.update(len(version).to_bytes(4, "big") + version)
    return hasher.digest()


@dataclass(frozen=True, slots=True)
class Rules:
    """All that verdicts rest on at one moment."""

    policies: tuple[Policy, ...] = ()
    blocks: frozenset[Digest] = frozenset()
    """Content that is not served, whoever signed it."""
    trust_version: bytes = b""
    """The version of the trust roots in force; keyed verdicts use none."""
    unreadable: tuple[str, ...] = ()
    """HOLD resources that this satellite cannot read: while there are any, nothing new is admitted."""

    @property
    def policy_version(self) -> bytes:
        """Changes whenever a policy comes, goes or changes."""
        return _joined(b"edge.policies\0", (policy.version for policy in self.policies))

    @property
    def block_version(self) -> bytes:
        """Changes whenever a block comes or goes."""
        return _joined(b"edge.blocks\0", (digest.encode() for digest in self.blocks))

    def matching(self, image: str) -> tuple[Policy, ...]:
        """List the policies that an image must satisfy, all of them."""
        return tuple(policy for policy in self.policies if policy.matches(image))
