"""A blob's bytes from a registry, from any offset, through breaks of the connection.

The bytes are not verified here, since a part cannot be; their number is. A registry that does not do ranges
answers 200 with the whole blob (RFC 9110, section 14.2), and what is before the offset is read and dropped.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from entrepot.errors import ConnectionFailed, ProtocolViolation, SizeMismatch
from entrepot.oci.descriptor import Descriptor
from entrepot.remote.message import Request
from entrepot.remote.session import Response
from entrepot.remote.transport import Transport
from entrepot.wire.exchange import Cause

__all__ = ["download"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


@asynccontextmanager
async def download(
    transport: Transport, request: Request, descriptor: Descriptor, start: int, stop: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open bytes `start` up to, not including, `stop` of a blob.

    The first request is made on entering, so that an absent blob is known then. When the connection breaks
    under way, the rest is asked for, as often as the transport's retries allow without progress.
    """
    part = _Part(transport, request, descriptor, start, stop)
    async with part, aclosing(part.chunks()) as chunks:
        yield chunks


class _Part:
    """The part of a blob that is still to come, and the response that it comes from."""

    def __init__(
        self, transport: Transport, request: Request, descriptor: Descriptor, start: int, stop: int
    ) -> None:
        self._transport = transport
        self._request = request
        self._descriptor = descriptor
        self._position = start
        self._stop = stop
        self._stack = AsyncExitStack()
        self._response: Response | None = None

    async def __aenter__(self) -> None:
        await self._open(self._request)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield exactly the bytes that were asked for.

        Raises:
            SizeMismatch: The registry has fewer.
            ConnectionFailed: It broke too often.
        """
        attempt = 1
        while True:
            before = self._position
            try:
                async with aclosing(self._rest()) as rest:
                    async for chunk in rest:
                        yield chunk
                return
            except ConnectionFailed:
                attempt = 2 if self._position > before else attempt + 1
                wait = self._transport.retries.wait_before(attempt)
                if wait is None:
                    raise
            await self._transport.retries.sleep(wait)
            await self._resume()

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        """Yield what the present response has of the part, dropping what is before it and after it."""
        assert self._response is not None
        skip = self._position if self._response.status == 200 else 0
        async with aclosing(self._response.chunks()) as chunks:
            async for chunk in chunks:
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                wanted = chunk[skip : skip + self._stop - self._position]
                skip = 0
                self._position += len(wanted)
                yield wanted
                if self._position == self._stop:
                    break
        if self._position < self._stop:
            raise SizeMismatch(
                expected=self._stop,
                actual=self._position,
                digest=self._descriptor.digest,
                peer=self._transport.peer,
            )

    async def _resume(self) -> None:
        parent = self._response.exchange if self._response else None
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        phase = f"go on from byte {self._position}"
        await self._open(replace(self._request, cause=Cause.RESUME, parent=parent, phase=phase))

    async def _open(self, request: Request) -> None:
        if self._position == 0 and self._stop == self._descriptor.size:
            expect = frozenset({200})
        else:
            expect = frozenset({200, 206})
            field = ("Range", f"bytes={self._position}-{self._stop - 1}")
            cause = Cause.RANGE if request.cause is Cause.INITIAL else request.cause
            request = replace(request, headers=(*request.headers, field), cause=cause)
        exchange = self._transport.exchange(replace(request, expect=expect))
        self._response = await self._stack.enter_async_context(exchange)
        self._check(self._response)

    def _check(self, response: Response) -> None:
        """Hold the head of the response against what was asked for, before a byte is passed on."""
        peer, digest = self._transport.peer, self._descriptor.digest
        length = response.content_length
        if response.status == 200:
            if length is not None and length != self._descriptor.size:
                raise SizeMismatch(expected=self._descriptor.size, actual=length, digest=digest, peer=peer)
            return
        value = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(value.strip())
        if found is None or int(found[1]) != self._position or int(found[2]) >= self._descriptor.size:
            raise ProtocolViolation(
                f"{peer} answered with another range than bytes {self._position}-{self._stop - 1}: {value[:80]!r}",
                peer=peer,
            )
        if found[3] != "*" and int(found[3]) != self._descriptor.size:
            raise SizeMismatch(expected=self._descriptor.size, actual=int(found[3]), digest=digest, peer=peer)
