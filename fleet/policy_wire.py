"""Policies, trust roots, blocks and signer sets ⇄ the messages of proto/fleet/v1/resource.proto."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

from fleet.errors import malformed
from fleet.policy import (
    Authority,
    BlockSpec,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Mode,
    Notation,
    NotationLevel,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    SignerSetSpec,
    StaticVerdict,
    TextMatch,
    TrustRootSpec,
    Verifier,
    WhenClockUnknown,
    WhenExpired,
)
from fleet.v1 import resource_pb2 as pb

E = TypeVar("E", bound=IntEnum)


def _word(kind: type[E], number: int, default: E) -> E:
    """Read an enum value; absent is the strictest, and an unknown one is an error, never a guess."""
    if not number:
        return default
    try:
        return kind(number)
    except ValueError as error:
        raise malformed("VALUE_UNKNOWN", f"{number} is no {kind.__name__}") from error


def read_policy(spec: pb.PolicySpec) -> PolicySpec:
    """Read a policy.

    Raises:
        FleetError: MALFORMED `VALUE_UNKNOWN`.
    """
    return PolicySpec(
        images=tuple(spec.images),
        authorities=tuple(map(_read_authority, spec.authorities)),
        check_reference=spec.check_reference,
        referrer_types=tuple(spec.referrer_types),
        mode=_word(Mode, spec.mode, Mode.ENFORCE),
        is_fallback=spec.is_fallback,
        when_expired=_word(WhenExpired, spec.when_expired, WhenExpired.REFUSE_NEW),
        when_clock_unknown=_word(WhenClockUnknown, spec.when_clock_unknown, WhenClockUnknown.REFUSE),
    )


def _read_authority(message: pb.Authority) -> Authority:
    evidence = message.log_evidence
    return Authority(
        name=message.name,
        verifier=_read_verifier(message),
        formats=tuple(SignatureFormat(number) for number in message.formats if number),
        trust_root=message.trust_root,
        log_evidence=LogEvidence(
            evidence.log_entries, evidence.timestamps, evidence.observed_times, evidence.certificate_timestamps
        )
        if message.HasField("log_evidence")
        else None,
        attestations=tuple(
            RequiredAttestation(one.name, one.predicate_type, one.condition) for one in message.attestations
        ),
        signature_repository=message.signature_repository,
    )


def _read_verifier(message: pb.Authority) -> Verifier | None:
    match message.WhichOneof("verifier"):
        case "keys":
            return KeySet(tuple(message.keys.public_keys_pem), message.keys.threshold or 1)
        case "keyless":
            return Keyless(_read_identities(message.keyless.identities))
        case "certificates":
            return CertificateChain(_read_matches(message.certificates.subjects))
        case "static_verdict":
            action = message.static_verdict.action
            return StaticVerdict(action == pb.STATIC_ACTION_PASS, message.static_verdict.message[:512])
        case "notation":
            level = _word(NotationLevel, message.notation.level, NotationLevel.STRICT)
            return Notation(tuple(message.notation.trusted_identities), level)
        case _:
            return None


def _read_match(message: pb.TextMatch) -> TextMatch | None:
    match message.WhichOneof("how"):
        case "exact":
            return TextMatch(message.exact)
        case "regexp":
            return TextMatch(message.regexp, is_regexp=True)
        case _:
            return None


def _read_matches(messages: Iterable[pb.TextMatch]) -> tuple[TextMatch, ...]:
    """Read what may match; one that says nothing accepts nothing, and is none."""
    return tuple(found for message in messages if (found := _read_match(message)))


def _read_identities(messages: Iterable[pb.SignerIdentity]) -> tuple[SignerIdentity, ...]:
    pairs = ((_read_match(message.issuer), _read_match(message.subject)) for message in messages)
    return tuple(SignerIdentity(issuer, subject) for issuer, subject in pairs if issuer and subject)


def read_trust_root(spec: pb.TrustRootSpec) -> TrustRootSpec:
    """Read trust material; what is in it is judged where it is used."""
    return TrustRootSpec(
        spec.trusted_root_json,
        tuple(spec.ca_pem),
        tuple(spec.signing_authority_pem),
        tuple(spec.timestamp_authority_pem),
        tuple(spec.revocation_lists),
    )


def read_block(spec: pb.BlockSpec) -> BlockSpec:
    """Read a block."""
    return BlockSpec(tuple(spec.digests), tuple(spec.signers), spec.reason[:512], _read_identities(spec.identities))


def read_signer_set(spec: pb.SignerSetSpec) -> SignerSetSpec:
    """Read who may sign."""
    return SignerSetSpec(tuple(spec.public_keys_pem), spec.threshold)


def write_policy(spec: PolicySpec) -> pb.PolicySpec:
    """Write a policy."""
    return pb.PolicySpec(
        images=spec.images,
        authorities=map(_write_authority, spec.authorities),
        check_reference=spec.check_reference,
        referrer_types=spec.referrer_types,
        mode=pb.PolicyMode.ValueType(spec.mode),
        is_fallback=spec.is_fallback,
        when_expired=pb.WhenExpired.ValueType(spec.when_expired),
        when_clock_unknown=pb.WhenClockUnknown.ValueType(spec.when_clock_unknown),
    )


def _write_authority(value: Authority) -> pb.Authority:
    written = pb.Authority(
        name=value.name,
        formats=[pb.SignatureFormat.ValueType(each) for each in value.formats],
        trust_root=value.trust_root,
        attestations=[
            pb.RequiredAttestation(name=one.name, predicate_type=one.predicate_type, condition=one.condition)
            for one in value.attestations
        ],
        signature_repository=value.signature_repository,
    )
    if evidence := value.log_evidence:
        written.log_evidence.SetInParent()
        written.log_evidence.log_entries = evidence.log_entries
        written.log_evidence.timestamps = evidence.timestamps
        written.log_evidence.observed_times = evidence.observed_times
        written.log_evidence.certificate_timestamps = evidence.certificate_timestamps
    _write_verifier(written, value.verifier)
    return written


def _write_verifier(written: pb.Authority, verifier: Verifier | None) -> None:
    match verifier:
        case KeySet(keys, threshold):
            written.keys.CopyFrom(pb.KeySet(public_keys_pem=keys, threshold=threshold))
        case Keyless(identities):
            written.keyless.CopyFrom(pb.Keyless(identities=map(_write_identity, identities)))
        case CertificateChain(subjects):
            written.certificates.CopyFrom(pb.CertificateChain(subjects=map(_write_match, subjects)))
        case StaticVerdict(passes, message):
            action = pb.STATIC_ACTION_PASS if passes else pb.STATIC_ACTION_FAIL
            written.static_verdict.CopyFrom(pb.StaticVerdict(action=action, message=message))
        case Notation(identities, level):
            number = pb.NotationLevel.ValueType(level)
            written.notation.CopyFrom(pb.Notation(trusted_identities=identities, level=number))
        case None:
            pass


def _write_match(value: TextMatch) -> pb.TextMatch:
    return pb.TextMatch(regexp=value.text) if value.is_regexp else pb.TextMatch(exact=value.text)


def _write_identity(value: SignerIdentity) -> pb.SignerIdentity:
    return pb.SignerIdentity(issuer=_write_match(value.issuer), subject=_write_match(value.subject))


def write_trust_root(spec: TrustRootSpec) -> pb.TrustRootSpec:
    """Write trust material."""
    return pb.TrustRootSpec(
        trusted_root_json=spec.trusted_root_json,
        ca_pem=spec.ca_pem,
        signing_authority_pem=spec.signing_authority_pem,
        timestamp_authority_pem=spec.timestamp_authority_pem,
        revocation_lists=spec.revocation_lists,
    )


def write_block(spec: BlockSpec) -> pb.BlockSpec:
    """Write a block."""
    identities = map(_write_identity, spec.identities)
    return pb.BlockSpec(digests=spec.digests, signers=spec.signers, reason=spec.reason, identities=identities)


def write_signer_set(spec: SignerSetSpec) -> pb.SignerSetSpec:
    """Write who may sign."""
    return pb.SignerSetSpec(public_keys_pem=spec.public_keys_pem, threshold=spec.threshold)
