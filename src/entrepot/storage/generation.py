"""The catalog's generation: tells every process of a host whether anything was committed since it last looked.

A number in shared memory, used as a sequence lock. Whoever commits makes it odd before the commit can be seen and
even after it, all under the writers' lock, and answers only then. So two equal even readings with a query between
them prove that the query saw the newest acknowledged state, and as long as the number stays the same, so does its
answer: it need not be asked again. A writer that dies in between leaves the number odd, which says "ask" until the
next commit.

What this buys: a point query costs about 10 µs of SQLite and its locks, and a manifest that is pulled all day asks
two of them for each pull.
"""

from __future__ import annotations

import mmap
import os
import time
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from entrepot.storage.database import Row

__all__ = ["MISSING", "Generation", "RecentRows"]

_BYTES = 8
_KEEP_SECONDS = 1.0
"""Rows hold ages, which go out of date by themselves; leases are counted in minutes."""

_KEEP_CHARACTERS = 2048
"""A row with more in it, such as a manifest's bytes, is not worth its place."""


class _Missing(Enum):
    MISSING = 0


MISSING: Final = _Missing.MISSING
"""What `RecentRows.get` says of a query that was not kept; None is the answer that there is no such row."""


class Generation:
    """The number, mapped into this process.

    Args:
        path: A file that all processes of the catalog share; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # not a hole: where the disk is full, writing into one by memory is SIGBUS
            os.posix_fallocate(descriptor, 0, _BYTES)
            self._memory = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)

    def read(self) -> bytes:
        """Return the number as it stands; eight bytes, of which the first tells odd from even."""
        return self._memory[:]

    def begin_commit(self) -> None:
        """Make it odd: what is about to be committed may be seen from now on. Only under the writers' lock."""
        number = int.from_bytes(self._memory[:], "little")
        self._memory[:] = (number | 1).to_bytes(_BYTES, "little")

    def end_commit(self) -> None:
        """Make it even, and another one than before: the commit is over, whatever came of it."""
        number = int.from_bytes(self._memory[:], "little")
        self._memory[:] = ((number | 1) + 1).to_bytes(_BYTES, "little")

    def close(self) -> None:
        """Unmap it."""
        self._memory.close()


class RecentRows:
    """Rows of point queries, good until anybody commits and for a second at most.

    Args:
        generation: Says when somebody has committed.
        limit: How many are kept.
    """

    def __init__(self, generation: Generation, *, limit: int = 4096) -> None:
        self._generation = generation
        self._limit = limit
        self._valid_for = b""
        self._until = 0.0
        self._rows: dict[tuple[str, tuple[object, ...]], Row | None] = {}

    def before(self) -> bytes | None:
        """Return the generation that a query would begin in, None while somebody commits.

        What is kept from another generation, or for too long, is dropped.
        """
        now = self._generation.read()
        if now[0] & 1:
            return None
        if now != self._valid_for or time.monotonic() > self._until:
            self._rows.clear()
            self._valid_for = now
            self._until = time.monotonic() + _KEEP_SECONDS
        return now

    def get(self, sql: str, values: tuple[object, ...]) -> Row | Literal[_Missing.MISSING] | None:
        """Return what is kept of a query. To be called right after `before`."""
        return self._rows.get((sql, values), MISSING)

    def keep(self, sql: str, values: tuple[object, ...], row: Row | None, *, generation: bytes) -> None:
        """Keep what a query has found, if nobody has committed since it began in this generation."""
        if self._generation.read() == generation == self._valid_for and _is_small(row):
            if len(self._rows) >= self._limit:
                self._rows.clear()
            self._rows[sql, values] = row


def _is_small(row: Row | None) -> bool:
    return (
        row is None or sum(len(value) for value in row if isinstance(value, str | bytes)) <= _KEEP_CHARACTERS
    )
