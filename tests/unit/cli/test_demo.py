"""`demo`, in full: a registry, an image, there and back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from entrepot.wire.exchange import Cause, Decision, Exchange
from entrepot.wire.jsonl import read_records


@pytest.fixture(autouse=True)
def _beside_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("entrepot.cli.demo._MEMORY", tmp_path)


def test_there_and_back(run, tmp_path: Path) -> None:
    """Everything comes back as it went; one layer goes in chunks, shared layers exist; nothing stays behind."""
    trace = tmp_path / "trace.jsonl"
    shown = run("demo", "--json", "--trace", trace)
    assert shown.code == 0
    summary = shown.json
    assert summary["problems"] == []
    assert summary["files_compared"] > 500
    records = list(read_records(trace.read_bytes().splitlines()))
    exchanges = [record for record in records if isinstance(record, Exchange)]
    assert summary["exchanges"] == len(exchanges)
    assert [exchange.cause for exchange in exchanges if exchange.cause is not Cause.INITIAL] == []
    assert any(exchange.method == "PATCH" for exchange in exchanges)
    assert any(exchange.method == "PUT" and exchange.bytes_sent > 1 << 20 for exchange in exchanges)
    assert {record.action.value for record in records if isinstance(record, Decision)} == {
        "copied",
        "uploaded",
        "exists",
        "downloaded",
    }
    # a line for each record, a heading for each step, and the line that names the registry
    drawn = [line for line in shown.err.splitlines() if line and not line.startswith("==")]
    assert len(drawn) == len(records) + 1
    assert list(tmp_path.glob("entrepot-demo-*")) == []


def test_keep(run) -> None:
    """With `--keep` the registry goes on, and its image can be pulled until it is stopped."""
    kept = run("demo", "--keep", "--quiet", "--json")
    summary, left = [json.loads(text) for text in kept.out.replace("}\n{", "}\0{").split("\0")]
    try:
        assert (kept.code, summary["problems"]) == (0, [])
        assert (
            run("digest", f"{left['host']}/demo/entrepot").out.strip() == summary["image"].partition("@")[2]
        )
    finally:
        os.kill(left["pid"], signal.SIGTERM)
        os.waitpid(left["pid"], 0)
