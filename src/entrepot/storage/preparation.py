"""Making a root ready, once, by the server's main process, before any worker opens it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from entrepot.errors import StoreError
from entrepot.storage import layout
from entrepot.storage.migrations import SQLITE_SLOTS, migrations
from entrepot.storage.scratch import Scratch
from entrepot.storage.settings import StorageSettings
from entrepot.storage.sqlite import connect

__all__ = ["RootLock", "prepare"]


class RootLock:
    """Holds a root for one server; released by `close`, or by the kernel when the process ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            who = f"process {holder}" if holder else "another process"
            raise StoreError(
                f"the root is in use by {who}: {path.parent}",
                hint="one server for each root; give it more workers instead",
            ) from None
        # for people only: a full disk is no reason not to serve what is there
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others have the root."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(settings: StorageSettings) -> RootLock:
    """Create the root or check it, bring its catalog up to date, and hold it.

    Everything that is opened here is closed again before this returns, the lock excepted: SQLite's locks do not
    survive a descriptor of the same file being closed, so nothing of it may be inherited by workers.

    Raises:
        StoreError: The root is in use, cannot be written, is on a network file system, or was made by a newer
            version.
    """
    root = settings.root
    try:
        _make_directories(root)
        layout.refuse_network_file_system(root)
        lock = RootLock(root / layout.ROOT_LOCK)
    except OSError as error:
        raise StoreError(f"the root cannot be used, {error.strerror}: {root}") from error
    try:
        _migrate(root / layout.CATALOG)
        _prepare_scratch(root / layout.SCRATCH)
        _sync_directory(root)
    except (OSError, sqlite3.Error) as error:
        lock.close()
        raise StoreError(f"the catalog cannot be used, {error}: {root / layout.CATALOG}") from error
    except BaseException:
        lock.close()
        raise
    return lock


def _make_directories(root: Path) -> None:
    new = [directory for directory in (root, *root.parents) if not directory.exists()]
    for directory in (root, root / layout.BLOBS, root / layout.UPLOADS):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for directory in {path.parent for path in new} | {root}:
        _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare_scratch(path: Path) -> None:
    """Empty the scratch store. It is never fsynced, so a power cut may have left it in pieces: then make a new one."""
    try:
        _forget_metrics(path)
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        _forget_metrics(path)


def _forget_metrics(path: Path) -> None:
    with closing(Scratch(path)) as scratch:
        scratch.forget_metrics()


def _migrate(path: Path) -> None:
    """Apply the steps that the catalog has not seen, each in a transaction together with its number."""
    steps = migrations()
    newest = steps[-1][0]
    with closing(connect(path)) as connection:
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"the root's file system cannot share memory between processes: {path.parent}")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > newest:
            raise StoreError(
                f"the catalog was made by a newer Entrepot, schema {version} against our {newest}: {path}",
                hint="run the newer version, or restore a backup from before the upgrade",
            )
        for number, text in steps:
            if number > version:
                _apply(connection, number, text)


def _apply(connection: sqlite3.Connection, number: int, text: str) -> None:
    for slot, value in SQLITE_SLOTS.items():
        text = text.replace(slot, value)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # not executescript, which commits first
        for statement in _statements(text):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(text: str) -> list[str]:
    found, current = [], ""
    for line in text.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
