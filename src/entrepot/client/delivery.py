"""Blobs for people: handed over when all of it has been verified, and kept out of sight until then."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from anyio import to_thread

from entrepot.errors import StoreError
from entrepot.store import CHUNK_BYTES

__all__ = ["deliver", "save"]

MAX_BYTES_IN_MEMORY = 4 << 20
"""A blob that is larger waits for its verification on disk."""


async def save(chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write to a file that appears, or is replaced, when the last chunk has come; before that nothing changes.

    Raises:
        StoreError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with await to_thread.run_sync(temporary.open, "xb") as file:
            async for chunk in chunks:
                await to_thread.run_sync(file.write, chunk)
        await to_thread.run_sync(temporary.replace, path)
    except OSError as error:
        raise StoreError(f"cannot be written, {error.strerror}: {path}") from error
    finally:
        temporary.unlink(missing_ok=True)


async def deliver(chunks: AsyncIterator[bytes], write: Callable[[bytes], object]) -> None:
    """Give everything to `write` when the last chunk has come."""
    import tempfile

    with tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY) as kept:
        async for chunk in chunks:
            await to_thread.run_sync(kept.write, chunk)
        kept.seek(0)
        while chunk := await to_thread.run_sync(kept.read, CHUNK_BYTES):
            write(chunk)
