"""The official conformance suite: build it once, run it on a registry, read its junit.xml.

Whether everything passed is read from the report and never from the exit status, and so is what was
switched on: a suite that left something out passes easily.
"""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import ProcessError, inherited, output_of
from bench.programs import ROOT, program

MODULE = "github.com/opencontainers/distribution-spec/conformance"
VERSION = "v0.0.0-20260831232431-97274622c111"

CACHE = ROOT / ".setup" / "conformance"
"""The built suite, and the last HTML report of each run, for whoever has to find out what failed."""

SECONDS_PER_RUN = 300
MESSAGES_SHOWN = 25
COUNTS = ("tests", "failures", "errors", "skipped", "disabled")


@dataclass(frozen=True)
class Report:
    """What junit.xml says: counts, the failed cases, and the configuration that was in force."""

    counts: Mapping[str, int]
    statuses: Mapping[str, int]
    failed: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str] = field(repr=False)

    @property
    def switched_off(self) -> set[str]:
        """The switches that the suite was run without."""
        return {name for name, value in self.settings.items() if value == "false"}

    def summary(self) -> dict[str, Any]:
        """What goes into the evidence."""
        return {
            "counts": dict(self.counts),
            "cases_by_status": dict(self.statuses),
            "settings": dict(self.settings),
            "failed": sorted(self.failed),
        }

    def explain(self) -> str:
        """Name what failed, one case a line."""
        lines = [f"{name}: {message}" for name, message in list(self.failed.items())[:MESSAGES_SHOWN]]
        return "\n".join([str(dict(self.counts)), *lines])


def build() -> Path:
    """Build the suite with Go; the next time it is there."""
    binary = CACHE / VERSION / "conformance"
    if not binary.exists():
        environment = {"GOBIN": str(binary.parent), "GOFLAGS": ""}
        output_of([program("go"), "install", f"{MODULE}@{VERSION}"], environment=environment, seconds=600)
    return binary


def run(binary: Path, address: str, directory: Path, *, name: str, switches: Mapping[str, str]) -> Report:
    """Run the suite on a registry, with these switches and none that this process was started with."""
    results = directory / f"results-{name}"
    given = {
        "OCI_REGISTRY": address,
        "OCI_TLS": "disabled",
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(results),
        **switches,
    }
    done = subprocess.run(
        [binary],
        cwd=directory,
        env={**inherited(), **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_PER_RUN,
        check=False,
    )
    junit = results / "junit.xml"
    if not junit.exists():
        raise ProcessError(f"the conformance suite wrote no junit.xml:\n{done.stdout}{done.stderr}")
    shutil.copy(results / "report.html", CACHE / f"{name}.html")
    return read_report(junit)


def read_report(junit: Path) -> Report:
    """Read counts, cases and configuration; an attribute that is left out is a zero."""
    (suite,) = ET.parse(junit).getroot().iter("testsuite")
    cases = list(suite.iter("testcase"))
    counts = {key: int(suite.get(key, "0")) for key in COUNTS}
    properties = {prop.get("name"): prop.get("value", "") for prop in suite.iter("property")}
    return Report(
        counts=counts,
        statuses=Counter(case.get("status", "unknown") for case in cases),
        failed={
            case.get("name", ""): (case.findtext("system-out") or "").strip()
            for case in cases
            if case.get("status") not in ("passed", "skipped")
        },
        settings=dict(_settings(properties["Config"])),
    )


def _settings(configuration: str) -> Iterator[tuple[str, str]]:
    """Flatten the suite's YAML (mappings of plain values, two spaces a level) to dotted names."""
    above: list[str] = []
    for line in filter(str.strip, configuration.splitlines()):
        key, _, value = line.strip().partition(":")
        above = [*above[: (len(line) - len(line.lstrip())) // 2], key]
        if value:
            yield ".".join(above), value.strip()
