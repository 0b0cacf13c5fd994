from __future__ import annotations

import pytest

from edge.adapters.oci.challenge import Challenge, parse_challenges


def test_a_bearer_challenge_is_read_with_commas_inside_quotes() -> None:
    header = 'Bearer realm="https://a.example/token",service="r.example",scope="repository:a/b:pull,push"'
    assert parse_challenges([header]) == [
        Challenge("bearer", "https://a.example/token", "r.example", "repository:a/b:pull,push")
    ]


def test_several_challenges_in_one_header_are_read_in_order() -> None:
    found = parse_challenges(['Negotiate, Basic realm="x", Bearer realm="https://a", service=s'])
    assert [one.scheme for one in found] == ["negotiate", "basic", "bearer"]
    assert found[2] == Challenge("bearer", "https://a", "s")


def test_an_escaped_quote_belongs_to_the_value() -> None:
    assert parse_challenges([r'Basic realm="a \"b\" c"']) == [Challenge("basic", 'a "b" c')]


@pytest.mark.parametrize("header", ["", "=", '"', "Bearer", "Bearer realm", 'Bearer realm="', ",,,", "a=b", "\x00"])
def test_what_is_no_challenge_names_no_realm(header: str) -> None:
    assert not any(one.realm for one in parse_challenges([header]))


def test_a_huge_header_costs_no_more_than_a_long_one() -> None:
    assert len(parse_challenges(["Basic " * 1_000_000])) < 10_000
