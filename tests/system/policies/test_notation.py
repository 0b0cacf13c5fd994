"""Notary Project signatures of a foreign signer: what it signs is admitted by the policy's level, and nothing else."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.app.judge import judge
from edge.domain.admission import Admission, Refused
from edge.domain.moment import Moment
from edge.domain.policy import Rules, TrustRoot
from fleet.policy import Authority, Notation, NotationLevel, SignatureFormat, TrustRootSpec
from fleet.reference import Digest
from tests.rig.images import make_image
from tests.rig.judging import policy_of, wanted
from tests.rig.notation import COSE, JWS, Holder, NotationAuthority, NotationSigner, attach, notation_signer
from tests.rig.repository import Repository
from tests.rig.sigstore import Sigstore
from tests.system.policies.conftest import Source, reason

pytestmark = [pytest.mark.needs_registry, pytest.mark.needs_go]
BOTH = (SignatureFormat.NOTATION_JWS, SignatureFormat.NOTATION_COSE)
WHO = "x509.subject: C=DE, O=Example"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> NotationAuthority:
    return NotationAuthority(tmp_path_factory.mktemp("notation-ca"))


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotationSigner]:
    with notation_signer(tmp_path_factory.mktemp("notation")) as running:
        yield running


@dataclass
class Bench:
    """An image at a source, to be signed and judged."""

    source: Source
    signer: NotationSigner
    authority: NotationAuthority

    def __post_init__(self) -> None:
        self.name = f"notation/{secrets.token_hex(5)}"
        self.image: Repository = make_image(self.name)
        self.root: Digest = self.image.tags["1.0"]

    def sign(self, holder: Holder, *, media_type: str = JWS, expiry_s: int = 0) -> None:
        self.add(self.signer.sign(holder, self.image, self.root, media_type=media_type, expiry_s=expiry_s), media_type)

    def add(self, envelope: bytes, media_type: str = JWS) -> None:
        attach(self.image, self.root, envelope, media_type=media_type)

    def judged(
        self,
        *identities: str,
        level: NotationLevel = NotationLevel.STRICT,
        formats: tuple[SignatureFormat, ...] = BOTH,
        trust: TrustRootSpec | None = None,
        moment: Moment | None = None,
    ) -> Admission | Refused:
        """Push, and judge over HTTP."""
        self.source.push(self.name, self.image)
        by = Authority("notary", Notation(identities or (WHO,), level), formats, trust_root="ca")
        root = TrustRoot("ca", trust or TrustRootSpec(ca_pem=(self.authority.pem,)))
        rules = Rules((policy_of(by),), {("fleet", "ca"): root})
        return judge(
            wanted(self.root, repository=self.name), self.source.upstream, rules, moment or Moment(datetime.now(UTC))
        )


@pytest.fixture
def bench(source: Source, signer: NotationSigner, authority: NotationAuthority) -> Bench:
    return Bench(source, signer, authority)


KINDS = ("p256", "p384", "p521", "rsa-2048", "rsa-3072", "rsa-4096")


@pytest.mark.parametrize("media_type", [JWS, COSE])
@pytest.mark.parametrize("kind", KINDS)
def test_every_key_counts_in_both_envelopes(bench: Bench, kind: str, media_type: str) -> None:
    bench.sign(bench.authority.issue(f"ci-{kind}", kind), media_type=media_type)
    verdict = bench.judged()
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1, "it comes along"
    other = tuple(one for one in BOTH if (one is SignatureFormat.NOTATION_JWS) != (media_type == JWS))
    assert reason(bench.judged(formats=other)) == "FORMAT_NOT_ALLOWED"


def test_without_a_signature_it_is_unsigned(bench: Bench) -> None:
    assert reason(bench.judged()) == "UNSIGNED"
    assert reason(bench.judged(level=NotationLevel.AUDIT)) == "UNSIGNED"
    assert not reason(bench.judged(level=NotationLevel.SKIP))


def test_only_whom_the_policy_names_counts(bench: Bench) -> None:
    bench.sign(bench.authority.issue("release"))
    assert not reason(bench.judged("*"))
    assert not reason(bench.judged("x509.subject: CN=other", "x509.subject: CN=release, C=DE"))
    for identity in (
        "x509.subject: CN=other",
        "x509.subject: C=DE, O=Another",
        "x509.subject:",
        "release",
        "x509.subject: ,,",
    ):
        assert reason(bench.judged(identity)) == "IDENTITY_OTHER", identity


def test_another_authority_is_not_trusted_and_only_audit_lets_it_pass(bench: Bench, tmp_path: Path) -> None:
    bench.sign(NotationAuthority(tmp_path / "stranger").issue("release"))
    assert reason(bench.judged()) == "CERTIFICATE_UNTRUSTED"
    assert reason(bench.judged(level=NotationLevel.PERMISSIVE)) == "CERTIFICATE_UNTRUSTED"
    verdict = bench.judged(level=NotationLevel.AUDIT)
    assert isinstance(verdict, Admission)
    assert [one.reason for one in verdict.warnings] == ["CERTIFICATE_UNTRUSTED"]


def test_time_decides_by_level(bench: Bench) -> None:
    bench.sign(bench.authority.issue("release"), expiry_s=3600)
    now = datetime.now(UTC)
    late, later = Moment(now + timedelta(hours=2)), Moment(now + timedelta(days=120))
    assert not reason(bench.judged())
    assert reason(bench.judged(moment=late)) == "SIGNATURE_EXPIRED"
    assert reason(bench.judged(moment=later)) == "CERTIFICATE_EXPIRED"
    assert reason(bench.judged(moment=Moment(now, is_known=False))) == "CLOCK_UNKNOWN"
    verdict = bench.judged(moment=later, level=NotationLevel.PERMISSIVE)
    assert isinstance(verdict, Admission)
    assert {one.reason for one in verdict.warnings} == {"CERTIFICATE_EXPIRED", "SIGNATURE_EXPIRED"}


def test_revocation_is_judged_by_the_lists_that_the_site_has(bench: Bench) -> None:
    holder, other = (bench.authority.issue(name, revocable=True) for name in ("release", "other"))
    bench.sign(holder)
    trust = TrustRootSpec(ca_pem=(bench.authority.pem,))
    assert reason(bench.judged(trust=trust)) == "REVOCATION_UNKNOWN"
    for listed, expected in (
        (bench.authority.revocations(other), ""),
        (bench.authority.revocations(other, current=False), "REVOCATION_UNKNOWN"),
        (bench.authority.revocations(holder), "CERTIFICATE_REVOKED"),
    ):
        assert reason(bench.judged(trust=replace(trust, revocation_lists=(listed,)))) == expected
    verdict = bench.judged(trust=trust, level=NotationLevel.PERMISSIVE)
    assert isinstance(verdict, Admission)
    assert [one.reason for one in verdict.warnings] == ["REVOCATION_UNKNOWN"]


def test_a_signature_is_not_another_image_s(bench: Bench) -> None:
    other = make_image("another")
    envelope = bench.signer.sign(bench.authority.issue("release"), other, other.tags["1.0"])
    bench.add(envelope)
    for level in (NotationLevel.STRICT, NotationLevel.AUDIT):
        assert reason(bench.judged(level=level)) == "DIGEST_NOT_SIGNED"


def _part(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def _text(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


Envelope = dict[str, str]


def _payload(envelope: Envelope) -> None:
    envelope["payload"] = _text({**_part(envelope["payload"]), "more": 1})


def _no_expiry(envelope: Envelope) -> None:
    header = _part(envelope["protected"])
    envelope["protected"] = _text({key: value for key, value in header.items() if "expiry" not in key})


def _critical(envelope: Envelope) -> None:
    header = _part(envelope["protected"])
    envelope["protected"] = _text({**header, "crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.unheard-of"]})


def _algorithm(envelope: Envelope) -> None:
    envelope["protected"] = _text({**_part(envelope["protected"]), "alg": "none"})


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (_payload, "SIGNATURE_INVALID"),
        (_algorithm, "SIGNATURE_INVALID"),
        (_no_expiry, "SIGNATURE_INVALID"),
        (_critical, "EVIDENCE_MALFORMED"),
    ],
)
def test_what_was_changed_counts_at_no_level(bench: Bench, change: Callable[[Envelope], None], refused: str) -> None:
    envelope = json.loads(bench.signer.sign(bench.authority.issue("release"), bench.image, bench.root, expiry_s=9000))
    change(envelope)
    bench.add(json.dumps(envelope).encode())
    for level in (NotationLevel.STRICT, NotationLevel.PERMISSIVE, NotationLevel.AUDIT):
        assert reason(bench.judged(level=level)) == refused


@pytest.mark.parametrize("media_type", [JWS, COSE])
def test_a_truncated_or_huge_one_is_no_evidence_and_hides_none(bench: Bench, media_type: str) -> None:
    holder = bench.authority.issue("release")
    good = bench.signer.sign(holder, bench.image, bench.root, media_type=media_type)
    for bad in (good[: len(good) // 2], good + b"\0", b"", b"\x9f" * 5000, good + b" " * (1 << 20)):
        bench.add(bad, media_type)
    assert reason(bench.judged()) == "EVIDENCE_MALFORMED"
    bench.add(good, media_type)
    verdict = bench.judged()
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1


@pytest.mark.needs_sigstore
@pytest.mark.needs_cosign
@pytest.mark.parametrize("media_type", [JWS, COSE])
def test_a_timestamp_outlives_the_certificate(bench: Bench, private: Sigstore, tmp_path: Path, media_type: str) -> None:
    chain = x509.load_pem_x509_certificates((private.directory / "tsa.pem").read_bytes())
    authorities = chain[-1].public_bytes(Encoding.PEM)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authorities)
    holder = bench.authority.issue("release")
    tsa = (f"{private.stamps}/api/v1/timestamp", roots)
    envelope = bench.signer.sign(holder, bench.image, bench.root, media_type=media_type, tsa=tsa)
    bench.add(envelope, media_type)
    trust = TrustRootSpec(ca_pem=(bench.authority.pem,), timestamp_authority_pem=(authorities.decode(),))
    later = Moment(datetime.now(UTC) + timedelta(days=120))
    assert not reason(bench.judged(trust=trust, moment=later))
    assert not reason(bench.judged(trust=trust, moment=Moment(datetime.now(UTC), is_known=False)))
    assert reason(bench.judged(moment=later)) == "CERTIFICATE_EXPIRED", "nobody is trusted to stamp"
    stranger = replace(trust, timestamp_authority_pem=(bench.authority.pem,))
    assert reason(bench.judged(trust=stranger)) == "TIMESTAMP_INVALID"
