"""Policies, trust roots and blocks, signed or not ⇄ domain entities.

What an operator left unsaid is never left out in silence: a satellite would read it as nothing, and nobody would know.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from controlplane.domain.entities import Block, Policy, Signature, Signed, SignerSet, TrustRoot
from controlplane.rpc.wire import read_time, within, write_time
from fleet import policy_wire
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources

_MAX_ITEMS = 1000
_MAX_DIGESTS = 10_000
_MAX_FEW = 64


def read_policy(message: pb.Policy) -> Policy:
    """Read a policy as an operator writes it.

    Raises:
        FleetError: MALFORMED `SIGNATURE_FORMAT_UNKNOWN`, `IDENTITY_MALFORMED`, `TOO_LONG`.
    """
    _check_policy(message.spec)
    return Policy(
        message.name,
        policy_wire.read_policy(message.spec),
        _scopes(message.scopes),
        message.etag,
        read_time(message, "expires_at"),
    )


def _scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    return tuple(within(scopes, _MAX_ITEMS, what="a list of scopes"))


def _check_policy(spec: resources.PolicySpec) -> None:
    within(spec.images, _MAX_ITEMS, what="a policy's list of images")
    within(spec.referrer_types, _MAX_FEW, what="a policy's list of referrer types")
    for authority in within(spec.authorities, _MAX_FEW, what="a policy's list of authorities"):
        if not all(authority.formats):
            raise malformed("SIGNATURE_FORMAT_UNKNOWN", "a signature format is named", subject=authority.name[:80])
        within(authority.keys.public_keys_pem, _MAX_FEW, what="an authority's list of keys")
        _check_identities(authority.keyless.identities)
        for subject in within(authority.certificates.subjects, _MAX_FEW, what="an authority's list of subjects"):
            _check_said(subject)
        within(authority.notation.trusted_identities, _MAX_FEW, what="an authority's list of identities")


def _check_identities(identities: Sequence[resources.SignerIdentity]) -> None:
    for identity in within(identities, _MAX_FEW, what="a list of identities"):
        _check_said(identity.issuer)
        _check_said(identity.subject)


def _check_said(match: resources.TextMatch) -> None:
    if match.WhichOneof("how") is None:
        text = "an identity has an issuer and a subject, each exact or by a regular expression"
        raise malformed("IDENTITY_MALFORMED", text)


def write_policy(value: Policy) -> pb.Policy:
    """Show a policy."""
    return pb.Policy(
        name=value.name,
        spec=policy_wire.write_policy(value.spec),
        scopes=value.scopes,
        etag=value.etag,
        expires_at=write_time(value.expires_at),
        serial=value.serial,
        signed_by=value.signed_by,
    )


def read_trust_root(message: pb.TrustRoot) -> TrustRoot:
    """Read a trust root as an admin writes it."""
    _check_trust_root(message.spec)
    return TrustRoot(
        message.name,
        policy_wire.read_trust_root(message.spec),
        _scopes(message.scopes),
        message.etag,
        read_time(message, "expires_at"),
    )


def _check_trust_root(spec: resources.TrustRootSpec) -> None:
    for certificates in (spec.ca_pem, spec.signing_authority_pem, spec.timestamp_authority_pem):
        within(certificates, _MAX_FEW, what="a trust root's list of certificates")
    within(spec.revocation_lists, _MAX_FEW, what="a trust root's list of revocation lists")


def write_trust_root(value: TrustRoot) -> pb.TrustRoot:
    """Show a trust root."""
    return pb.TrustRoot(
        name=value.name,
        spec=policy_wire.write_trust_root(value.spec),
        scopes=value.scopes,
        etag=value.etag,
        expires_at=write_time(value.expires_at),
        serial=value.serial,
        signed_by=value.signed_by,
    )


def read_block(message: pb.Block) -> Block:
    """Read a block as an admin writes it."""
    _check_block(message.spec)
    return Block(message.name, policy_wire.read_block(message.spec), _scopes(message.scopes), message.etag)


def _check_block(spec: resources.BlockSpec) -> None:
    within(spec.digests, _MAX_DIGESTS, what="a block's list of digests")
    within(spec.signers, _MAX_ITEMS, what="a block's list of signers")
    within(spec.reason, 512, what="a reason")
    _check_identities(spec.identities)


def write_block(value: Block) -> pb.Block:
    """Show a block."""
    return pb.Block(
        name=value.name,
        spec=policy_wire.write_block(value.spec),
        scopes=value.scopes,
        etag=value.etag,
        serial=value.serial,
        signed_by=value.signed_by,
    )


def write_signer_set(value: SignerSet) -> pb.SignerSet:
    """Show a signer set."""
    return pb.SignerSet(
        name=value.name,
        spec=policy_wire.write_signer_set(value.spec),
        serial=value.serial,
        signed_by=value.signed_by,
    )


def read_signed(message: pb.SignedResource) -> Signed:
    """Read what was signed elsewhere; its payload stays as it is.

    Raises:
        FleetError: MALFORMED `PAYLOAD_MALFORMED`, and as the reading of what is in it.
    """
    try:
        payload = resources.ResourcePayload.FromString(message.payload)
    except DecodeError as error:
        raise malformed("PAYLOAD_MALFORMED", "what is signed is no ResourcePayload") from error
    if payload.if_unknown == resources.IF_UNKNOWN_IGNORE:
        text = "what is signed is never ignored: leave if_unknown out, or say HOLD"
        raise malformed("PAYLOAD_MALFORMED", text, subject=payload.name[:80])
    _check_body(payload)
    signatures = within(message.signatures, 16, what="a list of signatures")
    return Signed(message.kind, message.payload, tuple(Signature(one.key_id, one.signature) for one in signatures))


def _check_body(payload: resources.ResourcePayload) -> None:
    within(payload.scopes, _MAX_ITEMS, what="a list of scopes")
    _check_policy(payload.policy)
    _check_trust_root(payload.trust_root)
    _check_block(payload.block)
    within(payload.signer_set.public_keys_pem, _MAX_FEW, what="a signer set's list of keys")
