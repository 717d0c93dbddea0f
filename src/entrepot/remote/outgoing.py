"""A blob on its way to a registry: read from its source, verified, and cut into the bodies of requests.

One reading of the source serves as many requests as it can; a request that has to start elsewhere reopens it.
The bytes are hashed as they pass, and **the last of them leave only after the whole has been verified**: a
source that does not hold what it promised ends as a broken request, never as a completed upload.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from entrepot.errors import DigestMismatch, SizeMismatch
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Hasher, new_hasher
from entrepot.remote.message import Body
from entrepot.store import OpenAt

__all__ = ["OutgoingBlob"]

CHECKPOINT_BYTES = 8 << 20
"""How often the state of the hash is kept: going back costs at most so many bytes read again."""


class OutgoingBlob:
    """The blob being sent. An async context manager, since it holds its source open between requests.

    Args:
        descriptor: What the bytes must be.
        open_at: Opens the source.
    """

    def __init__(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        self.descriptor = descriptor
        self.verified = False
        self._open_at = open_at
        self._stack = AsyncExitStack()
        self._chunks: AsyncIterator[bytes] | None = None
        self._pending = b""
        self._position = 0
        self._read = 0
        self._hasher: Hasher = new_hasher(descriptor.digest.algorithm)
        self._checkpoints: list[tuple[int, Hasher]] = [(0, self._hasher.copy())]

    async def __aenter__(self) -> OutgoingBlob:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def body(self, start: int, stop: int) -> Body:
        """Return bytes `start` up to, not including, `stop` as the body of a request."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            await self._seek(start)
            yield self._window(stop)

        return Body(stop - start, opened)

    async def verify_empty(self) -> None:
        """Verify a blob of no bytes, whose upload has no body to verify along with."""
        await self._seek(0)
        async for _ in self._window(0):
            pass

    async def _window(self, stop: int) -> AsyncIterator[bytes]:
        """Yield what comes before `stop`; the end of the blob is verified before its last piece is given out."""
        while self._position < stop or (stop == self.descriptor.size and not self.verified):
            piece = await self._piece(stop - self._position)
            if self._position + len(piece) == self.descriptor.size:
                await self._finish()
            # counted before it is given out: whoever takes it may never come back
            self._position += len(piece)
            if piece:
                yield piece

    async def _piece(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none only at the very end."""
        if not self._pending and self._position < self.descriptor.size:
            self._pending = await self._pull()
            if not self._pending:
                self._refuse_size()
        piece, self._pending = self._pending[:most], self._pending[most:]
        return piece

    async def _pull(self) -> bytes:
        """Read and hash the next bytes of the source; none at its end."""
        assert self._chunks is not None
        async for chunk in self._chunks:
            if chunk:
                self._hash(chunk)
                return bytes(chunk)
        return b""

    def _hash(self, chunk: bytes) -> None:
        self._read += len(chunk)
        if self._read > self.descriptor.size:
            self._refuse_size()
        self._hasher.update(chunk)
        if self._read - self._checkpoints[-1][0] >= CHECKPOINT_BYTES:
            self._checkpoints.append((self._read, self._hasher.copy()))

    async def _finish(self) -> None:
        """Check the whole, the end of the source included: there may be no byte too many."""
        if self.verified:
            return
        await self._pull()
        if self._read != self.descriptor.size:
            self._refuse_size()
        actual = f"{self.descriptor.digest.algorithm}:{self._hasher.hexdigest()}"
        if actual != self.descriptor.digest:
            raise DigestMismatch(expected=self.descriptor.digest, actual=actual)
        self.verified = True

    def _refuse_size(self) -> None:
        raise SizeMismatch(expected=self.descriptor.size, actual=self._read, digest=self.descriptor.digest)

    async def _seek(self, start: int) -> None:
        """Make `start` the next byte that `_window` gives: nothing to do when it is, else reopen the source."""
        if self._chunks is not None and start == self._position and not self.verified:
            return
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        while self._checkpoints[-1][0] > start:
            self._checkpoints.pop()
        self._position, hasher = self._checkpoints[-1]
        self._hasher, self._read, self._pending, self.verified = hasher.copy(), self._position, b"", False
        self._chunks = await self._stack.enter_async_context(self._open_at(self._position))
        while self._position < start:
            self._position += len(await self._piece(start - self._position))
