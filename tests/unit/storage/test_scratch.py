"""What the workers share and may lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.storage.scratch import Scratch


def test_metrics_are_those_of_workers_that_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of each, of those that have written one in the last ten seconds."""
    one, two = Scratch(tmp_path / "scratch.db"), Scratch(tmp_path / "scratch.db")
    monkeypatch.setattr("time.time", lambda: 1000.0)
    one.put_metrics("one", b"1")
    two.put_metrics("two", b"2")
    assert one.metrics() == two.metrics() == [b"1", b"2"]

    monkeypatch.setattr("time.time", lambda: 1009.0)
    one.put_metrics("one", b"1 later")
    monkeypatch.setattr("time.time", lambda: 1011.0)
    assert two.metrics() == [b"1 later"]

    two.forget_metrics()
    assert one.metrics() == []
    one.close()
    two.close()


def test_what_is_no_scratch_store_is_refused_and_closed(tmp_path: Path) -> None:
    """The caller decides whether to make a new one."""
    (tmp_path / "scratch.db").write_bytes(b"something else" * 100)
    with pytest.raises(Exception, match="not a database"):
        Scratch(tmp_path / "scratch.db")
