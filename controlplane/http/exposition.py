"""Samples → the text that Prometheus reads, in whichever of its formats the scraper asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from controlplane.app.meter import PREFIX, Family, Kind, Sample

WORKER = "worker"
"""The label that says which worker counted; a counter starts anew with its worker, and so does its series."""


class _Page(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render(metrics: Iterable[Metric], accept: str) -> tuple[str, bytes]:
    """Write a page of metrics: `→ (content type, text)` for an `Accept` header."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Page(metrics))
    return content_type, encode(registry)


def write_own(families: Iterable[Family], samples: Iterable[Sample]) -> list[Metric]:
    """Make metrics of what this process knows by itself."""
    return _metrics(families, [("", sample) for sample in samples], ())


def write_workers(families: Iterable[Family], told: Mapping[str, Iterable[Sample]]) -> list[Metric]:
    """Make metrics of what workers told, `worker → its samples`, each with its worker's name as a first label."""
    return _metrics(families, [(worker, sample) for worker, each in told.items() for sample in each], (WORKER,))


def _metrics(families: Iterable[Family], told: list[tuple[str, Sample]], first: tuple[str, ...]) -> list[Metric]:
    by_name: dict[str, list[tuple[list[str], Sample]]] = {}
    for worker, sample in told:
        by_name.setdefault(sample.name, []).append(([worker, *sample.labels] if first else [*sample.labels], sample))
    return [_metric(family, (*first, *family.labels), by_name.get(family.name, [])) for family in families]


def _metric(family: Family, labels: tuple[str, ...], told: list[tuple[list[str], Sample]]) -> Metric:
    name = PREFIX + family.name
    match family.kind:
        case Kind.COUNTER:
            counter = CounterMetricFamily(name, family.help, labels=labels)
            for values, sample in told:
                counter.add_metric(values, sample.value)
            return counter
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(name, family.help, labels=labels)
            for values, sample in told:
                gauge.add_metric(values, sample.value)
            return gauge
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, family.help, labels=labels)
            for values, sample in told:
                histogram.add_metric(values, _buckets(family, sample), sample.value)
            return histogram


def _buckets(family: Family, sample: Sample) -> list[tuple[str, float]]:
    bounds = [*map(str, family.bounds), "+Inf"]
    return list(zip(bounds, accumulate(sample.buckets), strict=True))
