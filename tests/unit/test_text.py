"""Text for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.text import printable, size


@given(st.text())
def test_what_others_have_written_moves_no_cursor(text: str) -> None:
    """Whatever it was, one line of characters that are shown comes out; what was harmless stays as it was."""
    shown = printable(text)
    assert shown.isprintable()
    assert not text.isprintable() or shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("héllo ✓", "héllo ✓"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b\n", "a\\u2028b\\n"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    """Escape sequences, overrides of writing direction and separators of lines, as Python writes them."""
    assert printable(text) == shown


def test_what_is_kept() -> None:
    """Somebody who shows several lines keeps their ends."""
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_355_443, "3.2 MiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 60, "5.0 EiB"),
        (1 << 73, "8192.0 EiB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    """Bytes are counted by 1024, and what is larger than every unit is many of the largest."""
    assert size(count) == shown
