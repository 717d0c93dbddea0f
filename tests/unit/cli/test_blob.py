"""`blob get`: a blob's bytes, none of them before all are verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def test_blob_get(run, pushed: str, repository: str, tmp_path: Path) -> None:
    """`blob get` writes a blob's bytes, to stdout or into a file."""
    config = json.loads(run("manifest", "get", pushed).out)["config"]["digest"]
    for place in (repository, f"local:{repository}"):
        got = run("blob", "get", f"{place}@{config}")
        assert f"sha256:{hashlib.sha256(got.out.encode()).hexdigest()}" == config
        assert run("blob", "get", f"{place}@{config}", "-o", tmp_path / "config").code == 0
        assert (tmp_path / "config").read_text() == got.out
    assert run("blob", "get", f"{repository}@sha256:{'0' * 64}").code == 3
    assert run("blob", "get", pushed).code == 2


def test_a_spoilt_blob_is_not_shown(run, image: str, repository: str, tmp_path: Path) -> None:
    """Of a blob that is not what its digest says not a byte is written, and a file that was there stays."""
    layer = json.loads(run("manifest", "get", f"local:{image}").out)["layers"][0]["digest"]
    stored = tmp_path / "images" / "blobs" / "sha256" / layer.removeprefix("sha256:")
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    (tmp_path / "kept").write_text("kept")
    got = run("blob", "get", f"local:{repository}@{layer}")
    assert (got.code, got.out) == (1, "")
    assert run("blob", "get", f"local:{repository}@{layer}", "-o", tmp_path / "kept").code == 1
    assert (tmp_path / "kept").read_text() == "kept"
    assert [path.name for path in tmp_path.glob(".kept*")] == []
