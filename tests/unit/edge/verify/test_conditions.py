"""Conditions on attestations: what holds, what does not, and what is not evaluated at all."""

from __future__ import annotations

import json

import pytest

from edge.domain.verify.claims import Claim
from edge.domain.verify.conditions import MAX_WALKED, holds
from fleet.conditions import compile_condition
from fleet.errors import FleetError
from fleet.policy import SignatureFormat

STATEMENT = json.loads(
    '{"n": 3, "f": 3.0, "half": 0.5, "big": 9007199254740993, "s": "x", "none": null, "empty": [],'
    ' "list": [1, 2, 3], "vulns": [{"severity": "LOW", "ids": ["a"]}, {"severity": "HIGH", "ids": ["b", "c"]}]}'
)


def claim(predicate: object) -> Claim:
    subjects = ({"name": "app", "digest": {"sha256": "00"}},)
    return Claim(SignatureFormat.SIGSTORE_BUNDLE, b"", (), frozenset(), predicate=predicate, subjects=subjects)


@pytest.mark.parametrize(
    "expression",
    [
        "predicate.n == 3",
        "predicate.n == 3.0 && predicate.f == 3 && predicate.n > 2.5",
        "predicate.half > 0.25",
        "predicate.big == 9007199254740993",
        "predicate.none == null",
        "!has(predicate.missing)",
        "predicate.list.all(x, x < 4) && size(predicate.list) == 3",
        'predicate.vulns.filter(v, v.severity == "HIGH").size() == 1',
        'predicate.vulns.exists(v, v.ids.exists(i, i == "c"))',
        'predicate.s.matches("^x$") && predicate.s in ["x", "y"]',
        'subject[0].name == "app"',
        'predicate.s != ".all(x, .all(y, .all(z, ("',
    ],
)
def test_what_a_statement_says_can_be_asked_for(expression: str) -> None:
    assert holds(expression, claim(STATEMENT)) == ""


@pytest.mark.parametrize(
    "expression",
    [
        "predicate.n == 4",
        "predicate.missing == 1",
        "predicate.n",
        "predicate.s",
        '"true"',
        "predicate.empty[0] == 1",
        "predicate.s + 1 == 2",
        "1 / (predicate.n - 3) == 1",
    ],
)
def test_whatever_is_not_plainly_true_is_false(expression: str) -> None:
    assert holds(expression, claim(STATEMENT)) == "CONDITION_FALSE"


@pytest.mark.parametrize("predicate", [None, [], "text", 1, {}])
def test_a_statement_of_any_shape_is_judged(predicate: object) -> None:
    assert holds("predicate.n == 3", claim(predicate)) == "CONDITION_FALSE"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "Syntax error"),
        ("1 +", "Syntax error"),
        ("(" * 500 + "true" + ")" * 500, ""),
        ("undeclared == 1", "undeclared"),
        ("now() == 1", "now"),
        ("predicate.a.all(x, y == x)", "y"),
        ("true || " * 600 + "true", "characters"),
        ("predicate.a.all(x, predicate.a.all(y, predicate.a.exists(z, z == 1)))", "macros"),
        ("[1].map(x, [2].map(y, [3].filter(z, true)))", "macros"),
        ("[1].all(x, // )\n[2].all(y, // )\n[3].all(z, true)))", "macros"),
        (r"""[1].all(x, r"\" == r"\" && [2].all(y, [3].all(z, true)))""", "macros"),
        ("""[1].all(x, ')' == ")" && [2].all(y, ''')''' == ')' || [3].all(z, true)))""", "macros"),
    ],
)
def test_what_cannot_be_used_is_said_when_it_is_written_and_admits_nothing(expression: str, says: str) -> None:
    with pytest.raises(FleetError, match="condition") as raised:
        compile_condition(expression)
    assert raised.value.reason == "CONDITION_MALFORMED"
    assert says in raised.value.public + raised.value.subject
    assert holds(expression, claim(STATEMENT)) == "CONDITION_UNREADABLE"


def test_lists_are_not_walked_within_large_ones() -> None:
    nested = "predicate.a.all(x, predicate.a.all(y, x == x || y == y))"
    assert holds(nested, claim({"a": list(range(MAX_WALKED))})) == "CONDITION_TOO_COSTLY"
    assert holds(nested, claim({"a": list(range(MAX_WALKED // 10))})) == ""
    assert holds("predicate.a.all(x, x >= 0)", claim({"a": list(range(100_000))})) == ""
