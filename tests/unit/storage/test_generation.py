"""The number that tells whether anything was committed, and rows that are kept until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.storage.generation import MISSING, Generation, RecentRows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.generation"


def test_everybody_sees_that_somebody_commits_and_that_somebody_has(path: Path) -> None:
    """Odd while a commit may become visible, another even number afterwards, in every mapping of the file."""
    writer, reader = Generation(path), Generation(path)
    before = reader.read()
    assert before[0] % 2 == 0
    writer.begin_commit()
    assert reader.read()[0] % 2 == 1
    writer.end_commit()
    assert reader.read()[0] % 2 == 0
    assert reader.read() != before


def test_a_writer_that_died_in_the_middle_is_got_over(path: Path) -> None:
    """The number stays odd, which says that nothing may be kept, until the next commit is over."""
    dying = Generation(path)
    dying.begin_commit()
    dying.close()
    rows = RecentRows(Generation(path))
    assert rows.before() is None
    successor = Generation(path)
    successor.begin_commit()
    assert rows.before() is None
    successor.end_commit()
    assert rows.before() is not None


def test_opening_does_not_change_the_number(path: Path) -> None:
    """A worker that comes later must not make old rows look new."""
    first = Generation(path)
    first.begin_commit()
    first.end_commit()
    number = first.read()
    assert Generation(path).read() == number == first.read()


def test_a_row_is_kept_until_anybody_commits(path: Path) -> None:
    """None, which says that there is no such row, is kept as well; nothing is kept over a commit."""
    writer, rows = Generation(path), RecentRows(Generation(path))
    generation = rows.before()
    assert generation is not None
    assert rows.get("SELECT", ("a",)) is MISSING
    rows.keep("SELECT", ("a",), (1,), generation=generation)
    rows.keep("SELECT", ("b",), None, generation=generation)
    assert rows.before() == generation
    assert rows.get("SELECT", ("a",)) == (1,)
    assert rows.get("SELECT", ("b",)) is None
    writer.begin_commit()
    writer.end_commit()
    assert rows.before() != generation
    assert rows.get("SELECT", ("a",)) is MISSING


@pytest.mark.parametrize("over", [True, False])
def test_a_row_that_was_found_while_somebody_committed_is_not_kept(path: Path, over: bool) -> None:
    """It may be from before the commit."""
    writer, rows = Generation(path), RecentRows(Generation(path))
    generation = rows.before()
    assert generation is not None
    writer.begin_commit()
    if over:
        writer.end_commit()
    rows.keep("SELECT", (), (1,), generation=generation)
    if not over:
        writer.end_commit()
    rows.before()
    assert rows.get("SELECT", ()) is MISSING


def test_what_is_kept_is_bounded_in_number_size_and_age(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows hold ages, so they are asked for again after a second even if nobody commits."""
    rows = RecentRows(Generation(path), limit=3)
    generation = rows.before()
    assert generation is not None
    rows.keep("SELECT", ("big",), ("x" * 10_000,), generation=generation)
    assert rows.get("SELECT", ("big",)) is MISSING
    for number in range(100):
        rows.keep("SELECT", (number,), (number,), generation=generation)
    assert len(rows._rows) <= 3
    monkeypatch.setattr("time.monotonic", lambda: rows._until + 0.1)
    rows.before()
    assert rows.get("SELECT", (99,)) is MISSING
