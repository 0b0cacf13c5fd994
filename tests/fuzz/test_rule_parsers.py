"""Any bytes as what was signed, as trust material, as files of people: read, or our error with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.domain.policy_checks import check_signed, open_signed
from controlplane.rpc.wire_rules import read_signed
from controlplane.satctl.cip_file import read_cluster_policies
from controlplane.satctl.policy_file import Rules, read_rules
from fleet.errors import FleetError
from fleet.policy import BlockSpec, SignerSetSpec, TrustRootSpec
from fleet.signer_checks import check_regexp, is_anchored
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import SourceSpec
from tests.contract.store.words import D1, shut
from tests.rig.policies_page import CLUSTER_POLICY, examples, write_files
from tests.rig.policy_signing import PolicySigner, kind_of, payload_of, signed_version
from tests.rig.trust_material import ca_pem, trusted_root_json

SIGNER = PolicySigner()
PAYLOADS = [
    payload_of(shut("hub/**"), "base", serial=1),
    payload_of(TrustRootSpec(trusted_root_json(), (ca_pem(),)), "sigstore", serial=1),
    payload_of(BlockSpec(digests=(D1,)), "bad", serial=1),
    payload_of(SignerSetSpec((SIGNER.pem,), 1), "1", serial=1),
]


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Cut, change or repeat a piece of something good."""
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(len(good), start + 40)))
    return good[:start] + draw(st.binary(max_size=8) | st.just(good[start:end] * 2)) + good[end:]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_payload_is_the_same_rule_or_our_error(data: st.DataObject) -> None:
    payload = data.draw(st.sampled_from(PAYLOADS))
    content = data.draw(damaged(payload.SerializeToString()) | st.binary(max_size=60))
    signature = SIGNER.sign(signed_version(payload))
    resource = pb.SignedResource(kind=kind_of(payload), payload=content, signatures=[signature])
    try:
        signed = check_signed(read_signed(resource))
    except FleetError:
        return
    rule = open_signed(signed)
    assert signed.payload == content
    assert rule.scopes
    assert rule.serial


def reads(tmp: Path) -> list[tuple[list[str], Callable[[Path], Rules]]]:
    sources = [pb.Source(name="acme", spec=SourceSpec(address="ghcr.io"))]
    write_files(tmp)
    return [
        (examples("yaml"), read_rules),
        (
            [CLUSTER_POLICY],
            lambda path: read_cluster_policies(path, sources, trust_root="sigstore", scopes=["fleet"]),
        ),
    ]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("which", [0, 1], ids=["policy", "cluster policy"])
def test_a_damaged_file_is_read_or_refused_with_a_line(tmp_path: Path, which: int, data: st.DataObject) -> None:
    good, read = reads(tmp_path)[which]
    content = data.draw(damaged(data.draw(st.sampled_from(good)).encode()) | st.binary(max_size=60))
    file = tmp_path / "damaged.yaml"
    file.write_bytes(content)
    try:
        read(file)
    except FleetError as error:
        if error.reason != "FILE_UNREADABLE":
            line = error.public.removeprefix(f"{file}:").partition(":")[0]
            assert 1 <= int(line) <= content.count(b"\n") + content.count(b"\r") + 2, error.public  # noqa: PT017


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("()[]{}|\\^$.*+?:=!az09", max_size=60))
def test_any_expression_is_compiled_or_refused(text: str) -> None:
    try:
        check_regexp(text)
    except FleetError as error:
        assert error.reason == "REGEXP_MALFORMED"  # noqa: PT017 - either outcome is one
    is_anchored(text)
