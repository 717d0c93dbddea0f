"""Metrics of several workers, as one page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from entrepot.server.metrics import Metrics, exposition


def samples(*workers):
    page, media_type = exposition([worker.snapshot() for worker in workers], version="1.2")
    assert media_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_sum():
    """Counts, bytes, durations and requests in flight are added up over the workers."""
    first, second = Metrics(), Metrics()
    first.record("GetBlob", "GET", 200, seconds=0.002, received=0, sent=100)
    first.record("GetBlob", "GET", 404, seconds=0.5, received=0, sent=10)
    second.record("GetBlob", "GET", 200, seconds=1_000, received=7, sent=100)
    second.in_flight = 3
    found = samples(first, second)
    labels = (("endpoint", "GetBlob"), ("method", "GET"))
    assert found["entrepot_requests_total", *labels, ("status", "200")] == 2
    assert found["entrepot_requests_total", *labels, ("status", "404")] == 1
    assert found["entrepot_request_seconds_bucket", ("endpoint", "GetBlob"), ("le", "0.0025")] == 1
    assert found["entrepot_request_seconds_bucket", ("endpoint", "GetBlob"), ("le", "300.0")] == 2
    assert found["entrepot_request_seconds_bucket", ("endpoint", "GetBlob"), ("le", "+Inf")] == 3
    assert found["entrepot_request_seconds_sum", ("endpoint", "GetBlob")] == 1_000.502
    assert found["entrepot_sent_bytes_total",] == 210
    assert found["entrepot_received_bytes_total",] == 7
    assert found["entrepot_requests_in_flight",] == 3
    assert found["entrepot_workers",] == 2
    assert found["entrepot_build_info", ("version", "1.2")] == 1


def test_methods_are_not_free_text():
    """A method that somebody made up is `other`: clients cannot make series."""
    worker = Metrics()
    for n in range(100):
        worker.record("none", f"BREW{n}", 405, seconds=0, received=0, sent=0)
    assert (
        samples(worker)[
            "entrepot_requests_total", ("endpoint", "none"), ("method", "other"), ("status", "405")
        ]
        == 100
    )


def test_nothing():
    """A registry that nobody has asked yet has metrics, too."""
    assert samples()["entrepot_workers",] == 0
