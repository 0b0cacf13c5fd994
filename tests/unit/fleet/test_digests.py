from __future__ import annotations

import re
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fleet.digests import EMPTY_SCOPE, resource_version, scope_digest, state_digest

PROTO = Path(__file__).parents[3] / "proto/fleet/v1/resource.proto"

first = resource_version(1, b"")
second = resource_version(3, b"\x08\x02")
scope = scope_digest([(3, "base", second), (1, "hub/library/nginx:1", first)])

Rows = list[tuple[int, str, bytes]]
rows = st.lists(st.tuples(st.integers(1, 6), st.text(max_size=8), st.binary(min_size=32, max_size=32)), max_size=6)


def test_the_vectors_in_the_contract_are_what_this_code_computes() -> None:
    printed = re.findall(r"^//       = ([0-9a-f]{64})$", PROTO.read_text(), re.MULTILINE)
    state = state_digest({"fleet": EMPTY_SCOPE, "group/shops": scope})
    computed = [first, second, EMPTY_SCOPE, scope, state_digest({}), state]
    assert printed == [digest.hex() for digest in computed]


@given(rows, st.randoms())
def test_a_scopes_digest_does_not_depend_on_order(content: Rows, random: Random) -> None:
    shuffled = list(content)
    random.shuffle(shuffled)
    assert scope_digest(shuffled) == scope_digest(content)


@given(rows, rows)
def test_different_contents_have_different_digests(one: Rows, other: Rows) -> None:
    assert (scope_digest(one) == scope_digest(other)) == (sorted(one) == sorted(other))


def test_no_part_can_be_mistaken_for_another() -> None:
    assert resource_version(1, b"a") != resource_version(1, b"")
    assert scope_digest([(1, "ab", first)]) != scope_digest([(1, "a", b"b" + first[:31])])
    assert state_digest({"a": EMPTY_SCOPE}) != scope_digest([(1, "a", EMPTY_SCOPE)])
