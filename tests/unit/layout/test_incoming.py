"""Blobs on their way in: what is left behind when it goes wrong, and how much is in memory at once."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from entrepot.errors import DigestInvalid, DigestMismatch, StoreError
from entrepot.layout import Layout
from entrepot.layout.files import in_thread
from entrepot.layout.incoming import Incoming, pour
from entrepot.oci import Descriptor, Digest
from entrepot.reference import RefName
from entrepot.store import CHUNK_BYTES
from entrepot.testing import blob, image
from entrepot.testing.promises.scripts import Interrupted, Script

from .conftest import read_index, temporary_files

pytestmark = pytest.mark.anyio


async def test_no_temporary_file_is_left(layout: Layout) -> None:
    """Not after success, a wrong digest, a source that breaks, or a write that is cancelled."""
    good, other = blob(3 * CHUNK_BYTES), blob(3 * CHUNK_BYTES, "other")
    with pytest.raises(DigestMismatch):
        await layout.write_blob(good.descriptor, other.open_at)
    with pytest.raises(Interrupted):
        await layout.write_blob(good.descriptor, Script(good.raw, breaks_at=2 * CHUNK_BYTES).open_at)
    script = Script(good.raw, stalls_at=2 * CHUNK_BYTES)
    async with anyio.create_task_group() as group:
        group.start_soon(layout.write_blob, good.descriptor, script.open_at)
        await script.stalled.wait()
        group.cancel_scope.cancel()
    await layout.write_blob(good.descriptor, good.open_at)

    assert temporary_files(layout) == []


async def test_a_task_that_is_cancelled_by_asyncio_itself_leaves_nothing(layout: Layout) -> None:
    """`asyncio.timeout` and servers cancel tasks without a scope; no thread goes on behind their back."""
    content = blob(3 * CHUNK_BYTES)
    for stop in range(0, 3 * CHUNK_BYTES, CHUNK_BYTES // 3):
        script = Script(content.raw, stalls_at=stop)
        task = asyncio.create_task(layout.write_blob(content.descriptor, script.open_at))
        await script.stalled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert temporary_files(layout) == []
        assert not await layout.has_blob(content.descriptor)


async def test_cancelling_waits_for_the_thread(tmp_path: Path) -> None:
    """What a thread is doing has ended when the cancelled task has; twice cancelled, too."""
    begun, go = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        go.wait()
        done.append("work")

    task = asyncio.create_task(in_thread(work))
    try:
        await asyncio.to_thread(begun.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
    finally:
        go.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["work"]


async def test_an_algorithm_that_we_cannot_compute_is_refused_first(layout: Layout) -> None:
    """Before the source is opened: what cannot be verified is never written."""
    descriptor = Descriptor(media_type="a/b", digest=Digest("future:abc"), size=3)
    script = Script(b"abc")

    with pytest.raises(DigestInvalid, match="future"):
        await layout.write_blob(descriptor, script.open_at)
    assert script.openings == []


async def test_what_is_there_is_not_read_again(layout: Layout) -> None:
    """A second write costs no transfer."""
    content = blob(1000)
    await layout.write_blob(content.descriptor, content.open_at)
    script = Script(content.raw)
    await layout.write_blob(content.descriptor, script.open_at)

    assert script.openings == []


# Left behind by others


async def test_files_of_dead_processes_are_removed_by_age(layout: Layout) -> None:
    """An old one goes with the next write; a young one, one that is held, and those of other programs stay."""
    scratch = layout.path / "ingest"
    held = Incoming(blob(1).descriptor, scratch)
    held.open()
    (own,) = scratch.iterdir()
    for name in ("entrepot-dead", "entrepot-young", "oras_ab12"):
        (scratch / name).write_bytes(b"x")
    (scratch / "containerd-ref").mkdir()
    long_ago = time.time() - 7200
    for name in ("entrepot-dead", "oras_ab12", own.name):
        os.utime(scratch / name, (long_ago, long_ago))

    await layout.write_blob(blob(10).descriptor, blob(10).open_at)

    assert temporary_files(layout) == sorted(["entrepot-young", "oras_ab12", "containerd-ref", own.name])
    held.discard()


# A disk that fails


async def test_a_full_disk_is_said_to_be_full_and_nothing_is_lost(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the disk, the blob is absent, index.json is whole, and there is no half of anything."""
    await image(seed="before").write_to(layout, names=[RefName("before")])
    before = read_index(layout)
    content, built = blob(3 * CHUNK_BYTES), image(seed="new")
    room = 2 * CHUNK_BYTES
    write = os.write

    def write_a_little(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: min(len(data), room, 300_000)])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_a_little)
    with pytest.raises(StoreError, match="the disk is full"):
        await layout.write_blob(content.descriptor, content.open_at)
    with pytest.raises(StoreError, match="the disk is full"):
        await layout.write_manifest(built.descriptor, built.raw, names=[RefName("before")])
    monkeypatch.undo()

    assert not await layout.has_blob(content.descriptor)
    assert not await layout.has_manifest(built.digest)
    assert read_index(layout) == before
    assert temporary_files(layout) == []


async def test_bytes_that_cannot_be_made_durable_are_not_shown(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the file is dropped: a second fsync may claim success for pages that are lost."""
    content = blob(1000)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="input/output error"):
        await layout.write_blob(content.descriptor, content.open_at)
    monkeypatch.undo()

    assert not await layout.has_blob(content.descriptor)
    assert temporary_files(layout) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
async def test_a_file_is_durable_before_it_is_shown(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file, then the rename, then fsync of its directory, for a blob as for index.json."""
    content, built = blob(1000), image(seed="a")
    await layout.write_blob(blob(1).descriptor, blob(1).open_at)  # makes the directories
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(f"fsync {path.name.split('-')[0]}")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename {target.name.removeprefix(content.digest.encoded) or 'blob'}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    await layout.write_blob(content.descriptor, content.open_at)
    assert steps == ["fsync entrepot", "rename blob", "fsync sha256"]
    steps.clear()
    await layout.write_manifest(built.descriptor, built.raw, names=[RefName("a")])
    assert steps == [
        "fsync entrepot",
        f"rename {built.digest.encoded}",
        "fsync sha256",
        "fsync entrepot",
        "rename index.json",
        "fsync layout",
    ]


# The pipe between source and disk


async def test_at_most_two_batches_are_in_memory() -> None:
    """A source that is faster than the disk waits for it."""
    given = 0
    writing, go = anyio.Event(), threading.Event()

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(40):
            await anyio.lowlevel.checkpoint()
            given += 1
            yield bytes(CHUNK_BYTES // 4)

    def slow(batch: bytes) -> None:
        anyio.from_thread.run_sync(writing.set)
        go.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(pour, source(), slow)
        await writing.wait()
        await anyio.wait_all_tasks_blocked()
        given_meanwhile = given * (CHUNK_BYTES // 4)
        go.set()

    assert given_meanwhile == 2 * CHUNK_BYTES
    assert given == 40


async def test_every_sink_gets_every_byte_in_order() -> None:
    """Chunks of any size, joined or not."""
    raw = blob(2 * CHUNK_BYTES + 3).raw
    one, two = bytearray(), bytearray()

    async def source() -> AsyncIterator[bytes]:
        yield b""
        yield raw[:1]
        yield raw[1 : CHUNK_BYTES + 9]
        yield raw[CHUNK_BYTES + 9 :]

    await pour(source(), one.extend, two.extend)

    assert one == raw
    assert two == raw


async def test_the_first_failure_of_a_sink_stops_the_source() -> None:
    """It is raised as it is, not in a group, and nobody reads on."""
    given = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            await anyio.lowlevel.checkpoint()
            given += 1
            yield bytes(CHUNK_BYTES)

    def fail(batch: bytes) -> None:
        raise StoreError("no more")

    with pytest.raises(StoreError, match="no more"):
        await pour(source(), fail, len)
    assert given <= 3
