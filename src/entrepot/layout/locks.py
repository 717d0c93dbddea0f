"""Locks between processes: on a file, given back by the operating system when their holder dies.

Linux and macOS have `flock`. Windows has locks on ranges of bytes, which are exclusive: there a shared lock is
one byte of many, an exclusive lock is all of them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from entrepot.layout.files import explained

__all__ = ["locked"]

_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@asynccontextmanager
async def locked(path: Path, *, shared: bool = False) -> AsyncIterator[None]:
    """Hold a lock for the length of the block.

    Waits for as long as others hold it, without keeping the event loop or the pool of worker threads busy.
    Cancelled while it waits, it leaves the queue. The file stays: removing it would let two processes lock two
    files of one name.

    Args:
        path: The lock's file, created when it is missing.
        shared: Let others share it; on a file system that is mounted read-only, where nobody can do harm,
            a shared lock is nothing at all.

    Raises:
        StoreError: The file cannot be opened, or the file system knows no locks.
    """
    with explained("open the lock", path):
        # not in a thread: a task that is cancelled meanwhile would never see the descriptor
        descriptor = _open(path, shared=shared)
    if descriptor is None:
        yield
        return
    try:
        with explained("lock", path):
            if not _try(descriptor, shared=shared):
                await _wait(descriptor, shared=shared)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path, *, shared: bool) -> int | None:
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:
        if not shared or error.errno not in _READ_ONLY:
            raise
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | flags)
        if error.errno == errno.EROFS:
            return None
        raise


if sys.platform == "win32":
    import msvcrt

    _SLOTS = 64
    """How many can share a lock on Windows."""

    def _try(descriptor: int, *, shared: bool) -> bool:
        first, count = (random.randrange(_SLOTS), 1) if shared else (0, _SLOTS)  # noqa: S311 - any slot will do
        os.lseek(descriptor, first, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, count)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EDEADLK}:
                return False
            raise
        return True

    async def _wait(descriptor: int, *, shared: bool) -> None:
        while not _try(descriptor, shared=shared):  # noqa: ASYNC110 - Windows tells nobody
            await anyio.sleep(random.uniform(0.005, 0.02))  # noqa: S311 - only spreads the attempts

else:
    import fcntl

    def _try(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def _wait(descriptor: int, *, shared: bool) -> None:
        """Wait in the kernel's queue, which is fair, in a thread that may be left behind.

        The thread has a duplicate of the descriptor: a lock belongs to what both of them refer to, so it
        stays when the thread closes its own, and is gone when both are closed. A thread that is left behind
        therefore gives back at once what it got too late. A daemon, it does not keep the program from ending.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[None] = loop.create_future()
        own = os.dup(descriptor)

        def wait() -> None:
            problem: OSError | None = None
            try:
                fcntl.flock(own, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            except OSError as error:
                problem = error
            finally:
                os.close(own)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, problem)

        def settle(problem: OSError | None) -> None:
            if outcome.cancelled():
                return
            if problem is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(problem)

        threading.Thread(target=wait, name="entrepot lock", daemon=True).start()
        await outcome
