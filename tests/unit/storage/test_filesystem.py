"""Blobs' files: in which order what is made durable, and reading."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from entrepot.errors import BlobUnknown, StoreError, Unavailable
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, UploadId, layout
from entrepot.storage.filesystem import FileSystem
from entrepot.storage.threads import Threads
from entrepot.store import CHUNK_BYTES
from entrepot.testing.images import Content, blob

pytestmark = pytest.mark.anyio

OpenRegistry = Callable[..., Awaitable[Registry]]
WHOLE = blob(3 * CHUNK_BYTES + 5, "whole")


@pytest.fixture
def calls(settings: StorageSettings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and named, in order, with paths below the root."""
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def below(path: str | Path) -> str:
        return str(Path(path).relative_to(settings.root))

    def record_fsync(descriptor: int) -> None:
        calls.append(f"fsync {below(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def record_link(source: Path, target: Path) -> None:
        calls.append(f"link {below(source)} {below(target)}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    return calls


async def push(repository: Repository, content: Content) -> tuple[UploadId, str]:
    upload = (await repository.begin_upload()).upload
    async with content.open_at(0) as body:
        found = await repository.complete_upload(upload, content.digest, body, start=0, length=None)
    return upload, found.location


async def test_bytes_are_durable_before_their_name_and_the_name_before_the_answer(
    repository: Repository, calls: list[str]
) -> None:
    """The file, then new directories in their parents, then the name, then the directory that has the name."""
    upload, location = await push(repository, WHOLE)

    two_digits = WHOLE.digest.encoded[:2]
    assert calls == [
        f"fsync uploads/{upload}",
        "fsync .",
        "fsync blobs",
        "fsync blobs/sha256",
        f"link uploads/{upload} blobs/{location}",
        f"fsync blobs/sha256/{two_digits}",
    ]


async def test_directories_that_are_durable_are_not_synced_again(
    repository: Repository, calls: list[str]
) -> None:
    """The second blob with the same first digits costs the file and its directory."""
    await push(repository, WHOLE)
    other = next(
        content
        for content in (blob(10, str(number)) for number in range(10_000))
        if content.digest.encoded[:2] == WHOLE.digest.encoded[:2]
    )
    calls.clear()

    upload, location = await push(repository, other)

    assert calls == [
        f"fsync uploads/{upload}",
        f"link uploads/{upload} blobs/{location}",
        f"fsync blobs/sha256/{WHOLE.digest.encoded[:2]}",
    ]


async def test_a_directory_that_somebody_else_made_is_synced_too(
    repository: Repository, settings: StorageSettings, calls: list[str]
) -> None:
    """Whoever made it may lose power before syncing its name; our blob in it must not be lost with it."""
    (settings.root / layout.BLOBS / "sha256" / WHOLE.digest.encoded[:2]).mkdir(parents=True)

    await push(repository, WHOLE)

    assert {"fsync blobs", "fsync blobs/sha256"} <= set(calls)


async def test_without_durability_nothing_is_synced(open_registry: OpenRegistry, calls: list[str]) -> None:
    """The negative control of the proofs: a registry that would lose acknowledged pushes."""
    registry = await open_registry(durable=False)
    await push(registry.repository(RepositoryName("library/app")), WHOLE)

    assert [call.partition(" ")[0] for call in calls] == ["link"]


async def test_a_directory_that_cannot_be_synced_is_no_success(
    repository: Repository, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name may not be durable: no 201, nothing visible, and the upload can be completed later."""
    upload = (await repository.begin_upload()).upload
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == WHOLE.digest.encoded[:2]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", fail)
        async with WHOLE.open_at(0) as body:
            with pytest.raises(StoreError):
                await repository.complete_upload(upload, WHOLE.digest, body, start=0, length=None)
    with pytest.raises(BlobUnknown):
        await repository.find_blob(WHOLE.digest)
    assert (await repository.upload_status(upload)).offset == len(WHOLE.raw)

    await repository.complete_upload(upload, WHOLE.digest, None, start=None, length=None)
    assert (await repository.find_blob(WHOLE.digest)).size == len(WHOLE.raw)


# Reading


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.close()


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_blob_is_read_at_any_offset(
    settings: StorageSettings, threads: Threads, in_memory: bool
) -> None:
    """Exactly what was asked for, and less only where the blob ends, whatever the file system."""
    files = FileSystem(settings.root, threads)
    files._in_memory = in_memory
    (settings.root / layout.BLOBS / "content").write_bytes(WHOLE.raw)
    reader = await files.open("content")
    size = len(WHOLE.raw)
    assert reader.size == size
    for offset, count in (
        (0, 1),
        (0, size),
        (0, size + 10),
        (5, 65536),
        (size - 1, 10),
        (size, 10),
        (size + 9, 1),
    ):
        assert await reader.read(offset, count) == WHOLE.raw[offset : offset + count]
    reader.close()
    reader.close()


async def test_what_is_not_in_the_page_cache_is_read_in_a_thread(
    settings: StorageSettings, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop does not wait for a disk: a read that would is done elsewhere, in full."""
    files = FileSystem(settings.root, threads)
    files._in_memory = False
    (settings.root / layout.BLOBS / "content").write_bytes(WHOLE.raw)
    read = os.preadv
    outcomes: Iterator[int | OSError] = iter(
        (OSError(errno.EAGAIN, "would wait"), OSError(errno.EOPNOTSUPP, "not here"), 7)
    )

    def partly(descriptor: int, buffers: list[bytearray], offset: int, _flags: int) -> int:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return read(descriptor, [memoryview(buffers[0])[:outcome]], offset)

    monkeypatch.setattr(os, "preadv", partly)
    reader = await files.open("content")
    try:
        for _ in range(3):
            assert await reader.read(3, 100_000) == WHOLE.raw[3:100_003]
    finally:
        reader.close()


async def test_a_blob_whose_bytes_are_gone_is_looked_up_once_more(
    registry: Registry, repository: Repository
) -> None:
    """Replaced and collected between lookup and opening: the new place is found; gone for good is unknown."""
    await repository.write_blob(WHOLE.descriptor, WHOLE.open_at)
    found = await repository.find_blob(WHOLE.digest)
    stale = type(found)(found.digest, found.size, "sha256/00/elsewhere")
    reader = await repository.open_stored_blob(stale)
    assert await reader.read(0, 9) == WHOLE.raw[:9]
    reader.close()

    await registry._files.remove(found.location)
    with pytest.raises(BlobUnknown, match="bytes are gone"):
        await repository.open_stored_blob(found)


async def test_a_link_in_place_of_a_blob_is_not_followed(
    registry: Registry, settings: StorageSettings, tmp_path: Path
) -> None:
    """Nothing that somebody put there leads out of the root."""
    (tmp_path / "secret").write_text("secret")
    (settings.root / layout.BLOBS / "link").symlink_to(tmp_path / "secret")
    upload = UploadId.random()
    (settings.root / layout.UPLOADS / upload).symlink_to(tmp_path / "secret")

    with pytest.raises(StoreError):
        await registry._files.open("link")
    with pytest.raises(StoreError):
        await registry._files.hold(upload, wait_seconds=0)


async def test_who_waits_for_an_upload_that_is_discarded_does_not_get_it(
    registry: Registry, repository: Repository
) -> None:
    """The lock of a file that has no name any more is worth nothing."""
    upload = (await repository.begin_upload()).upload
    staged = await registry._files.hold(upload, wait_seconds=0)
    waiting = asyncio.ensure_future(registry._files.hold(upload, wait_seconds=10))
    await anyio.lowlevel.checkpoint()
    await registry._files.discard(upload)
    staged.close()
    with pytest.raises(FileNotFoundError):
        await waiting


async def test_what_the_kernel_takes_in_parts_is_written_once_and_in_order(
    registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may take less than it was given, and end inside any of the pieces."""
    writing = os.pwritev

    def partly(descriptor: int, pieces: list[memoryview], offset: int) -> int:
        whole = b"".join(pieces)
        return writing(descriptor, [whole[:5]], offset)

    monkeypatch.setattr(os, "pwritev", partly)
    upload = (await repository.begin_upload()).upload
    staged = await registry._files.hold(upload, wait_seconds=0)
    pieces = [b"a", b"", b"bc", b"d", b"0123456789", b"ABCDEFGHIJKLMNOP", b"e"]
    await staged.write(*pieces)
    await staged.write(b"end")
    assert await staged.read(0, 100) == b"".join(pieces) + b"end"
    assert staged.length == len(b"".join(pieces)) + 3
    staged.close()


async def test_an_upload_without_room_is_503(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """No inode left for its file: the client may come again."""
    opening = os.open

    def full(path: str, flags: int, *mode: int) -> int:
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opening(path, flags, *mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(Unavailable, match="no room"):
        await repository.begin_upload()


async def test_a_digest_names_a_path_below_the_blobs_only(
    repository: Repository, settings: StorageSettings
) -> None:
    """What is published lies at algorithm, two digits, digits and upload, and is readable by the owner alone."""
    _, location = await push(repository, WHOLE)

    path = settings.root / layout.BLOBS / location
    assert path.relative_to(settings.root / layout.BLOBS).parts[:2] == ("sha256", WHOLE.digest.encoded[:2])
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert Digest.of(path.read_bytes()) == WHOLE.digest
