"""Blobs that are too big to hold: made piece by piece, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from proofs.chance import chance_of

__all__ = ["MIB", "PIECE_BYTES", "Stream"]

MIB = 2**20
PIECE_BYTES = MIB


class Stream:
    """Bytes that are determined by a seed, of which no two pieces are alike.

    Args:
        seed: What tells this blob from others.
        size: How many bytes it has.
    """

    def __init__(self, seed: object, size: int) -> None:
        self.size = size
        self._pattern = chance_of("stream", seed).randbytes(PIECE_BYTES)

    @cached_property
    def digest(self) -> str:
        """The sha256 digest, from one pass over all bytes."""
        seen = hashlib.sha256()
        for piece in self.pieces():
            seen.update(piece)
        return f"sha256:{seen.hexdigest()}"

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """Yield the bytes from `start` to `stop`, at most a mebibyte at a time, from one buffer used again."""
        stop = self.size if stop is None else min(stop, self.size)
        buffer = bytearray(self._pattern)
        view = memoryview(buffer)
        while start < stop:
            number, offset = divmod(start, PIECE_BYTES)
            buffer[:8] = number.to_bytes(8, "big")
            count = min(stop - start, PIECE_BYTES - offset)
            yield view[offset : offset + count]
            start += count

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return a part that is small enough to hold."""
        data = bytearray()
        for piece in self.pieces(start, stop):
            data += piece
        return bytes(data)
