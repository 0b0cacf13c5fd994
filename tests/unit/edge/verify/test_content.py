from __future__ import annotations

import json

import pytest

from edge.domain.content import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Image, Index, Platform, read_manifest
from fleet.errors import FleetError
from tests.rig.images import make_image

DIGEST = "sha256:" + "a" * 64
BLOB = {"mediaType": "application/octet-stream", "digest": DIGEST, "size": 1}
IMAGE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": BLOB, "layers": [BLOB]}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{**BLOB, "mediaType": OCI_MANIFEST}]}


def _read(document: object, media_type: str = "") -> Image | Index:
    return read_manifest(json.dumps(document).encode(), media_type)


@pytest.mark.parametrize("docker", [False, True])
def test_oci_and_docker_say_the_same(docker: bool) -> None:
    held = make_image("same", docker=docker)
    index = read_manifest(held.manifests[held.tags["1.0"]].raw, "")
    assert isinstance(index, Index)
    assert [child.platform for child in index.children] == [
        Platform("linux", "amd64"),
        Platform("linux", "arm64"),
    ]
    image = read_manifest(held.manifests[index.children[0].digest].raw, index.children[0].media_type)
    assert isinstance(image, Image)
    assert image.is_runnable
    assert len(image.layers) == 2


def test_without_a_media_type_the_shape_tells() -> None:
    assert isinstance(_read({key: value for key, value in IMAGE.items() if key != "mediaType"}), Image)
    assert isinstance(_read({key: value for key, value in INDEX.items() if key != "mediaType"}), Index)


def test_a_content_type_may_carry_parameters() -> None:
    assert isinstance(_read(IMAGE, f"{OCI_MANIFEST}; charset=utf-8"), Image)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {**IMAGE, "schemaVersion": "2"},
        {**IMAGE, "schemaVersion": 3},
        {**IMAGE, "mediaType": "text/plain"},
        {**IMAGE, "config": None},
        {**IMAGE, "layers": [BLOB, 1]},
        {**IMAGE, "layers": {}},
        {**IMAGE, "manifests": []},
        {**IMAGE, "config": {**BLOB, "size": -1}},
        {**IMAGE, "config": {**BLOB, "size": True}},
        {**IMAGE, "config": {**BLOB, "size": 1.0}},
        {**IMAGE, "config": {**BLOB, "size": 1 << 63}},
        {**IMAGE, "annotations": {"a": 1}},
        {**IMAGE, "annotations": {"a": "\ud800"}},
        {**IMAGE, "subject": "x"},
        {**INDEX, "layers": []},
        {**INDEX, "manifests": [{**BLOB, "platform": 1}]},
        {**INDEX, "manifests": INDEX["manifests"] * 65},  # type: ignore[operator]  # a list
    ],
)
def test_what_is_no_manifest_is_refused(document: object) -> None:
    with pytest.raises(FleetError, match="MANIFEST_MALFORMED"):
        _read(document)


@pytest.mark.parametrize("urls", ["https://x", [1], {"a": 1}])
def test_urls_are_strings(urls: object) -> None:
    with pytest.raises(FleetError, match="MANIFEST_MALFORMED"):
        _read({**IMAGE, "layers": [{**BLOB, "urls": urls}]})


def test_a_layer_is_foreign_where_it_may_not_be_handed_on_and_is_elsewhere() -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layers = [
        {**BLOB, "mediaType": foreign, "urls": ["https://x"]},
        {**BLOB, "mediaType": foreign},
        {**BLOB, "urls": ["https://x"]},
    ]
    read = _read({**IMAGE, "layers": layers})
    assert isinstance(read, Image)
    assert [layer.is_foreign for layer in read.layers] == [True, False, False]


@pytest.mark.parametrize("digest", ["sha512:" + "a" * 128, "sha384:" + "a" * 96])
def test_a_digest_by_another_algorithm_is_named(digest: str) -> None:
    with pytest.raises(FleetError, match="DIGEST_UNSUPPORTED"):
        _read({**IMAGE, "config": {**BLOB, "digest": digest}})


@pytest.mark.parametrize("digest", ["", "sha256:", DIGEST.upper(), "sha512:" + "a" * 127, DIGEST + "a"])
def test_a_digest_within_is_read_strictly(digest: str) -> None:
    with pytest.raises(FleetError, match="DIGEST_MALFORMED"):
        _read({**IMAGE, "config": {**BLOB, "digest": digest}})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":NaN}',
        b'{"schemaVersion":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_strict_json_is_refused(raw: bytes) -> None:
    with pytest.raises(FleetError, match="MANIFEST_MALFORMED"):
        read_manifest(raw, "")


def test_a_body_that_disagrees_with_its_header_is_refused() -> None:
    with pytest.raises(FleetError, match="disagree"):
        _read(IMAGE, DOCKER_MANIFEST)


def test_schema_1_is_refused_by_name() -> None:
    with pytest.raises(FleetError, match="SCHEMA1_UNSUPPORTED"):
        _read({"schemaVersion": 1, "fsLayers": []})


def test_a_manifest_past_its_limit_is_not_read() -> None:
    with pytest.raises(FleetError, match="MANIFEST_TOO_LARGE"):
        read_manifest(b" " * (4 << 20) + b"{}", "")


@pytest.mark.parametrize(
    ("wanted", "offered", "admits"),
    [("", "v7", True), ("v7", "v7", True), ("v7", "v6", False), ("v7", "", False)],
)
def test_a_variant_left_open_matches_any(wanted: str, offered: str, admits: bool) -> None:
    assert Platform("linux", "arm", wanted).admits(Platform("linux", "arm", offered)) is admits
