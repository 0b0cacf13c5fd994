"""cosign 2's format: manifests at the tags `sha256-<hex>.sig` and `sha256-<hex>.att`.

Each layer is a simple-signing payload, whose signature is the layer's annotation, or an attestation in a DSSE envelope.
Sources: containers/image `docs/containers-signature.5.md` (the payload), sigstore/cosign `specs/SIGNATURE_SPEC.md`
(where it lies) and `specs/ATTESTATION_SPEC.md`.
"""

from __future__ import annotations

import base64
import binascii

from edge.domain.content import Descriptor
from edge.domain.documents import Reader
from edge.domain.verify.annotations import with_annotations
from edge.domain.verify.bundle import read_envelope
from edge.domain.verify.claims import Claim
from fleet.policy import SignatureFormat
from fleet.reference import Digest, parse_digest

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_CLAIM_TYPES = frozenset({"cosign container image signature", "https://sigstore.dev/cosign/sign/v1"})
_MAX_PAYLOAD_BYTES = 64 << 10
_READER = Reader("EVIDENCE_MALFORMED", "simple-signing payload")


def signature_tag(digest: Digest) -> str:
    """Name the tag under which cosign 2 keeps an image's signatures."""
    return f"{digest.replace(':', '-')}.sig"


def attestation_tag(digest: Digest) -> str:
    """Name the tag under which cosign 2 keeps an image's attestations."""
    return f"{digest.replace(':', '-')}.att"


def read_attestation(layer: Descriptor, envelope: bytes) -> Claim:
    """Read one layer of an attestation manifest: `descriptor and its bytes → Claim`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `DIGEST_MALFORMED`, `CERTIFICATE_MALFORMED`.
    """
    if layer.media_type != ENVELOPE_TYPE:
        raise _READER.fail("the layer is no DSSE envelope")
    claim = read_envelope(_READER.parse(envelope), SignatureFormat.COSIGN_SIMPLE_SIGNING)
    return with_annotations(claim, layer.annotations)


def _repository(reference: str) -> str:
    """Cut host, tag and digest off a reference: what is left means the same behind a mirror."""
    name = reference.partition("@")[0]
    first, slash, rest = name.partition("/")
    path = rest if slash and (first == "localhost" or {".", ":"} & set(first)) else name
    return path.partition(":")[0]


def read_payload(layer: Descriptor, payload: bytes) -> Claim:
    """Read one layer of a signature manifest: `descriptor and its bytes → Claim`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `CERTIFICATE_MALFORMED` unless both are what cosign writes.
    """
    # 1. It is a payload by its media type and size, and its signature is beside it.
    if layer.media_type != PAYLOAD_TYPE or len(payload) > _MAX_PAYLOAD_BYTES:
        raise _READER.fail("the layer is of another media type or too large")
    try:
        signature = base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _READER.fail("the signature is not base64") from error
    # 2. The payload says that it is an image signature, and of what.
    critical = _READER.fields(_READER.parse(payload), "critical")
    if _READER.text(critical, "type") not in _CLAIM_TYPES:
        raise _READER.fail("critical.type is no image signature's")
    digest = parse_digest(_READER.text(_READER.fields(critical, "image"), "docker-manifest-digest"))
    reference = _READER.text(_READER.maybe_fields(critical, "identity"), "docker-reference", default="")
    claim = Claim(
        form=SignatureFormat.COSIGN_SIMPLE_SIGNING,
        signed=payload,
        signatures=(signature,),
        digests=frozenset({digest}),
        repository=_repository(reference),
    )
    return with_annotations(claim, layer.annotations)
