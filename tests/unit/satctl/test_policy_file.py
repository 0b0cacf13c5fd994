"""Policies in YAML: what is read, and that what is wrong is said with its line and the remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.satctl.policy_file import read_rules
from fleet.errors import FleetError, Kind
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Mode,
    Notation,
    NotationLevel,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    StaticVerdict,
    TextMatch,
    WhenClockUnknown,
    WhenExpired,
)
from fleet.policy_wire import read_block, read_policy, read_trust_root
from fleet.v1 import fleet_pb2 as pb
from tests.rig.policy_signing import PolicySigner
from tests.rig.trust_material import authority, ca_pem, trusted_root_json

ONE, TWO = PolicySigner(), PolicySigner()
WHOLE = f"""\
name: base
images: ["hub/**", 'mirror/library/*']
scopes: [fleet, group/shops]
check_reference: true
referrer_types: [application/spdx+json]
authorities:
  - name: release
    formats: [bundle, simple-signing]
    keys:
      - file: cosign.pub
      - |
{"".join("        " + line + chr(10) for line in TWO.pem.splitlines())}    threshold: 2
"""
EVERY = r"""name: everything
images: ["**"]
mode: warn
fallback: true
when_expired: withdraw
when_clock_unknown: use-floor
expires_at: 2030-12-31
authorities:
  - name: ci
    formats: [bundle]
    trust_root: sigstore
    log_evidence: {log_entries: 2, observed_times: 1}
    signature_repository: signatures/of-hub
    keyless:
      identities:
        - issuer: https://token.example.com
          subject_regexp: ^https://ci\.example\.com/release/.*$
        - {issuer_regexp: ^https://., subject: a@b.c}
    attestations:
      - name: built
        type: slsa-provenance
        condition: |
          predicate.buildDefinition.buildType.startsWith('https://')
            && subject.size() > 0
      - {name: scanned, type: https://example.com/scan/v1}
  - name: corporate
    formats: [simple-signing]
    trust_root: corporate
    certificates:
      subjects: ["CN=release,O=Example", {regexp: ^spiffe://}]
  - name: notary
    formats: [notation-jws, notation-cose]
    trust_root: corporate
    notation:
      level: permissive
      trusted_identities: ["x509.subject: C=DE, ST=Berlin, O=Example"]
  - name: nobody
    static: {action: fail, message: ask the platform team}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "cosign.pub").write_text(ONE.pem)
    (tmp_path / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    (tmp_path / "trusted_root.json").write_bytes(trusted_root_json())
    (tmp_path / "ca.pem").write_text(ca_pem())
    (tmp_path / "revoked.crl").write_bytes(authority().revocation_list())
    return tmp_path / "policy.yaml"


def read(file: Path, text: str) -> list[pb.Policy | pb.TrustRoot | pb.Block]:
    file.write_text(text)
    return list(read_rules(file).rules)


def policy_of(file: Path, text: str) -> pb.Policy:
    (policy,) = read(file, text)
    assert isinstance(policy, pb.Policy)
    return policy


def wrong(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(FleetError) as raised:
        read_rules(file)
    assert (raised.value.kind, raised.value.reason) == (Kind.MALFORMED, "POLICY_FILE_MALFORMED")
    return raised.value.public.removeprefix(str(file) + ":")


def test_a_whole_policy_is_read(file: Path) -> None:
    policy = policy_of(file, WHOLE)
    assert (policy.name, list(policy.scopes)) == ("base", ["fleet", "group/shops"])
    formats = (SignatureFormat.SIGSTORE_BUNDLE, SignatureFormat.COSIGN_SIMPLE_SIGNING)
    assert read_policy(policy.spec) == PolicySpec(
        images=("hub/**", "mirror/library/*"),
        authorities=(Authority("release", KeySet((ONE.pem, TWO.pem), 2), formats),),
        check_reference=True,
        referrer_types=("application/spdx+json",),
    )


def test_every_field_is_read(file: Path) -> None:
    policy = policy_of(file, EVERY)
    assert policy.expires_at.ToDatetime(tzinfo=UTC) == datetime(2030, 12, 31, tzinfo=UTC)
    condition = "predicate.buildDefinition.buildType.startsWith('https://')\n  && subject.size() > 0"
    ci = Authority(
        "ci",
        Keyless(
            (
                SignerIdentity(
                    TextMatch("https://token.example.com"),
                    TextMatch(r"^https://ci\.example\.com/release/.*$", is_regexp=True),
                ),
                SignerIdentity(TextMatch("^https://.", is_regexp=True), TextMatch("a@b.c")),
            )
        ),
        (SignatureFormat.SIGSTORE_BUNDLE,),
        "sigstore",
        LogEvidence(log_entries=2, observed_times=1),
        (
            RequiredAttestation("built", "https://slsa.dev/provenance/v1", condition),
            RequiredAttestation("scanned", "https://example.com/scan/v1"),
        ),
        "signatures/of-hub",
    )
    corporate = Authority(
        "corporate",
        CertificateChain((TextMatch("CN=release,O=Example"), TextMatch("^spiffe://", is_regexp=True))),
        (SignatureFormat.COSIGN_SIMPLE_SIGNING,),
        "corporate",
    )
    notary = Authority(
        "notary",
        Notation(("x509.subject: C=DE, ST=Berlin, O=Example",), NotationLevel.PERMISSIVE),
        (SignatureFormat.NOTATION_JWS, SignatureFormat.NOTATION_COSE),
        "corporate",
    )
    nobody = Authority("nobody", StaticVerdict(passes=False, message="ask the platform team"))
    assert read_policy(policy.spec) == PolicySpec(
        images=("**",),
        authorities=(ci, corporate, notary, nobody),
        mode=Mode.WARN,
        is_fallback=True,
        when_expired=WhenExpired.WITHDRAW,
        when_clock_unknown=WhenClockUnknown.USE_FLOOR,
    )


def test_an_expression_that_matches_anywhere_is_worth_a_warning_with_its_line(file: Path) -> None:
    file.write_text(EVERY)
    lines = [warning.removeprefix(f"{file}:").partition(":")[0] for warning in read_rules(file).warnings]
    assert lines == ["18", "30"]
    file.write_text(WHOLE)
    (warning,) = read_rules(file).warnings
    assert warning.startswith(f"{file}:4: only simple-signing names a repository")


def test_what_is_left_out_has_the_strict_default(file: Path) -> None:
    lines = [line for line in WHOLE.splitlines() if not line.startswith(("scopes", "check", "referrer"))]
    policy = policy_of(file, "\n".join(lines))
    assert list(policy.scopes) == ["fleet"]
    spec = read_policy(policy.spec)
    assert not spec.check_reference
    assert (spec.mode, spec.when_expired) == (Mode.ENFORCE, WhenExpired.REFUSE_NEW)
    assert not policy.HasField("expires_at")


def test_a_trust_root_and_a_block_are_documents_of_the_same_file(file: Path) -> None:
    text = f"""\
kind: TrustRoot
name: corporate
expires_at: 2030-12-31T18:00:00+01:00
trusted_root: trusted_root.json
ca: [ca.pem]
signing_authority: [ca.pem]
timestamp_authority: [ca.pem]
revocation_lists: [revoked.crl]
---
kind: Block
name: stolen
scopes: [group/shops]
reason: the key leaked
digests: ["sha256:{"1" * 64}"]
signers: [{{file: cosign.pub}}, {"a" * 64}]
identities: [{{issuer: https://token.example.com, subject: mallory@example.com}}]
"""
    root, block = read(file, text)
    assert isinstance(root, pb.TrustRoot)
    assert isinstance(block, pb.Block)
    spec = read_trust_root(root.spec)
    assert (spec.trusted_root_json, spec.ca_pem) == (trusted_root_json(), (ca_pem(),))
    assert (spec.signing_authority_pem, spec.timestamp_authority_pem) == ((ca_pem(),), (ca_pem(),))
    assert spec.revocation_lists == ((file.parent / "revoked.crl").read_bytes(),)
    assert root.expires_at.ToDatetime(tzinfo=UTC) == datetime(2030, 12, 31, 17, tzinfo=UTC)
    blocked = read_block(block.spec)
    assert blocked.signers == (ONE.key_id.hex(), "a" * 64)
    assert blocked.identities[0].subject == TextMatch("mallory@example.com")
    assert (blocked.digests, blocked.reason, list(block.scopes)) == (
        ("sha256:" + "1" * 64,),
        "the key leaked",
        ["group/shops"],
    )


def test_several_policies_are_separated_by_three_dashes(file: Path) -> None:
    assert [policy.name for policy in read(file, WHOLE + "---\n" + WHOLE.replace("base", "other"))] == ["base", "other"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("bundle,", "bundles,", "8: `bundles` is no format: write bundle, simple-signing, notation-jws or"),
        ("name: base", "name: BASE", "1: a policy's name is 1 to 63 of a-z 0-9 . _ -"),
        ("[fleet, group/shops]", "[shops]", "3: a scope is fleet, group/NAME or satellite/NAME (shops)"),
        ("[fleet, group/shops]", "[]", "3: this list is empty"),
        ("check_reference: true", "check_reference: yes", "4: expected true or false here"),
        ("cosign.pub", "cosign.key", "10: this is a private key, which was not sent"),
        ("cosign.pub", "absent.pub", "10: the file cannot be read as text"),
        ("[bundle, simple-signing]", "[]", "8: this list is empty, so nothing would ever be admitted"),
        ("[bundle, simple-signing]", "bundle", "8: expected a list here"),
        ("[bundle, simple-signing]", "[notation-jws]", "7: the formats of such an authority are bundle, simple"),
        ("check_reference: true", "scopes: [fleet]", "4: `scopes` is there twice: remove one"),
        ("images:", "images: [", "3: this is not YAML"),
        ("'mirror/library/*'", "'mirror/library:1'", "2: a glob is over SOURCE/REPOSITORY"),
        ("'mirror/library/*'", "'*'", "2: * stays within a segment, so this matches no SOURCE/REPOSITORY"),
        ("threshold: 2", "threshold: 3", "16: a threshold is 1 to 2, the number of keys"),
        ("threshold: 2", "threshold: 0", "16: a threshold is 1 to 2, the number of keys"),
        ("threshold: 2", "threshold: two", "16: expected a whole number here"),
        ("threshold: 2", "trust_roots: x", "16: `trust_roots` is unknown: write name, formats, trust_root"),
        ("threshold: 2", "static: pass", "7: an authority verifies by exactly one of keys, keyless,"),
        ("threshold: 2", "log_evidence: {timestamps: 1}", "7: log evidence is verified by a trust root: name one"),
        ("threshold: 2", "log_evidence: {timestamps: 9}", "16: of each kind of log evidence 0 to 8 count"),
        ("threshold: 2", "log_evidence: {certificate_timestamps: 1}", "16: certificate timestamps are in short-l"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(file: Path, before: str, after: str, said: str) -> None:
    assert wrong(file, WHOLE.replace(before, after)).startswith(said)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("mode: warn", "mode: warns", "3: `warns` is no mode: write enforce or warn (did you mean `warn`?)"),
        ("withdraw", "ignore", "5: `ignore` is no when_expired: write refuse-new, withdraw or accept"),
        ("use-floor", "guess", "6: `guess` is no when_clock_unknown: write refuse or use-floor"),
        ("2030-12-31", "tomorrow", "7: expected a time here: write 2030-12-31 or 2030-12-31T18:00:00Z"),
        ("2030-12-31", "2030-12-31T18:00:00", "7: expected a time here"),
        ("2030-12-31", "0001-01-01T00:00:00+10:00", "7: expected a time here"),
        ("    trust_root: sigstore\n", "", "9: certificates are verified by a trust root: name one"),
        ("signatures/of-hub", "Signatures", "13: not an OCI repository path"),
        ("        - issuer: https", "        - issuers: https", "16: `issuers` is unknown: write issuer, issuer_reg"),
        ("issuer_regexp: ^https://.", "issuer_regexp: '(?=x)'", "18: a regular expression is RE2's (no look-around"),
        ("issuer_regexp: ^https://., ", "", "18: an identity has either `issuer` or `issuer_regexp`: write one"),
        ("subject.size() > 0", "subject.size( > 0", "22: a condition is a CEL expression"),
        ("subject.size() > 0", "subjects.size() > 0", "22: a condition knows `predicate` and `subject`"),
        ("subject.size() > 0", "subject.length() > 0", "22: a condition has CEL's standard functions"),
        ("type: slsa-provenance", "type: slsa", "21: `slsa` is no predicate type: write slsa-provenance,"),
        ("name: scanned", "name: built", "20: each attestation of an authority has a name of its own"),
        ("{regexp: ^spiffe://}", "{exact: x}", "30: `exact` is unknown: write regexp"),
        ("permissive", "lax", "35: `lax` is no level: write strict, permissive, audit or skip"),
        ("x509.subject: C", "CN: C", "36: a trusted identity is `x509.subject: C=…, ST=…, O=…`, or *"),
        ("name: notary", "name: ci", "9: each authority of a policy has a name of its own"),
        ("action: fail", "action: deny", "38: `deny` is no verdict: write pass or fail"),
        ("static: {", "formats: [bundle]\n    static: {", "37: static looks at no signature: leave formats out"),
        ("name: everything", "kind: Politics\nname: x", "1: `Politics` is no kind: write Policy, TrustRoot or Block"),
        ("log_entries: 2", "entries: 2", "12: `entries` is unknown: write log_entries, timestamps,"),
    ],
)
def test_what_is_wrong_in_any_field_is_said_with_its_line(file: Path, before: str, after: str, said: str) -> None:
    assert before in EVERY
    assert wrong(file, EVERY.replace(before, after, 1)).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: TrustRoot\nname: t\n", "1: a trust root without certificate, log or authority vouches for nobody"),
        ("kind: TrustRoot\nname: t\nca: [absent.pem]\n", "3: the file cannot be read as text"),
        ("kind: TrustRoot\nname: t\nca: [cosign.key]\n", "3: there is a private key in it, which was not sent"),
        ("kind: TrustRoot\nname: t\nca: [cosign.pub]\n", "3: an authority's certificates are PEM"),
        (
            "kind: TrustRoot\nname: t\ntrusted_root: ca.pem\n",
            "3: not a trusted_root.json (`cosign trusted-root create` makes one)",
        ),
        ("kind: TrustRoot\nname: t\nrevocation_lists: [ca.pem]\n", "3: a revocation list is DER"),
        ("kind: Block\nname: b\n", "1: a block that names no digest, signer or identity blocks nothing"),
        ("kind: Block\nname: b\ndigests: [latest]\n", "3: a digest is sha256: and 64 hexadecimal digits"),
        ("kind: Block\nname: b\nsigners: [absent.pub]\n", "3: the file cannot be read as text"),
        (f"kind: Block\nname: b\nsigners: [{'A' * 64}]\n", "3: a signer is the SHA-256 of its public key"),
        ("kind: Block\nname: b\nexpires_at: 2030-01-01\n", "3: `expires_at` is unknown: write kind, name, scopes"),
    ],
)
def test_what_is_wrong_with_trust_material_and_blocks_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    assert wrong(file, text).startswith(said)


def test_what_is_missing_is_named(file: Path) -> None:
    assert wrong(file, "name: base\nimages: [hub/**]\n") == "1: `authorities` is missing: add it"
    assert wrong(file, "") == "1: there is no policy in it: begin with `name:`"
    assert wrong(file, "- name: base\n").startswith("1: expected fields here")
