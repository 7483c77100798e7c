"""What the service counts, in the form that Prometheus reads; the names that charts of others use are there too."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one service. All processes report to the one that answers: they are sums as they are.

    Gauges are not counted up and down but read from what is there when somebody asks, so they cannot drift.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("picscribe_requests", "Requests answered.", ["route", "status"], **made)
        self.failures = Counter("picscribe_failures", "Requests and images that failed, by reason.", ["reason"], **made)
        self.images = Counter("picscribe_images", "Questions about images answered.", ["model", "kind"], **made)
        self.encoded = Counter("picscribe_images_encoded", "Images that an encoder computed.", ["model"], **made)
        self.batches = Counter("picscribe_batches", "Batches dispatched, and why then.", ["model", "reason"], **made)
        self.batch_images = Histogram("picscribe_batch_images", "Images a batch.", ["model"], buckets=IMAGES, **made)
        self.stage = Histogram(
            "picscribe_stage_seconds", "Seconds by stage of an image or batch.", ["stage"], buckets=SECONDS, **made
        )
        self.seconds = Histogram(
            "picscribe_request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS, **made
        )
        self.restarts = Counter("picscribe_restarts", "Processes that were started again.", ["process"], **made)

    def watch(self, read: Callable[[], dict[str, float]]) -> None:
        """Gauges by name, read when somebody asks."""
        self.registry.register(_Gauges(read))

    def page(self) -> bytes:
        """Everything in Prometheus's text form."""
        return generate_latest(self.registry)


GAUGES = {
    "picscribe_queue_images": "Images accepted and not yet being computed.",
    "picscribe_running_images": "Images being computed.",
    "picscribe_queue_oldest_seconds": "How long the oldest queued image has waited.",
    "picscribe_held_bytes": "Bytes of requests that are held.",
    "picscribe_connections": "Requests being received or answered.",
    "picscribe_cache_bytes": "Bytes of pixels kept.",
    "picscribe_workers": "Model workers that are up.",
    "picscribe_decoders": "Decoders that are up.",
    "tgi_queue_size": "As picscribe_queue_images.",
    "tgi_batch_current_size": "As picscribe_running_images.",
    "vllm:num_requests_running": "As picscribe_running_images.",
    "vllm:num_requests_waiting": "As picscribe_queue_images.",
}


class _Gauges:
    def __init__(self, read: Callable[[], dict[str, float]]) -> None:
        self.read = read

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, value in self.read().items():
            yield GaugeMetricFamily(name, GAUGES[name], value=value)
