"""The catalog's schema, one file per step, applied in the order of their numbers and never changed afterwards.

Slots that each engine fills in: `{serial}` (a key that counts by itself), `{collate}` (byte order), `{bytes}`
(a binary column), `{clustered}` (rows live in their primary key's tree).
"""

from __future__ import annotations

from importlib import resources

__all__ = ["SQLITE_SLOTS", "migrations"]

SQLITE_SLOTS = {
    "{serial}": "INTEGER PRIMARY KEY",
    "{collate}": "",
    "{bytes}": "BLOB",
    "{clustered}": " WITHOUT ROWID",
}


def migrations() -> list[tuple[int, str]]:
    """Return (number, SQL text with slots), in order."""
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql"))
    return sorted((int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in files)
