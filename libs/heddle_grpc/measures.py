"""What a process tells about itself when it is scraped, apart from how Prometheus wants it written.

Counts are plain numbers where the work is done: the Prometheus client takes a lock for each, and a twentieth of a
second to load. It is asked for the text alone, and loaded only where somebody may scrape.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
"""Values of a measure's labels, in the order of their names."""


@dataclass(frozen=True)
class Count:
    """How often something has happened since the start."""

    name: str
    """Without the ending `_total`, which is added."""
    help: str
    values: Mapping[Labels, float]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Level:
    """How much there is of something now."""

    name: str
    help: str
    values: Mapping[Labels, float]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Spread:
    """How often which sizes have occurred since the start."""

    name: str
    help: str
    values: "Mapping[Labels, Distribution]"
    labels: Sequence[str] = ()


Measure = Count | Level | Spread

Source = Callable[[], Awaitable[Iterable[Measure]]]
"""Reads measures at the moment of a scrape. What it cannot read now it leaves out, and it does not raise."""


@dataclass(slots=True)
class Distribution:
    """Sizes counted by upper bound."""

    bounds: Sequence[float]
    """Ascending; what is above the last counts apart."""
    counts: list[int] = field(default_factory=list[int])
    """One more than bounds. Not cumulative."""
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, size: float) -> None:
        """One more of this size."""
        self.counts[bisect_left(self.bounds, size)] += 1
        self.total += size


def in_prometheus_text(measures: Iterable[Measure]) -> bytes:
    """The measures as Prometheus reads them (text format 0.0.4)."""
    from prometheus_client import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    class Given(Collector):
        def collect(self) -> "Iterable[Metric]":
            return [_family(each) for each in measures]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given())
    return generate_latest(registry)


def _family(measure: Measure) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    match measure:
        case Count():
            family = CounterMetricFamily(measure.name, measure.help, labels=measure.labels)
            for labels, value in measure.values.items():
                family.add_metric(labels, value)
        case Level():
            family = GaugeMetricFamily(measure.name, measure.help, labels=measure.labels)
            for labels, value in measure.values.items():
                family.add_metric(labels, value)
        case Spread():
            family = HistogramMetricFamily(measure.name, measure.help, labels=measure.labels)
            for labels, found in measure.values.items():
                family.add_metric(labels, _cumulative(found), found.total)
    return family


def _cumulative(found: Distribution) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip([*(str(float(each)) for each in found.bounds), "+Inf"], found.counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return buckets
