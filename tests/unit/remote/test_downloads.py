from __future__ import annotations

import gzip
from typing import Any

import pytest

from entrepot.errors import BlobUnknown, ConnectionFailed, DigestMismatch, ProtocolViolation, SizeMismatch
from entrepot.store import read_blob
from entrepot.wire.exchange import Cause

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 1024


def ranged(odd: Any, content: bytes = CONTENT) -> Any:
    """Return an answer that honours ranges."""

    def answer(asked: Any) -> Any:
        value = asked.headers.get("range")
        if value is None:
            return odd.reply(body=content)
        first, _, last = value.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        return odd.reply(206, content[start:stop], headers)

    return answer


def path(descriptor: Any) -> str:
    return f"/v2/demo/app/blobs/{descriptor.digest}"


async def read(trial: Any, descriptor: Any, start: int = 0, stop: int | None = None) -> bytes:
    async with trial.repository.open_blob(descriptor, start, stop) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (1, None), (0, 10), (5, 10), (262_143, None), (0, 10**9)]
)
@pytest.mark.parametrize("ranges", [True, False])
async def test_any_part_of_a_blob(odd: Any, start: int, stop: int | None, ranges: bool) -> None:
    """A registry that ignores Range answers 200, and the part is the same."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), ranged(odd) if ranges else odd.reply(body=CONTENT))
        assert await read(trial, descriptor, start, stop) == CONTENT[start:stop]


async def test_a_part_of_no_bytes_needs_no_request(odd: Any) -> None:
    """From the very end there is nothing to ask for."""
    async with odd.trial() as trial:
        assert await read(trial, odd.blob(CONTENT), len(CONTENT)) == b""
    assert trial.peer.asked == []


async def test_an_empty_blob_is_asked_for(odd: Any) -> None:
    """Whether an empty blob is there is a question like any other."""
    descriptor = odd.blob(b"")
    async with odd.trial() as trial:
        with pytest.raises(BlobUnknown):
            await read(trial, descriptor)
        trial.peer.on("GET", path(descriptor), odd.reply())
        assert await read(trial, descriptor) == b""


async def test_an_absent_blob_is_known_on_entering(odd: Any) -> None:
    """The 404 comes before the first chunk is asked for."""
    async with odd.trial() as trial:
        with pytest.raises(BlobUnknown):
            async with trial.repository.open_blob(odd.blob(CONTENT)):
                pytest.fail("entered")


@pytest.mark.parametrize("cut", [0, 1, 100_000])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_broken_body_goes_on_where_it_broke(odd: Any, cut: int, ranges: bool) -> None:
    """The rest is asked for, and what had come is not asked for again."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        broken = odd.reply(body=CONTENT[:cut], length=len(CONTENT), closes=True)
        trial.peer.on("GET", path(descriptor), broken, ranged(odd) if ranges else odd.reply(body=CONTENT))
        assert await read(trial, descriptor) == CONTENT
    first, second = trial.exchanges
    assert f"broke after {cut} of {len(CONTENT)} bytes" in (first.failure or "")
    assert (second.cause, second.parent) == (Cause.RESUME, first.id)


async def test_a_body_that_never_goes_on_is_given_up(odd: Any) -> None:
    """Without progress the attempts are bounded."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=b"", length=len(CONTENT), closes=True))
        with pytest.raises(ConnectionFailed, match="broke after 0"):
            await read(trial, descriptor)
    assert len(trial.peer.asked) == odd.limits.max_attempts


@pytest.mark.parametrize("length", [0, 1, 10**9])
async def test_a_length_that_is_not_the_descriptors(odd: Any, length: int) -> None:
    """A Content-Length that is not the size is an error before a byte is passed on."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=b"", length=length, closes=True))
        with pytest.raises(SizeMismatch):
            async with trial.repository.open_blob(descriptor):
                pytest.fail("entered")


async def test_an_endless_body_is_cut(odd: Any) -> None:
    """A body without a length ends for us where the descriptor says that it ends."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=CONTENT, length=-1, repeats=100_000))
        assert await read(trial, descriptor) == CONTENT


async def test_a_short_body_without_a_length(odd: Any) -> None:
    """A body that just ends is an error, though nothing had promised its length."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=CONTENT[:-1], length=-1))
        with pytest.raises(SizeMismatch):
            await read(trial, descriptor)


async def test_other_bytes_of_the_right_length(odd: Any) -> None:
    """Whoever verifies what comes finds out."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=bytes(len(CONTENT))))
        with pytest.raises(DigestMismatch):
            await read_blob(trial.repository, descriptor, max_bytes=len(CONTENT))


@pytest.mark.parametrize(
    "value",
    [
        "bytes 0-9/262144",
        "bytes 11-19/262144",
        "items 10-19/262144",
        "",
        "bytes */262144",
        "bytes 10-999999/*",
    ],
)
async def test_another_range_than_was_asked_for(odd: Any, value: str) -> None:
    """A 206 has to say that it begins where we asked it to."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        headers = {"Content-Range": value} if value else {}
        trial.peer.on("GET", path(descriptor), odd.reply(206, CONTENT[10:20], headers))
        with pytest.raises(ProtocolViolation, match="another range"):
            await read(trial, descriptor, 10, 20)


async def test_a_range_of_a_blob_of_another_size(odd: Any) -> None:
    """The total in Content-Range is held against the descriptor."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        headers = {"Content-Range": "bytes 10-19/999"}
        trial.peer.on("GET", path(descriptor), odd.reply(206, CONTENT[10:20], headers))
        with pytest.raises(SizeMismatch):
            await read(trial, descriptor, 10, 20)


async def test_leaving_early_abandons_the_rest(odd: Any) -> None:
    """Whoever has enough leaves, and the repository can be used further."""
    descriptor = odd.blob(CONTENT * 64)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=CONTENT * 64))
        async with trial.repository.open_blob(descriptor) as chunks:
            assert await anext(chunks)
        assert await read(trial, descriptor, 0, None) == CONTENT * 64


async def test_a_blob_from_elsewhere(odd: Any) -> None:
    """A redirect to a store of blobs is followed with the range."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial, odd.peer().serving() as cdn:
        trial.peer.on(
            "GET", path(descriptor), odd.reply(307, headers={"Location": f"http://{cdn.host}/b?sig=x"})
        )
        cdn.on("GET", "/b", ranged(odd))
        assert await read(trial, descriptor, 100, 200) == CONTENT[100:200]
    assert cdn.asked[0].headers["range"] == "bytes=100-199"


async def test_bytes_are_not_decompressed(odd: Any) -> None:
    """A layer that is called gzip-encoded comes as it is stored: that is what its digest is of."""
    content = gzip.compress(CONTENT)
    descriptor = odd.blob(content)
    async with odd.trial() as trial:
        trial.peer.on("GET", path(descriptor), odd.reply(body=content, headers={"Content-Encoding": "gzip"}))
        assert await read(trial, descriptor) == content
