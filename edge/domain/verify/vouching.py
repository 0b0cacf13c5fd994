"""Who made a claim, by what an authority goes by: one question, answered by a module for each kind of verifier."""

from __future__ import annotations

from dataclasses import replace

from edge.domain.moment import Moment
from edge.domain.policy import Blocks, TrustRoot
from edge.domain.verify.claims import Claim, Vouch, Vouched
from edge.domain.verify.keys import key_id, load_key
from edge.domain.verify.matching import matches
from fleet.errors import FleetError
from fleet.policy import Authority, CertificateChain, Keyless, KeySet, LogEvidence, Notation, TrustRootSpec


def vouch(claim: Claim, authority: Authority, trust: TrustRoot | None, moment: Moment) -> Vouched:
    """Say which of an authority's signers made a claim, or why none did.

    Args:
        claim: what was found, in a format that the authority counts.
        authority: whose signers are asked for.
        trust: what its `trust_root` names; None where there is no such resource.
        moment: for what is judged at the present time.
    """
    material, asked = trust.spec if trust else None, authority.asked_evidence
    try:
        match authority.verifier:
            case KeySet(public_keys_pem=keys):
                return _by_keys(claim, keys, asked, material)
            case Keyless() | CertificateChain() as by:
                return _by_certificate(claim, by, asked, material, moment) if material else "TRUST_ROOT_MISSING"
            case Notation() as by:
                return _by_notation(claim, by, material, moment) if material else "TRUST_ROOT_MISSING"
            case _:
                return "VERIFIER_UNSUPPORTED"
    except FleetError:
        return "TRUST_ROOT_MALFORMED"  # it was refused when it was written; what came with the evidence was read before


def _by_certificate(
    claim: Claim, by: Keyless | CertificateChain, asked: LogEvidence, trust: TrustRootSpec, moment: Moment
) -> Vouched:
    from edge.domain.verify.by_certificate import vouch_chain, vouch_keyless  # noqa: PLC0415 - 1 MB, where it is used

    if isinstance(by, Keyless):
        return vouch_keyless(claim, by, asked, trust)
    return vouch_chain(claim, by, asked, trust, moment)


def _by_notation(claim: Claim, by: Notation, trust: TrustRootSpec, moment: Moment) -> Vouched:
    from edge.domain.verify.notation.verifying import vouch_notation  # noqa: PLC0415 - as above

    return vouch_notation(claim, by, trust, moment)


def _lack(claim: Claim, key: bytes, asked: LogEvidence, trust: TrustRootSpec | None) -> str:
    """Say what proof is missing of when a key signed; empty where none is asked for."""
    if asked == LogEvidence():
        return ""
    from edge.domain.verify.by_certificate import proofs_of  # noqa: PLC0415 - as above

    return proofs_of(claim, key, asked, trust).lack(asked)


def _by_keys(claim: Claim, keys: tuple[str, ...], asked: LogEvidence, trust: TrustRootSpec | None) -> Vouched:
    if asked != LogEvidence() and trust is None:
        return "TRUST_ROOT_MISSING"
    found: list[Vouch] = []
    reason = "KEY_UNUSABLE"
    for pem in keys:
        try:
            verifies = load_key(pem.encode())
        except FleetError:
            continue  # the resource was reported when it came; a key that cannot be read signs nothing
        reason = "SIGNATURE_INVALID" if reason == "KEY_UNUSABLE" else reason
        made = next((one for one in claim.signatures if verifies(one, claim.signed)), None)
        if made is None:
            continue
        if lack := _lack(replace(claim, signatures=(made,)), pem.encode(), asked, trust):
            reason = lack
        else:
            found.append(Vouch(key_id(pem.encode())))
    return tuple(found) or reason


def is_blocked(vouched: Vouch, blocks: Blocks) -> bool:
    """Say whether a signer's word no longer counts."""
    return vouched.key_id in blocks.signers or any(
        matches(who.issuer, vouched.issuer) and matches(who.subject, vouched.subject) for who in blocks.identities
    )
