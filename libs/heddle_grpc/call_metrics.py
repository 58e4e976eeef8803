"""Counts calls and their time for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class CallMetrics:
    """The metrics of one server, in a registry of its own unless one is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._calls = Counter("heddle_grpc_calls", "Calls that have ended.", ("method", "code"), registry=self.registry)
        self._seconds = Histogram(
            "heddle_grpc_call_seconds",
            "Time of a call, a stream's whole life included.",
            ("method",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._under_way = Gauge("heddle_grpc_calls_under_way", "Calls that have not ended.", registry=self.registry)
        # Children are kept, because looking one up by its labels takes longer than counting.
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count_under_way(self, reading: Callable[[], int]) -> None:
        """Read the gauge of open calls from `reading` when it is scraped."""
        self._under_way.set_function(reading)

    def record(self, method: str, code: str, seconds: float) -> None:
        """A call has ended."""
        key = (method, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._calls.labels(method, code)
        counter.inc()
        histogram = self._histograms.get(method)
        if histogram is None:
            histogram = self._histograms[method] = self._seconds.labels(method)
        histogram.observe(seconds)

    def text(self) -> bytes:
        """Everything in the registry, in the Prometheus text format."""
        return generate_latest(self.registry)
