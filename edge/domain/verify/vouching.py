"""Who made a claim, by what an authority goes by: one question, answered by a module for each kind of verifier."""

from __future__ import annotations

from edge.domain.moment import Moment
from edge.domain.policy import Blocks, TrustRoot
from edge.domain.verify.claims import Claim, Vouch, Vouched
from edge.domain.verify.keys import key_id, load_key
from edge.domain.verify.matching import matches
from fleet.errors import FleetError
from fleet.policy import Authority, KeySet


def vouch(claim: Claim, authority: Authority, trust: TrustRoot | None, moment: Moment) -> Vouched:
    """Say which of an authority's signers made a claim, or why none did.

    Args:
        claim: what was found, in a format that the authority counts.
        authority: whose signers are asked for.
        trust: what its `trust_root` names; None where there is no such resource.
        moment: for what is judged at the present time.
    """
    del trust, moment  # keys know no time
    match authority.verifier:
        case KeySet(public_keys_pem=keys):
            return _by_keys(claim, keys)
        case _:
            return "VERIFIER_UNSUPPORTED"


def _by_keys(claim: Claim, keys: tuple[str, ...]) -> Vouched:
    found: list[Vouch] = []
    reason = "KEY_UNUSABLE"
    for pem in keys:
        try:
            verifies = load_key(pem.encode())
        except FleetError:
            continue  # the resource was reported when it came; a key that cannot be read signs nothing
        reason = "SIGNATURE_INVALID"
        if any(verifies(signature, claim.signed) for signature in claim.signatures):
            found.append(Vouch(key_id(pem.encode())))
    return tuple(found) or reason


def is_blocked(vouched: Vouch, blocks: Blocks) -> bool:
    """Say whether a signer's word no longer counts."""
    return vouched.key_id in blocks.signers or any(
        matches(who.issuer, vouched.issuer) and matches(who.subject, vouched.subject) for who in blocks.identities
    )
