"""cosign 3's format: a referrer whose one layer is a sigstore bundle, DSSE over an in-toto statement.

Source: sigstore/protobuf-specs `sigstore_bundle.proto` and `sigstore_rekor.proto` (the bundle and its log entries; JSON
leaves out what is zero), secure-systems-lab/dsse `protocol.md` (PAE), in-toto/attestation `spec/v1/statement.md`.
"""

from __future__ import annotations

from dataclasses import replace

from edge.domain.content import Descriptor, Image
from edge.domain.documents import Fields, Reader
from edge.domain.verify.claims import Claim, InclusionProof, LogEntry
from fleet.policy import SignatureFormat
from fleet.reference import Digest, parse_digest

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_MAX_SUBJECTS = 64
_MAX_SIGNATURES = 4
_MAX_PROOFS = 8
_MAX_CERTIFICATES = 8
_MAX_HASHES = 64
_READER = Reader("EVIDENCE_MALFORMED", "sigstore bundle")


def is_bundle(image: Image) -> bool:
    """Say whether a referrer holds a sigstore bundle, by what it holds and not by what it is listed as."""
    return image.kind == BUNDLE_TYPE or any(layer.media_type == BUNDLE_TYPE for layer in image.layers)


def only_layer(image: Image) -> Descriptor:
    """Take a bundle manifest's one layer.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED` for more, none, another type, or a runnable image.
    """
    if image.is_runnable or len(image.layers) != 1 or image.layers[0].media_type != BUNDLE_TYPE:
        raise _READER.fail("its manifest is not one bundle and nothing else")
    return image.layers[0]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Say what a DSSE signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _statement_digests(statement: Fields) -> frozenset[Digest]:
    digests: set[Digest] = set()
    for subject in _READER.objects(statement, "subject", limit=_MAX_SUBJECTS):
        if sha256 := _READER.texts(subject, "digest").get("sha256"):
            digests.add(parse_digest(f"sha256:{sha256}"))
    return frozenset(digests)


def read_bundle(raw: bytes) -> Claim:
    """Read a bundle: `bytes → Claim`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, or `DIGEST_MALFORMED` for a subject's digest.
    """
    # 1. It is a bundle of the version that we know, with what it is to be verified by.
    bundle = _READER.parse(raw)
    if _READER.text(bundle, "mediaType") != BUNDLE_TYPE:
        raise _READER.fail("it is of another version")
    material = _READER.fields(bundle, "verificationMaterial")
    stamps = _READER.maybe_fields(material, "timestampVerificationData")
    # 2. It holds an envelope around an in-toto statement.
    claim = read_envelope(_READER.fields(bundle, "dsseEnvelope"), SignatureFormat.SIGSTORE_BUNDLE)
    return replace(
        claim,
        certificates=_certificates(material),
        log_entries=tuple(map(_log_entry, _READER.objects(material, "tlogEntries", limit=_MAX_PROOFS))),
        timestamps=tuple(
            _READER.base64(one, "signedTimestamp")
            for one in _READER.objects(stamps, "rfc3161Timestamps", limit=_MAX_PROOFS)
        ),
    )


def _certificates(material: Fields) -> tuple[bytes, ...]:
    """Take the signer's certificate and what came with it; none where a key is meant, which is the policy's to know."""
    if "certificate" in material:
        return (_READER.base64(_READER.fields(material, "certificate"), "rawBytes"),)
    if "x509CertificateChain" in material:
        chain = _READER.fields(material, "x509CertificateChain")
        listed = _READER.objects(chain, "certificates", limit=_MAX_CERTIFICATES)
        return tuple(_READER.base64(one, "rawBytes") for one in listed)
    _READER.fields(material, "publicKey")
    return ()


def _log_entry(fields: Fields) -> LogEntry:
    kind = _READER.fields(fields, "kindVersion")
    promise = _READER.maybe_fields(fields, "inclusionPromise")
    return LogEntry(
        log_id=_READER.base64(_READER.fields(fields, "logId"), "keyId"),
        log_index=_number(fields, "logIndex"),
        kind=_READER.text(kind, "kind"),
        version=_READER.text(kind, "version"),
        body=_READER.base64(fields, "canonicalizedBody"),
        integrated_time=_number(fields, "integratedTime"),
        promise=_READER.base64(promise, "signedEntryTimestamp") if promise else b"",
        proof=_proof(_READER.fields(fields, "inclusionProof")) if fields.get("inclusionProof") else None,
    )


def _proof(fields: Fields) -> InclusionProof:
    return InclusionProof(
        log_index=_number(fields, "logIndex"),
        tree_size=_number(fields, "treeSize"),
        root_hash=_READER.base64(fields, "rootHash"),
        hashes=tuple(_READER.base64_list(fields, "hashes", limit=_MAX_HASHES)),
        checkpoint=_READER.text(_READER.maybe_fields(fields, "checkpoint"), "envelope", default=""),
    )


def _number(fields: Fields, key: str) -> int:
    """Read an int64 as protobuf's JSON has it: digits in a text, and nothing at all for zero."""
    value = fields.get(key, "0")
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 19:  # noqa: PLR2004 -- int64
        raise _READER.fail(f"{key} is no number")
    return int(text)


def read_envelope(envelope: Fields, form: SignatureFormat) -> Claim:
    """Read a DSSE envelope around an in-toto statement: `JSON object → Claim`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, or `DIGEST_MALFORMED` for a subject's digest.
    """
    payload_type = _READER.text(envelope, "payloadType")
    if payload_type != _IN_TOTO:
        raise _READER.fail("its envelope holds no in-toto statement")
    payload = _READER.base64(envelope, "payload")
    signatures = _READER.objects(envelope, "signatures", limit=_MAX_SIGNATURES)
    # The statement names its subjects and what it says of them.
    statement = _READER.parse(payload)
    if _READER.text(statement, "_type") not in _STATEMENTS:
        raise _READER.fail("its statement is of another version")
    return Claim(
        form=form,
        signed=pre_authentication_encoding(payload_type, payload),
        payload=payload,
        signatures=tuple(_READER.base64(signature, "sig") for signature in signatures),
        digests=_statement_digests(statement),
        predicate_type=_READER.text(statement, "predicateType"),
        predicate=statement.get("predicate"),
        subjects=tuple(_READER.objects(statement, "subject", limit=_MAX_SUBJECTS)),
    )
