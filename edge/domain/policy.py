"""What a satellite judges by: policies, trust roots, blocks, and the versions of all three.

The semantics are those of sigstore's ClusterImagePolicy: every policy that matches an image must hold, and
one authority suffices for a policy. What is empty admits nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from edge.domain.moment import Moment
from fleet.globs import is_matched
from fleet.policy import Authority, CertificateChain, Notation, PolicySpec, SignerIdentity, TrustRootSpec
from fleet.reference import Digest

FLEET = "fleet"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force."""

    name: str
    spec: PolicySpec
    scope: str = FLEET
    version: bytes = b""
    """Its resource's version."""
    expires_at: datetime | None = None

    def matches(self, image: str) -> bool:
        """Say whether `<source>/<repository>` falls under it."""
        return is_matched(image, self.spec.images)


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Trust material in force."""

    name: str
    spec: TrustRootSpec
    version: bytes = b""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is never admitted, of all blocks together."""

    digests: frozenset[Digest] = frozenset()
    signers: frozenset[str] = frozenset()
    """SHA-256 of SubjectPublicKeyInfo, hexadecimal."""
    identities: tuple[SignerIdentity, ...] = ()
    epoch: int = 0
    """The highest serial among them, up to which the site's revocation epoch rises."""
    version: bytes = b""
    """Changes whenever a block comes, goes or changes."""


def joined_version(domain: bytes, versions: Iterable[bytes]) -> bytes:
    """Make one version of many, whatever their order."""
    hasher = hashlib.sha256(domain)
    for version in sorted(versions):
        hasher.update(len(version).to_bytes(4, "big") + version)
    return hasher.digest()


@dataclass(frozen=True, slots=True)
class Rules:
    """All that verdicts rest on at one moment."""

    policies: tuple[Policy, ...] = ()
    trust_roots: Mapping[tuple[str, str], TrustRoot] = field(default_factory=dict)
    """By scope and name."""
    blocks: Blocks = field(default_factory=Blocks)
    unreadable: tuple[str, ...] = ()
    """HOLD resources that this satellite cannot read: while there are any, nothing new is admitted."""

    @property
    def policy_version(self) -> bytes:
        """Changes whenever a policy comes, goes or changes."""
        return joined_version(b"edge.policies\0", (policy.version for policy in self.policies))

    @property
    def trust_version(self) -> bytes:
        """Changes whenever a trust root comes, goes or changes."""
        return joined_version(b"edge.trust\0", (root.version for root in self.trust_roots.values()))

    def trust_version_at(self, moment: Moment) -> bytes:
        """Change as `trust_version` does, and with what the time makes of policies and trust roots."""
        if not self.needs_time:
            return self.trust_version
        lapsed = [one.version for one in self._expiring if one.expires_at and one.expires_at <= moment.at]
        return joined_version(b"edge.time\0", (self.trust_version, bytes([moment.is_known]), *lapsed))

    @property
    def needs_time(self) -> bool:
        """Say whether verdicts may change with time alone."""
        return any(one.expires_at for one in self._expiring) or any(
            isinstance(by.verifier, CertificateChain | Notation) for one in self.policies for by in one.spec.authorities
        )

    def next_expiry(self, at: datetime) -> datetime | None:
        """Say when time alone changes verdicts next."""
        return min((one.expires_at for one in self._expiring if one.expires_at and one.expires_at > at), default=None)

    @property
    def _expiring(self) -> tuple[Policy | TrustRoot, ...]:
        return (*self.policies, *self.trust_roots.values())

    @property
    def block_version(self) -> bytes:
        """Changes whenever a block comes, goes or changes."""
        return self.blocks.version

    def matching(self, image: str) -> tuple[Policy, ...]:
        """List the policies that an image must satisfy, all of them; fallbacks where there is no other."""
        found = [policy for policy in self.policies if policy.matches(image)]
        return tuple(one for one in found if not one.spec.is_fallback) or tuple(found)

    def trust_root_of(self, policy: Policy, authority: Authority) -> TrustRoot | None:
        """Find what an authority relies on: in its policy's scope, then the fleet's."""
        own = self.trust_roots.get((policy.scope, authority.trust_root))
        return own or self.trust_roots.get((FLEET, authority.trust_root))
