"""Bodies both ways: counted, never cut short, and given up when the client goes."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from entrepot.errors import ConnectionFailed, ManifestTooLarge, SizeInvalid, StoreError
from entrepot.server.bodies import SEND_BYTES, BlobContent, MultipartContent, PiecesContent
from entrepot.server.ranges import Span
from entrepot.server.requests import DRAIN_BYTES, Request

pytestmark = pytest.mark.anyio


class Blob:
    """A blob of zeros that ends early if it is told to."""

    def __init__(self, size):
        self.size = size
        self.closed = 0

    async def read(self, offset, count):
        return bytes(max(min(count, self.size - offset), 0))

    def close(self):
        self.closed += 1


async def stays():
    await asyncio.Event().wait()


def collector():
    sent = []

    async def send(message):
        sent.append((len(message["body"]), message.get("more_body", False)))

    return sent, send


@pytest.mark.parametrize("size", [0, 1, SEND_BYTES, SEND_BYTES + 1, 3 * SEND_BYTES])
async def test_blob(size):
    """A blob is sent in pieces of at most 64 KiB, the last of which says that it is the last."""
    sent, send = collector()
    content = BlobContent(Blob(size), Span(0, size))
    await content.send(stays, send)
    assert sum(length for length, _ in sent) == content.sent == size
    assert max(length for length, _ in sent) <= SEND_BYTES
    assert [more for _, more in sent] == [True] * (len(sent) - 1) + [False]


@pytest.mark.parametrize("size", [10, 5 * SEND_BYTES])
async def test_blob_that_is_too_short(size):
    """A blob that ends before its size raises: the connection has to break, since the length is announced."""
    sent, send = collector()
    with pytest.raises(StoreError):
        await BlobContent(Blob(size - 1), Span(0, size)).send(stays, send)
    assert all(more for _, more in sent)


async def test_client_that_goes():
    """A sender stops soon after the client has gone, although sending never waits."""
    gone = asyncio.Event()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        gone.set()

    content = BlobContent(Blob(1 << 40), Span(0, 1 << 40))
    with pytest.raises(ConnectionFailed):
        await content.send(receive, send)
    assert content.sent <= 64 * SEND_BYTES


async def test_others_get_a_turn():
    """A sender that never waits lets other requests run."""
    ran = asyncio.Event()

    async def other():
        ran.set()

    async def send(message):
        pass

    task = asyncio.create_task(other())
    content = BlobContent(Blob(1 << 26), Span(0, 1 << 26))
    await content.send(stays, send)
    assert ran.is_set()
    await task


async def test_multipart_length():
    """The announced length of several parts is the sent one."""
    sent, send = collector()
    content = MultipartContent(
        Blob(10**6), [Span(0, 1), Span(500, 300_000), Span(999_999, 10**6)], size=10**6
    )
    await content.send(stays, send)
    assert sum(length for length, _ in sent) == content.length == content.sent


async def test_pieces():
    """Pieces are sent as they are made, and an end without bytes closes them."""

    async def pieces():
        yield b"abc"
        yield b"de"

    sent, send = collector()
    await PiecesContent(pieces()).send(stays, send)
    assert sent == [(3, True), (2, True), (0, False)]


def request(messages, headers=()):
    async def receive():
        return messages.pop(0)

    return Request({"headers": list(headers), "http_version": "1.1"}, receive)


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


async def gather(chunks, got):
    """Append all chunks to a list, up to an error."""
    async for chunk in chunks:
        got.append(chunk)


async def test_request_body():
    """A body comes chunk by chunk, without the empty ones."""
    asked = request([part(b"ab"), part(b""), part(b"c", more=False)])
    assert [chunk async for chunk in asked.body(length=3)] == [b"ab", b"c"]
    assert asked.received == 3


@pytest.mark.parametrize("length", [2, 4])
async def test_request_body_of_another_length(length):
    """More or less than announced is an error, and what exceeds is not passed on."""
    got = []
    with pytest.raises(SizeInvalid):
        await gather(request([part(b"ab"), part(b"c", more=False)]).body(length=length), got)
    assert len(b"".join(got)) <= length


async def test_request_body_that_breaks_off():
    """A client that goes before its body is complete is an error, after what has come."""
    got = []
    with pytest.raises(ConnectionFailed):
        await gather(request([part(b"ab"), GONE]).body(length=None), got)
    assert got == [b"ab"]


async def test_manifest_limit():
    """What is too large is not read to its end."""
    messages = [part(b"x" * 60) for _ in range(100)]
    with pytest.raises(ManifestTooLarge):
        await request(messages, [(b"transfer-encoding", b"chunked")]).read(max_bytes=100)
    assert len(messages) == 98
    messages = [part(b"x" * 60)]
    with pytest.raises(ManifestTooLarge):
        await request(messages, [(b"content-length", b"101")]).read(max_bytes=100)
    assert len(messages) == 1


@pytest.mark.parametrize("value", [b"-1", b"+1", b"1e3", b"\xb2", b"", b"9" * 20])
async def test_content_length_that_is_none(value):
    """A Content-Length that is no number is an error."""
    with pytest.raises(SizeInvalid):
        _ = request([], [(b"content-length", value)]).content_length


@pytest.mark.parametrize(
    ("headers", "drained"),
    [
        ([(b"content-length", b"200000")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"content-length", b"200000"), (b"expect", b"100-continue")], False),
        ([(b"content-length", str(DRAIN_BYTES + 1).encode())], False),
        ([(b"content-length", b"0")], False),
        ([], False),
    ],
)
async def test_drain(headers, drained):
    """The rest of a small body is read before it is answered; that of a large one, or one to be asked for, is not."""
    messages = [part(b"x" * 100_000), part(b"x" * 100_000, more=False)]
    await request(messages, headers).drain()
    assert (messages == []) is drained


async def test_drain_of_one_who_goes():
    """Draining ends when the client goes."""
    with pytest.raises(ConnectionFailed):
        await request([part(b"x"), GONE], [(b"content-length", b"9")]).drain()


async def test_memory():
    """Sending a large blob takes no more memory than a few pieces."""

    async def send(message):
        pass

    tracemalloc.start()
    try:
        await BlobContent(Blob(1 << 28), Span(0, 1 << 28)).send(stays, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
