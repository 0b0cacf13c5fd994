"""What we hand to operators for watching names nothing that does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.app.catalog import OWN, WORKERS
from controlplane.app.meter import Family, Kind
from tests.rig.metrics_page import PAGE, with_table

OPERATING = Path(__file__).parents[3] / "docs" / "operating"
DASHBOARD = json.loads((OPERATING / "grafana" / "ground-control.json").read_text())
ALERTS = yaml.safe_load((OPERATING / "prometheus" / "alerts.yaml").read_text())
FAMILIES: dict[str, Family] = {family.exported: family for family in (*WORKERS, *OWN)}
SUFFIXES = ("_bucket", "_sum", "_count")
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""


def family_of(name: str) -> Family:
    """Find what a name in a query stands for: a histogram is asked for by its parts alone."""
    for suffix in SUFFIXES:
        histogram = FAMILIES.get(name.removesuffix(suffix))
        if name.endswith(suffix) and histogram and histogram.kind is Kind.HISTOGRAM:
            return histogram
    assert name in FAMILIES, f"there is no {name}"
    assert FAMILIES[name].kind is not Kind.HISTOGRAM, f"{name} has parts"
    return FAMILIES[name]


def labels_of(family: Family) -> set[str]:
    return {*family.labels, *SCRAPED, *(("worker",) if family in WORKERS else ())}


def strings(part: Any, *keys: str) -> Iterator[str]:
    """Every text under one of these keys, wherever it is."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in keys and isinstance(value, str):
                yield value
            yield from strings(value, *keys)
    elif isinstance(part, list):
        for each in part:
            yield from strings(each, *keys)


def check(query: str) -> None:
    """Check a query's names, and that each is asked for labels that it has."""
    named = re.findall(r"(ground_control_\w+)(?:\{([^}]*)\})?", query)
    assert named, f"asks for nothing of ours: {query}"
    known = [family_of(name) for name, _ in named]
    for family, (_, selector) in zip(known, named, strict=True):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert asked <= labels_of(family), f"{family.exported} has no {asked - labels_of(family)}"
        for label, value in re.findall(r'(\w+)="([^"$]+)"', selector):
            if family.known and label in family.labels:
                place = family.labels.index(label)
                assert value in {labels[place] for labels in family.known}, f"{label} is never {value}"
    for grouped in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", query):
        asked = {label.strip() for label in grouped.split(",")}
        assert asked <= set().union(*map(labels_of, known)), query


DASHBOARD_QUERIES = [*strings(DASHBOARD, "expr"), *strings(DASHBOARD, "query", "definition")]


@pytest.mark.parametrize("query", [query for query in DASHBOARD_QUERIES if query != "prometheus"])
def test_the_dashboard_asks_for_what_there_is(query: str) -> None:
    check(query)


@pytest.mark.parametrize("rule", ALERTS["groups"][0]["rules"], ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_is_wrong(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]


def test_every_panel_has_a_place_of_its_own_and_something_to_show() -> None:
    taken: dict[tuple[int, int], str] = {}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken.get((x, y))}"
                taken[x, y] = panel["title"]
        assert panel["type"] == "row" or panel["targets"]


def test_nearly_every_metric_is_on_the_dashboard() -> None:
    shown = {
        family_of(name) for query in strings(DASHBOARD, "expr") for name in re.findall(r"ground_control_\w+", query)
    }
    hidden = {family.name for family in FAMILIES.values()} - {family.name for family in shown}
    # The build is the dashboard's variable; the others tell Prometheus' users about the telling itself.
    assert hidden == {
        *("build_info", "log_epoch", "feed_polls", "feed_hints", "rpc_seconds"),
        *("fleet_reading_seconds", "fleet_reading_timestamp_seconds"),
    }


def test_the_page_lists_every_metric() -> None:
    text = PAGE.read_text()
    assert with_table(text) == text, "write it anew: python -m tests.rig.metrics_page"
