"""Transactions on SQLite: groups, savepoints, refusals, failures, and several processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from entrepot.errors import StoreError, Unavailable
from entrepot.storage.database import Transaction
from entrepot.storage.sqlite import SQLite, connect

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO number (n) VALUES ($1)"
NUMBERS = "SELECT n FROM number ORDER BY n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.db"
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE number (n BIGINT PRIMARY KEY, note TEXT)")
    connection.execute("CREATE TABLE promise (n BIGINT REFERENCES number (n) DEFERRABLE INITIALLY DEFERRED)")
    connection.close()
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SQLite]:
    database = SQLite(path, path.with_name("catalog.lock"))
    yield database
    database.close()


@contextmanager
def writers_wait(path: Path) -> Iterator[None]:
    """Hold the writers' lock, so that what is submitted meanwhile becomes one group."""
    descriptor = os.open(path.with_name("catalog.lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def group(database: SQLite, path: Path, *works: object) -> list[object]:
    """Run transactions in one group and return each one's result or exception."""
    with writers_wait(path):
        tasks = [asyncio.ensure_future(database.transaction(work)) for work in works]
        await anyio.lowlevel.checkpoint()
    return await asyncio.gather(*tasks, return_exceptions=True)


def insert(number: int):
    async def work(tx: Transaction) -> int:
        await tx.execute(INSERT, number)
        return number

    return work


async def numbers(database: SQLite) -> list[int]:
    return [row[0] for row in await database.scan(NUMBERS)]


async def test_what_was_answered_is_seen_by_everybody(database: SQLite, path: Path) -> None:
    """A result is given out after its commit: point reads, scans and other processes find the row then."""
    assert await database.transaction(insert(7)) == 7

    assert await database.point(NUMBERS) == (7,)
    assert await numbers(database) == [7]
    script = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT n FROM number').fetchall())"
    )
    assert subprocess.check_output([sys.executable, "-c", script, str(path)], text=True) == "[(7,)]\n"


async def test_a_row_is_asked_for_once_as_long_as_nobody_commits(database: SQLite, path: Path) -> None:
    """A point read costs no SQL until somebody has committed, here or in another process; then it is asked again."""
    asked: list[str] = []
    database._point.set_trace_callback(asked.append)
    for _ in range(3):
        assert await database.point(NUMBERS) is None
    assert len(asked) == 1
    await database.transaction(insert(1))
    for _ in range(3):
        assert await database.point(NUMBERS) == (1,)
    assert len(asked) == 2
    other = SQLite(path, path.with_name("catalog.lock"))
    await other.transaction(insert(0))
    other.close()
    assert await database.point(NUMBERS) == (0,)
    database._point.set_trace_callback(None)


async def test_one_members_refusal_undoes_that_member_only(database: SQLite, path: Path) -> None:
    """Of a group, a member that raises leaves nothing behind, and the others are committed."""

    async def refuse(tx: Transaction) -> None:
        await tx.execute(INSERT, 2)
        raise LookupError("no such thing")

    first, refused, last = await group(database, path, insert(1), refuse, insert(3))

    assert (first, last) == (1, 3)
    assert isinstance(refused, LookupError)
    assert await numbers(database) == [1, 3]


async def test_a_member_sees_what_earlier_members_of_its_group_have_done(
    database: SQLite, path: Path
) -> None:
    """Members run one after the other, as if each had been committed alone."""

    async def count(tx: Transaction) -> int:
        return len(await tx.fetch(NUMBERS))

    assert await group(database, path, count, insert(1), count, insert(2), count) == [0, 1, 1, 2, 2]


async def test_a_commit_that_fails_fails_all_of_its_group(database: SQLite, path: Path) -> None:
    """Nobody is answered before the commit: when it fails, nobody has succeeded and nothing is there."""

    async def break_a_promise(tx: Transaction) -> None:
        await tx.execute("INSERT INTO promise (n) VALUES ($1)", 99)

    outcomes = await group(database, path, insert(1), break_a_promise, insert(2))

    assert [type(outcome) for outcome in outcomes] == [sqlite3.IntegrityError] * 3
    assert await numbers(database) == []
    assert await database.transaction(insert(3)) == 3


async def test_a_transaction_that_waits_for_something_else_is_refused(database: SQLite, path: Path) -> None:
    """Awaiting anything but `tx` raises, undoes the member with what its `finally` does, and harms nobody else."""

    async def wander(tx: Transaction) -> None:
        try:
            await tx.execute(INSERT, 2)
            await asyncio.sleep(0)
        finally:
            await tx.execute(INSERT, 4)

    first, refused, last = await group(database, path, insert(1), wander, insert(3))

    assert (first, last) == (1, 3)
    assert isinstance(refused, RuntimeError)
    assert "awaited something other" in str(refused)
    assert await numbers(database) == [1, 3]


async def test_when_the_database_is_full_only_what_was_answered_is_there(
    database: SQLite, path: Path
) -> None:
    """SQLite may undo the whole group then: whoever lost something is told, and it goes on when there is room."""

    async def fill(tx: Transaction) -> None:
        await tx.execute("PRAGMA max_page_count = 1")
        await tx.execute("INSERT INTO number (n, note) VALUES ($1, $2)", 2, "x" * 1_000_000)

    outcomes = await group(database, path, insert(1), fill, insert(3))

    assert isinstance(outcomes[1], Unavailable)
    answered = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert all(isinstance(outcome, int | Unavailable) for outcome in outcomes)
    assert await numbers(database) == answered

    async def make_room(tx: Transaction) -> None:
        await tx.execute("PRAGMA max_page_count = 1000000")

    await database.transaction(make_room)
    assert await database.transaction(insert(4)) == 4


async def test_cancelling_one_caller_does_not_disturb_the_others(database: SQLite, path: Path) -> None:
    """A caller that is cancelled while it waits takes nobody's answer along."""
    with writers_wait(path):
        tasks = [asyncio.ensure_future(database.transaction(insert(number))) for number in range(3)]
        await anyio.lowlevel.checkpoint()
        tasks[1].cancel()
        await anyio.lowlevel.checkpoint()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert outcomes[0::2] == [0, 2]
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert {0, 2} <= set(await numbers(database))


async def test_closing_commits_what_waits_and_refuses_what_comes_later(path: Path) -> None:
    """Nobody is left waiting for an answer that will never come."""
    database = SQLite(path, path.with_name("catalog.lock"))
    with writers_wait(path):
        tasks = [asyncio.ensure_future(database.transaction(insert(number))) for number in range(600)]
        await anyio.lowlevel.checkpoint()
        closing = asyncio.ensure_future(asyncio.to_thread(database.close))
        await anyio.lowlevel.checkpoint()
    assert await asyncio.gather(*tasks) == list(range(600))
    await closing

    with pytest.raises(Unavailable, match="stopping"):
        await database.transaction(insert(1000))


async def test_a_lock_that_fails_is_an_answer_and_not_the_end(database: SQLite) -> None:
    """When the writers' lock cannot be had, whoever waits is told so, and the next one is served."""
    descriptor = database._writer._lock
    kept = os.dup(descriptor)
    os.close(descriptor)
    try:
        with pytest.raises(Unavailable, match="Bad file descriptor"):
            await database.transaction(insert(1))
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)

    assert await database.transaction(insert(2)) == 2
    assert await numbers(database) == [2]


async def test_values_are_bound_by_their_numbers(database: SQLite) -> None:
    """`$2` means the second value wherever it stands, also beyond the thirty-second."""
    assert await database.point("SELECT $2, $1, $2", "one", "two") == ("two", "one", "two")
    many = tuple(range(1, 41))
    statement = "SELECT " + ", ".join(f"${number}" for number in reversed(many))
    assert await database.point(statement, *many) == tuple(reversed(many))


async def test_time_is_the_databases_in_milliseconds(path: Path) -> None:
    """`{now}` counts milliseconds since the epoch, with the offset that tests ask for."""
    database = SQLite(path, path.with_name("catalog.lock"), clock_offset_ms=5_000_000)
    try:
        row = await database.point("SELECT {now}")
    finally:
        database.close()

    assert row is not None
    assert abs(row[0] - 5_000_000 - time.time() * 1000) < 60_000


async def test_a_reader_cannot_write(database: SQLite) -> None:
    """Whatever is written goes through the writer: a point read or a scan that writes is refused."""
    for read in (database.point, database.scan):
        with pytest.raises(Unavailable, match="readonly"):
            await read("DELETE FROM number RETURNING n")


async def test_a_point_read_that_would_wait_is_done_in_a_thread(database: SQLite, path: Path) -> None:
    """While another process recovers the log after a crash the loop goes on, and the reader gets its row then."""
    await database.transaction(insert(5))
    # the recovery lock is byte 122 of the shared memory; without a header in there, readers have to recover
    script = """
import fcntl, sys
with open(sys.argv[1], "r+b", buffering=0) as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 122)
    shared.write(bytes(96))
    print("recovering", flush=True)
    sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, f"{path}-shm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recovering\n"
        reading = asyncio.ensure_future(database.point(NUMBERS))
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert not reading.done()
        process.communicate("done\n")
    assert await reading == (5,)


async def test_a_damaged_catalog_is_not_a_passing_trouble(path: Path) -> None:
    """Reads and writes of a damaged file raise StoreError, which does not ask anybody to try again."""
    connection = connect(path)
    connection.executemany("INSERT INTO number (n, note) VALUES (?, ?)", [(n, "x" * 500) for n in range(100)])
    connection.close()
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 4 * 4096))

    async def change(tx: Transaction) -> None:
        await tx.execute("UPDATE number SET note = ''")

    database = SQLite(path, path.with_name("catalog.lock"))
    try:
        for use in (
            database.point("SELECT max(note) FROM number"),
            database.scan("SELECT note FROM number"),
            database.transaction(change),
        ):
            with pytest.raises(StoreError, match="damaged"):
                await use
    finally:
        database.close()


async def test_a_failed_transaction_keeps_its_cause(database: SQLite) -> None:
    """The database's own words are in the message, and its error is the cause."""

    async def work(tx: Transaction) -> None:
        await tx.execute("INSERT INTO nowhere (n) VALUES (1)")

    with pytest.raises(Unavailable, match="no such table: nowhere") as caught:
        await database.transaction(work)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
