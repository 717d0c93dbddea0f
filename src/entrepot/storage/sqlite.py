"""The catalog on SQLite: one writer thread per process that commits in groups, readers that never wait.

Any number of processes on one host share the file. Whoever writes holds `catalog.lock`, so that writers wait in
the kernel and are woken when it is free; SQLite's own busy handler polls and was seen to starve one of four
processes. A group of waiting transactions shares one `BEGIN IMMEDIATE … COMMIT`, each in a savepoint of its
own: a refusal undoes one member only, and no member is answered before the commit of all.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from entrepot.errors import StoreError, Unavailable
from entrepot.storage.database import Row, Work
from entrepot.storage.generation import MISSING, Generation, RecentRows

__all__ = ["SQLite", "connect"]

T = TypeVar("T")

_BUSY_SECONDS = 10.0
_GROUP_MEMBERS = 256
_READERS = 2


def connect(path: Path, *, busy_seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    """Open a connection in autocommit mode. May be used from any one thread at a time."""
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


class _Dialect:
    """Fills the slots of a statement; each text is worked on once."""

    def __init__(self, clock_offset_ms: int) -> None:
        self._now = f"(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + {clock_offset_ms})"
        self._known: dict[str, str] = {}

    def __call__(self, sql: str) -> str:
        text = self._known.get(sql)
        if text is None:
            text = self._known[sql] = (
                sql.replace("{now}", self._now).replace("{lock}", "").replace("{share}", "")
            )
            if len(self._known) > 4096:
                self._known.clear()
        return text


# `$1` is a *named* parameter to SQLite. Bound as a sequence it would be bound by order of appearance, silently wrong.
_NAMES = tuple(str(number) for number in range(1, 33))


def _bound(values: tuple[object, ...]) -> dict[str, Any]:
    if len(values) <= len(_NAMES):
        return dict(zip(_NAMES, values, strict=False))
    return {str(number): value for number, value in enumerate(values, start=1)}


class _SQLiteTransaction:
    def __init__(self, connection: sqlite3.Connection, dialect: _Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    async def fetch(self, sql: str, *values: object) -> list[Row]:
        return self._connection.execute(self._dialect(sql), _bound(values)).fetchall()

    async def execute(self, sql: str, *values: object) -> None:
        self._connection.execute(self._dialect(sql), _bound(values))


@dataclass(slots=True)
class _Member:
    work: Callable[[Any], Awaitable[Any]]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Writer:
    """The one connection of this process that writes, in a thread of its own."""

    def __init__(
        self, path: Path, lock: Path, dialect: _Dialect, generation: Generation, *, durable: bool
    ) -> None:
        self._generation = generation
        self._connection = connect(path)
        try:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except BaseException:
            self._connection.close()
            raise
        self._tx = _SQLiteTransaction(self._connection, dialect)
        self._queue: SimpleQueue[_Member | None] = SimpleQueue()
        self._submitting = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="catalog-writer", daemon=True)
        self._thread.start()

    def submit(self, member: _Member) -> None:
        """Queue a transaction.

        Raises:
            Unavailable: The writer is closed: nobody would ever answer.
        """
        with self._submitting:
            if self._closed:
                raise Unavailable("the registry is stopping")
            self._queue.put(member)

    def close(self) -> None:
        """Commit what is waiting, then stop."""
        with self._submitting:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._connection.close()
        os.close(self._lock)

    def _run(self) -> None:
        last = False
        while not last and (first := self._queue.get()) is not None:
            members = [first]
            try:
                with self._exclusive():
                    # whoever came while we waited for the lock is in the same group
                    last = self._gather(members)
                    self._commit(members)
            except Exception as error:  # whatever it was, they wait for an answer, and so will the next ones
                for member in members:
                    member.error = _failure(error, "written")
            _answer(members)

    def _gather(self, members: list[_Member]) -> bool:
        """Take in who is waiting; return whether there will be no more."""
        while len(members) < _GROUP_MEMBERS:
            try:
                member = self._queue.get_nowait()
            except Empty:
                return False
            if member is None:
                return True
            members.append(member)
        return False

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _commit(self, members: list[_Member]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for member in members:
                self._run_member(member)
            self._generation.begin_commit()
            try:
                self._connection.execute("COMMIT")
            finally:
                self._generation.end_commit()
        except BaseException:
            self._rollback()
            raise

    def _run_member(self, member: _Member) -> None:
        """Run one transaction to its end inside a savepoint.

        Raises:
            BaseException: SQLite has undone the whole group by itself, as it may when the disk is full.
        """
        self._connection.execute("SAVEPOINT member")
        try:
            member.result = _run_to_end(member.work(self._tx))
        except BaseException as error:
            if not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO member")
            member.error = _failure(error, "written")
        self._connection.execute("RELEASE member")

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # SQLite rolls back by itself on the errors that make ROLLBACK fail
                return


def _run_to_end(work: Awaitable[T]) -> T:
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    if isinstance(steps, Generator):
        # now, inside the savepoint: its `finally` must not get at the connection at some later time
        steps.close()
    raise RuntimeError("a transaction awaited something other than its argument")


def _answer(members: list[_Member]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[_Member]] = {}
    for member in members:
        loops.setdefault(member.loop, []).append(member)
    for loop, waiting in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, waiting)
        except RuntimeError:
            # the loop is closed: nobody waits any more
            continue


def _settle(members: list[_Member]) -> None:
    for member in members:
        member.settle()


def _failure(error: BaseException, doing: str) -> BaseException:
    """Return a database's error as one of ours: for the moment, or for good; anything else as it is."""
    ours: StoreError | Unavailable
    if isinstance(error, sqlite3.OperationalError | OSError):
        ours = Unavailable(f"the catalog cannot be {doing} now: {error}")
    elif type(error) is sqlite3.DatabaseError:
        ours = StoreError(f"the catalog is damaged: {error}", hint="restore it from a backup")
    else:
        return error
    ours.__cause__ = error
    return ours


class SQLite:
    """A `Database` on one SQLite file. Opened in the process that uses it, never before a fork.

    Args:
        path: The database file, migrated already.
        lock: The file whose lock orders the writers of all processes.
        durable: Whether commits are fsynced.
        clock_offset_ms: Added to the database's clock.
    """

    def __init__(self, path: Path, lock: Path, *, durable: bool = True, clock_offset_ms: int = 0) -> None:
        self._path = path
        self._dialect = _Dialect(clock_offset_ms)
        self._generation = Generation(path.with_suffix(".generation"))
        self._recent = RecentRows(self._generation)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="catalog-reader")
        self._point = connect(path, busy_seconds=0)
        try:
            self._point.execute("PRAGMA query_only = ON")
            self._writer = _Writer(path, lock, self._dialect, self._generation, durable=durable)
        except BaseException:
            self._point.close()
            raise

    def close(self) -> None:
        """Commit what is waiting and close every connection."""
        self._writer.close()
        self._pool.shutdown()
        for connection in self._readers:
            connection.close()
        self._point.close()
        self._generation.close()

    async def point(self, sql: str, *values: object) -> Row | None:
        """See `Database.point`."""
        generation = self._recent.before()
        if generation is None:
            return await self._ask(sql, values)
        row = self._recent.get(sql, values)
        if row is MISSING:
            row = await self._ask(sql, values)
            self._recent.keep(sql, values, row, generation=generation)
        return row

    async def _ask(self, sql: str, values: tuple[object, ...]) -> Row | None:
        try:
            # fetchall: a cursor that is left open pins an old snapshot
            rows = self._point.execute(self._dialect(sql), _bound(values)).fetchall()
        except sqlite3.DatabaseError:
            # busy, which in WAL mode is a matter of recovery after a crash: let a thread wait for it
            rows = await self.scan(sql, *values)
        return rows[0] if rows else None

    async def scan(self, sql: str, *values: object) -> list[Row]:
        """See `Database.scan`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(self._scan, sql, values))

    async def transaction(self, work: Work[T]) -> T:
        """See `Database.transaction`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._writer.submit(_Member(work, loop, future))
        return await future

    def _scan(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            self._readers.append(connection)
        try:
            rows: list[Row] = connection.execute(self._dialect(sql), _bound(values)).fetchall()
        except sqlite3.DatabaseError as error:
            failure = _failure(error, "read")
            if failure is error:
                raise
            raise failure from error
        return rows
