"""How policies look to people: who must have signed what, and what else they ask for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.satctl.document import enum_word
from controlplane.satctl.reading import FORMATS
from controlplane.satctl.render import Cell, Column, moment
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources

_WORDS = {number: word for word, number in FORMATS.items()}


def signed(thing: Any) -> str:  # noqa: ANN401 - a policy, trust root or block
    """Say how many policy signers have signed a thing."""
    return f"by {len(thing.signed_by)}" if thing.signed_by else ""


def formats(authority: resources.Authority) -> str:
    """Name the formats that count."""
    return ", ".join(_WORDS.get(number, str(number)) for number in authority.formats)


def match(text: resources.TextMatch) -> str:
    """Write what is accepted: an expression between slashes."""
    return f"/{text.regexp}/" if text.WhichOneof("how") == "regexp" else text.exact


def identity(who: resources.SignerIdentity) -> str:
    """Write an identity."""
    return f"{match(who.subject)} by {match(who.issuer)}"


def verifier(authority: resources.Authority) -> str:
    """Say in a few words what verifies a signature."""
    match authority.WhichOneof("verifier"):
        case "keys":
            keys = authority.keys
            count = len(keys.public_keys_pem)
            return f"{max(keys.threshold, 1)} of {count} keys" if count > 1 else "1 key"
        case "keyless":
            return "keyless"
        case "certificates":
            return "certificates"
        case "static_verdict":
            return f"always {_word(authority.static_verdict, 'action')}"
        case "notation":
            return f"notation {_word(authority.notation, 'level')}"
        case _:
            return "nobody"


def _word(message: Any, field: str) -> str:  # noqa: ANN401 - any message with an enum
    return enum_word(message.DESCRIPTOR.fields_by_name[field].enum_type, getattr(message, field))


def _authority(authority: resources.Authority) -> str:
    parts = filter(None, (verifier(authority), formats(authority)))
    return f"{authority.name} ({', '.join(parts)})"


def _mode(policy: pb.Policy) -> str:
    words = ["warn"] if policy.spec.mode == resources.POLICY_MODE_WARN else []
    return ", ".join([*words, *(["fallback"] if policy.spec.is_fallback else [])])


COLUMNS: tuple[Column[pb.Policy], ...] = (
    Column("NAME", lambda p: p.name),
    Column("IMAGES", lambda p: ", ".join(p.spec.images), folds=True),
    Column("AUTHORITIES", lambda p: ", ".join(map(_authority, p.spec.authorities)), folds=True),
    Column("MODE", _mode, optional=True),
    Column("SCOPES", lambda p: ", ".join(p.scopes), folds=True),
    Column("EXPIRES", lambda p: moment(p, "expires_at"), optional=True),
    Column("SIGNED", signed, optional=True),
)


def facts(policy: pb.Policy) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    spec = policy.spec
    yield "name", policy.name
    yield "scopes", ", ".join(policy.scopes)
    yield "images", "\n".join(spec.images)
    yield "mode", "warn: what fails is served and reported" if spec.mode == resources.POLICY_MODE_WARN else ""
    yield "fallback", "only where no other policy matches" if spec.is_fallback else ""
    for authority in spec.authorities:
        yield "authority", "\n".join(_lines(authority))
    yield "reference", "must be the artifact's own repository" if spec.check_reference else ""
    yield "referrers", ", ".join(spec.referrer_types)
    yield "expires", moment(policy, "expires_at")
    yield "when expired", _word(spec, "when_expired").replace("_", "-") if spec.when_expired else ""
    yield "clock unknown", _word(spec, "when_clock_unknown").replace("_", "-") if spec.when_clock_unknown else ""
    yield "serial", policy.serial
    yield "signed", ", ".join(key.hex() for key in policy.signed_by)


def _lines(authority: resources.Authority) -> Iterable[str]:
    yield _authority(authority)
    for who in authority.keyless.identities:
        yield f"  identity {identity(who)}"
    for subject in authority.certificates.subjects:
        yield f"  subject {match(subject)}"
    for trusted in authority.notation.trusted_identities:
        yield f"  identity {trusted}"
    if authority.trust_root:
        yield f"  trust root {authority.trust_root}"
    if authority.HasField("log_evidence"):
        asked = [f"{value} {field.name}" for field, value in authority.log_evidence.ListFields()]
        yield f"  log evidence {', '.join(asked) or 'none'}"
    for one in authority.attestations:
        yield f"  attestation {one.name}: {one.predicate_type}" + (f" where {one.condition}" if one.condition else "")
    if authority.signature_repository:
        yield f"  signatures in {authority.signature_repository}"
    if authority.static_verdict.message:
        yield f"  {authority.static_verdict.message}"
