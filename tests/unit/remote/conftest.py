"""A real HTTP server that plays whatever peer a test needs, lies and breaks included."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest

from entrepot.oci import Descriptor, Digest, mediatype
from entrepot.reference import Reference
from entrepot.remote import Limits, Remote, RemoteOptions
from entrepot.remote.repository import RemoteRepository
from entrepot.remote.retry import Retries
from entrepot.store import OpenAt
from entrepot.wire.exchange import Exchange, Record
from entrepot.wire.record import Recorder


@dataclass
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)


@dataclass
class Reply:
    """A response.

    Attributes:
        length: What Content-Length says; None for the truth, -1 for none at all.
        reads: How much of the request's body is read; None for all of it.
        closes: Whether the connection is closed afterwards.
        repeats: How often the body is sent.
        raw: Sent instead of everything else.
        hangs: Never send anything.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    reads: int | None = None
    closes: bool = False
    repeats: int = 1
    raw: bytes | None = None
    hangs: bool = False


Answer = Reply | Callable[[Asked], Reply | Awaitable[Reply]]


class Peer:
    """The server. `on` says what it answers; `asked` is what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answer requests for a path one after the other, and with the last answer from then on."""
        self._answers[method, path] = list(answers)

    def saw(self, method: str, path: str | None = None) -> list[Asked]:
        return [a for a in self.asked if a.method == method and path in {None, a.path}]

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        if len(lines[0].split(" ")) != 3:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return False
        method, target, _ = lines[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
        asked = Asked(method, target, headers)
        self.asked.append(asked)
        answers = self._answers.get((method, asked.path), [Reply(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        length = int(headers.get("content-length", "0"))
        if isinstance(answer, Reply):
            asked.body = await reader.readexactly(
                length if answer.reads is None else min(length, answer.reads)
            )
            reply = answer
        else:
            asked.body = await reader.readexactly(length)
            made = answer(asked)
            reply = made if isinstance(made, Reply) else await made
        return await self._reply(method, reply, writer)

    async def _reply(self, method: str, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            return False
        length = len(reply.body) * reply.repeats if reply.length is None else reply.length
        fields = dict(reply.headers)
        if length >= 0:
            fields.setdefault("Content-Length", str(length))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode("latin-1"))
        if method != "HEAD":
            for _ in range(reply.repeats):
                writer.write(reply.body)
                await writer.drain()
        await writer.drain()
        return not reply.closes and reply.reads is None and length >= 0


@dataclass
class Trial:
    """A repository on a peer, and everything that was recorded about it."""

    peer: Peer
    repository: RemoteRepository
    remote: Remote
    records: list[Record]
    waits: list[float]
    warnings: list[str]

    @property
    def exchanges(self) -> list[Exchange]:
        return sorted((r for r in self.records if isinstance(r, Exchange)), key=lambda r: r.id)


NAME = "demo/app"
LIMITS = Limits(max_list_pages=20, max_list_bytes=1 << 20, max_manifest_bytes=1 << 20, max_attempts=3)


@asynccontextmanager
async def trying(
    *,
    host: str | None = None,
    tls: ssl.SSLContext | None = None,
    authorizer: object = None,
    environ: dict[str, str] | None = None,
    **options: object,
) -> AsyncIterator[Trial]:
    """Serve a peer and open a repository on it. Nothing is really waited for: pauses are noted in `waits`."""
    waits: list[float] = []
    records: list[Record] = []
    warnings: list[str] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    limits = options.pop("limits", LIMITS)
    settings = RemoteOptions(**{"plain_http": tls is None, "limits": limits, **options})
    retries = Retries(
        max_attempts=limits.max_attempts, sleep=sleep, random=lambda: 0.0, wall=lambda: 1_700_000_000.0
    )
    async with (
        Peer().serving(tls) as peer,
        Remote.connect(
            settings,
            recorder=Recorder([records.append]),
            environ={} if environ is None else environ,
            authorizer_for=(lambda _: authorizer) if authorizer else None,
            retries=retries,
            on_warning=lambda _, text: warnings.append(text),
        ) as remote,
    ):
        if environ is not None:
            environ.update({key: value.format(port=peer.port) for key, value in environ.items()})
        name = (host or "127.0.0.1:{port}").format(port=peer.port)
        repository = remote.repository(Reference.parse(f"{name}/{NAME}"))
        yield Trial(peer, repository, remote, records, waits, warnings)


@pytest.fixture
def odd() -> type[object]:
    """Everything that a test with an odd peer needs."""

    class Odd:
        trial = staticmethod(trying)
        reply = Reply
        peer = Peer
        source = staticmethod(source)
        blob = staticmethod(blob)
        limits = LIMITS

    return Odd


def source(content: bytes, *, piece: int = 1 << 16, opened: list[int] | None = None) -> OpenAt:
    """Return what opens these bytes at an offset; the offsets are noted in `opened`."""

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(offset, len(content), piece):
                yield content[start : start + piece]

        if opened is not None:
            opened.append(offset)
        yield chunks()

    return open_at


def blob(content: bytes) -> Descriptor:
    """Return the descriptor of a layer with these bytes."""
    return Descriptor(media_type=mediatype.IMAGE_LAYER, digest=Digest.of(content), size=len(content))
