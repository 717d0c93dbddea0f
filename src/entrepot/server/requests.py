"""A request: its headers read once, its body as an iterator that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from entrepot.errors import ConnectionFailed, ManifestTooLarge, SizeInvalid
from entrepot.server.asgi import Receive, Scope

__all__ = ["Request"]

DRAIN_BYTES: Final = 16 * 1024 * 1024
DRAIN_SECONDS: Final = 5.0


class Request:
    """What came over the wire.

    Attributes:
        scope: As ASGI gives it.
        headers: By name in lower case; lines of the same name joined by commas (RFC 9110, section 5.3).
        received: Bytes of the body so far.
    """

    __slots__ = ("_complete", "_receive", "headers", "received", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        lines: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(lines)
        if len(headers) != len(lines):
            headers = _joined(lines)
        self.scope = scope
        self.headers = headers
        self.received = 0
        self._receive = receive
        self._complete = False

    def text(self, name: bytes) -> str | None:
        """Return the value of a header, None if it is absent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def content_length(self) -> int | None:
        """Return the announced number of bytes of the body; None when there is a body of unknown length.

        Raises:
            SizeInvalid: The header is no number.
        """
        value = self.headers.get(b"content-length")
        if value is None:
            # HTTP/1.1 has no body without either header (RFC 9112, section 6.3); HTTP/2 may have.
            has_body = b"transfer-encoding" in self.headers or self.scope["http_version"].startswith("2")
            return None if has_body else 0
        if not value.isdigit() or len(value) > 19:
            raise SizeInvalid(f"not a number of bytes: Content-Length {value[:40]!r}")
        return int(value)

    async def body(self, *, length: int | None) -> AsyncIterator[bytes]:
        """Yield the body as it comes, and check that it has the announced length.

        Nothing beyond that length is ever yielded.

        Raises:
            ConnectionFailed: The client has gone before the body was complete.
            SizeInvalid: There is more or less than announced.
        """
        while True:
            chunk = await self._next()
            if chunk:
                if length is not None and self.received > length:
                    raise SizeInvalid(f"the body has more than the announced {length} bytes")
                yield chunk
            if self._complete:
                break
        if length is not None and self.received != length:
            raise SizeInvalid(f"the body has {self.received} bytes and not the announced {length}")

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionFailed("the client has gone before its request was complete", peer="client")
        chunk: bytes = message.get("body", b"")
        self.received += len(chunk)
        self._complete = not message.get("more_body", False)
        return chunk

    async def drain(self) -> None:
        """Read and forget what is left of the body, if that is not much.

        Who answers before the body has come closes the connection, and a client that is still sending then may
        lose the answer. So what is refused is read to its end, up to `DRAIN_BYTES` and `DRAIN_SECONDS`; not when
        the client waits to be told to go on, nor when more than that is announced.
        """
        if not self._is_worth_draining():
            return
        most = self.received + DRAIN_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._complete and self.received < most:
                    await self._next()

    def _is_worth_draining(self) -> bool:
        if self._complete or b"expect" in self.headers:
            return False
        length = self.headers.get(b"content-length")
        if length is None:
            return b"transfer-encoding" in self.headers
        return length.isdigit() and self.received < int(length) <= self.received + DRAIN_BYTES

    async def read(self, *, max_bytes: int) -> bytes:
        """Return the whole body of a manifest.

        Raises:
            ManifestTooLarge: It has more bytes than `max_bytes`; they are not read.
            ConnectionFailed: The client has gone.
            SizeInvalid: It has not the announced length.
        """
        length = self.content_length
        if length is not None and length > max_bytes:
            raise ManifestTooLarge(f"a manifest has at most {max_bytes} bytes, this has {length}")
        content = bytearray()
        async for chunk in self.body(length=length):
            content += chunk
            if len(content) > max_bytes:
                raise ManifestTooLarge(f"a manifest has at most {max_bytes} bytes, and this has more")
        return bytes(content)


def _joined(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers
