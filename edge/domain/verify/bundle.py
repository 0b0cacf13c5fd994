"""cosign 3's format: a referrer whose one layer is a sigstore bundle, DSSE over an in-toto statement.

Source: sigstore/protobuf-specs `sigstore_bundle.proto` (the bundle), secure-systems-lab/dsse `protocol.md`
(PAE), in-toto/attestation `spec/v1/statement.md` (the statement).
"""

from __future__ import annotations

from edge.domain.content import Descriptor, Image
from edge.domain.documents import Fields, Reader
from edge.domain.verify.claims import Claim
from fleet.policy import SignatureFormat
from fleet.reference import Digest, parse_digest

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_MAX_SUBJECTS = 64
_MAX_SIGNATURES = 4
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
    # 1. It is a bundle of the version that we know, made with a key.
    bundle = _READER.parse(raw)
    if _READER.text(bundle, "mediaType") != BUNDLE_TYPE:
        raise _READER.fail("it is of another version")
    _READER.fields(_READER.fields(bundle, "verificationMaterial"), "publicKey")
    # 2. It holds an envelope around an in-toto statement.
    envelope = _READER.fields(bundle, "dsseEnvelope")
    payload_type = _READER.text(envelope, "payloadType")
    if payload_type != _IN_TOTO:
        raise _READER.fail("its envelope holds no in-toto statement")
    payload = _READER.base64(envelope, "payload")
    signatures = _READER.objects(envelope, "signatures", limit=_MAX_SIGNATURES)
    # 3. The statement names its subjects and what it says of them.
    statement = _READER.parse(payload)
    if _READER.text(statement, "_type") not in _STATEMENTS:
        raise _READER.fail("its statement is of another version")
    return Claim(
        form=SignatureFormat.SIGSTORE_BUNDLE,
        signed=pre_authentication_encoding(payload_type, payload),
        signatures=tuple(_READER.base64(signature, "sig") for signature in signatures),
        digests=_statement_digests(statement),
        predicate_type=_READER.text(statement, "predicateType"),
        predicate=statement.get("predicate"),
        subjects=tuple(_READER.objects(statement, "subject", limit=_MAX_SUBJECTS)),
    )
