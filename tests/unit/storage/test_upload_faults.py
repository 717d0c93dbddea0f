"""Uploads when something goes wrong in the middle: threads that hang, full disks, deaths, cancellations."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from entrepot.errors import BlobUnknown, BlobUploadUnknown, StoreError, Unavailable
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, UploadId, layout
from entrepot.storage.filesystem import FileSystem
from entrepot.storage.threads import Threads
from entrepot.store import CHUNK_BYTES
from entrepot.testing.images import blob, chunked

pytestmark = pytest.mark.anyio

OpenRegistry = Callable[..., Awaitable[Registry]]
Spawn = Callable[[], Awaitable[Any]]
MIB = CHUNK_BYTES
WHOLE = blob(5 * MIB, "whole")


class Gate(Threads):
    """Threads that can be made to hang in, or right behind, a function.

    Attributes:
        reached: Set when a thread hangs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._where = ("", "")

    def start(self, function: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
        return super().start(self._pass, function, arguments)

    def _pass(self, function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
        name = getattr(function, "__name__", "")
        self._hang("before", name)
        result = function(*arguments)
        self._hang("behind", name)
        return result

    def _hang(self, *where: str) -> None:
        if where == self._where:
            self.reached.set()
            assert self._open.wait(30)

    @contextmanager
    def shut(self, side: str, function: str) -> Iterator[None]:
        """Within it, threads hang `before` or `behind` a function of this name."""
        self._where = (side, function)
        self.reached.clear()
        self._open.clear()
        try:
            yield
        finally:
            self._where = ("", "")
            self._open.set()

    async def somebody_hangs(self) -> None:
        await asyncio.to_thread(self.reached.wait, 30)
        assert self.reached.is_set()


@pytest.fixture
async def gate(registry: Registry) -> Gate:
    """The registry's threads, with a gate in front of them."""
    gate = Gate()
    registry._threads.close()
    for part in (registry, registry._files, registry._uploads):
        part._threads = gate
    return gate


@contextmanager
def nobody_commits(settings: StorageSettings) -> Iterator[None]:
    """Hold the lock of all writers."""
    descriptor = os.open(settings.root / layout.CATALOG_LOCK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def turns(count: int = 50) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def begin(repository: Repository) -> UploadId:
    return (await repository.begin_upload()).upload


async def append(repository: Repository, upload: UploadId, raw: bytes) -> int:
    return (await repository.append_upload(upload, chunked(raw), start=None, length=len(raw))).offset


async def complete(repository: Repository, upload: UploadId, digest: Digest, raw: bytes | None = None) -> str:
    body = None if raw is None else chunked(raw)
    return (await repository.complete_upload(upload, digest, body, start=None, length=None)).location


async def read(repository: Repository, digest: Digest) -> bytes:
    reader = await repository.open_stored_blob(await repository.find_blob(digest))
    try:
        return await reader.read(0, reader.size)
    finally:
        reader.close()


def files(settings: StorageSettings, directory: str = layout.BLOBS) -> list[str]:
    root = settings.root / directory
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def refused_by_lock(registry: Registry, upload: UploadId) -> bool:
    try:
        staged = await registry._files.hold(upload, wait_seconds=0)
    except TimeoutError:
        return True
    staged.close()
    return False


# Cancellation


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("function", ["_write", "update"])
@pytest.mark.parametrize("side", ["before", "behind"])
async def test_a_cancelled_request_waits_for_its_threads(
    registry: Registry, repository: Repository, gate: Gate, side: str, function: str, how: str
) -> None:
    """No write outlives its lock: the request ends when its thread has ended, and what it wrote counts."""
    upload = await begin(repository)
    scope = anyio.CancelScope()

    async def push() -> None:
        with scope:
            await append(repository, upload, WHOLE.raw[: 3 * MIB])

    with gate.shut(side, function):
        pushing = asyncio.ensure_future(push())
        await gate.somebody_hangs()
        if how == "task":
            pushing.cancel()
        else:
            scope.cancel()
        await turns()
        assert not pushing.done()
        assert await refused_by_lock(registry, upload)
    await asyncio.wait([pushing])
    assert pushing.cancelled() if how == "task" else scope.cancelled_caught

    assert not await refused_by_lock(registry, upload)
    offset = (await repository.upload_status(upload)).offset
    assert offset >= MIB
    await complete(repository, upload, WHOLE.digest, WHOLE.raw[offset:])
    assert await read(repository, WHOLE.digest) == WHOLE.raw


async def test_a_request_that_is_cancelled_while_it_verifies_goes_on_later(
    registry: Registry, repository: Repository, gate: Gate, open_registry: OpenRegistry
) -> None:
    """A hash that was interrupted is right when it is taken up again, and has not to start from nothing."""
    elsewhere = (await open_registry()).repository(repository.name)
    upload = await begin(elsewhere)
    await append(elsewhere, upload, WHOLE.raw)
    with gate.shut("before", "update"):
        completing = asyncio.ensure_future(complete(repository, upload, WHOLE.digest))
        await gate.somebody_hangs()
        completing.cancel()
        await turns()
        assert not completing.done()
    with pytest.raises(asyncio.CancelledError):
        await completing

    assert registry._uploads._states._states[upload].offset == MIB
    await complete(repository, upload, WHOLE.digest)
    assert await read(repository, WHOLE.digest) == WHOLE.raw


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_commit_does_not_outlive_the_lock(
    registry: Registry, repository: Repository, settings: StorageSettings, gate: Gate, how: str
) -> None:
    """Cancelled while its last transaction waits, a completion holds its bytes until that is decided."""
    upload = await begin(repository)
    await append(repository, upload, WHOLE.raw)
    scope = anyio.CancelScope()

    async def finish() -> None:
        with scope:
            await complete(repository, upload, WHOLE.digest)

    with gate.shut("before", "publish"):
        finishing = asyncio.ensure_future(finish())
        await gate.somebody_hangs()
        lock = nobody_commits(settings)
        lock.__enter__()
    while not files(settings):
        await anyio.lowlevel.checkpoint()
    if how == "task":
        finishing.cancel()
    else:
        scope.cancel()
    await turns()
    assert not finishing.done()
    assert await refused_by_lock(registry, upload)
    lock.__exit__(None, None, None)
    await asyncio.wait([finishing])

    assert await read(repository, WHOLE.digest) == WHOLE.raw
    with pytest.raises(BlobUploadUnknown):
        await repository.upload_status(upload)
    assert files(settings, layout.UPLOADS) == []


@pytest.mark.parametrize("side", ["before", "behind"])
async def test_an_upload_that_is_cancelled_while_it_is_completed_leaves_nothing(
    repository: Repository, settings: StorageSettings, gate: Gate, side: str
) -> None:
    """DELETE before or after the bytes got their name: the PUT is told, and neither file is left."""
    upload = await begin(repository)
    await append(repository, upload, WHOLE.raw)
    with gate.shut(side, "publish"):
        completing = asyncio.ensure_future(complete(repository, upload, WHOLE.digest))
        await gate.somebody_hangs()
        await repository.cancel_upload(upload)
    with pytest.raises(BlobUploadUnknown):
        await completing

    assert files(settings) == []
    assert files(settings, layout.UPLOADS) == []
    with pytest.raises(BlobUnknown):
        await repository.find_blob(WHOLE.digest)


async def test_somebody_elses_completion_is_never_taken_back(
    repository: Repository, settings: StorageSettings, gate: Gate, open_registry: OpenRegistry
) -> None:
    """A second worker's PUT arrives while the first has published and not committed: both get the one blob."""
    other = (await open_registry()).repository(repository.name)
    upload = await begin(repository)
    await append(repository, upload, WHOLE.raw)
    with gate.shut("behind", "publish"):
        first = asyncio.ensure_future(complete(repository, upload, WHOLE.digest))
        await gate.somebody_hangs()
        second = asyncio.ensure_future(complete(other, upload, WHOLE.digest))
        await turns()
        assert not second.done()
        assert (await other.upload_status(upload)).offset == len(WHOLE.raw)

    assert [await first] == [await second] == files(settings)
    assert await read(other, WHOLE.digest) == WHOLE.raw


async def test_a_write_of_a_store_that_is_cancelled_leaves_no_upload(
    registry: Registry, repository: Repository, settings: StorageSettings, gate: Gate
) -> None:
    """`write_blob` drops its upload, also when it is cancelled in the middle of a write."""
    with gate.shut("behind", "_write"), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(repository.write_blob, WHOLE.descriptor, WHOLE.open_at)
            await gate.somebody_hangs()
            scope.cancel()
            gate._open.set()

    assert files(settings, layout.UPLOADS) == []
    assert await registry._database.scan("SELECT * FROM upload") == []
    with pytest.raises(BlobUnknown):
        await repository.find_blob(WHOLE.digest)


# Failing disks


async def test_on_a_full_disk_what_was_written_counts_and_the_hash_is_right(spawn: Spawn) -> None:
    """A write that fails in its middle is 503; when there is room again the upload goes on from that byte."""
    size, seed = 4 * MIB, "full"
    worker = await spawn()
    upload = await worker.ask("begin")
    await worker.ask("append", upload=upload, size=MIB, seed=seed)
    room = 2 * MIB + 12_345
    await worker.ask("limit_file_size", count=room)
    with pytest.raises(Unavailable, match="no room"):
        await worker.ask("append", upload=upload, size=size, seed=seed, skip=MIB)
    assert await worker.ask("status", upload=upload) == room
    with pytest.raises(Unavailable, match="no room"):
        await worker.ask("append", upload=upload, size=size, seed=seed, skip=room)
    assert await worker.ask("status", upload=upload) == room

    await worker.ask("limit_file_size", count=1 << 40)
    assert await worker.ask("append", upload=upload, size=size, seed=seed, skip=room) == size
    await worker.ask("complete", upload=upload, size=size, seed=seed)
    digest = blob(size, seed).digest
    assert await worker.ask("read_blob", digest=digest) == digest


async def test_a_small_write_that_fails_spoils_no_hash(spawn: Spawn) -> None:
    """The same for writes that are done on the loop's thread."""
    size, seed = 2 * MIB + 3000, "small"
    worker = await spawn()
    upload = await worker.ask("begin")
    await worker.ask("append", upload=upload, size=2 * MIB, seed=seed)
    await worker.ask("limit_file_size", count=2 * MIB + 500)
    with pytest.raises(Unavailable, match="no room"):
        await worker.ask("append", upload=upload, size=size, seed=seed, skip=2 * MIB)
    assert await worker.ask("status", upload=upload) == 2 * MIB + 500
    await worker.ask("limit_file_size", count=1 << 40)
    await worker.ask("complete", upload=upload, size=size, seed=seed, skip=2 * MIB + 500)


@pytest.mark.parametrize(("rest", "chunk"), [(MIB, MIB), (MIB, 300), (1000, MIB)])
async def test_a_hash_never_knows_bytes_that_the_disk_did_not_take(
    spawn: Spawn, rest: int, chunk: int
) -> None:
    """After a write that failed other bytes come in its place: what was hashed of the failed ones is forgotten."""
    room = 2 * MIB + 500
    worker = await spawn()
    upload = await worker.ask("begin")
    await worker.ask("append", upload=upload, size=2 * MIB, seed="first")
    await worker.ask("limit_file_size", count=room)
    with pytest.raises(Unavailable, match="no room"):
        await worker.ask(
            "append", upload=upload, size=2 * MIB + rest, seed="first", skip=2 * MIB, chunk=chunk
        )
    await worker.ask("limit_file_size", count=1 << 40)
    await worker.ask("append", upload=upload, size=4 * MIB, seed="second", skip=room, chunk=4096)

    whole = blob(4 * MIB, "first").raw[:room] + blob(4 * MIB, "second").raw[room:]
    await worker.ask("complete_as", upload=upload, digest=Digest.of(whole))


async def test_a_completion_that_cannot_be_committed_can_be_repeated(
    repository: Repository, spawn: Spawn, settings: StorageSettings, registry: Registry
) -> None:
    """503, and nothing shows; the upload keeps all of its bytes, and the same PUT succeeds when there is room."""
    content = blob(1000, "content")
    worker = await spawn()
    upload = await worker.ask("begin")
    await worker.ask("append", upload=upload, size=1000, seed="content")
    await _let_no_upload_end(registry)
    try:
        with pytest.raises((Unavailable, StoreError)):
            await worker.ask("complete", upload=upload, size=1000, seed="content")
        assert await worker.ask("status", upload=upload) == 1000
        with pytest.raises(BlobUnknown):
            await repository.find_blob(content.digest)
    finally:
        await _let_uploads_end(registry)

    [published] = files(settings)
    assert await worker.ask("complete", upload=upload, size=1000, seed="content") == published
    assert await read(repository, content.digest) == content.raw
    assert files(settings) == [published]


async def _let_no_upload_end(registry: Registry) -> None:
    """Make every transaction fail that ends an upload, in all processes, and none of the others."""

    async def work(tx: Any) -> None:
        await tx.execute("CREATE TRIGGER no BEFORE DELETE ON upload BEGIN SELECT RAISE(FAIL, 'trouble'); END")

    await registry._database.transaction(work)


async def _let_uploads_end(registry: Registry) -> None:
    async def work(tx: Any) -> None:
        await tx.execute("DROP TRIGGER no")

    await registry._database.transaction(work)


async def test_bytes_that_could_not_be_synced_are_never_published(
    repository: Repository, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports lost writes once: a second PUT must not succeed because the second fsync does."""
    upload = await begin(repository)
    await append(repository, upload, WHOLE.raw)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            await complete(repository, upload, WHOLE.digest)
    with pytest.raises(BlobUploadUnknown):
        await complete(repository, upload, WHOLE.digest)
    assert files(settings) == []
    assert files(settings, layout.UPLOADS) == []


async def test_without_descriptors_the_answer_is_503(spawn: Spawn) -> None:
    """Not a crash, and not a 404: the upload and the blob are there, and are served when there are some again."""
    worker = await spawn()
    digest = await worker.ask("push", size=1000, seed="there")
    upload = await worker.ask("begin")
    await worker.ask("limit_descriptors", spare=0)
    for do, arguments in (
        ("begin", {}),
        ("append", {"upload": upload, "size": 10, "seed": ""}),
        ("complete", {"upload": upload, "size": 0, "seed": ""}),
        ("read_blob", {"digest": digest}),
    ):
        with pytest.raises(Unavailable, match="descriptors"):
            await worker.ask(do, **arguments)
    assert await worker.ask("has_blob", digest=digest) == 1000

    await worker.ask("limit_descriptors", spare=1000)
    assert await worker.ask("read_blob", digest=digest) == digest
    assert await worker.ask("append", upload=upload, size=10, seed="") == 10


# Deaths


async def test_a_death_between_the_blobs_name_and_the_commit_loses_nothing(
    repository: Repository, spawn: Spawn, settings: StorageSettings
) -> None:
    """The blob is unknown, the upload has its bytes, can grow, and becomes a blob when it is completed again."""
    content = blob(1000, "content")
    worker = await spawn()
    upload = UploadId(await worker.ask("begin"))
    await worker.ask("append", upload=upload, size=1000, seed="content")
    await worker.send("complete_and_die", upload=upload, size=1000, seed="content")
    assert await worker.ended() == 9
    [published] = files(settings)
    with pytest.raises(BlobUnknown):
        await repository.find_blob(content.digest)
    assert (await repository.upload_status(upload)).offset == 1000

    assert await complete(repository, upload, content.digest) == published
    assert await read(repository, content.digest) == content.raw
    assert files(settings) == [published]
    assert files(settings, layout.UPLOADS) == []


async def test_after_such_a_death_the_upload_can_become_something_else(
    repository: Repository, spawn: Spawn, settings: StorageSettings
) -> None:
    """More bytes come, and another digest: what was published and not committed is nobody's blob."""
    longer = blob(2000, "content")
    worker = await spawn()
    upload = UploadId(await worker.ask("begin"))
    await worker.ask("append", upload=upload, size=1000, seed="content")
    await worker.send("complete_and_die", upload=upload, size=1000, seed="content")
    await worker.ended()

    await complete(repository, upload, longer.digest, longer.raw[1000:])

    assert await read(repository, longer.digest) == longer.raw
    with pytest.raises(BlobUnknown):
        await repository.find_blob(blob(1000, "content").digest)


async def test_the_lock_of_a_killed_holder_is_free(spawn: Spawn, repository: Repository) -> None:
    """Kill -9 in the middle of a request: the next one has not to wait for anybody, and what was written counts."""
    worker = await spawn()
    upload = UploadId(await worker.ask("begin"))
    await worker.send("append", upload=upload, size=len(WHOLE.raw), seed="whole", stall=True)
    assert await worker.answer(0) == "stalled"
    worker.process.kill()
    await worker.ended()

    offset = (await repository.upload_status(upload)).offset
    assert 0 <= offset <= len(WHOLE.raw)
    await complete(repository, upload, WHOLE.digest, WHOLE.raw[offset:])
    assert await read(repository, WHOLE.digest) == WHOLE.raw


async def test_an_uploads_row_is_durable_before_its_file_is_made(
    repository: Repository, settings: StorageSettings
) -> None:
    """A file without a row is an orphan, and orphans are removed: so the row comes first."""
    with nobody_commits(settings):
        beginning = asyncio.ensure_future(repository.begin_upload())
        await turns()
        assert files(settings, layout.UPLOADS) == []
    upload = (await beginning).upload
    assert files(settings, layout.UPLOADS) == [upload]


async def test_an_upload_whose_file_was_never_made_is_unknown(
    registry: Registry, repository: Repository
) -> None:
    """The row comes first: stopped before the file, the upload never was, and goes when it is idle."""
    upload = UploadId.random()
    await registry._catalog.begin_upload(RepositoryName("library/app"), upload, "sha256")
    for attempt in (
        repository.upload_status(upload),
        append(repository, upload, b"x"),
        complete(repository, upload, Digest.of(b"")),
    ):
        with pytest.raises(BlobUploadUnknown):
            await attempt
    await repository.cancel_upload(upload)


async def test_a_lock_is_not_had_while_it_is_cancelled(registry: Registry, repository: Repository) -> None:
    """Whoever is cancelled while waiting for an upload leaves neither a lock nor a descriptor."""
    files: FileSystem = registry._files
    upload = await begin(repository)
    staged = await files.hold(upload, wait_seconds=0)
    opened = os.listdir("/proc/self/fd")
    with anyio.move_on_after(0.02) as scope:
        await files.hold(upload, wait_seconds=10)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        await files.hold(upload, wait_seconds=0)
    assert os.listdir("/proc/self/fd") == opened
    staged.close()
    staged.close()

    (await files.hold(upload, wait_seconds=0)).close()
    with pytest.raises(FileNotFoundError):
        await files.hold(UploadId.random(), wait_seconds=0)
