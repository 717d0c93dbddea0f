"""Promises about blobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import msgspec

from entrepot.errors import BlobUnknown, EntrepotError, VerificationError
from entrepot.oci import Descriptor
from entrepot.store import CHUNK_BYTES, Store
from entrepot.testing.images import Content
from entrepot.testing.promises.scripts import Interrupted, Script
from entrepot.testing.promises.trial import (
    Broken,
    Promise,
    Trial,
    blob_absent,
    blob_present,
    read,
    refused,
    require,
    together,
)

__all__ = ["PROMISES"]

_SOME_MIB = 3 * CHUNK_BYTES + 7


async def round_trip(trial: Trial) -> None:
    async with trial.open() as store:
        for size in (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, _SOME_MIB):
            blob = trial.blob(size)
            await store.write_blob(blob.descriptor, Script(blob.raw).open_at)
            await blob_present(store, blob, f"after writing {size} bytes")


async def sha512(trial: Trial) -> None:
    async with trial.open() as store:
        blob = trial.blob(100_000, algorithm="sha512")
        await store.write_blob(blob.descriptor, blob.open_at)
        await blob_present(store, blob, "after writing a blob under its sha512")
        other = trial.blob(100_000, "other", algorithm="sha512")
        with refused("other bytes than the sha512 says", VerificationError):
            await store.write_blob(other.descriptor, blob.open_at)


async def ranges(trial: Trial) -> None:
    size = 2 * CHUNK_BYTES + 5
    blob = trial.blob(size)
    async with trial.open() as store:
        await store.write_blob(blob.descriptor, blob.open_at)
        for start, stop in (
            (0, None),
            (1, None),
            (0, 1),
            (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
            (CHUNK_BYTES, 2 * CHUNK_BYTES),
            (size - 1, size),
            (size - 1, None),
            (7, 7),
            (size, None),
        ):
            found = await read(store, blob.descriptor, start, stop)
            require(
                found == blob.raw[start:stop], f"bytes {start} to {stop} of {size} are not those of the blob"
            )


async def no_more_than_promised(trial: Trial) -> None:
    blob = trial.blob(1000)
    async with trial.open() as store:
        await store.write_blob(blob.descriptor, blob.open_at)
        whole = await read(store, blob.descriptor, 0, 2000)
        require(whole == blob.raw, f"0 to 2000 of a blob of 1000 bytes gave {len(whole)}, or others")
        try:
            found = await read(store, _resized(blob, 999))
        except EntrepotError:
            return
        require(len(found) <= 999, f"a descriptor of 999 bytes gave {len(found)}")


async def absent(trial: Trial) -> None:
    async with trial.open() as store:
        await blob_absent(store, trial.blob(10), "for a blob that nobody wrote")
        with refused("open_blob in the middle of a blob that nobody wrote", BlobUnknown):
            await read(store, trial.blob(10).descriptor, 5, 7)


async def size_must_agree(trial: Trial) -> None:
    blob = trial.blob(1000)
    async with trial.open() as store:
        await store.write_blob(blob.descriptor, blob.open_at)
        for size in (999, 1001):
            found = await store.has_blob(_resized(blob, size))
            require(not found, f"has_blob says True for {size} bytes of a blob that has 1000")


async def abandoned_read(trial: Trial) -> None:
    blob = trial.blob(_SOME_MIB)
    async with trial.open() as store:
        await store.write_blob(blob.descriptor, blob.open_at)
        for _ in range(20):
            async with store.open_blob(blob.descriptor) as chunks:
                async for chunk in chunks:
                    require(chunk, "open_blob gave an empty chunk")
                    break
        await blob_present(store, blob, "after reads that were abandoned")


async def idempotent(trial: Trial) -> None:
    blob = trial.blob(200_000)
    async with trial.open() as store:
        for time in ("first", "second"):
            try:
                await store.write_blob(blob.descriptor, blob.open_at)
            except EntrepotError as error:
                raise Broken(f"the {time} write raised {type(error).__name__}: {error}") from error
        await blob_present(store, blob, "after writing it twice")


async def wrong_digest(trial: Trial) -> None:
    blob, other = trial.blob(_SOME_MIB), trial.blob(_SOME_MIB, "other")
    async with trial.open_twice() as (store, another):
        with refused("a blob of the right size and another digest", VerificationError):
            await store.write_blob(blob.descriptor, Script(other.raw).open_at)
        await blob_absent(another, blob, "after a write with the wrong digest")
        await blob_absent(another, other, "after a write under another digest")
        await store.write_blob(blob.descriptor, blob.open_at)
        await blob_present(another, blob, "after writing it rightly")


async def too_short(trial: Trial) -> None:
    await _refuses(
        trial, lambda blob: (blob.descriptor, Script(blob.raw[:-1])), "a stream that ends one byte early"
    )
    await _refuses(trial, lambda blob: (blob.descriptor, Script(b"")), "an empty stream")
    await _refuses(
        trial, lambda blob: (_resized(blob, len(blob.raw) + 1), Script(blob.raw)), "a size one too big"
    )


async def too_long(trial: Trial) -> None:
    await _refuses(
        trial, lambda blob: (blob.descriptor, Script(blob.raw + b"x")), "a stream with one byte too many"
    )
    await _refuses(
        trial, lambda blob: (_resized(blob, len(blob.raw) - 1), Script(blob.raw)), "a size one too small"
    )


async def endless(trial: Trial) -> None:
    await _refuses(
        trial, lambda blob: (blob.descriptor, Script(blob.raw, endless=True)), "a stream that never ends"
    )


async def hidden_until_verified(trial: Trial) -> None:
    good, bad = trial.blob(_SOME_MIB, "good"), trial.blob(_SOME_MIB, "bad")
    wrong = bad.raw[:-1] + bytes([bad.raw[-1] ^ 1])
    await _hidden_while_stalled(
        trial, good, Script(good.raw, stalls_at=_SOME_MIB - 1), "before its last byte"
    )
    await _hidden_while_stalled(trial, bad, Script(wrong, stalls_at=_SOME_MIB), "with a wrong last byte")


async def broken_source(trial: Trial) -> None:
    blob = trial.blob(_SOME_MIB)
    script = Script(blob.raw, breaks_at=2 * CHUNK_BYTES)
    async with trial.open_twice() as (store, another):
        try:
            await store.write_blob(blob.descriptor, script.open_at)
        except (Interrupted, EntrepotError):
            await blob_absent(another, blob, "after its source broke")
            await store.write_blob(blob.descriptor, script.open_at)
        else:
            require(len(script.openings) > 1, "a write whose source broke returned without opening it again")
        await blob_present(another, blob, f"after its source was opened at {script.openings}")


async def cancelled(trial: Trial) -> None:
    blob = trial.blob(_SOME_MIB)
    script = Script(blob.raw, stalls_at=2 * CHUNK_BYTES)
    async with trial.open_twice() as (store, another):
        async with anyio.create_task_group() as group:
            group.start_soon(store.write_blob, blob.descriptor, script.open_at)
            await script.stalled.wait()
            group.cancel_scope.cancel()
        await blob_absent(store, blob, "after its write was cancelled")
        await blob_absent(another, blob, "after its write was cancelled, seen by another instance")
        await store.write_blob(blob.descriptor, script.open_at)
        await blob_present(another, blob, "after writing it once more")


async def same_at_once(trial: Trial) -> None:
    blob = trial.blob(_SOME_MIB)
    async with trial.open_twice() as (one, another):

        def write(store: Store) -> Callable[[], Awaitable[None]]:
            return lambda: store.write_blob(blob.descriptor, Script(blob.raw).open_at)

        await together(write(one), write(another), write(one), write(another))
        await blob_present(one, blob, "after four wrote it at once")


async def different_at_once(trial: Trial) -> None:
    blobs = [trial.blob(CHUNK_BYTES + number, f"{number}") for number in range(6)]
    async with trial.open_twice() as (one, another):

        def write(number: int) -> Callable[[], Awaitable[None]]:
            store = (one, another)[number % 2]
            return lambda: store.write_blob(blobs[number].descriptor, Script(blobs[number].raw).open_at)

        await together(*(write(number) for number in range(len(blobs))))
        for blob in blobs:
            await blob_present(one, blob, f"after {len(blobs)} different ones were written at once")


def _resized(blob: Content, size: int) -> Descriptor:
    return msgspec.structs.replace(blob.descriptor, size=size)


async def _refuses(trial: Trial, prepare: Callable[[Content], tuple[Descriptor, Script]], what: str) -> None:
    blob = trial.blob(_SOME_MIB, what)
    descriptor, script = prepare(blob)
    async with trial.open_twice() as (store, another):
        with refused(what, VerificationError):
            await store.write_blob(descriptor, script.open_at)
        for described in (descriptor, blob.descriptor):
            await blob_absent(another, Content(described, blob.raw), f"after {what}")


async def _hidden_while_stalled(trial: Trial, blob: Content, script: Script, when: str) -> None:
    async with trial.open_twice() as (store, another):

        async def write() -> None:
            with suppress(VerificationError):
                await store.write_blob(blob.descriptor, script.open_at)

        async def look() -> None:
            await script.stalled.wait()
            try:
                await blob_absent(store, blob, f"while it is written, {when}")
                await blob_absent(another, blob, f"while it is written, {when}, seen by another instance")
            finally:
                script.resume.set()

        await together(write, look)


PROMISES = (
    Promise("blob-round-trip", "what was written is read back, byte for byte, at every size", round_trip),
    Promise("blob-sha512", "a blob may be known by its sha512", sha512),
    Promise("blob-ranges", "open_blob gives the bytes from start up to, not including, stop", ranges),
    Promise("blob-no-more", "open_blob never gives more than the descriptor's size", no_more_than_promised),
    Promise("blob-absent", "a blob that is not there is BlobUnknown, on entering", absent),
    Promise("blob-size-agrees", "has_blob says True only if the size agrees", size_must_agree),
    Promise(
        "blob-read-abandoned", "leaving open_blob early abandons the rest and harms nothing", abandoned_read
    ),
    Promise("blob-idempotent", "write_blob is idempotent", idempotent),
    Promise(
        "blob-wrong-digest",
        "bytes of another digest are refused, and nothing of them is visible",
        wrong_digest,
    ),
    Promise(
        "blob-too-short", "fewer bytes than promised are refused, and nothing of them is visible", too_short
    ),
    Promise(
        "blob-too-long", "more bytes than promised are refused, and nothing of them is visible", too_long
    ),
    Promise("blob-endless", "a source that never ends is stopped soon after the promised size", endless),
    Promise(
        "blob-hidden-until-verified",
        "nobody can see a blob before its last byte is verified",
        hidden_until_verified,
    ),
    Promise(
        "blob-broken-source", "a source that breaks leaves nothing visible, or is opened again", broken_source
    ),
    Promise(
        "blob-cancelled", "a cancelled write leaves nothing visible, and the next one succeeds", cancelled
    ),
    Promise("blob-same-at-once", "writers of one blob at once all succeed", same_at_once),
    Promise(
        "blob-different-at-once",
        "writers of different blobs at once do not disturb each other",
        different_at_once,
    ),
)
