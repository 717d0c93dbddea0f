"""Blobs on their way in: a temporary file, hashed as it grows, renamed when it is known to be right.

The temporary files are in `ingest/`, beside `blobs/`, where containerd and oras keep theirs and where no
reader of a layout looks. Each is locked by whoever writes it, so that what a dead process has left behind can
be told from what a slow one is still writing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio

from entrepot.layout.files import explained, in_thread, make_directory, new_file, sync_directory, write_all
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Verifier
from entrepot.store import CHUNK_BYTES

if sys.platform != "win32":
    import fcntl

__all__ = ["Incoming", "pour", "remove_stale"]


class Incoming:
    """One blob on its way in. Its methods block, but for `receive`.

    Args:
        descriptor: What the bytes must be.
        scratch: The directory for the temporary file, in the same file system as the target.

    Raises:
        DigestInvalid: We cannot compute this algorithm.
    """

    def __init__(self, descriptor: Descriptor, scratch: Path) -> None:
        self._verifier = Verifier(descriptor.digest, descriptor.size)
        self._scratch = scratch
        self._path: Path | None = None
        self._file: int | None = None

    def open(self) -> None:
        """Create the temporary file."""
        self._path, self._file = new_file(self._scratch)
        _claim(self._file)

    async def receive(self, chunks: AsyncIterator[bytes]) -> None:
        """Take all bytes in, hashing in one thread and writing in another while more are fetched.

        Raises:
            SizeMismatch: There are more than promised; reading stops there.
        """
        await pour(chunks, self._verifier.update, self._write)

    def publish(self, target: Path) -> None:
        """Verify, make durable and show under its name, in this order; an older file of that name goes.

        Raises:
            VerificationError: The bytes are not the promised ones.
        """
        self._verifier.finish()
        assert self._file is not None
        assert self._path is not None
        with explained("write", self._path):
            os.fsync(self._file)
            make_directory(target.parent)
            if os.name == "nt":
                self._close()  # Windows renames no open file
            self._path.replace(target)
            self._path = None
            sync_directory(target.parent)

    def discard(self) -> None:
        """Remove what has not been published."""
        self._close()
        path, self._path = self._path, None
        if path is not None:
            with explained("remove", path):
                path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        assert self._path is not None
        with explained("write", self._path):
            write_all(self._file, data)

    def _close(self) -> None:
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)


async def pour(chunks: AsyncIterator[bytes], *sinks: Callable[[bytes], object]) -> None:
    """Pass all chunks to every sink, in worker threads, in batches of about `CHUNK_BYTES`.

    The next batch is gathered while the sinks, all at once, are busy with the one before; no more than two
    are in memory. The first exception, of the source or of a sink, ends it and is raised as it is.
    """
    failures: list[Exception] = []
    batches, taken = anyio.create_memory_object_stream[bytes](0)

    async def drain() -> None:
        async with taken:
            try:
                async for batch in taken:
                    await _together(batch, sinks)
            except Exception as error:  # raised below, without the task group around it
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(drain)
        try:
            async with batches:
                await _gather(chunks, batches.send)
        except Exception as error:  # likewise
            failures.append(error)
            group.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _gather(chunks: AsyncIterator[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
    """Join small chunks: a hop to a thread costs as much as hashing 64 KiB."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES:
            await send(b"".join(parts))
            parts, size = [], 0
    if parts:
        await send(b"".join(parts))


async def _together(batch: bytes, sinks: tuple[Callable[[bytes], object], ...]) -> None:
    failures: list[Exception] = []

    async def one(sink: Callable[[bytes], object]) -> None:
        try:
            await in_thread(sink, batch)
        except Exception as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for sink in sinks:
            group.start_soon(one, sink)
    if failures:
        raise failures[0]


def remove_stale(scratch: Path, *, older_than_seconds: float) -> None:
    """Remove the temporary files of processes that are gone; those of other programs are left alone.

    Args:
        scratch: Where they are.
        older_than_seconds: How long nobody must have written to one. A file that somebody still holds is
            never removed, however old; the age covers the moment between creating and locking it.
    """
    limit = time.time() - older_than_seconds
    for path in scratch.glob("entrepot-*"):
        with suppress(OSError):
            if path.stat().st_mtime <= limit and not _is_claimed(path):
                path.unlink()


if sys.platform == "win32":

    def _claim(descriptor: int) -> None:
        """Do nothing: Windows removes no open file."""

    def _is_claimed(path: Path) -> bool:
        return False

else:

    def _claim(descriptor: int) -> None:
        with suppress(OSError):  # a file system without locks: there the age alone has to do
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_claimed(path: Path) -> bool:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
