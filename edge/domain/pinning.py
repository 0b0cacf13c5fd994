"""Policy signers pinned at the site: what Ground Control streams counts only where enough of them have signed it.

Everything is decided anew from what is held and what was last good, so nothing else has to be remembered: what was
good stays, with its signatures, until a signed successor with a higher serial takes its place. What is taken away is
withheld, not removed. See docs/pinning.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.domain.holding import Resource
from fleet import resources
from fleet.policy import SignerSetSpec
from fleet.signing import Signers, succeeded

PINNED = frozenset({resources.POLICY, resources.TRUST_ROOT, resources.BLOCK})
"""Kinds that decide what is served."""
WITHHELD = "POLICY_WITHHELD"
TEXTS = {
    "POLICY_UNSIGNED": "too few of this site's policy signers have signed it: what was in force before stays",
    "POLICY_RENAMED": "it was signed under another name: what was in force before stays",
    "POLICY_MISPLACED": "it was not signed for this scope: what was in force before stays",
    "POLICY_ROLLED_BACK": "a newer one is in force here, which stays",
    WITHHELD: "Ground Control no longer sends it, and no policy signer took it back: it stays in force",
}
Key = tuple[str, int, str]
"""Scope, kind, name."""


@dataclass(frozen=True, slots=True)
class Pins:
    """Whose word counts now, whose counted once, and how far each resource had come."""

    chain: tuple[Signers, ...]
    """The pinned signers and every set that followed, the present one last."""
    serials: Mapping[tuple[int, str], tuple[int, bytes]]
    """The highest serial in force, and its version, by kind and name."""

    def refusal(self, one: Resource, read: resources.Readable, scope: str) -> str:
        """Say why a resource that came does not count; empty where it does."""
        if not self.chain[-1].have_signed(one.version, one.signatures) and not self._is_in_force(one, read):
            return "POLICY_UNSIGNED"
        if read.name != one.name:
            return "POLICY_RENAMED"
        if scope not in read.scopes:
            return "POLICY_MISPLACED"
        serial, version = self.serials.get((one.kind, one.name), (0, b""))
        if read.serial < serial or (read.serial == serial and one.version != version):
            return "POLICY_ROLLED_BACK"
        return ""

    def _is_in_force(self, one: Resource, read: resources.Readable) -> bool:
        """Say whether it is what was good already, by signers who have been replaced since."""
        return self.serials.get((one.kind, one.name)) == (read.serial, one.version)


def was_good(one: Resource, chain: Iterable[Signers]) -> bool:
    """Say whether a resource was ever rightly in force: enough signers of some set have signed it."""
    return any(signers.have_signed(one.version, one.signatures) for signers in chain)


def signers_since(pinned: Signers, found: Iterable[tuple[Resource, resources.Readable]]) -> tuple[Signers, ...]:
    """Walk from the pinned signers to the present ones, set by set; a gap ends it."""
    sets = {
        read.serial: (one, read.body)
        for one, read in found
        if isinstance(read.body, SignerSetSpec) and one.name == read.name == str(read.serial)
    }
    chain = [pinned]
    while (entry := sets.get(chain[-1].serial + 1)) is not None:
        one, spec = entry
        after = succeeded(chain[-1], spec, chain[-1].serial + 1, one.version, one.signatures)
        if after is None:
            break
        chain.append(after)
    return tuple(chain)


def make_pins(
    pinned: Signers, held: Iterable[Resource], good: Mapping[Key, Resource]
) -> tuple[Pins, dict[Key, Resource]]:
    """Make pins of what is held and what was good: `→ pins, what of it was rightly good`."""
    sets = [
        (one, read)
        for one in (*good.values(), *held)
        if one.kind == resources.SIGNER_SET
        and isinstance(read := resources.read(one.kind, one.payload), resources.Readable)
    ]
    chain = signers_since(pinned, sets)
    kept = {key: one for key, one in good.items() if one.kind not in PINNED or was_good(one, chain)}
    serials: dict[tuple[int, str], tuple[int, bytes]] = {}
    for one in kept.values():
        read = resources.read(one.kind, one.payload)
        if one.kind in PINNED and isinstance(read, resources.Readable):
            named = (one.kind, one.name)
            serials[named] = max(serials.get(named, (0, b"")), (read.serial, one.version))
    return Pins(chain, serials), kept
