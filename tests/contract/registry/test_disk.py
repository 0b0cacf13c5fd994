"""What the disk below a registry of ours says and does, held against what the registry itself says after it."""

from __future__ import annotations

import os
import shutil

import pytest

from edge.app.disk import SiteDisk
from edge.app.ports import Upload
from edge.app.purge import Purged
from edge.app.replicate import Replicator
from edge.domain.content import Image, read_manifest
from fleet.reference import digest_of, hash_of
from tests.contract.registry.test_site import push
from tests.rig import shelves
from tests.rig.memory_journal import MemoryJournal
from tests.rig.registries import RunningSite, index_manifest
from tests.rig.shelves import Files

MIB = 1 << 20
BOOKKEEPING = 64 << 10
"""Zot's cache grows by a page or two; Distribution's 256 directories, by the first two digits, stay."""


@pytest.fixture
def disk(own: RunningSite) -> SiteDisk:
    own.open()
    found = own.site.disk
    assert found is not None
    return found


@pytest.fixture
def files(own: RunningSite) -> Files:
    return Files(own.kind, own.data)


def test_it_lists_the_references_that_the_api_answers_for(own: RunningSite, disk: SiteDisk) -> None:
    site = own.site
    first, second = push(site, "library/app"), push(site, "library/app")
    index = index_manifest({"amd64": first, "arm64": second})
    for reference, manifest in (("v1", first), ("v2", first), ("latest", index), ("v2", second)):
        site.put_manifest("library/app", reference, manifest)
    site.delete_tag("library/app", "v1")
    found = disk.references("library/app")
    assert found == {
        one: site.head("library/app", one) for one in ("v2", "latest", *(m.digest for m in (first, second, index)))
    }
    assert {one for one in found if ":" not in one} == set(site.tags("library/app"))
    assert site.head("library/app", "v1") is None


def test_damaged_bytes_are_served_until_they_are_discarded_and_taken_again_then(
    own: RunningSite, disk: SiteDisk, files: Files
) -> None:
    site, content = own.site, os.urandom(MIB)
    digest = digest_of(content)
    for repository in ("library/one", "library/two"):
        push(site, repository, layer=content)
    for path in files.copies(digest):
        shelves.flip(path)
        break
    site.put_blob("library/one", digest, content)
    assert own.pull("library/one", digest, kind="blobs")[1] != content, "sent again, it is not replaced"
    disk.discard(digest)
    assert [own.pull(one, digest, kind="blobs")[0] for one in ("library/one", "library/two")] == [404, 404]
    for repository in ("library/one", "library/two"):
        site.put_blob(repository, digest, content)
        assert own.pull(repository, digest, kind="blobs") == (200, content)


def test_what_it_reads_is_what_is_served(own: RunningSite, disk: SiteDisk) -> None:
    manifest = push(own.site, "library/app", layer=bytes(3 * MIB))
    read = read_manifest(manifest.raw, manifest.media_type)
    assert isinstance(read, Image)
    for digest, size in {manifest.digest: len(manifest.raw), **{b.digest: b.size_bytes for b in read.layers}}.items():
        copy = disk.copy_of("library/app", digest)
        assert copy is not None
        assert copy.size_bytes == size
        with disk.read("library/app", digest) as chunks:
            assert hash_of(chunks) == digest
        assert disk.copy_of("library/other", digest) is None


def test_a_withdrawn_image_gives_its_bytes_back(own: RunningSite, disk: SiteDisk, files: Files) -> None:
    site, layer, shared = own.site, os.urandom(4 * MIB), os.urandom(2 * MIB)
    journal = MemoryJournal()
    replicator = Replicator(site, journal, journal, staging=journal)
    site.put_blob("library/other", digest_of(shared), shared)
    push(site, "library/app", layer=b"so that the repository is there")
    before = files.used_bytes
    manifest = push(site, "library/app", layer=layer)
    site.mount("library/app", digest_of(shared), origin="library/other")
    assert files.used_bytes - before > 4 * MIB
    site.delete_manifest("library/app", manifest.digest)
    read = read_manifest(manifest.raw, manifest.media_type)
    assert isinstance(read, Image)
    for digest in (read.config.digest, digest_of(layer), digest_of(shared)):
        site.delete_blob("library/app", digest)
    purged = replicator.purge(idle_s=0)
    replicator.close()
    assert files.used_bytes - before < BOOKKEEPING, "the bytes are gone"
    assert [one for one in (manifest.digest, read.config.digest, digest_of(layer)) if files.copies(one)] == []
    assert (purged != Purged()) == (own.kind == "distribution")
    assert own.pull("library/other", digest_of(shared), kind="blobs") == (200, shared)


def test_a_purge_spares_what_stands_and_what_is_on_its_way(own: RunningSite, disk: SiteDisk, files: Files) -> None:
    site, journal, content = own.site, MemoryJournal(), os.urandom(MIB)
    digest = digest_of(content)
    manifest = push(site, "library/app")
    known, unknown = (site.append(site.begin("library/app"), memoryview(content)[: MIB // 2]) for _ in range(2))
    journal.upload_opened("library/app", digest, known.location)
    replicator = Replicator(site, journal, journal, staging=journal)
    purged = replicator.purge(idle_s=3600)
    assert purged.uploads == 0, "it may be a small blob on its way"
    purged = replicator.purge(idle_s=0)
    replicator.close()
    assert purged.uploads == 1
    assert site.resume(unknown.location) is None
    site.finish(site.append(Upload(known.location, MIB // 2), memoryview(content)[MIB // 2 :]), digest)
    assert own.pull("library/app", digest, kind="blobs") == (200, content)
    assert own.pull("library/app", manifest.digest) == (200, manifest.raw)


def test_what_lost_its_link_by_hand_is_freed_and_comes_again(own: RunningSite, disk: SiteDisk, files: Files) -> None:
    if own.kind != "distribution":
        pytest.skip("only Distribution keeps bytes apart from links")
    site, content = own.site, os.urandom(MIB)
    digest = digest_of(content)
    site.put_blob("library/app", digest, content)
    shutil.rmtree(files.link("library/app", digest).parent)
    assert disk.litter() == {digest}
    journal = MemoryJournal()
    replicator = Replicator(site, journal, journal, staging=journal)
    with replicator._transfer.turns_of({digest}):
        assert replicator.purge(idle_s=0).blobs == 0, "a transfer has it in hand"
    assert replicator.purge(idle_s=0) == Purged(1, MIB, 0)
    replicator.close()
    site.put_blob("library/app", digest, content)
    assert own.pull("library/app", digest, kind="blobs") == (200, content)
