"""Waiting for threads to the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import anyio
import pytest

from entrepot.storage.threads import Threads, settled

pytestmark = pytest.mark.anyio


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2)
    yield threads
    threads.close()


async def test_a_result_and_an_exception_come_back(threads: Threads) -> None:
    """As if it had been called here."""
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_caller_waits_for_the_end(threads: Threads, times: int) -> None:
    """However often it is cancelled meanwhile; it is cancelled afterwards, whatever the function returns."""
    hang, ended = threading.Event(), []

    def work() -> None:
        hang.wait(30)
        ended.append(True)

    task = asyncio.ensure_future(threads.run(work))
    await anyio.lowlevel.checkpoint()
    for _ in range(times):
        task.cancel()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
    assert not task.done()
    hang.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_cancelled_scope_waits_for_the_end(threads: Threads) -> None:
    """An anyio scope is left when the thread has ended, and not before."""
    hang, ended = threading.Event(), []

    async def work() -> None:
        try:
            await threads.run(hang.wait, 30)
        finally:
            ended.append(hang.is_set())

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        assert ended == []
        hang.set()
    assert ended == [True]


async def test_a_cancelled_caller_never_sees_a_late_exception(threads: Threads) -> None:
    """The cancellation is what the caller sees, and nobody complains about an exception that was not fetched."""
    hang = threading.Event()

    def work() -> None:
        hang.wait(30)
        raise OSError("too late")

    future = threads.start(work)
    task = asyncio.ensure_future(settled(future))
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await anyio.lowlevel.checkpoint()
    hang.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(future.exception(), OSError)


async def test_what_was_never_begun_is_waited_for_as_well() -> None:
    """A full pool: a cancelled caller's function still runs before the caller ends, since it cannot be recalled."""
    threads = Threads(1)
    hang, ran = threading.Event(), []
    try:
        first = asyncio.ensure_future(threads.run(hang.wait, 30))
        second = asyncio.ensure_future(threads.run(ran.append, True))
        await anyio.lowlevel.checkpoint()
        second.cancel()
        await anyio.lowlevel.checkpoint()
        assert not second.done()
        hang.set()
        await asyncio.wait([first, second])
        assert second.cancelled()
        assert ran == [True]
    finally:
        threads.close()
