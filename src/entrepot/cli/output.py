"""What commands write: data to stdout, for a pipe; progress and notes to stderr, for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["Output", "table"]


class Output:
    """Writes what a command has to say, in the form that was asked for.

    Args:
        as_json: Data as JSON.
        quiet: No notes.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet

    def result(self, document: Any, lines: Iterable[str]) -> None:  # noqa: ANN401 - anything JSON
        """Write a command's data: the document with `--json`, else the lines."""
        if self._as_json:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Write one item of data as soon as it is there."""
        sys.stdout.write(f"{text}\n")

    def raw(self, content: bytes) -> None:
        """Write bytes to stdout as they are."""
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()

    def warning(self, text: str) -> None:
        """Tell people what they have to know, even if they want quiet."""
        print(f"warning: {text}", file=sys.stderr, flush=True)  # noqa: T201 - see `note`

    def note(self, text: str) -> None:
        """Tell people something, unless they want quiet."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where notes are printed


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
