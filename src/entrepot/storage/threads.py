"""The threads in which a worker waits for disks and hashes what is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

__all__ = ["Threads", "settled"]

T = TypeVar("T")


async def settled(future: asyncio.Future[T]) -> T:
    """Wait for a thread's result, to the end even when cancelled meanwhile.

    Raises:
        asyncio.CancelledError: After the future was done.
    """
    cancelled: asyncio.CancelledError | None = None
    # shielded: a cancelled anyio scope would deliver its cancellation over and over while we wait
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()


class Threads:
    """A pool that finishes what it has begun: a cancelled caller waits, so that no write outlives its lock.

    Args:
        count: How many at most.
    """

    def __init__(self, count: int = 16) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="storage")

    def start(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Begin in a thread, and return a future that must be awaited before what it works on is closed."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run in a thread and wait for its end, even when cancelled meanwhile.

        Raises:
            asyncio.CancelledError: After the function has returned.
        """
        return await settled(self.start(function, *arguments))

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()
