"""What the satellite needs of a site's registry, whoever runs it."""

from __future__ import annotations

import json
import os
import secrets

import pytest

from edge.app.ports import SiteRegistry
from edge.domain.content import RawManifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of
from tests.rig.registries import RunningSite, image_manifest, index_manifest

NOWHERE = Digest("sha256:" + "0" * 64)


def push(site: SiteRegistry, repository: str, *, docker: bool = False, layer: bytes = b"") -> RawManifest:
    config = json.dumps({"os": "linux", "architecture": "amd64", "author": secrets.token_hex(8)}).encode()
    layer = layer or os.urandom(500)
    for content in (config, layer):
        site.put_blob(repository, digest_of(content), content)
    manifest = image_manifest(config, (layer,), docker=docker)
    site.put_manifest(repository, manifest.digest, manifest)
    return manifest


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker-schema-2"])
def test_a_manifest_is_served_byte_for_byte_by_tag_and_by_digest(
    opened: RunningSite, repository: str, docker: bool
) -> None:
    manifest = push(opened.site, repository, docker=docker)
    opened.site.put_manifest(repository, "v1", manifest)
    assert opened.site.manifest(repository, "v1") == manifest
    assert opened.site.head(repository, "v1") == manifest.digest
    if opened.kind != "external":
        assert opened.pull(repository, "v1") == (200, manifest.raw)
        assert opened.pull(repository, manifest.digest) == (200, manifest.raw)


def test_what_is_absent_is_said_to_be_absent(opened: RunningSite, repository: str) -> None:
    site = opened.site
    assert site.manifest(repository, "v1") is None
    assert site.head(repository, NOWHERE) is None
    assert not site.has_blob(repository, NOWHERE)
    assert not site.delete_manifest(repository, NOWHERE)
    assert site.tags(repository) == []
    assert site.known_manifests(repository) == set()


def test_an_index_with_an_unwanted_child_keeps_its_digest(opened: RunningSite, repository: str) -> None:
    site = opened.site
    wanted = push(site, repository)
    unwanted = image_manifest(b'{"os":"linux","architecture":"arm64"}', (os.urandom(100),))
    index = index_manifest({"amd64": wanted, "arm64": unwanted})
    if site.capabilities.child_blobs:
        site.put_blob(repository, unwanted.digest, unwanted.raw)
    site.put_manifest(repository, "multi", index)
    assert site.head(repository, "multi") == index.digest
    assert site.head(repository, wanted.digest) == wanted.digest
    assert site.head(repository, unwanted.digest) is None


def test_a_manifest_whose_blobs_are_absent_is_refused(opened: RunningSite, repository: str) -> None:
    manifest = image_manifest(b"{}", (os.urandom(100),))
    with pytest.raises(FleetError) as caught:
        opened.site.put_manifest(repository, "v1", manifest)
    assert (caught.value.kind, caught.value.reason) == (Kind.MALFORMED, "MANIFEST_REFUSED")
    assert opened.site.head(repository, "v1") is None


def test_a_deleted_manifest_is_gone_at_once_and_its_tags_with_it(opened: RunningSite, repository: str) -> None:
    site = opened.site
    manifest = push(site, repository)
    site.put_manifest(repository, "v1", manifest)
    assert opened.kind == "external" or opened.pull(repository, manifest.digest)[0] == 200
    assert site.delete_manifest(repository, manifest.digest)
    assert site.head(repository, manifest.digest) is None
    assert site.head(repository, "v1") is None
    if opened.kind != "external":
        assert opened.pull(repository, manifest.digest)[0] == 404
        assert opened.pull(repository, "v1")[0] == 404


def test_a_deleted_tag_leaves_the_digest_and_the_other_tags(opened: RunningSite, repository: str) -> None:
    site = opened.site
    manifest = push(site, repository)
    for tag in ("v1", "v2"):
        site.put_manifest(repository, tag, manifest)
    assert site.delete_tag(repository, "v1")
    assert site.tags(repository) == ["v2"]
    assert site.head(repository, manifest.digest) == manifest.digest


def test_a_moved_tag_stands_for_the_new_manifest(opened: RunningSite, repository: str) -> None:
    first, second = push(opened.site, repository), push(opened.site, repository)
    for manifest in (first, second):
        opened.site.put_manifest(repository, "latest", manifest)
        assert opened.site.head(repository, "latest") == manifest.digest
    if opened.site.capabilities.keeps_untagged:
        assert opened.site.head(repository, first.digest) == first.digest


def test_a_blob_is_taken_over_from_another_repository(opened: RunningSite, repository: str) -> None:
    site = opened.site
    content = os.urandom(3000)
    site.put_blob(repository, digest_of(content), content)
    assert site.mount(f"{repository}-b", digest_of(content), origin=repository)
    assert site.has_blob(f"{repository}-b", digest_of(content))


def test_a_blob_that_is_nowhere_cannot_be_taken_over(opened: RunningSite, repository: str) -> None:
    assert not opened.site.mount(f"{repository}-b", NOWHERE, origin=repository)
    assert not opened.site.has_blob(f"{repository}-b", NOWHERE)


def test_a_blob_goes_up_in_segments(opened: RunningSite, repository: str) -> None:
    site = opened.site
    content = os.urandom(300_000)
    upload = site.begin(repository)
    for start in range(0, len(content), 100_000):
        upload = site.append(upload, memoryview(content)[start : start + 100_000])
    site.finish(upload, digest_of(content))
    assert site.has_blob(repository, digest_of(content))
    assert opened.kind == "external" or opened.pull(repository, digest_of(content), kind="blobs") == (200, content)


def test_an_upload_is_found_again_where_it_was_left(opened: RunningSite, repository: str) -> None:
    site = opened.site
    content = os.urandom(200_000)
    begun = site.begin(repository)
    site.append(begun, memoryview(content)[:150_000])
    found = site.resume(begun.location)
    assert found is not None
    assert found.offset == 150_000
    site.finish(site.append(found, memoryview(content)[150_000:]), digest_of(content))
    assert site.has_blob(repository, digest_of(content))


def test_a_cancelled_upload_is_gone(opened: RunningSite, repository: str) -> None:
    upload = opened.site.append(opened.site.begin(repository), memoryview(b"x" * 1000))
    opened.site.cancel(upload)
    assert opened.site.resume(upload.location) is None
    opened.site.cancel(upload)


def test_bytes_that_are_not_what_their_digest_says_are_refused(opened: RunningSite, repository: str) -> None:
    upload = opened.site.append(opened.site.begin(repository), memoryview(b"x" * 1000))
    with pytest.raises(FleetError) as caught:
        opened.site.finish(upload, digest_of(b"y"))
    assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, "DIGEST_MISMATCH")
    assert opened.site.resume(upload.location) is None
    assert not opened.site.has_blob(repository, digest_of(b"y"))


def test_a_whole_blob_that_is_not_what_its_digest_says_is_refused(opened: RunningSite, repository: str) -> None:
    with pytest.raises(FleetError) as caught:
        opened.site.put_blob(repository, digest_of(b"y"), b"x" * 1000)
    assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, "DIGEST_MISMATCH")
    assert not opened.site.has_blob(repository, digest_of(b"y"))


def test_a_segment_in_the_wrong_place_loses_no_byte_silently(opened: RunningSite, repository: str) -> None:
    upload = opened.site.append(opened.site.begin(repository), memoryview(b"x" * 1000))
    wrong = type(upload)(upload.location, 500)
    with pytest.raises(FleetError) as caught:
        opened.site.append(wrong, memoryview(b"y" * 1000))
    assert caught.value.reason == "UPLOAD_LOST"


def test_repositories_and_manifests_are_listed(opened: RunningSite, repository: str) -> None:
    manifest = push(opened.site, repository)
    opened.site.put_manifest(repository, "v1", manifest)
    assert repository in opened.site.repositories()
    assert opened.site.known_manifests(repository) == {manifest.digest}


def test_an_empty_blob_can_be_stored(opened: RunningSite, repository: str) -> None:
    opened.site.put_blob(repository, digest_of(b""), b"")
    assert opened.site.has_blob(repository, digest_of(b""))
