"""Evidence as it was fetched, turned into claims; also the bounds on how much of it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.domain.admission import Evidence
from edge.domain.content import Descriptor, Image, read_manifest
from edge.domain.verify import bundle, simple_signing
from edge.domain.verify.claims import Claim
from fleet.errors import FleetError, malformed
from fleet.policy import SignatureFormat
from fleet.reference import Digest, digest_of

NOTATION_TYPE = "application/vnd.cncf.notary.signature"
NOTATION_FORMATS = {
    "application/jose+json": SignatureFormat.NOTATION_JWS,
    "application/cose": SignatureFormat.NOTATION_COSE,
}
MAX_OBJECTS = 100
"""Signatures and other referrers of one image."""
MAX_BYTES = 32 << 20
"""Manifests, configs and layers of all of them together."""


@dataclass(frozen=True, slots=True)
class Read:
    """One piece of evidence, read."""

    evidence: Evidence
    claims: tuple[Claim, ...] = ()
    artifact_type: str = ""
    """Of a referrer that claims nothing; empty for signatures and what cannot be used."""
    reason: str = ""
    """Why it cannot be used; empty where it can."""

    @property
    def digest(self) -> Digest:
        """Name it by its manifest."""
        return self.evidence.manifests[-1].digest


def is_past_limits(pieces: Sequence[Evidence]) -> bool:
    """Say whether there is more evidence than is looked at."""
    size_bytes = 0
    for piece in pieces:
        size_bytes += sum(len(manifest.raw) for manifest in piece.manifests)
        size_bytes += sum(len(content) for _, content in piece.blobs)
    return len(pieces) > MAX_OBJECTS or size_bytes > MAX_BYTES


def _unusable(detail: str) -> FleetError:
    return malformed("EVIDENCE_MALFORMED", f"the evidence cannot be used: {detail}")


def _content(piece: Evidence, descriptor: Descriptor) -> bytes:
    """Take a blob's bytes, checked again: evidence may have come from a disk since it was fetched."""
    for held, content in piece.blobs:
        if held.digest == descriptor.digest and digest_of(content) == descriptor.digest:
            return content
    raise _unusable("a blob is missing or is not what its digest says")


def _image(piece: Evidence) -> Image:
    if len(piece.manifests) != 1:
        raise _unusable("it is not one manifest")
    raw = piece.manifests[0]
    found = read_manifest(raw.raw, raw.media_type)
    if digest_of(raw.raw) != raw.digest or not isinstance(found, Image):
        raise _unusable("it is no manifest of its digest with a config and layers")
    return found


def _tagged_manifest(piece: Evidence, image: Image, root: Digest) -> tuple[tuple[Claim, ...], str]:
    """Read the layers of cosign 2's manifests: the claims, and why some make none."""
    readers = {
        simple_signing.signature_tag(root): simple_signing.read_payload,
        simple_signing.attestation_tag(root): simple_signing.read_attestation,
    }
    read = readers.get(piece.tag)
    if read is None:
        raise _unusable("its tag is not the image's")
    if len(image.layers) > MAX_OBJECTS:
        raise malformed("EVIDENCE_LIMIT", "a signature manifest holds more than 100 signatures")
    claims: list[Claim] = []
    reason = ""
    for layer in image.layers:
        content = _content(piece, layer)
        try:
            claims.append(read(layer, content))
        except FleetError as error:
            reason = error.reason
    return tuple(claims), "" if claims else reason


def _read(piece: Evidence, root: Digest) -> Read:
    image = _image(piece)
    _content(piece, image.config)
    if piece.tag:
        claims, reason = _tagged_manifest(piece, image, root)
        return Read(piece, claims=claims, reason=reason)
    if image.subject is None or image.subject.digest != root:
        raise _unusable("its subject is another image")
    if is_notation(image):
        return Read(piece, claims=(_notation_claim(image, piece),))
    if bundle.is_bundle(image):
        return Read(piece, claims=(bundle.read_bundle(_content(piece, bundle.only_layer(image))),))
    if image.is_runnable:
        raise _unusable("it is a runnable image")
    for layer in image.layers:
        _content(piece, layer)
    return Read(piece, artifact_type=image.kind)


def is_notation(image: Image) -> bool:
    """Say whether a referrer holds a Notary Project signature, by what it holds and not by what it is listed as."""
    return image.kind == NOTATION_TYPE or any(layer.media_type in NOTATION_FORMATS for layer in image.layers)


def _notation_claim(image: Image, piece: Evidence) -> Claim:
    """Read a Notary Project signature: one envelope, and nothing else."""
    if image.is_runnable or len(image.layers) != 1 or image.layers[0].media_type not in NOTATION_FORMATS:
        raise _unusable("its manifest is not one envelope and nothing else")
    from edge.domain.verify.notation.cose import read_cose  # noqa: PLC0415 - where such a signature comes
    from edge.domain.verify.notation.jws import read_jws  # noqa: PLC0415 - likewise

    form, raw = NOTATION_FORMATS[image.layers[0].media_type], _content(piece, image.layers[0])
    envelope = read_cose(raw) if form is SignatureFormat.NOTATION_COSE else read_jws(raw)
    return Claim(form, raw, (), frozenset({envelope.target}), certificates=envelope.certificates)


def read_evidence(piece: Evidence, root: Digest) -> Read:
    """Read one piece of evidence on the image `root`; what is wrong with it is its `reason`, not an error."""
    try:
        return _read(piece, root)
    except FleetError as error:
        return Read(piece, reason=error.reason)
