"""The official conformance suite of the distribution specification, on `serve --workers 2`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.evidence import write_evidence
from bench.servers import REGISTRIES, StartRegistry, nginx, proxy_to
from tests.interop import conformance_suite
from tests.interop.conformance_suite import Report

pytestmark = pytest.mark.timeout(900)

OPTIONAL = {
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_MOUNT_ANONYMOUS": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
}
"""What the suite leaves to the registry, and we have."""

ALLOW_MISSING = '[manifests]\nallow-missing = "all"\n'

FAULTS = {
    "none": ("", ""),
    "no Docker-Content-Digest": ("proxy_hide_header Docker-Content-Digest;", "Docker-Content-Digest"),
    "416 turned into 202": (
        "proxy_intercept_errors on; error_page 416 =202 @accepted; location @accepted { return 202; }",
        "expected one of [416], received 202",
    ),
}
"""What a proxy before the registry does wrong, and what the suite must say of it."""


@pytest.fixture(scope="module")
def suite() -> Path:
    return conformance_suite.build()


@pytest.fixture(scope="module")
def runs(start_registry: StartRegistry) -> Iterator[dict[str, Report]]:
    """The reports of the runs that came out as they must; all of them, on our registry, are evidence."""
    reports: dict[str, Report] = {}
    yield reports
    complete = {"defaults", "allow-missing", *FAULTS} <= reports.keys()
    if complete and start_registry is REGISTRIES["entrepot"]:
        keep(reports)


def keep(reports: dict[str, Report]) -> None:
    """Write the evidence: the two runs, and the runs on a registry that is wrong."""

    def summaries(names: Any) -> dict[str, Any]:
        return {name: reports[name].summary() for name in names}

    samples = summaries(["defaults", "allow-missing"])
    faulty = summaries(name for name in FAULTS if name != "none")
    write_evidence(
        "conformance",
        command="python -m pytest tests/interop/test_conformance.py -p no:randomly",
        programs=["go", "nginx"],
        packages=["entrepot", "granian"],
        samples={"suite": f"{conformance_suite.MODULE}@{conformance_suite.VERSION}", "runs": samples},
        result={name: sample["counts"] for name, sample in samples.items()},
        negative_control={
            "what": "the same suite through nginx, which does one thing wrong, must report failures",
            "without_a_fault": reports["none"].summary()["counts"],
            "runs": faulty,
            "failed_as_it_must": all(run["counts"]["failures"] > 0 for run in faulty.values()),
        },
    )


def assert_passed(report: Report, *, off: set[str]) -> None:
    """Everything ran but what is off, and everything that ran passed."""
    assert report.settings["version"] == "dev"
    assert not report.settings.get("filterTest")
    assert report.switched_off == off
    assert report.counts["tests"] > 0
    problems = {key: report.counts[key] for key in ("failures", "errors", "skipped")}
    assert problems == {"failures": 0, "errors": 0, "skipped": 0}, report.explain()
    assert not report.failed, report.explain()


def test_everything_passes_without_a_configuration_file(
    start_registry: StartRegistry, suite: Path, directory: Path, runs: dict[str, Report]
) -> None:
    """With every optional endpoint switched on; only sparse manifests are off, which we refuse by default."""
    with start_registry(directory) as server:
        report = conformance_suite.run(suite, server.address, directory, name="defaults", switches=OPTIONAL)
    assert_passed(report, off={"data.sparse"})
    runs["defaults"] = report


def test_everything_passes_when_manifests_may_be_incomplete(
    start_registry: StartRegistry, suite: Path, directory: Path, runs: dict[str, Report]
) -> None:
    """With `allow-missing = "all"` nothing is off and nothing is disabled."""
    switches = {**OPTIONAL, "OCI_DATA_SPARSE": "true"}
    with start_registry(directory, configuration=ALLOW_MISSING) as server:
        report = conformance_suite.run(
            suite, server.address, directory, name="allow-missing", switches=switches
        )
    assert_passed(report, off=set())
    assert report.counts["disabled"] == 0, report.explain()
    assert set(report.statuses) == {"passed"}
    runs["allow-missing"] = report


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices_a_registry_that_is_wrong(
    start_registry: StartRegistry, suite: Path, directory: Path, runs: dict[str, Report], fault: str
) -> None:
    """The negative control: the same runs through a proxy fail with a fault, and pass without one."""
    (directory / "nginx").mkdir()
    wrong, complaint = FAULTS[fault]
    with (
        start_registry(directory) as server,
        nginx(directory / "nginx", http=proxy_to(server.address, fault=wrong)) as proxy,
    ):
        name = "proxy-" + fault.replace(" ", "-")
        report = conformance_suite.run(suite, proxy.address, directory, name=name, switches=OPTIONAL)
    if fault == "none":
        assert_passed(report, off={"data.sparse"})
    else:
        assert report.counts["failures"] > 0
        assert any(complaint in message for message in report.failed.values()), report.explain()
    runs[fault] = report
