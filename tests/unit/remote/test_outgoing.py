from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from entrepot.errors import DigestMismatch, SizeMismatch, VerificationError
from entrepot.oci import Descriptor
from entrepot.remote import outgoing
from entrepot.remote.outgoing import OutgoingBlob

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 64


async def taken(blob: OutgoingBlob, start: int, stop: int) -> bytes:
    async with blob.body(start, stop).open() as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("step", [100, 1000, 1 << 20])
async def test_parts_make_the_whole_and_the_source_is_read_once(odd: Any, piece: int, step: int) -> None:
    """However the source is cut and however the parts, they join, and one opening serves all."""
    content, opened = CONTENT[:3001], []
    async with OutgoingBlob(odd.blob(content), odd.source(content, piece=piece, opened=opened)) as blob:
        size = len(content)
        parts = [await taken(blob, at, min(at + step, size)) for at in range(0, size, step)]
        assert b"".join(parts) == content
        assert blob.verified
    assert opened == [0]


async def test_going_back_reopens_near_there(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a known state of the hash on, the source is read again; what is before it is not."""
    monkeypatch.setattr(outgoing, "CHECKPOINT_BYTES", 1024)
    opened: list[int] = []
    async with OutgoingBlob(odd.blob(CONTENT), odd.source(CONTENT, piece=512, opened=opened)) as blob:
        await taken(blob, 0, 10_000)
        assert await taken(blob, 5000, len(CONTENT)) == CONTENT[5000:]
        assert blob.verified
        assert await taken(blob, 0, len(CONTENT)) == CONTENT
        assert blob.verified
    assert opened == [0, 4096, 0]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (CONTENT[:-1], SizeMismatch),
        (CONTENT + b"x", SizeMismatch),
        (b"x" + CONTENT[1:], DigestMismatch),
        (b"", SizeMismatch),
    ],
)
@pytest.mark.parametrize("step", [1000, len(CONTENT)])
async def test_a_source_that_lies_never_gives_its_last_bytes(
    odd: Any, wrong: bytes, error: type[VerificationError], step: int
) -> None:
    """The last piece is held back until all is verified, so the lie cannot become a completed upload."""
    descriptor = odd.blob(CONTENT)
    given = bytearray()

    async def send(blob: OutgoingBlob) -> None:
        for at in range(0, descriptor.size, step):
            async with blob.body(at, min(at + step, descriptor.size)).open() as chunks:
                async for chunk in chunks:
                    given.extend(chunk)

    async with OutgoingBlob(descriptor, odd.source(wrong, piece=100)) as blob:
        with pytest.raises(error):
            await send(blob)
        assert not blob.verified
    assert len(given) < descriptor.size


async def test_a_blob_of_no_bytes(odd: Any) -> None:
    """No bytes are verified too."""
    async with OutgoingBlob(odd.blob(b""), odd.source(b"")) as blob:
        await blob.verify_empty()
        assert blob.verified
    async with OutgoingBlob(odd.blob(b""), odd.source(b"x")) as blob:
        with pytest.raises(SizeMismatch):
            await blob.verify_empty()


async def test_a_reading_that_was_abandoned_is_begun_again(odd: Any) -> None:
    """A body that was left in the middle is opened anew from its beginning."""
    async with OutgoingBlob(odd.blob(CONTENT), odd.source(CONTENT, piece=100)) as blob:
        async with blob.body(0, len(CONTENT)).open() as chunks:
            with suppress(StopAsyncIteration):
                await anext(chunks)
        assert await taken(blob, 0, len(CONTENT)) == CONTENT


async def test_another_algorithm(odd: Any) -> None:
    """The descriptor's algorithm is the one that verifies."""
    from entrepot.oci import Digest

    descriptor = Descriptor(media_type="x/y", digest=Digest.of(CONTENT, "sha512"), size=len(CONTENT))
    async with OutgoingBlob(descriptor, odd.source(CONTENT)) as blob:
        assert await taken(blob, 0, len(CONTENT)) == CONTENT
