"""Streams that do what streams do in the field: stop short, never stop, break, stall."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from entrepot.testing.promises.trial import Broken

__all__ = ["Interrupted", "Script"]

CHUNK = 60_000
"""Divides nothing: chunks meet no boundary of a store's own."""

_TOO_FAR = 64 << 20


class Interrupted(Exception):  # noqa: N818 - like the errors of `entrepot.errors`
    """What a stream raises that breaks."""


class Script:
    """A source of bytes that follows a script. Its `open_at` is what `Destination.write_blob` takes.

    Args:
        raw: The bytes.
        endless: Go on behind them for ever; complains when somebody reads far more than is there.
        breaks_at: At this offset the first stream raises `Interrupted`; later ones do not.
        stalls_at: At this offset the first stream sets `stalled` and waits for `resume`.

    Attributes:
        openings: The offsets at which it was opened.
    """

    def __init__(
        self,
        raw: bytes,
        *,
        endless: bool = False,
        breaks_at: int | None = None,
        stalls_at: int | None = None,
    ) -> None:
        self.openings: list[int] = []
        self.stalled = anyio.Event()
        self.resume = anyio.Event()
        self._raw = raw
        self._endless = endless
        self._breaks_at = breaks_at
        self._stalls_at = stalls_at

    @asynccontextmanager
    async def open_at(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes at an offset."""
        first = not self.openings
        self.openings.append(offset)
        yield self._stream(offset, first=first)

    async def _stream(self, offset: int, *, first: bool) -> AsyncIterator[bytes]:
        position = offset
        turns = (
            sorted(turn for turn in (self._breaks_at, self._stalls_at) if turn is not None) if first else []
        )
        while True:
            if turns and position >= turns[0]:
                turns.pop(0)
                await self._turn(position)
            end = min([position + CHUNK, len(self._raw), *turns])
            if position >= len(self._raw):
                break
            await anyio.lowlevel.checkpoint()
            yield self._raw[position:end]
            position = end
        while self._endless:
            await anyio.lowlevel.checkpoint()
            yield bytes(CHUNK)
            position += CHUNK
            if position > len(self._raw) + _TOO_FAR:
                raise Broken(f"{position} bytes were read of a blob that has {len(self._raw)}")

    async def _turn(self, position: int) -> None:
        if position == self._breaks_at:
            raise Interrupted("the stream broke")
        self.stalled.set()
        await self.resume.wait()
