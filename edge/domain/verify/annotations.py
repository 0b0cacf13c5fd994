"""What cosign 2 keeps beside a signature: certificates, the log's promise and a timestamp, as a layer's annotations.

Source: sigstore/cosign `specs/SIGNATURE_SPEC.md` (certificate, chain, bundle), `pkg/oci/static` (rfc3161timestamp).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge.domain.documents import Reader
from edge.domain.verify.claims import Claim, LogEntry

CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
BUNDLE = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
_NAMES = frozenset({CERTIFICATE, CHAIN, BUNDLE, TIMESTAMP})
_MAX_CERTIFICATES = 8
_READER = Reader("EVIDENCE_MALFORMED", "cosign annotation")


def with_annotations(claim: Claim, annotations: Mapping[str, str]) -> Claim:
    """Add to a claim what lies beside it.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `CERTIFICATE_MALFORMED`.
    """
    if not _NAMES & annotations.keys():
        return claim
    from edge.domain.verify.chains import load_certificates  # noqa: PLC0415 - where there is one

    certificates = [
        der
        for name in (CERTIFICATE, CHAIN)
        if annotations.get(name)
        for der in load_certificates(annotations[name].encode(), most=_MAX_CERTIFICATES)
    ]
    return replace(
        claim,
        certificates=tuple(certificates),
        log_entries=(_log_entry(annotations[BUNDLE]),) if annotations.get(BUNDLE) else (),
        timestamps=(_timestamp(annotations[TIMESTAMP]),) if annotations.get(TIMESTAMP) else (),
    )


def _log_entry(text: str) -> LogEntry:
    """Read a promise of Rekor 1 (`RekorBundle`); which kind of entry it is about, its body says."""
    bundle = _READER.parse(text.encode())
    said = _READER.fields(bundle, "Payload")
    raw = _READER.base64(said, "body")
    body = _READER.parse(raw)
    try:
        log_id = bytes.fromhex(_READER.text(said, "logID"))
    except ValueError as error:
        raise _READER.fail("logID is not hexadecimal") from error
    return LogEntry(
        log_id=log_id,
        log_index=_READER.count(said, "logIndex"),
        kind=_READER.text(body, "kind"),
        version=_READER.text(body, "apiVersion"),
        body=raw,
        integrated_time=_READER.count(said, "integratedTime"),
        promise=_READER.base64(bundle, "SignedEntryTimestamp"),
    )


def _timestamp(text: str) -> bytes:
    return _READER.base64(_READER.parse(text.encode()), "SignedRFC3161Timestamp")
