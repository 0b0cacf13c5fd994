"""Signed images at a source, by kind of signer, and the foreign program that verifies the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.reference import Digest
from tests.rig import cosign
from tests.rig.distribution import distribution
from tests.rig.images import AMD64, make_image
from tests.rig.notation import NotationAuthority, attach, notation_signer
from tests.rig.oci_layout import Client
from tests.rig.programs import require
from tests.rig.repository import Repository
from tests.rig.sigstore import sigstore

_DEVELOPER = "developer@example.com"


@dataclass(frozen=True, slots=True)
class Signed:
    """A source whose images are all signed by the same signer."""

    url: str
    images: Mapping[str, Digest]
    """By repository."""
    asked: Mapping[str, str]
    """What is judged by (`tests.rig.question`)."""
    peer: tuple[str, ...] = ()
    """A command that verifies what its last argument names; empty where there is none at hand."""

    def reference(self, repository: str) -> str:
        """Name an image as clients do."""
        return f"{self.url.removeprefix('http://')}/{repository}@{self.images[repository]}"


@contextmanager
def signed_by_key(directory: Path, count: int) -> Iterator[Signed]:
    """Sign with a key, in cosign 3's format and in no log."""
    key = cosign.generate_key(directory, "release")
    with _pushed(directory, count) as unsigned:
        for repository in unsigned.images:
            cosign.sign(unsigned.reference(repository), key)
        peer = (str(require("cosign")), "verify", "--key", str(key.public), "--insecure-ignore-tlog=true")
        yield Signed(
            unsigned.url,
            unsigned.images,
            {"by": "keys", "key": key.pem.decode()},
            (*peer, "--allow-http-registry"),
        )


@contextmanager
def signed_by_somebody(directory: Path, count: int) -> Iterator[Signed]:
    """Sign keyless, in a log, with a timestamp and a certificate that is in a certificate log."""
    with sigstore(directory / "sigstore") as private, _pushed(directory, count) as unsigned:
        for repository in unsigned.images:
            private.sign(unsigned.reference(repository), _DEVELOPER)
        issuer = private.issuer.url
        peer = (
            *(str(require("cosign")), "verify", "--trusted-root", str(private.trusted_root)),
            *("--certificate-identity", _DEVELOPER, "--certificate-oidc-issuer", issuer),
            *("--use-signed-timestamps", "--allow-http-registry"),
        )
        who = {"issuer": issuer, "subject": _DEVELOPER, "trusted_root": private.trusted_root.read_text()}
        yield Signed(unsigned.url, unsigned.images, {"by": "keyless", **who}, peer)


@contextmanager
def signed_by_notary(directory: Path, count: int) -> Iterator[Signed]:
    """Sign as notation does, in JWS, with one certificate."""
    authority = NotationAuthority(directory / "notary")
    holder = authority.issue("release")
    with notation_signer(directory) as signer:

        def sign(image: Repository) -> None:
            root = image.tags["1.0"]
            attach(image, root, signer.sign(holder, image, root))

        with _pushed(directory, count, sign) as pushed:
            asked = {"by": "notation", "ca": authority.pem, "identity": "x509.subject: C=DE, O=Example"}
            yield Signed(pushed.url, pushed.images, asked)


@contextmanager
def _pushed(directory: Path, count: int, sign: Callable[[Repository], None] = lambda _: None) -> Iterator[Signed]:
    with distribution(directory / "source") as url:
        images: dict[str, Digest] = {}
        for number in range(count):
            repository = f"app-{number:02}"
            image = make_image(repository, platforms=(AMD64,), layer_sizes=())
            sign(image)
            Client(url).push(repository, image)
            images[repository] = image.tags["1.0"]
        yield Signed(url, images, {})


def question(signed: Signed, repository: str) -> str:
    """Write what `tests.bench.first_verdict` is asked."""
    one = {"url": signed.url, "repository": repository, "digest": signed.images[repository]}
    return json.dumps({**one, "asked": dict(signed.asked)})
