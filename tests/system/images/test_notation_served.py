"""A site whose policy counts Notary Project signatures serves what is signed so, with its signature, and no more."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from fleet.policy import Authority, Notation, SignatureFormat
from tests.rig.estate import TAG, Estate
from tests.rig.notation import COSE, JWS, NotationAuthority, attach, notation_signer
from tests.rig.oci_layout import Client
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry, pytest.mark.needs_go]


def test_what_the_notary_signed_is_served_with_its_signature(estate: Estate, site: Satellite, tmp_path: Path) -> None:
    authority, name = NotationAuthority(tmp_path / "ca"), f"notary-{secrets.token_hex(4)}"
    estate.trust(site, name, ca_pem=authority.pem)
    formats = (SignatureFormat.NOTATION_JWS, SignatureFormat.NOTATION_COSE)
    by = Authority("notary", Notation(("x509.subject: C=DE, O=Example",)), formats, trust_root=name)
    stranger = NotationAuthority(tmp_path / "stranger")
    with notation_signer(tmp_path) as signer:
        for media_type, who, reason in (
            (JWS, authority, ""),
            (COSE, authority, ""),
            (JWS, stranger, "CERTIFICATE_UNTRUSTED"),
        ):
            image = estate.image()
            envelope = signer.sign(who.issue("release"), image.content, image.root, media_type=media_type)
            attach(image.content, image.root, envelope, media_type=media_type)
            Client(estate.central.url).push(image.repository, image.content)
            estate.rule(site, image, by)
            artifact = estate.assign(site, image)
            if reason:
                site.await_refused(artifact, reason)
                assert site.pull(image.repository, TAG)[0] == 404
                continue
            site.await_published(artifact)
            signature = next(iter(image.content.referrers(image.root)))
            assert site.pull(image.repository, signature.digest) == (200, signature.raw)
