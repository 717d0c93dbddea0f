"""Locks between processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from entrepot.errors import StoreError
from entrepot.layout.locks import locked

pytestmark = pytest.mark.anyio


class Holder:
    """A task that holds a lock until it is told to let go."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self.has_it = anyio.Event()
        self.let_go = anyio.Event()

    async def __call__(self) -> None:
        async with locked(self.path, shared=self.shared):
            self.has_it.set()
            await self.let_go.wait()


async def test_one_holds_an_exclusive_lock_and_the_next_waits(tmp_path: Path) -> None:
    """The event loop runs on while somebody waits."""
    first, second = Holder(tmp_path / "lock"), Holder(tmp_path / "lock")
    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await first.has_it.wait()
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        assert not second.has_it.is_set()
        first.let_go.set()
        await second.has_it.wait()
        second.let_go.set()


async def test_shared_locks_are_held_together_and_keep_out_an_exclusive_one(tmp_path: Path) -> None:
    """The exclusive one gets its turn when the last of them is given back."""
    readers = [Holder(tmp_path / "lock", shared=True) for _ in range(3)]
    writer = Holder(tmp_path / "lock")
    async with anyio.create_task_group() as group:
        for reader in readers:
            group.start_soon(reader)
            await reader.has_it.wait()
        group.start_soon(writer)
        for reader in readers:
            await anyio.wait_all_tasks_blocked()
            assert not writer.has_it.is_set()
            reader.let_go.set()
        await writer.has_it.wait()
        writer.let_go.set()


@pytest.mark.parametrize("by_scope", [True, False])
async def test_one_who_is_cancelled_while_waiting_leaves_the_queue(tmp_path: Path, by_scope: bool) -> None:
    """What the abandoned thread gets too late it gives back at once."""
    first, given_up, last = (Holder(tmp_path / "lock") for _ in range(3))
    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await first.has_it.wait()
        if by_scope:
            with anyio.move_on_after(0.05) as scope:
                await given_up()
            assert scope.cancelled_caught
        else:
            task = asyncio.create_task(given_up())
            await anyio.wait_all_tasks_blocked()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        first.let_go.set()
        group.start_soon(last)
        await last.has_it.wait()
        last.let_go.set()

    assert not given_up.has_it.is_set()


async def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path: Path) -> None:
    """No lock file has to be removed by hand after a crash."""
    script = (
        "import anyio, sys; from pathlib import Path; from entrepot.layout.locks import locked\n"
        "async def main():\n"
        "    async with locked(Path(sys.argv[1])):\n"
        "        print('locked', flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    next_one = Holder(tmp_path / "lock")
    async with (
        await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        anyio.create_task_group() as group,
    ):
        assert process.stdout is not None
        assert (await process.stdout.receive()).startswith(b"locked")
        group.start_soon(next_one)
        await anyio.wait_all_tasks_blocked()
        assert not next_one.has_it.is_set()
        process.kill()
        await next_one.has_it.wait()
        next_one.let_go.set()


async def test_a_lock_that_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    """Its directory is missing, say."""
    with pytest.raises(StoreError, match=r"cannot open the lock, no such file or directory: .*absent/lock"):
        async with locked(tmp_path / "absent" / "lock"):
            raise AssertionError("not reached")
