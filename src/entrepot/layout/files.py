"""Files of a layout: opened without being led astray, written so that a power cut finds the old or the new.

Everything here blocks and is called in a worker thread, by way of `in_thread`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from entrepot.errors import StoreError

__all__ = [
    "BlobFile",
    "explained",
    "in_thread",
    "make_directory",
    "new_file",
    "open_regular",
    "read_whole",
    "size_of",
    "sync_directory",
    "write_all",
    "write_whole",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})

# absent on Windows, where O_BINARY is needed instead
_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# a FIFO in a foreign layout would otherwise make us wait for a writer for ever
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _OPEN_FLAGS


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking function in a worker thread, and be back only when it has ended.

    Cancellation waits for it as well, of a scope or of the task itself, so that whoever cleans up (closes a
    descriptor, lets go of a lock) finds no thread still using what it takes away. `anyio` alone does not
    wait when a task is cancelled by asyncio's own means.
    """
    running = asyncio.ensure_future(anyio.to_thread.run_sync(partial(function, *args, **kwargs)))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
        if not running.cancelled():
            running.exception()
        raise


@contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into a StoreError that says what could not be done, and where."""
    try:
        yield
    except OSError as error:
        raise _refusal(doing, path, error) from error


def _refusal(doing: str, path: Path, error: OSError) -> StoreError:
    if error.errno in _FULL:
        return StoreError(f"cannot {doing}, the disk is full: {path}", hint="what was there before is intact")
    reason = error.strerror or type(error).__name__
    return StoreError(f"cannot {doing}, {reason[:1].lower()}{reason[1:]}: {path}")


def open_regular(path: Path, *, root: Path) -> int | None:
    """Open a regular file below the root for reading; None when there is none.

    Args:
        path: The file. Links are followed as long as they stay inside.
        root: The layout's directory, without links in its own path.

    Raises:
        StoreError: It leads out of the root, is not a regular file, or cannot be read.
    """
    real = _inside(path, root)
    try:
        descriptor = os.open(real, _READ_FLAGS)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _refusal("read", path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"not a regular file: {path}")
    return descriptor


def size_of(path: Path, *, root: Path) -> int | None:
    """Return the size of a regular file below the root in bytes; None when there is none.

    Raises:
        StoreError: It leads out of the root, is not a regular file, or cannot be looked at.
    """
    real = _inside(path, root)
    try:
        found = real.stat()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _refusal("look at", path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"not a regular file: {path}")
    return found.st_size


def read_whole(path: Path, *, root: Path, max_bytes: int) -> bytes | None:
    """Read a small file below the root; None when there is none.

    Raises:
        StoreError: It has more than `max_bytes`, or `open_regular` refuses it.
    """
    descriptor = open_regular(path, root=root)
    if descriptor is None:
        return None
    with explained("read", path), os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise StoreError(f"more than {max_bytes} bytes: {path}")
    return content


def write_whole(path: Path, content: bytes, *, scratch: Path) -> None:
    """Replace a small file durably: a reader, and a power cut, finds the old content or the new.

    Args:
        path: The file; its directory exists.
        content: All of it.
        scratch: A directory in the same file system for the temporary file.
    """
    temporary, descriptor = new_file(scratch)
    try:
        with explained("write", path):
            try:
                write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def new_file(directory: Path) -> tuple[Path, int]:
    """Create a file of a name that nobody has, open for writing, with the permissions that the umask leaves."""
    path = directory / f"entrepot-{secrets.token_hex(12)}"
    with explained("create a file", directory):
        make_directory(directory)
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o666)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it; the operating system may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Windows has no such call: there NTFS' journal keeps the order."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _OPEN_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BlobFile:
    """A blob that is being read. Closing it is safe at any time, also when it was never opened."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._descriptor: int | None = None

    def open(self, start: int) -> bool:
        """Open it at an offset in bytes; False when there is no such file."""
        self._descriptor = open_regular(self._path, root=self._root)
        if self._descriptor is None:
            return False
        with explained("read", self._path):
            os.lseek(self._descriptor, start, os.SEEK_SET)
        return True

    def read(self, max_bytes: int) -> bytes:
        """Return the next bytes; none at the end."""
        assert self._descriptor is not None
        with explained("read", self._path):
            return os.read(self._descriptor, max_bytes)

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _inside(path: Path, root: Path) -> Path:
    """Return the path without links.

    Raises:
        StoreError: It is not below the root: somebody made a link that leads out of the layout.
    """
    with explained("look at", path):
        real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        raise StoreError(f"a symbolic link leads out of the layout: {path}")
    return real
