"""Evidence of a proof or a measurement: one JSON file says what was run, on what, and what came of it."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.processes import ProcessError, output_of
from bench.programs import ROOT, find, version

PROOFS = ROOT / "docs" / "reference" / "proofs"


def write_evidence(
    name: str,
    *,
    command: str,
    samples: Mapping[str, Any],
    result: Mapping[str, Any],
    negative_control: Mapping[str, Any],
    programs: Iterable[str] = (),
    packages: Iterable[str] = (),
    seed: int | None = None,
) -> Path:
    """Write `docs/reference/proofs/NAME.json` whole or not at all; returns its path.

    `negative_control` is the same check on something that is wrong: evidence without a check that
    has been seen to fail is none.
    """
    document = {
        "name": name,
        "command": command,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": seed,
        "machine": machine(),
        "versions": versions(programs, packages),
        "samples": samples,
        "result": result,
        "negative_control": negative_control,
    }
    PROOFS.mkdir(parents=True, exist_ok=True)
    path = PROOFS / f"{name}.json"
    unfinished = path.with_suffix(".json.part")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(path)
    return path


def commit() -> dict[str, Any]:
    """Name the commit that is checked out, and whether source files differ from it.

    The evidence itself does not count: writing one proof would make the next one's tree unclean.
    """
    git = ["git", "-C", str(ROOT)]
    try:
        head = output_of([*git, "rev-parse", "--verify", "HEAD"]).strip()
        changed = output_of([*git, "status", "--porcelain", "--", ".", ":!docs/reference/proofs"]).strip()
    except (OSError, ProcessError):  # an unpacked archive is no checkout
        return {"id": None, "dirty": None}
    return {"id": head, "dirty": bool(changed)}


def machine() -> dict[str, Any]:
    """Describe the hardware and the kernel under the figures."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": model.group(1) if model else platform.machine(),
        "architecture": platform.machine(),
        "memory_mib": pages // 2**20,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
    }


def versions(programs: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """Collect the versions of Python, of Python packages, and of the programs that are installed."""
    found = {"python": sys.version.split()[0]}
    for package in packages:
        found[package] = metadata.version(package)
    for name in programs:
        path = find(name)
        found[name] = version(path) if path else "not installed"
    return found
