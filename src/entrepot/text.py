"""Text for people: what others have written, made harmless, and numbers of bytes."""

from __future__ import annotations

from typing import Final

__all__ = ["printable", "size"]

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with every character escaped that a terminal might act upon or not show.

    Those are control characters, the overrides of writing direction, and the separators of lines.

    Args:
        text: A peer may have written it.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text
    )


def size(count: int) -> str:
    """Return a number of bytes for people: `3.2 MiB`."""
    amount, unit = float(count), "B"
    for larger in _UNITS:
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
