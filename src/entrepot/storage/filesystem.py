"""Blobs' bytes on a local file system."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

import anyio

from entrepot.errors import BlobUploadUnknown, StoreError, Unavailable
from entrepot.oci.digest import Digest
from entrepot.storage import layout
from entrepot.storage.content import UploadId
from entrepot.storage.threads import Threads

__all__ = ["FileSystem"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
_INLINE_BYTES = 64 * 1024
"""Up to here a write to the page cache costs less than the way to a thread and back."""

_POLL_SECONDS = (0.002, 0.05)
"""How often a lock is tried: at first, and at the most."""


class FileSystem:
    """`BlobFiles` below a directory.

    Args:
        root: The storage's root, prepared.
        threads: Where what may wait for a disk is done.
        durable: Whether `publish` fsyncs.
    """

    def __init__(self, root: Path, threads: Threads, *, durable: bool = True) -> None:
        self._uploads = root / layout.UPLOADS
        self._blobs = root / layout.BLOBS
        self._threads = threads
        self._durable = durable
        self._in_memory = layout.file_system_type(root) in _MEMORY_FILE_SYSTEMS
        self._known_directories: set[Path] = set()

    async def create(self, upload: UploadId) -> None:
        """See `BlobFiles.create`."""
        try:
            os.close(
                os.open(self._uploads / upload, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            )
        except OSError as error:
            raise _refusal(error) from error

    def length(self, upload: UploadId) -> int:
        """See `BlobFiles.length`."""
        return (self._uploads / upload).stat().st_size

    async def hold(self, upload: UploadId, *, wait_seconds: float) -> _StagedFile:
        """See `BlobFiles.hold`."""
        path = self._uploads / upload
        descriptor = _open(path, os.O_RDWR)
        try:
            with anyio.fail_after(wait_seconds):
                await _lock(descriptor)
            if not _same_file(descriptor, path):
                # whoever had it has discarded it while we waited
                raise FileNotFoundError(errno.ENOENT, "discarded meanwhile", str(path))
        except BaseException:
            os.close(descriptor)
            raise
        return _StagedFile(self, descriptor, upload)

    async def discard(self, upload: UploadId) -> None:
        """See `BlobFiles.discard`."""
        # in a thread: freeing gigabytes takes a disk a while
        await self._threads.run(_remove, self._uploads / upload)

    def uploads(self) -> list[UploadId]:
        """See `BlobFiles.uploads`."""
        found = []
        with os.scandir(self._uploads) as entries:
            for entry in entries:
                # what is not named like an upload is not ours
                with suppress(BlobUploadUnknown):
                    found.append(UploadId(entry.name))
        return found

    async def open(self, location: str) -> _FileReader:
        """See `BlobFiles.open`."""
        return _FileReader(self._blobs / location, self._threads, in_memory=self._in_memory)

    async def remove(self, location: str) -> None:
        """See `BlobFiles.remove`."""
        await self._threads.run(_remove, self._blobs / location)

    def publish(self, descriptor: int, upload: UploadId, location: str) -> None:
        """Give an upload's file its blob's name as well: bytes first, then the name, then the directories.

        A second name instead of a new one: until the commit, which may fail, the upload has its bytes.
        """
        source, target = self._uploads / upload, self._blobs / location
        if self._durable:
            _sync_bytes(descriptor, source)
        self._make_directory(target.parent)
        try:
            os.link(source, target)
        except FileExistsError:
            # published before, and stopped before the commit; the name says which upload's bytes these are
            if not target.samefile(source):
                raise
        if self._durable:
            _sync_directory(target.parent)

    @property
    def threads(self) -> Threads:
        """Return where what may wait for a disk is done."""
        return self._threads

    def _make_directory(self, directory: Path) -> None:
        """Make a directory and its parents durable; each process makes sure once."""
        if directory in self._known_directories:
            return
        if directory != self._blobs:
            self._make_directory(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o700)
        if self._durable:
            # even if it was there: whoever made it may not have synced its name before losing power
            _sync_directory(directory.parent)
        self._known_directories.add(directory)


class _StagedFile:
    """`Staged` as a locked file; its length is the upload's offset."""

    def __init__(self, files: FileSystem, descriptor: int, upload: UploadId) -> None:
        self._files = files
        self._descriptor = descriptor
        self._upload = upload
        self._length = os.fstat(descriptor).st_size
        self._closed = False

    @property
    def length(self) -> int:
        return self._length

    async def write(self, *pieces: bytes) -> None:
        try:
            if sum(map(len, pieces)) <= _INLINE_BYTES:
                self._write(*pieces)
            else:
                await self._files.threads.run(self._write, *pieces)
        except OSError as error:
            self._length = os.fstat(self._descriptor).st_size
            raise _refusal(error) from error

    async def read(self, offset: int, count: int) -> bytes:
        try:
            return await self._files.threads.run(os.pread, self._descriptor, count, offset)
        except OSError as error:
            raise _refusal(error) from error

    async def publish(self, digest: Digest) -> str:
        location = f"{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}.{self._upload}"
        try:
            await self._files.threads.run(self._files.publish, self._descriptor, self._upload, location)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refusal(error) from error
        return location

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

    def _write(self, *pieces: bytes) -> None:
        rest = [memoryview(piece) for piece in pieces if piece]
        while rest:
            written = os.pwritev(self._descriptor, rest, self._length)
            self._length += written
            rest = _behind(rest, written)


def _behind(pieces: list[memoryview], count: int) -> list[memoryview]:
    """Return what is left of these pieces behind their first `count` bytes."""
    for position, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[position + 1 :]]
        count -= len(piece)
    return []


class _FileReader:
    """`BlobReader` on a file: from the page cache on the loop's thread, from the disk in another."""

    def __init__(self, path: Path, threads: Threads, *, in_memory: bool) -> None:
        self._descriptor = _open(path, os.O_RDONLY)
        self._threads = threads
        self._in_memory = in_memory
        self.size = os.fstat(self._descriptor).st_size

    async def read(self, offset: int, count: int) -> bytes:
        if self._in_memory:
            return os.pread(self._descriptor, count, offset)
        buffer = bytearray(count)
        try:
            # RWF_NOWAIT: fail rather than wait for the disk while every other client waits for this thread
            got = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EOPNOTSUPP}:
                raise
            got = 0
        wanted = min(count, max(self.size - offset, 0))
        if got < wanted:
            return await self._threads.run(os.pread, self._descriptor, count, offset)
        return bytes(buffer[:got]) if got < count else bytes(buffer)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refusal(error) from error


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _lock(descriptor: int) -> None:
    """Wait for a file's lock without holding a thread: 500 waiting requests must not use up the pool."""
    pause, longest = _POLL_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await anyio.sleep(pause)
            pause = min(2 * pause, longest)
        else:
            return


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync_bytes(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError:
        # The kernel drops what it could not write and tells it only once: a second attempt would succeed, and
        # publish a blob whose bytes the disk does not have.
        path.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(error: OSError) -> Unavailable | StoreError:
    if error.errno in _NO_ROOM:
        return Unavailable(f"the registry has no room left: {error.strerror}")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Unavailable(f"the registry has no file descriptors left: {error.strerror}")
    return StoreError(f"the registry's storage failed: {error}")
