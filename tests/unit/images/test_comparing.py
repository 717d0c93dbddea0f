"""Differences between files and layers."""

from __future__ import annotations

from pathlib import Path

from entrepot.images.comparing import differences, expected, found
from entrepot.images.layers import Entry, pack


def test_the_same(tmp_path: Path) -> None:
    """A layer holds what it was packed from."""
    (tmp_path / "file").write_text("content")
    entries = [
        Entry("d"),
        Entry("d/file", content=tmp_path / "file", executable=True),
        Entry("d/bytes", content=b"bytes"),
        Entry("d/link", link="file"),
    ]
    pack(entries, tmp_path / "layer")
    assert list(differences(expected(entries), found(tmp_path / "layer"))) == []


def test_each_difference_is_named(tmp_path: Path) -> None:
    """Content, size, mode, kind, links, and what is missing or not wanted: each is seen."""
    wanted = [
        Entry("content", content=b"abc"),
        Entry("size", content=b"abc"),
        Entry("mode", content=b"abc"),
        Entry("kind", content=b""),
        Entry("link", link="a"),
        Entry("missing"),
        Entry("same", content=b"same"),
    ]
    packed = [
        Entry("content", content=b"abd"),
        Entry("size", content=b"abcd"),
        Entry("mode", content=b"abc", executable=True),
        Entry("kind"),
        Entry("link", link="b"),
        Entry("odd"),
        Entry("same", content=b"same"),
    ]
    pack(packed, tmp_path / "layer")
    named = [line.rpartition(": ")[2] for line in differences(expected(wanted), found(tmp_path / "layer"))]
    assert named == ["content", "kind", "link", "missing", "mode", "odd", "size"]
