"""What operators may write of policies, trust roots, blocks and signer sets, signed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from controlplane.domain.entities import Block, Configuration, Policy, Signed, SignerSet, TrustRoot
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import FLEET_SCOPE, split_scope
from fleet.errors import FleetError, Kind, malformed
from fleet.identity import check_name
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec
from fleet.policy_checks import check_block, check_policy, check_signer_set
from fleet.resources import MAX_PAYLOAD_BYTES, Readable, read
from fleet.trust_checks import check_trust_root, check_use

Pinnable = Policy | TrustRoot | Block | SignerSet
"""What policy signers may sign."""
P = TypeVar("P", bound=Pinnable)
Rule = Pinnable | Configuration
"""What is held by scopes and written by operators as a whole."""

MAX_SERIAL = 2**53 - 1
"""The largest number that every reader of JSON takes exactly."""
MAX_SIGNATURES = 16
MAX_SIGNATURE_BYTES = 1024
_KEY_ID_BYTES = 32


def check_pinnable(rule: P) -> P:
    """Return a rule in its one form: what no satellite could satisfy is an error.

    Raises:
        FleetError: MALFORMED with the reason of the part that is wrong.
    """
    match rule:
        case Policy():
            check_name(rule.name, what="policy")
            check_policy(rule.spec)
        case TrustRoot():
            check_name(rule.name, what="trust root")
            check_trust_root(rule.spec)
        case Block():
            check_name(rule.name, what="block")
            check_block(rule.spec)
        case SignerSet():
            check_signer_set(rule.spec)
    return replace(rule, scopes=check_scopes(rule.scopes), serial=0, signed_by=())


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return scopes in their order, each once; none given is `fleet`."""
    for scope in scopes:
        split_scope(scope)
    return tuple(sorted(set(scopes))) or (FLEET_SCOPE,)


def check_signed(signed: Signed) -> Signed:
    """Return what was signed elsewhere if it says what it should: its name, its scopes, a serial, and no nonsense.

    Raises:
        FleetError: MALFORMED `SIGNATURES_MALFORMED`, and as `open_signed`.
    """
    keys = [one.key_id for one in signed.signatures]
    if not 1 <= len(keys) <= MAX_SIGNATURES or len(set(keys)) != len(keys):
        raise malformed("SIGNATURES_MALFORMED", "there are 1 to 16 signatures, each by another key")
    for one in signed.signatures:
        if len(one.key_id) != _KEY_ID_BYTES or not 0 < len(one.signature) <= MAX_SIGNATURE_BYTES:
            text = "a signature names its key by 32 bytes and has at most 1,024 itself"
            raise malformed("SIGNATURES_MALFORMED", text)
    open_signed(signed)
    return signed


def open_signed(signed: Signed) -> Pinnable:
    """Read what was signed as the entity that it is; its serial and signers are set.

    Raises:
        FleetError: MALFORMED `PAYLOAD_MALFORMED`, `SERIAL_OUT_OF_RANGE`, `SCOPE_MALFORMED`, and as `check_pinnable`.
    """
    content = _readable(signed)
    if not 0 < content.serial <= MAX_SERIAL:
        raise malformed("SERIAL_OUT_OF_RANGE", "what is signed has a serial of 1 to 2^53 - 1")
    if not content.scopes:
        raise malformed("PAYLOAD_MALFORMED", "what is signed names the scopes that may hold it", subject=content.name)
    rule = check_pinnable(_entity(content))
    signers = tuple(one.key_id for one in signed.signatures)
    return replace(rule, serial=content.serial, signed_by=signers)


def _readable(signed: Signed) -> Readable:
    if signed.kind not in _KINDS:
        raise malformed("KIND_UNSIGNABLE", "policies, trust roots, blocks and signer sets are signed, nothing else")
    if len(signed.payload) > MAX_PAYLOAD_BYTES:
        raise malformed("PAYLOAD_MALFORMED", "a payload has at most 1 MiB")
    content = read(signed.kind, signed.payload)
    if isinstance(content, Readable):
        return content
    said = content.text if content else "it asks to be ignored"
    raise malformed("PAYLOAD_MALFORMED", f"what is signed cannot be read: {said}")


_KINDS = frozenset({ResourceKind.POLICY, ResourceKind.TRUST_ROOT, ResourceKind.BLOCK, ResourceKind.SIGNER_SET})


def _entity(content: Readable) -> Pinnable:
    match content.body:
        case PolicySpec() as policy:
            return Policy(content.name, policy, content.scopes, expires_at=content.expires_at)
        case TrustRootSpec() as root:
            return TrustRoot(content.name, root, content.scopes, expires_at=content.expires_at)
        case BlockSpec() as block:
            _refuse_expiry(content)
            return Block(content.name, block, content.scopes)
        case SignerSetSpec() as signers:
            _refuse_expiry(content)
            if content.name != str(content.serial) or content.scopes != (FLEET_SCOPE,):
                text = "a signer set is named by its serial and held by the scope fleet alone"
                raise malformed("PAYLOAD_MALFORMED", text, subject=content.name[:80])
            return SignerSet(content.name, signers)
        case _:
            raise malformed("PAYLOAD_MALFORMED", "a payload of this kind is not signed")


def _refuse_expiry(content: Readable) -> None:
    if content.expires_at is not None:
        text = "blocks and signer sets do not expire: leave expires_at out"
        raise malformed("PAYLOAD_MALFORMED", text, subject=content.name[:80])


@dataclass(frozen=True, slots=True)
class Placed:
    """One trust root and the scopes that hold it."""

    spec: TrustRootSpec
    scopes: tuple[str, ...]


def check_trust(policy: Policy, roots: Mapping[str, Placed], *, is_written: bool) -> None:
    """See that each trust root that a policy names is in every scope of the policy, or in the fleet's, and fits.

    Args:
        policy: the policy, with the scopes that hold it.
        roots: all trust roots there are.
        is_written: the policy is what changes; otherwise it is the trust root, and the policy relies on it.

    Raises:
        FleetError: PRECONDITION `TRUST_ROOT_UNKNOWN`, `TRUST_ROOT_IN_USE`, `TRUST_ROOT_LACKS`.
    """
    for authority in policy.spec.authorities:
        if not authority.trust_root or not policy.scopes:
            continue
        root = roots.get(authority.trust_root)
        for scope in policy.scopes:
            if root is None or not {scope, FLEET_SCOPE}.intersection(root.scopes):
                raise _missing(policy, authority.trust_root, scope, is_written=is_written)
        if root is not None:
            check_use(authority, root.spec)


def _missing(policy: Policy, root: str, scope: str, *, is_written: bool) -> FleetError:
    if not is_written:
        text = f"the policy {policy.name} relies on the trust root in {scope}: change the policy first"
        return FleetError(Kind.PRECONDITION, "TRUST_ROOT_IN_USE", text, subject=root)
    text = f"the policy {policy.name} names a trust root that {scope} does not hold: make it there, or for the fleet"
    return FleetError(Kind.PRECONDITION, "TRUST_ROOT_UNKNOWN", text, subject=root)
