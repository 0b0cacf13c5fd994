from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.delta_cache import DeltaCache
from controlplane.adapters.sealing import FileKeySealer
from controlplane.domain.entities import Credential
from fleet.errors import FleetError

ROBOT = Credential("robot", "secret")


def test_a_credential_opens_with_the_same_key_file(tmp_path: Path) -> None:
    sealed = FileKeySealer(tmp_path / "private" / "key").seal("hub", ROBOT)
    assert FileKeySealer(tmp_path / "private" / "key").unseal("hub", sealed) == ROBOT
    assert b"secret" not in sealed
    assert (tmp_path / "private" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["source", "key", "bytes", "version", "short"])
def test_it_opens_for_nothing_else(tmp_path: Path, change: str) -> None:
    sealer = FileKeySealer(tmp_path / "one" / "key")
    sealed = sealer.seal("hub", ROBOT)
    match change:
        case "key":
            sealer = FileKeySealer(tmp_path / "two" / "key")
        case "bytes":
            sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        case "version":
            sealed = b"\x02" + sealed[1:]
        case "short":
            sealed = sealed[:5]
    with pytest.raises(FleetError) as caught:
        sealer.unseal("quay" if change == "source" else "hub", sealed)
    assert caught.value.reason == "CREDENTIAL_UNREADABLE"


def test_sealing_twice_gives_other_bytes(tmp_path: Path) -> None:
    sealer = FileKeySealer(tmp_path / "private" / "key")
    assert sealer.seal("hub", ROBOT) != sealer.seal("hub", ROBOT)


def test_a_key_file_of_another_size_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "key").write_bytes(b"short")
    (private / "key").chmod(0o600)
    with pytest.raises(FleetError) as caught:
        FileKeySealer(private / "key")
    assert caught.value.reason == "SEALING_KEY_UNREADABLE"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    FileKeySealer(tmp_path / "private" / "key")
    (tmp_path / "private" / "key").chmod(0o644)
    with pytest.raises(FleetError) as caught:
        FileKeySealer(tmp_path / "private" / "key")
    assert caught.value.reason == "PRIVATE_PATH_EXPOSED"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60))))
def test_a_cache_never_holds_more_than_its_limit(steps: list[tuple[int, int]]) -> None:
    cache = DeltaCache(limit_bytes=100)
    for generation, size in steps:
        step = ("fleet", None, generation)
        held = cache.get(step)
        cache.put(step, bytes(size))
        assert cache.get(step) == (bytes(size) if held is None else held)
        assert cache._size_bytes == sum(map(len, cache._held.values())) <= 100
