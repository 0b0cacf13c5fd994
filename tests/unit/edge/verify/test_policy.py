from __future__ import annotations

import pytest

from edge.domain.policy import Policy, Rules
from fleet.policy import PolicySpec


@pytest.mark.parametrize(
    ("glob", "image", "matches"),
    [
        ("**", "central/library/nginx", True),
        ("central/**", "central/library/nginx", True),
        ("central/*", "central/library/nginx", False),
        ("central/*/nginx", "central/library/nginx", True),
        ("central/library/ngin", "central/library/nginx", False),
        ("library/nginx", "central/library/nginx", False),
        ("central/lib.ary/nginx", "central/library/nginx", False),
        ("central/library/**", "central/library", False),
        ("c*l/**", "central/library/nginx", True),
        ("central/library/nginx", "central/library/nginx\n", False),
        ("", "central/library/nginx", False),
    ],
)
def test_a_star_stops_at_a_slash_and_two_do_not(glob: str, image: str, matches: bool) -> None:
    assert Policy("p", PolicySpec((glob,))).matches(image) is matches


def test_a_policy_without_globs_matches_nothing() -> None:
    assert not Policy("p", PolicySpec()).matches("central/library/nginx")


def test_the_version_changes_with_every_policy_whatever_their_order() -> None:
    one, two = Policy("1", PolicySpec(), version=b"1"), Policy("2", PolicySpec(), version=b"2")
    assert Rules((one, two)).policy_version == Rules((two, one)).policy_version
    assert len({Rules(policies).policy_version for policies in ((), (one,), (two,), (one, two))}) == 4
