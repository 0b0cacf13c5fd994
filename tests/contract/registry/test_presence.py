"""What the disk says of a blob's presence is what the registry says: asked in the one way, answered in both."""

from __future__ import annotations

import os

import pytest

from fleet.reference import Digest, digest_of
from tests.contract.registry.test_site import push
from tests.rig.registries import RunningSite

SIZE = 200_000


def agreed(opened: RunningSite, repository: str, digest: Digest) -> bool:
    """Ask the disk first: Zot links a blob of another repository's when it is asked over the API."""
    on_disk = opened.site.has_blob(repository, digest)
    prefix = "edge/site-1/" if opened.kind == "external" else ""
    status, _ = opened.ask("HEAD", f"/v2/{prefix}{repository}/blobs/{digest}")
    assert on_disk == (status == 200), (on_disk, status)
    return on_disk


def test_a_blob_is_there_from_its_last_byte_on(opened: RunningSite, repository: str) -> None:
    content = os.urandom(SIZE)
    digest = digest_of(content)
    upload = opened.site.begin(repository)
    assert not agreed(opened, repository, digest)
    upload = opened.site.append(upload, memoryview(content)[: SIZE // 2])
    assert not agreed(opened, repository, digest)
    upload = opened.site.append(upload, memoryview(content)[SIZE // 2 :])
    assert not agreed(opened, repository, digest)
    opened.site.finish(upload, digest)
    assert agreed(opened, repository, digest)


def test_a_refused_or_cancelled_upload_leaves_nothing_that_looks_there(opened: RunningSite, repository: str) -> None:
    content = os.urandom(SIZE)
    upload = opened.site.append(opened.site.begin(repository), memoryview(content))
    opened.site.cancel(upload)
    assert not agreed(opened, repository, digest_of(content))


@pytest.mark.parametrize("content", [b"", b"some bytes of a test"], ids=["empty", "small"])
def test_a_blob_is_there_in_the_repositories_that_took_it(opened: RunningSite, repository: str, content: bytes) -> None:
    digest = digest_of(content)
    opened.site.put_blob(repository, digest, content)
    assert agreed(opened, repository, digest)
    assert opened.site.mount(f"{repository}-b", digest, origin=repository)
    assert agreed(opened, f"{repository}-b", digest)
    opened.site.put_blob(f"{repository}-c", digest, content)
    assert agreed(opened, f"{repository}-c", digest)


def test_a_deleted_blob_is_gone_here_and_stays_where_it_was_taken_over(opened: RunningSite, repository: str) -> None:
    content = os.urandom(SIZE)
    digest = digest_of(content)
    opened.site.put_blob(repository, digest, content)
    opened.site.mount(f"{repository}-b", digest, origin=repository)
    if not opened.site.delete_blob(repository, digest):
        pytest.skip("this registry deletes no blobs")
    assert not opened.site.has_blob(repository, digest)
    assert agreed(opened, f"{repository}-b", digest)
    opened.site.delete_blob(f"{repository}-b", digest)
    if opened.kind == "zot":  # asked for it over the API while the other had it, it would have linked it again
        assert not agreed(opened, f"{repository}-b", digest)
    assert not agreed(opened, repository, digest)


def test_a_published_image_s_layer_is_there_and_what_never_came_is_not(opened: RunningSite, repository: str) -> None:
    layer = os.urandom(SIZE)
    push(opened.site, repository, layer=layer)
    assert agreed(opened, repository, digest_of(layer))
    assert not agreed(opened, repository, digest_of(os.urandom(8)))
    assert not agreed(opened, f"{repository}-b", digest_of(os.urandom(8)))
