"""What a proof has found, on the terminal and in a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.evidence import commit, machine, versions, write_evidence
from bench.programs import ROOT

from proofs.claims import Claim, Control, Finding, Trial

__all__ = ["QUICK_RESULTS", "lines", "write"]

QUICK_RESULTS = ROOT / "build" / "proofs"
"""Where quick runs leave their results: they never take the place of a full run's evidence."""

_PACKAGES = ("entrepot", "granian", "aiohttp")
_PROBLEMS_SHOWN = 20
_PROGRAMS = ("strace",)


def lines(finding: Finding) -> list[str]:
    """Return every claim with its figure, the controls' too."""
    text = [f"  {claim}" for claim in finding.claims]
    text += [f"    {problem}" for problem in finding.problems[:_PROBLEMS_SHOWN]]
    for control in finding.controls:
        text.append(f"  control: {control.what}")
        verdict = "fails, as it must" if control.failed_as_it_must else "PASSES: the proof proves nothing"
        text += [f"    {claim}" for claim in control.claims]
        text.append(f"    {verdict}")
    return text


def write(name: str, finding: Finding, trial: Trial, *, seconds: float) -> Path:
    """Write the result where it belongs: quick ones below `build`, full ones into the documentation."""
    command = f"python -m proofs --seed {trial.seed} {name}"
    result: dict[str, Any] = {
        "passed": finding.passed,
        "quick": trial.quick,
        "seconds": round(seconds, 1),
        "claims": [asdict(claim) for claim in finding.claims],
        "conditions": finding.conditions,
    }
    control = {
        "failed_as_it_must": all(control.failed_as_it_must for control in finding.controls),
        "controls": [_document(control) for control in finding.controls],
    }
    if trial.quick:
        return _write_quick(name, result | {"negative_control": control, "samples": finding.samples}, command)
    return write_evidence(
        name,
        command=command,
        seed=trial.seed,
        programs=_PROGRAMS,
        packages=_PACKAGES,
        samples=finding.samples,
        result=result,
        negative_control=control,
    )


def _write_quick(name: str, result: dict[str, Any], command: str) -> Path:
    head = {"name": name, "command": f"{command} --quick", "commit": commit(), "machine": machine()}
    document = head | {"versions": versions(_PROGRAMS, _PACKAGES), **result}
    QUICK_RESULTS.mkdir(parents=True, exist_ok=True)
    path = QUICK_RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _document(control: Control) -> dict[str, Any]:
    claims: list[Claim] = list(control.claims)
    return {"what": control.what, "claims": [asdict(claim) for claim in claims]}
