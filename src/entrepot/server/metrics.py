"""What is counted, and how the counts of all workers become one page of metrics.

Each worker counts on its own, without locks, and puts a snapshot into the scratch store every second; whichever worker
is asked adds up what all that are alive have put there. Labels are endpoints, methods and statuses, never anything that
a client can choose freely.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["BUCKETS", "Metrics", "Snapshot", "exposition"]

BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
"""Upper bounds of a request's duration, in seconds; what lies beyond has a bucket of its own."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class Durations(msgspec.Struct):
    """How long the requests of one endpoint took: how many in each bucket, and all together in seconds."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class Snapshot(msgspec.Struct):
    """The counts of one worker, or of all.

    Attributes:
        requests: By endpoint, method and status, joined by spaces.
        durations: By endpoint.
        received: Bytes of requests' bodies.
        sent: Bytes of answers' bodies.
        in_flight: Requests that are being answered.
        workers: Whose counts these are.
    """

    requests: dict[str, int] = msgspec.field(default_factory=dict)
    durations: dict[str, Durations] = msgspec.field(default_factory=dict)
    received: int = 0
    sent: int = 0
    in_flight: int = 0
    workers: int = 1


class Metrics:
    """Counts the requests of this worker."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._received = 0
        self._sent = 0
        self.in_flight = 0

    def record(
        self, endpoint: str, method: str, status: int, *, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request that has been answered."""
        self._requests[endpoint, method if method in _METHODS else "other", status] += 1
        durations = self._durations.get(endpoint)
        if durations is None:
            durations = self._durations[endpoint] = Durations()
        durations.buckets[bisect_left(BUCKETS, seconds)] += 1
        durations.seconds += seconds
        self._received += received
        self._sent += sent

    def snapshot(self) -> bytes:
        """Return the counts so far, as they travel through the scratch store."""
        return msgspec.json.encode(
            Snapshot(
                requests={
                    f"{endpoint} {method} {status}": n
                    for (endpoint, method, status), n in self._requests.items()
                },
                durations=self._durations,
                received=self._received,
                sent=self._sent,
                in_flight=self.in_flight,
            )
        )


def _add_up(snapshots: Iterable[bytes]) -> Snapshot:
    total = Snapshot(workers=0)
    for raw in snapshots:
        one = msgspec.json.decode(raw, type=Snapshot)
        for key, count in one.requests.items():
            total.requests[key] = total.requests.get(key, 0) + count
        for endpoint, durations in one.durations.items():
            sums = total.durations.setdefault(endpoint, Durations())
            sums.buckets = [
                ours + theirs for ours, theirs in zip(sums.buckets, durations.buckets, strict=True)
            ]
            sums.seconds += durations.seconds
        total.received += one.received
        total.sent += one.sent
        total.in_flight += one.in_flight
        total.workers += one.workers
    return total


class _Collector:
    """Gives a snapshot to prometheus-client, which knows the format."""

    def __init__(self, total: Snapshot, version: str) -> None:
        self._total = total
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        total = self._total
        build = GaugeMetricFamily("entrepot_build_info", "Which version this is", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        requests = CounterMetricFamily(
            "entrepot_requests", "Requests that were answered", labels=["endpoint", "method", "status"]
        )
        for key, count in sorted(total.requests.items()):
            requests.add_metric(key.split(" "), count)
        yield requests
        yield _durations(total)
        yield CounterMetricFamily(
            "entrepot_received_bytes", "Bytes of requests' bodies", value=total.received
        )
        yield CounterMetricFamily("entrepot_sent_bytes", "Bytes of answers' bodies", value=total.sent)
        yield GaugeMetricFamily(
            "entrepot_requests_in_flight", "Requests being answered", value=total.in_flight
        )
        yield GaugeMetricFamily("entrepot_workers", "Worker processes that are alive", value=total.workers)


def _durations(total: Snapshot) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "entrepot_request_seconds", "How long requests took until their answer was sent", labels=["endpoint"]
    )
    for endpoint, durations in sorted(total.durations.items()):
        reached, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), durations.buckets, strict=True):
            reached += count
            buckets.append((bound, reached))
        family.add_metric([endpoint], buckets, durations.seconds)
    return family


def exposition(snapshots: Iterable[bytes], *, version: str) -> tuple[bytes, str]:
    """Return the metrics of all workers in Prometheus' text format, and its media type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(_add_up(snapshots), version))
    return generate_latest(registry), CONTENT_TYPE_LATEST
