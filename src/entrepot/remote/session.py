"""One request, one response: aiohttp, with the settings that a registry's client needs.

aiohttp would by itself decode URLs and bodies, follow redirects, keep cookies, read netrc, send a request
again when a connection had died, and cut a body that is too long. All of that is switched off or counted
here; what happens instead is decided in `transport`, where it is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import anyio
from aiohttp.abc import ResolveResult
from aiohttp.connector import Connection
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDictProxy

from entrepot.errors import ConnectionFailed, DigestMismatch, ProtocolViolation, VerificationError
from entrepot.oci.digest import Digest
from entrepot.remote.hosts import Hopeless, loopback_address, tls_context
from entrepot.remote.message import Body
from entrepot.remote.options import RemoteOptions
from entrepot.remote.proxies import Proxies
from entrepot.remote.urls import Hop, is_loopback
from entrepot.text import printable
from entrepot.wire.record import Recorder, Recording

__all__ = ["Response", "Session"]

READ_BUFFER_BYTES = 1 << 20
DRAIN_BYTES = 64 << 10


@dataclass(slots=True)
class _Current:
    """What aiohttp's hooks need to know about the request that is being sent in this task."""

    hop: Hop | None
    recording: Recording


_current: ContextVar[_Current] = ContextVar("_current")


class _Answer(aiohttp.ClientResponse):
    """A response that remembers what it came over, which aiohttp forgets as soon as the body is complete."""

    carrier: asyncio.Transport | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self.carrier = connection.transport
        return await super().start(connection)


class Session:
    """Sends requests over pooled connections. Closed with `close`.

    Args:
        options: How servers are reached and verified.
        recorder: Every request is an exchange there.
        proxies: Which proxies to use.
    """

    def __init__(self, options: RemoteOptions, recorder: Recorder, proxies: Proxies) -> None:
        self._options = options
        self._recorder = recorder
        self._proxies = proxies
        self._tls: ssl.SSLContext | None = None
        limits = options.limits
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=_guarded_socket, resolver=_Resolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_timeout_seconds, sock_read=limits.read_timeout_seconds
            ),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            middlewares=(_never_resend,),
            headers={"User-Agent": options.user_agent, "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
            trace_configs=[_tracing()] if recorder.active else [],
            response_class=_response_class(recorder) if recorder.active else _Answer,
        )

    async def send(
        self,
        method: str,
        hop: Hop,
        *,
        headers: Sequence[tuple[str, str]],
        body: Body | None,
        recording: Recording,
    ) -> Response:
        """Send one request and return its response when the head of it is there. The response must be closed.

        The recording is finished with the response, or here if there is none.

        Raises:
            ConnectionFailed: No connection, or one that broke.
            ProtocolViolation: The answer is not HTTP.
            ForbiddenURL: The host turned out to be at an address that the policy refuses.
        """
        stack = AsyncExitStack()
        stack.callback(recording.finish)
        try:
            outgoing = None
            if body is not None:
                outgoing = _Outgoing(
                    await stack.enter_async_context(body.open()),
                    body.size,
                    recording,
                    stall_seconds=self._options.limits.read_timeout_seconds,
                )
                stack.push_async_callback(outgoing.settle)
            answer = await self._request(method, hop, headers, outgoing, recording)
        except BaseException as error:
            recording.fail(str(error) or type(error).__name__)
            await stack.aclose()
            raise
        recording.answered(answer.status, answer.headers.items())
        if outgoing is not None:
            stack.callback(outgoing.abort_unless_complete, cast("_Answer", answer).carrier)
        return Response(answer, hop, recording, stack)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()
        await asyncio.sleep(0)  # sockets are closed by callbacks that the loop has yet to run

    async def _request(
        self,
        method: str,
        hop: Hop,
        headers: Sequence[tuple[str, str]],
        outgoing: _Outgoing | None,
        recording: Recording,
    ) -> aiohttp.ClientResponse:
        proxy = self._proxies.for_url(hop.url)
        fields = [*headers, ("Content-Length", str(outgoing.size))] if outgoing else list(headers)
        token = _current.set(_Current(None if proxy else hop, recording))
        try:
            async with outgoing.watched() if outgoing else contextlib.nullcontext():
                return await self._http.request(
                    method,
                    hop.url,
                    headers=fields,
                    data=outgoing.stream() if outgoing else None,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self._verification() if hop.url.scheme == "https" else True,
                    trace_request_ctx=recording,
                )
        except (aiohttp.ClientError, OSError) as error:
            if outgoing is not None and outgoing.failure is not None:
                raise outgoing.failure from None
            if hop.refused:
                raise hop.refusal() from None
            raise _fault(error, hop) from error
        finally:
            _current.reset(token)

    def _verification(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context(self._options)
        return self._tls


class Response:
    """A response whose head has come.

    Attributes:
        status: Its status.
        headers: Its header fields, in any case.
        hop: The URL that it came from.
        received: Bytes of the body so far.
    """

    def __init__(
        self, answer: aiohttp.ClientResponse, hop: Hop, recording: Recording, stack: AsyncExitStack
    ) -> None:
        self._answer = answer
        self._recording = recording
        self._stack = stack
        self.hop = hop
        self.status = answer.status
        self.headers: CIMultiDictProxy[str] = answer.headers
        self.received = 0

    @property
    def exchange(self) -> int | None:
        """Return the number of the exchange in the record."""
        return self._recording.id

    @property
    def content_length(self) -> int | None:
        """Return the length that the head promises, None when it promises none."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def follow(self, header: str) -> Hop:
        """Return where a `Location` leads.

        Raises:
            ProtocolViolation: There is none.
            ForbiddenURL: The URL policy refuses it.
        """
        location = self.headers.get(header)
        if location is None:
            raise ProtocolViolation(
                f"{self.hop.peer} answered {self.status} without {header}", peer=self.hop.peer
            )
        return self.hop.follow(location, given_as=f"the {header}")

    def require_digest(self, digest: Digest) -> None:
        """Hold `Docker-Content-Digest`, if it is there and of the same algorithm, against what it must be.

        Raises:
            DigestMismatch: It is another.
        """
        said = self.headers.get("Docker-Content-Digest", "").strip()
        if said.startswith(f"{digest.algorithm}:") and said != digest:
            raise DigestMismatch(expected=digest, actual=printable(said)[:200], peer=self.hop.peer)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes.

        Raises:
            ConnectionFailed: It broke before its end.
        """
        while chunk := await self._next():
            self.received += len(chunk)
            self._recording.received(self.received)
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await self._answer.content.readany()
        # aiohttp raises a bare RuntimeError when the connection was lost before anybody read
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            length = self.content_length
            of = "" if length is None else f" of {length}"
            self._recording.fail(f"broke after {self.received}{of} bytes")
            host = self.hop.url.authority
            raise ConnectionFailed(
                f"the connection broke after {self.received}{of} bytes: {host}", peer=self.hop.peer
            ) from error

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            ProtocolViolation: It has more than `max_bytes`, or is encoded in a way that was not asked for.
            ConnectionFailed: It broke before its end.
        """
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise ProtocolViolation(
                f"{self.hop.peer} sent a body in an encoding that was not asked for: {encoding[:40]!r}",
                peer=self.hop.peer,
            )
        content = bytearray()
        async with contextlib.aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > max_bytes:
                    raise ProtocolViolation(
                        f"{self.hop.peer} answered with more than {max_bytes} bytes", peer=self.hop.peer
                    )
        return bytes(content)

    async def refusal(self, max_bytes: int) -> bytes:
        """Return the beginning of the body of an error, and record it; what cannot be read is left out."""
        content = bytearray()
        with contextlib.suppress(ConnectionFailed):
            async with contextlib.aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    content += chunk[: max_bytes - len(content)]
                    if len(content) >= max_bytes:
                        break
        self._recording.refused(bytes(content))
        return bytes(content)

    async def close(self) -> None:
        """Give the connection back, or close it when there is more to come than is worth reading."""
        try:
            await self._drain()
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Close the connection, unless the body is complete; then it is given back."""
        if self._answer.content.is_eof() and self._answer.content.exception() is None:
            self._answer.release()
        else:
            self._answer.close()
        await self._stack.aclose()

    async def _drain(self) -> None:
        if self._answer.content.at_eof() or (self.content_length or DRAIN_BYTES + 1) > DRAIN_BYTES:
            return
        with contextlib.suppress(ConnectionFailed):
            async with contextlib.aclosing(self.chunks()) as chunks:
                async for _ in chunks:
                    pass


class _Outgoing:
    """A body while it is being sent: aiohttp cuts one that is too long and waits for ever on a short one.

    It also waits for ever on a peer that stops reading; `stall_seconds` is how long we do. The time that the
    source takes for its bytes does not count.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], size: int, recording: Recording, *, stall_seconds: float
    ) -> None:
        self.size = size
        self.failure: Exception | None = None
        self._complete = False
        self._chunks = chunks
        self._recording = recording
        self._stall_seconds = stall_seconds
        self._deadline: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Raise TimeoutError here when the peer takes nothing for too long."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                yield
        finally:
            self._deadline = None

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body for aiohttp, which runs this in a task of its own and may leave it at any `yield`."""
        sent = 0
        try:
            while (chunk := await self._next()) is not None:
                if sent + len(chunk) > self.size:
                    raise VerificationError(f"the body to send has more bytes than announced: {self.size}")
                self._expect_progress(within=self._stall_seconds)
                yield chunk
                self._expect_progress(within=None)
                sent += len(chunk)
                self._recording.sent(sent)
            if sent < self.size:
                raise VerificationError(
                    f"the body to send has fewer bytes than announced: {sent} of {self.size}"
                )
            self._complete = True
            self._recording.mark("send")
        except Exception as error:
            self.failure = error
            raise

    async def _next(self) -> bytes | None:
        self._idle.clear()
        try:
            return await anext(self._chunks, None)
        finally:
            self._idle.set()

    def _expect_progress(self, *, within: float | None) -> None:
        if self._deadline is not None and not self._deadline.expired():
            when = None if within is None else asyncio.get_running_loop().time() + within
            self._deadline.reschedule(when)

    def abort_unless_complete(self, carrier: asyncio.Transport | None) -> None:
        """Drop a connection whose peer has answered before it had the whole body, and may not read the rest."""
        if carrier is not None and not self._complete:
            carrier.abort()

    async def settle(self) -> None:
        """Wait until nobody reads the source any more, so that it can be closed; also when cancelled.

        aiohttp has cancelled its task by now, so this does not take long.
        """
        with anyio.CancelScope(shield=True):
            await self._idle.wait()


class _Resolver(ThreadedResolver):
    """The system's resolver, and `*.localhost`, which is this machine (RFC 6761, section 6.3)."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        return await super().resolve(loopback_address(host), port, family)


def _guarded_socket(address: Any) -> socket.socket:  # noqa: ANN401 - aiohttp's AddrInfoType
    """Make a socket for a connection, unless the URL policy refuses its address."""
    family, kind, protocol, _, target = address
    current = _current.get(None)
    if current is not None and current.hop is not None:
        current.hop.check(str(target[0]))
    return socket.socket(family=family, type=kind, proto=protocol)


class _Broken(aiohttp.ClientError):
    """Carries a fault past aiohttp's own resending."""


async def _never_resend(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself: each attempt is to be decided and recorded."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


def _fault(error: BaseException, hop: Hop) -> ConnectionFailed | ProtocolViolation:
    """Turn what aiohttp raised into an error of ours, in words."""
    host = hop.url.authority
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Hopeless(f"the proxy refused to connect, status {error.status}: {host}", peer=hop.peer)
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolViolation(
            f"the answer is not HTTP, {error.message.splitlines()[0][:200]}: {host}", peer=hop.peer
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        hint = "give its authority's certificate with --cacert"
        return Hopeless(f"the certificate is not trusted, {why}: {host}", peer=hop.peer, hint=hint)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Hopeless(f"there is no such host: {host}", peer=hop.peer)
    if isinstance(error, aiohttp.ClientSSLError):
        hint = "does it speak plain http? then --plain-http"
        return Hopeless(f"no TLS connection, {_words(error)}: {host}", peer=hop.peer, hint=hint)
    if isinstance(error, TimeoutError):
        return ConnectionFailed(f"no answer in time: {host}", peer=hop.peer)
    if isinstance(error, aiohttp.ClientConnectorError):
        kind = Hopeless if is_loopback(hop.url.raw_host or "") else ConnectionFailed
        return kind(f"cannot connect, {_words(error)}: {host}", peer=hop.peer)
    return ConnectionFailed(f"the connection broke, {_words(error)}: {host}", peer=hop.peer)


def _words(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or error
    reason = getattr(inner, "reason", None)
    if isinstance(inner, ssl.SSLError) and reason:
        return str(reason).replace("_", " ").lower()
    # what asyncio says about a refused connection repeats the address, not the reason
    words = os.strerror(inner.errno) if isinstance(inner, OSError) and inner.errno else str(inner)
    return (words or type(inner).__name__).splitlines()[0].lower()[:200]


def _tracing() -> aiohttp.TraceConfig:
    """Return hooks that note when each phase of an exchange is over."""
    tracing = aiohttp.TraceConfig()

    async def resolved(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.mark("dns")

    async def connected(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.mark("connect")

    async def head_sent(
        _session: object, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        context.trace_request_ctx.asked(params.headers.items())

    tracing.on_dns_resolvehost_end.append(resolved)
    tracing.on_connection_create_end.append(connected)
    tracing.on_request_headers_sent.append(head_sent)
    return tracing


def _response_class(recorder: Recorder) -> type[_Answer]:
    """Return a response class that notes which connection carried it."""

    class Recorded(_Answer):
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            number, reused = recorder.connection(connection.transport)
            _current.get().recording.carried_by(number, reused=reused)
            return await super().start(connection)

    return Recorded
