"""A prepared root, registries on it, workers in other processes, and bodies that misbehave."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from entrepot.errors import BY_CODE, EntrepotError, StoreError
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, prepare


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[StorageSettings]:
    """Settings of a root that is prepared, and held for as long as the test runs."""
    settings = StorageSettings(root=tmp_path / "root")
    with prepare(settings):
        yield settings


@pytest.fixture
async def open_registry(settings: StorageSettings) -> AsyncIterator[Callable[..., Awaitable[Registry]]]:
    """Opens the root once more, as another worker would, with changed settings if need be."""
    async with AsyncExitStack() as stack:

        async def open_registry(**changes: Any) -> Registry:
            registry = await Registry.open(replace(settings, **changes))
            stack.push_async_callback(registry.close)
            return registry

        yield open_registry


@pytest.fixture
async def registry(open_registry: Callable[..., Awaitable[Registry]]) -> Registry:
    """The root, opened."""
    return await open_registry()


@pytest.fixture
def repository(registry: Registry) -> Repository:
    """A repository that does not exist yet."""
    return registry.repository(RepositoryName("library/app"))


class Stalling:
    """A body that sends its chunks, then nothing until it is told to end, as a silent client does.

    Attributes:
        stalled: Set once all chunks have been taken.
        end: Set to let the body end.
    """

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.stalled = anyio.Event()
        self.end = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        self.stalled.set()
        await self.end.wait()


@pytest.fixture
def stalling() -> type[Stalling]:
    """Makes bodies that stall."""
    return Stalling


class Worker:
    """Another process that has the root open; see `worker.py`."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._number = 0
        self._answers: dict[int, Any] = {}

    async def send(self, do: str, **arguments: object) -> int:
        """Start a command and return its number."""
        self._number += 1
        line = json.dumps({"number": self._number, "do": do, **arguments})
        await self._stdin.send(line.encode() + b"\n")
        return self._number

    async def answer(self, number: int) -> Any:
        """Wait for a command's result, or raise its error."""
        while number not in self._answers:
            answer = json.loads(await self._stdout.receive_until(b"\n", 1 << 20))
            self._answers[answer["number"]] = answer
        answer = self._answers.pop(number)
        if "error" in answer:
            raise _error(answer)
        return answer["result"]

    async def ask(self, do: str, **arguments: object) -> Any:
        """Run a command to its end."""
        return await self.answer(await self.send(do, **arguments))

    async def ended(self) -> int:
        """Wait until the process has ended."""
        return await self.process.wait()


def _error(answer: dict[str, Any]) -> EntrepotError:
    code, message = answer["error"], answer["message"]
    if code not in BY_CODE:
        return StoreError(f"{code}: {message}")
    error = BY_CODE[code](message)
    vars(error).update(answer.get("facts", {}))
    return error


@pytest.fixture
async def spawn(settings: StorageSettings) -> AsyncIterator[Callable[[], Awaitable[Worker]]]:
    """Starts workers, real processes; what is left of them is killed at the end."""
    async with AsyncExitStack() as stack:

        async def spawn() -> Worker:
            worker = await stack.enter_async_context(_running(settings.root))
            await worker.ask("ready")
            return worker

        yield spawn


@asynccontextmanager
async def _running(root: Path) -> AsyncIterator[Worker]:
    script = str(Path(__file__).with_name("worker.py"))
    process = await anyio.open_process([sys.executable, script, str(root)], stderr=None)
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()
