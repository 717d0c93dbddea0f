"""The scratch store: small, shared by the workers of one host, and allowed to be lost.

It is never the catalog. Losing it loses no promise, so nothing in it is fsynced.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

__all__ = ["Scratch"]

_ALIVE_SECONDS = 10.0

_MAKE_READY = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE IF NOT EXISTS metrics (worker TEXT PRIMARY KEY, at REAL NOT NULL, snapshot BLOB NOT NULL)",
)


class Scratch:
    """Snapshots of the workers' metrics. Each call takes well under a millisecond, so it runs where it is made.

    Args:
        path: The database file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            for statement in _MAKE_READY:
                self._connection.execute(statement)
        except BaseException:
            self._connection.close()
            raise

    def put_metrics(self, worker: str, snapshot: bytes) -> None:
        """Replace what this worker has counted since it started."""
        self._connection.execute(
            "INSERT OR REPLACE INTO metrics (worker, at, snapshot) VALUES (?, ?, ?)",
            (worker, time.time(), snapshot),
        )

    def metrics(self) -> list[bytes]:
        """Return the newest snapshot of each worker that has written one in the last seconds."""
        since = time.time() - _ALIVE_SECONDS
        rows = self._connection.execute(
            "SELECT snapshot FROM metrics WHERE at >= ? ORDER BY worker", (since,)
        ).fetchall()
        return [row[0] for row in rows]

    def forget_metrics(self) -> None:
        """Drop the snapshots of an earlier run."""
        self._connection.execute("DELETE FROM metrics")

    def close(self) -> None:
        """Close the store."""
        self._connection.close()
