"""Bodies of responses that are larger than memory should hold: blobs, parts of blobs, long lists.

Sends are of 64 KiB: what has been handed to the runner and not yet taken by the client is in memory, and this is
what keeps a reader that has stopped reading below a mebibyte (larger sends are no faster, see docs/adr).
A client that goes is not noticed by `send`, which neither raises nor waits then, so somebody has to watch
`receive`. A body never ends short of its Content-Length: whoever runs us closes the connection when we raise, and
would leave the client waiting if we returned.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from entrepot.errors import ConnectionFailed, StoreError
from entrepot.server.asgi import Receive, Send
from entrepot.server.ranges import Span

__all__ = ["SEND_BYTES", "BlobContent", "MultipartContent", "PiecesContent"]

SEND_BYTES: Final = 64 * 1024
PAUSE_SENDS: Final = 16
"""After how many sends others get a turn."""


class _Reader(Protocol):
    """What is used of `entrepot.storage.blobfiles.BlobReader`."""

    async def read(self, offset: int, count: int) -> bytes: ...

    def close(self) -> None: ...


class _Departure:
    """Watches for the client to go, within its context."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._checks = 0

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()

    async def check(self) -> None:
        """Raise ConnectionFailed if the client has gone.

        `send` does not wait once nobody is there, so without a pause here now and then the watcher would not get to
        run before the whole blob has been read for nobody, and neither would any other request.
        """
        self._checks += 1
        if self._checks % PAUSE_SENDS == 0:
            await asyncio.sleep(0)
        if self._task.done():
            raise ConnectionFailed("the client has gone before the answer was complete", peer="client")


class BlobContent:
    """A blob, or one part of it."""

    __slots__ = ("_reader", "_span", "sent")

    def __init__(self, reader: _Reader, span: Span) -> None:
        self._reader = reader
        self._span = span
        self.sent = 0

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the part. A small one needs nobody to watch: it is sent before anybody could stop it."""
        if self._span.length <= SEND_BYTES:
            data = await _read(self._reader, self._span.start, self._span)
            await send({"type": "http.response.body", "body": data})
            self.sent = len(data)
            return
        async with _Departure(receive) as departure:
            await _send_span(self, self._reader, self._span, send, departure, more=False)

    def close(self) -> None:
        """Close the blob."""
        self._reader.close()


class MultipartContent:
    """Several parts of a blob (RFC 9110, section 14.6).

    Attributes:
        media_type: With the boundary.
        length: Of the whole body, in bytes.
    """

    def __init__(self, reader: _Reader, spans: Sequence[Span], *, size: int) -> None:
        boundary = secrets.token_hex(16)
        self.media_type = f"multipart/byteranges; boundary={boundary}".encode("ascii")
        self._reader = reader
        self._parts = [(_part_head(boundary, span, size), span) for span in spans]
        self._end = f"\r\n--{boundary}--\r\n".encode("ascii")
        self.length = sum(len(head) + span.length for head, span in self._parts) + len(self._end)
        self.sent = 0

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the parts in the order in which they were asked for."""
        async with _Departure(receive) as departure:
            for head, span in self._parts:
                await send({"type": "http.response.body", "body": head, "more_body": True})
                self.sent += len(head)
                await _send_span(self, self._reader, span, send, departure, more=True)
        await send({"type": "http.response.body", "body": self._end})
        self.sent += len(self._end)

    def close(self) -> None:
        """Close the blob."""
        self._reader.close()


async def _send_span(
    content: BlobContent | MultipartContent,
    reader: _Reader,
    span: Span,
    send: Send,
    departure: _Departure,
    *,
    more: bool,
) -> None:
    """Send a part of a blob, and count it.

    Raises:
        ConnectionFailed: The client has gone.
        StoreError: The blob is shorter than the catalog says.
    """
    offset = span.start
    while offset < span.stop:
        await departure.check()
        data = await _read(reader, offset, span)
        offset += len(data)
        await send({"type": "http.response.body", "body": data, "more_body": more or offset < span.stop})
        content.sent += len(data)


async def _read(reader: _Reader, offset: int, span: Span) -> bytes:
    """Read the next bytes to send.

    Raises:
        StoreError: There are fewer.
    """
    wanted = min(SEND_BYTES, span.stop - offset)
    data = await reader.read(offset, wanted)
    if len(data) != wanted:
        raise StoreError(f"a blob ends at byte {offset + len(data)}, and not at {span.stop}")
    return data


def _part_head(boundary: str, span: Span, size: int) -> bytes:
    return (
        f"\r\n--{boundary}\r\ncontent-type: application/octet-stream\r\n"
        f"content-range: bytes {span.start}-{span.stop - 1}/{size}\r\n\r\n"
    ).encode("ascii")


class PiecesContent:
    """Text that is made while it is sent, of no length that is known before."""

    __slots__ = ("_pieces", "sent")

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.sent = 0

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the pieces as they are made."""
        async with _Departure(receive) as departure:
            async for piece in self._pieces:
                await departure.check()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self.sent += len(piece)
        await send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Do nothing: the pieces hold nothing open between them."""
