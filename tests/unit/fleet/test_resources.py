from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import resources
from fleet.resources import Readable, Unusable, read
from fleet.v1 import resource_pb2 as pb

DIGEST = "sha256:" + "a" * 64
UNKNOWN_FIELD = b"\xf8\x3e\x01"  # field 1007, varint 1


def artifact(**fields: Any) -> pb.ResourcePayload:
    spec: dict[str, Any] = {"source": "hub", "repository": "library/nginx", "tag": "1", "digest": DIGEST} | fields
    return pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD, artifact=pb.ArtifactSpec(**spec))


def test_an_artifact_is_read_whole() -> None:
    payload = artifact(priority=7, platforms=[pb.Platform(os="linux", architecture="arm64")])
    match read(resources.ARTIFACT, payload.SerializeToString()):
        case Readable(resources.Artifact(repository="library/nginx", priority=7, platforms=platforms)):
            assert platforms == {resources.Platform("linux", "arm64")}
        case other:
            pytest.fail(str(other))


@pytest.mark.parametrize("where", ["payload", "body", "nested"])
def test_an_unknown_field_at_any_depth_holds(where: str) -> None:
    payload = artifact(platforms=[pb.Platform(os="linux", architecture="arm64")])
    target = {"payload": payload, "body": payload.artifact, "nested": payload.artifact.platforms[0]}[where]
    target.MergeFromString(UNKNOWN_FIELD)
    reading = read(resources.ARTIFACT, payload.SerializeToString())
    assert isinstance(reading, Unusable)
    assert (reading.reason, reading.hold) == ("AGENT_TOO_OLD", True)
    assert "1007" in reading.text


def test_an_unknown_enum_value_in_a_list_holds() -> None:
    policy = pb.PolicySpec(authorities=[pb.Authority(name="a", formats=[1, 99])])  # type: ignore[list-item]
    reading = read(resources.POLICY, pb.ResourcePayload(policy=policy).SerializeToString())
    assert isinstance(reading, Unusable)
    assert reading.hold


def test_without_if_unknown_a_payload_holds() -> None:
    payload = artifact()
    payload.if_unknown = pb.IF_UNKNOWN_UNSPECIFIED
    payload.MergeFromString(UNKNOWN_FIELD)
    assert isinstance(read(resources.ARTIFACT, payload.SerializeToString()), Unusable)


def test_what_asks_to_be_ignored_is_used_as_far_as_it_is_understood() -> None:
    payload = artifact()
    payload.if_unknown = pb.IF_UNKNOWN_IGNORE
    payload.MergeFromString(UNKNOWN_FIELD)
    assert isinstance(read(resources.ARTIFACT, payload.SerializeToString()), Readable)


def test_an_unknown_kind_holds_unless_it_asks_to_be_ignored() -> None:
    held = read(99, pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD).SerializeToString())
    assert isinstance(held, Unusable)
    assert held.hold
    assert read(99, pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_IGNORE).SerializeToString()) is None


@pytest.mark.parametrize(
    "fields", [{"digest": "sha256:xyz"}, {"digest": ""}, {"repository": "../up"}, {"tag": "no spaces"}]
)
def test_a_malformed_artifact_is_unusable_and_says_why(fields: dict[str, str]) -> None:
    reading = read(resources.ARTIFACT, artifact(**fields).SerializeToString())
    assert isinstance(reading, Unusable)
    assert reading.reason == "PAYLOAD_MALFORMED"


def test_a_body_of_another_kind_is_unusable() -> None:
    assert isinstance(read(resources.POLICY, artifact().SerializeToString()), Unusable)


@given(st.integers(0, 2**31 - 1), st.binary(max_size=200))
def test_any_bytes_are_read_or_said_to_be_unusable(kind: int, payload: bytes) -> None:
    assert read(kind, payload) is None or isinstance(read(kind, payload), Readable | Unusable)
