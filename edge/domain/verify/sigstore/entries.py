"""Entries of transparency logs: that one is in the log, and that it is about this very signature.

Sources: RFC 6962, section 2.1 (Merkle trees); C2SP `signed-note` and `tlog-checkpoint` (checkpoints); sigstore/rekor
`types` (entries of version 1: hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.2, signed entry timestamps);
sigstore/rekor-tiles `rekor/v2/*.proto` (hashedrekord 0.0.2, dsse 0.0.2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from edge.domain.documents import Fields, Reader
from edge.domain.verify.chains import load_certificates, public_key_of
from edge.domain.verify.claims import Claim, InclusionProof, LogEntry
from edge.domain.verify.keys import key_id
from edge.domain.verify.sigstore.trusted_root import Log
from fleet.errors import FleetError

_READER = Reader("EVIDENCE_MALFORMED", "transparency log entry")
_MAX_HASHES = 64
_HINT_BYTES = 4
_MAX_SIGNATURES = 16
_HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "sha256": lambda content: hashlib.sha256(content).digest(),
    "sha384": lambda content: hashlib.sha384(content).digest(),
    "sha512": lambda content: hashlib.sha512(content).digest(),
    "SHA2_256": lambda content: hashlib.sha256(content).digest(),
    "SHA2_384": lambda content: hashlib.sha384(content).digest(),
    "SHA2_512": lambda content: hashlib.sha512(content).digest(),
}


# That it is in the log ----------------------------------------------------------------------------------


def is_logged(entry: LogEntry, log: Log) -> bool:
    """Say whether all proofs that come with an entry hold, and there is one."""
    proofs = (
        *((_is_promised(entry, log),) if entry.promise else ()),
        *((_is_included(entry, entry.proof, log),) if entry.proof else ()),
    )
    return bool(proofs) and all(proofs)


def promised_time(entry: LogEntry) -> datetime | None:
    """Say when a log of version 1 promised to include an entry; None where it does not say."""
    if not entry.promise or not 0 < entry.integrated_time < 1 << 40:
        return None
    return datetime.fromtimestamp(entry.integrated_time, UTC)


def _is_promised(entry: LogEntry, log: Log) -> bool:
    """Check a signed entry timestamp: over canonical JSON of what the entry says."""
    said = {
        "body": base64.b64encode(entry.body).decode(),
        "integratedTime": entry.integrated_time,
        "logID": entry.log_id.hex(),
        "logIndex": entry.log_index,
    }
    return log.verifies(entry.promise, json.dumps(said, separators=(",", ":"), sort_keys=True).encode())


def _is_included(entry: LogEntry, proof: InclusionProof, log: Log) -> bool:
    leaf = hashlib.sha256(b"\0" + entry.body).digest()
    return (
        _root_of(leaf, proof) == proof.root_hash
        and _is_noted(proof.checkpoint, log, size=proof.tree_size, root=proof.root_hash)
    )  # fmt: skip


def _root_of(leaf: bytes, proof: InclusionProof) -> bytes | None:
    """Compute the tree's root from a leaf and its audit path (RFC 9162, section 2.1.3.2); None for a wrong path."""
    index, last = proof.log_index, proof.tree_size - 1
    if not 0 <= index <= last or len(proof.hashes) > _MAX_HASHES:
        return None
    node = leaf
    for sibling in proof.hashes:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def _is_noted(note: str, log: Log, *, size: int, root: bytes) -> bool:
    """Check that a log's signed note is over a tree of this size and root."""
    text, blank, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3:  # noqa: PLR2004 -- origin, size, root
        return False
    if lines[1] != str(size) or lines[2] != base64.b64encode(root).decode():
        return False
    signed = f"{text}\n".encode()
    return any(_is_signed_by(log, line, signed, lines[0]) for line in signatures.split("\n")[:_MAX_SIGNATURES])


def _is_signed_by(log: Log, line: str, signed: bytes, origin: str) -> bool:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.rpartition(" ")
    if dash != "\N{EM DASH}" or name != origin:
        return False
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[:_HINT_BYTES] == log.key_id[:_HINT_BYTES] and log.verifies(raw[_HINT_BYTES:], signed)


# That it is about this signature ------------------------------------------------------------------------


def is_about(entry: LogEntry, claim: Claim, signer: bytes) -> bool:
    """Say whether an entry is about one of a claim's signatures by this key (SubjectPublicKeyInfo, DER)."""
    try:
        return _ABOUT[entry.kind, entry.version](_spec(entry), claim, key_id(signer))
    except (KeyError, FleetError):
        return False


def _spec(entry: LogEntry) -> Fields:
    body = _READER.parse(entry.body)
    if (_READER.text(body, "kind"), _READER.text(body, "apiVersion")) != (entry.kind, entry.version):
        raise _READER.fail("its body is of another kind")
    return _READER.fields(body, "spec")


def _is_hash(algorithm: str, digest: bytes, content: bytes) -> bool:
    return algorithm in _HASHES and _HASHES[algorithm](content) == digest


def _hex(fields: Fields, key: str) -> bytes:
    try:
        return bytes.fromhex(_READER.text(fields, key))
    except ValueError as error:
        raise _READER.fail(f"{key} is not hexadecimal") from error


def _key_of(pem: bytes) -> str:
    """Name the key of a PEM certificate or public key."""
    if b"CERTIFICATE" not in pem:
        return key_id(pem)
    return key_id(public_key_of(load_certificates(pem)[0]))


def _hashedrekord_1(spec: Fields, claim: Claim, signer: str) -> bool:
    digest = _READER.fields(_READER.fields(spec, "data"), "hash")
    signature = _READER.fields(spec, "signature")
    return (
        _is_hash(_READER.text(digest, "algorithm"), _hex(digest, "value"), claim.signed)
        and _READER.base64(signature, "content") in claim.signatures
        and _key_of(_READER.base64(_READER.fields(signature, "publicKey"), "content")) == signer
    )


def _dsse_1(spec: Fields, claim: Claim, signer: str) -> bool:
    digest = _READER.fields(spec, "payloadHash")
    return _is_hash(_READER.text(digest, "algorithm"), _hex(digest, "value"), claim.payload) and any(
        _READER.base64(one, "signature") in claim.signatures and _key_of(_READER.base64(one, "verifier")) == signer
        for one in _READER.objects(spec, "signatures", limit=_MAX_SIGNATURES)
    )


def _intoto_2(spec: Fields, claim: Claim, signer: str) -> bool:
    content = _READER.fields(spec, "content")
    digest = _READER.fields(content, "payloadHash")
    signatures = _READER.objects(_READER.fields(content, "envelope"), "signatures", limit=_MAX_SIGNATURES)
    return _is_hash(_READER.text(digest, "algorithm"), _hex(digest, "value"), claim.payload) and any(
        _twice_decoded(one) in claim.signatures and _key_of(_READER.base64(one, "publicKey")) == signer
        for one in signatures
    )


def _twice_decoded(signature: Fields) -> bytes:
    """Read a signature of an intoto entry, which is encoded once more than others."""
    return _READER.base64({"sig": _READER.base64(signature, "sig").decode("ascii", "replace")}, "sig")


def _verifier_of(fields: Fields) -> str:
    """Name the key of a verifier of version 2."""
    verifier = _READER.fields(fields, "verifier")
    certificate = _READER.maybe_fields(verifier, "x509Certificate")
    if certificate:
        return key_id(public_key_of(_READER.base64(certificate, "rawBytes")))
    return key_id(_READER.base64(_READER.fields(verifier, "publicKey"), "rawBytes"))


def _hashedrekord_2(spec: Fields, claim: Claim, signer: str) -> bool:
    record = _READER.fields(spec, "hashedRekordV002")
    data, signature = _READER.fields(record, "data"), _READER.fields(record, "signature")
    return (
        _is_hash(_READER.text(data, "algorithm"), _READER.base64(data, "digest"), claim.signed)
        and _READER.base64(signature, "content") in claim.signatures
        and _verifier_of(signature) == signer
    )


def _dsse_2(spec: Fields, claim: Claim, signer: str) -> bool:
    record = _READER.fields(spec, "dsseV002")
    digest = _READER.fields(record, "payloadHash")
    return _is_hash(_READER.text(digest, "algorithm"), _READER.base64(digest, "digest"), claim.payload) and any(
        _READER.base64(one, "content") in claim.signatures and _verifier_of(one) == signer
        for one in _READER.objects(record, "signatures", limit=_MAX_SIGNATURES)
    )


_ABOUT: Mapping[tuple[str, str], Callable[[Fields, Claim, str], bool]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord_1,
    ("dsse", "0.0.1"): _dsse_1,
    ("intoto", "0.0.2"): _intoto_2,
    ("hashedrekord", "0.0.2"): _hashedrekord_2,
    ("dsse", "0.0.2"): _dsse_2,
}
