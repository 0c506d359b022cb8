"""Figures for Prometheus: requests, their time, batches, queue and loaded models."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tasks.serving.service import ServiceStats

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call]  # the time at which a series was first seen: a gauge per series that nobody reads
SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""The same from the first scrape on: quantiles over time need buckets that do not come and go."""


class Metrics:
    """The figures of one endpoint.

    Labels come from routes and from answers, never from what a client sent: nobody can make them many.
    """

    def __init__(self, stats: Callable[[], ServiceStats], held_bytes: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "keeneye_requests", "Requests answered.", ("route", "model", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "keeneye_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge("keeneye_requests_in_flight", "Requests being answered.", registry=self._registry)
        bodies = Gauge("keeneye_body_bytes", "Memory that request bodies hold.", registry=self._registry)
        bodies.set_function(held_bytes)
        self._registry.register(_ServiceCollector(stats))
        ProcessCollector(registry=self._registry)

    def count(self, route: str, model: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, model, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    """What the prediction service counts itself, read when somebody asks."""

    def __init__(self, stats: Callable[[], ServiceStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield GaugeMetricFamily("keeneye_pending", "Requests admitted and not yet answered.", stats.pending)
        loaded = GaugeMetricFamily("keeneye_loaded_models", "Models in memory.", labels=("model", "version"))
        for model, version in stats.models:
            loaded.add_metric((model, version), 1)
        yield loaded
        yield CounterMetricFamily("keeneye_model_loads", "Models loaded since the start.", value=stats.loads)
        yield _batch_sizes(stats)


def _batch_sizes(stats: ServiceStats) -> HistogramMetricFamily:
    buckets = [
        (str(most), sum(count for size, count in stats.batch_sizes.items() if size <= most)) for most in BATCH_BUCKETS
    ]
    sizes = HistogramMetricFamily("keeneye_batch_images", "Images per run of a network.")
    sizes.add_metric((), [*buckets, ("+Inf", stats.batches)], stats.images)
    return sizes
