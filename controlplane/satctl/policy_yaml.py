"""Policies written as the YAML that `satctl policy apply` reads."""

from __future__ import annotations

from typing import Any

import yaml

from controlplane.satctl.authority_file import PREDICATES
from controlplane.satctl.policy_file import WHEN_CLOCK_UNKNOWN, WHEN_EXPIRED
from controlplane.satctl.reading import FORMATS
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Mode,
    Notation,
    RequiredAttestation,
    SignerIdentity,
    StaticVerdict,
    TextMatch,
    WhenClockUnknown,
    WhenExpired,
)
from fleet.policy_wire import read_policy
from fleet.v1 import fleet_pb2 as pb

Plain = dict[str, Any]

_FORMATS = {int(number): word for word, number in FORMATS.items()}
_PREDICATES = {uri: word for word, uri in PREDICATES.items()}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and lists below their key with an indent."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - its own
        del indentless
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write_yaml(policies: list[pb.Policy]) -> str:
    """Write policies, one document each; what is as it is by default is left out."""
    plain = map(_policy, policies)
    return yaml.dump_all(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _policy(policy: pb.Policy) -> Plain:
    spec = read_policy(policy.spec)
    written: Plain = {"name": policy.name, "images": list(spec.images), "scopes": list(policy.scopes)}
    if spec.mode is not Mode.ENFORCE:
        written["mode"] = spec.mode.name.lower()
    if spec.is_fallback:
        written["fallback"] = True
    if spec.when_expired is not WhenExpired.REFUSE_NEW:
        written["when_expired"] = _word(WHEN_EXPIRED, spec.when_expired)
    if spec.when_clock_unknown is not WhenClockUnknown.REFUSE:
        written["when_clock_unknown"] = _word(WHEN_CLOCK_UNKNOWN, spec.when_clock_unknown)
    if policy.HasField("expires_at"):
        written["expires_at"] = policy.expires_at.ToJsonString()
    if spec.check_reference:
        written["check_reference"] = True
    if spec.referrer_types:
        written["referrer_types"] = list(spec.referrer_types)
    return written | {"authorities": [_authority(one) for one in spec.authorities]}


def _word(words: dict[str, Any], value: object) -> str:
    return next(word for word, one in words.items() if one is value)


def _authority(authority: Authority) -> Plain:
    written: Plain = {"name": authority.name}
    if authority.formats:
        written["formats"] = [_FORMATS[each] for each in authority.formats]
    written |= _verifier(authority)
    if authority.trust_root:
        written["trust_root"] = authority.trust_root
    if authority.log_evidence is not None:
        written["log_evidence"] = _evidence(authority.log_evidence)
    if authority.attestations:
        written["attestations"] = [_attestation(one) for one in authority.attestations]
    if authority.signature_repository:
        written["signature_repository"] = authority.signature_repository
    return written


def _verifier(authority: Authority) -> Plain:
    match authority.verifier:
        case KeySet(keys, threshold):
            return {"keys": list(keys)} | ({"threshold": threshold} if threshold > 1 else {})
        case Keyless(identities):
            return {"keyless": {"identities": [_identity(one) for one in identities]}}
        case CertificateChain(subjects):
            return {"certificates": {"subjects": [_subject(one) for one in subjects]}}
        case Notation(identities, level):
            named = {"trusted_identities": list(identities)} if identities else {}
            return {"notation": {"level": level.name.lower()} | named}
        case StaticVerdict(passes, message):
            said = {"message": message} if message else {}
            return {"static": {"action": "pass" if passes else "fail"} | said}
        case None:
            return {}


def _identity(who: SignerIdentity) -> Plain:
    return _either("issuer", who.issuer) | _either("subject", who.subject)


def _either(name: str, match: TextMatch) -> Plain:
    return {f"{name}_regexp" if match.is_regexp else name: match.text}


def _subject(match: TextMatch) -> str | Plain:
    return {"regexp": match.text} if match.is_regexp else match.text


def _evidence(asked: LogEvidence) -> Plain:
    return {
        "log_entries": asked.log_entries,
        "timestamps": asked.timestamps,
        "observed_times": asked.observed_times,
        "certificate_timestamps": asked.certificate_timestamps,
    }


def _attestation(required: RequiredAttestation) -> Plain:
    kind = _PREDICATES.get(required.predicate_type, required.predicate_type)
    condition = {"condition": required.condition} if required.condition else {}
    return {"name": required.name, "type": kind} | condition
