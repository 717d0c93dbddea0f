"""Uploads: where they stand, whose they are, what stays, and what they become."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from entrepot.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
    Unavailable,
)
from entrepot.oci.digest import ALGORITHMS, Digest
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, UploadId, layout
from entrepot.store import CHUNK_BYTES
from entrepot.testing.images import blob, chunked

pytestmark = pytest.mark.anyio

OpenRegistry = Callable[..., Awaitable[Registry]]
MIB = CHUNK_BYTES


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that take over and give up in tenths of a second."""
    monkeypatch.setattr("entrepot.storage.uploads._PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("entrepot.storage.uploads._LOOK_SECONDS", 0.1)


class ClientGone(Exception):
    """What a body raises when its client has gone."""


async def broken_off(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise ClientGone


async def untouchable() -> AsyncIterator[bytes]:
    pytest.fail("the body was read")
    yield b""


async def begin(repository: Repository) -> UploadId:
    return (await repository.begin_upload()).upload


async def append(repository: Repository, upload: UploadId, raw: bytes, start: int | None = None) -> int:
    return (await repository.append_upload(upload, chunked(raw), start=start, length=len(raw))).offset


async def complete(repository: Repository, upload: UploadId, digest: Digest, raw: bytes | None = None) -> str:
    body = None if raw is None else chunked(raw)
    return (await repository.complete_upload(upload, digest, body, start=None, length=None)).location


async def read(repository: Repository, digest: Digest) -> bytes:
    found = await repository.find_blob(digest)
    reader = await repository.open_stored_blob(found)
    try:
        assert reader.size == found.size
        return await reader.read(0, reader.size)
    finally:
        reader.close()


def blob_files(settings: StorageSettings) -> list[str]:
    root = settings.root / layout.BLOBS
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def upload_files(settings: StorageSettings) -> list[str]:
    return sorted(path.name for path in (settings.root / layout.UPLOADS).iterdir())


# Where an upload stands


async def test_an_upload_grows_and_becomes_a_blob(repository: Repository, settings: StorageSettings) -> None:
    """Chunks with and without a place, an empty one, a last one in PUT; afterwards the upload is over."""
    whole = blob(3 * MIB + 5, "whole")
    upload = await begin(repository)
    assert (await repository.upload_status(upload)).offset == 0
    assert await append(repository, upload, whole.raw[:10], start=0) == 10
    assert await append(repository, upload, b"", start=10) == 10
    assert await append(repository, upload, whole.raw[10 : 2 * MIB]) == 2 * MIB
    assert (await repository.upload_status(upload)).offset == 2 * MIB

    location = await complete(repository, upload, whole.digest, whole.raw[2 * MIB :])

    assert await read(repository, whole.digest) == whole.raw
    assert blob_files(settings) == [location]
    assert upload_files(settings) == []
    with pytest.raises(BlobUploadUnknown):
        await repository.upload_status(upload)
    with pytest.raises(BlobUploadUnknown):
        await append(repository, upload, b"more")


@pytest.mark.parametrize("start", [0, 9, 11, 1 << 62])
async def test_a_chunk_out_of_order_is_refused_and_told_where_it_belongs(
    repository: Repository, start: int
) -> None:
    """416 with the size, in PATCH and in PUT, and nothing is read or written."""
    upload = await begin(repository)
    await append(repository, upload, bytes(10))
    with pytest.raises(RangeInvalid) as caught:
        await repository.append_upload(upload, untouchable(), start=start, length=4)
    assert caught.value.size == 10
    with pytest.raises(RangeInvalid) as caught:
        await repository.complete_upload(upload, Digest.of(bytes(10)), untouchable(), start=start, length=4)
    assert caught.value.size == 10
    assert (await repository.upload_status(upload)).offset == 10


async def test_an_upload_belongs_to_its_repository(registry: Registry, repository: Repository) -> None:
    """Somebody else's repository does not know it, whatever is tried (CVE-2026-32589)."""
    thief = registry.repository(RepositoryName("thief"))
    await begin(thief)
    upload = await begin(repository)
    await append(repository, upload, b"secret")
    for attempt in (
        thief.upload_status(upload),
        append(thief, upload, b"x"),
        complete(thief, upload, Digest.of(b"secret")),
        thief.cancel_upload(upload),
    ):
        with pytest.raises(BlobUploadUnknown):
            await attempt
    assert (await repository.upload_status(upload)).offset == 6
    await complete(repository, upload, Digest.of(b"secret"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 31,
        "0" * 33,
        "A" * 32,
        "g" * 32,
        "../" + "0" * 29,
        "0" * 31 + "\n",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 32,
    ],
)
def test_what_cannot_be_an_uploads_id_is_unknown(text: str) -> None:
    """32 lower-case hexadecimal digits and nothing else ever get near a path."""
    with pytest.raises(BlobUploadUnknown):
        UploadId(text)


async def test_bytes_of_a_request_that_breaks_off_stay_and_count(repository: Repository) -> None:
    """Of a PATCH and of a PUT; a request that knows where it stands goes on from there."""
    whole = blob(5 * MIB, "whole")
    upload = await begin(repository)
    with pytest.raises(ClientGone):
        await repository.append_upload(
            upload, broken_off(whole.raw[:MIB], whole.raw[MIB : MIB + 7]), start=0, length=len(whole.raw)
        )
    assert (await repository.upload_status(upload)).offset == MIB + 7
    with pytest.raises(ClientGone):
        await repository.complete_upload(
            upload, whole.digest, broken_off(whole.raw[MIB + 7 : 3 * MIB]), start=MIB + 7, length=None
        )
    with pytest.raises(BlobUnknown):
        await repository.find_blob(whole.digest)
    with pytest.raises(RangeInvalid) as caught:
        await append(repository, upload, whole.raw, start=0)
    assert caught.value.size == 3 * MIB

    await complete(repository, upload, whole.digest, whole.raw[3 * MIB :])
    assert await read(repository, whole.digest) == whole.raw


async def test_a_body_may_come_in_pieces_of_any_size(repository: Repository) -> None:
    """Thousands of single bytes, empty pieces in between and before, pieces larger than what is written at once."""
    whole = blob(3 * MIB + 4000, "whole")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(1500):
            yield b""
        for offset in range(3000):
            yield whole.raw[offset : offset + 1]
            yield b""
        yield whole.raw[3000 : 3 * MIB]
        yield whole.raw[3 * MIB :]

    upload = await begin(repository)
    status = await repository.append_upload(upload, body(), start=0, length=len(whole.raw))
    assert status.offset == len(whole.raw)
    await complete(repository, upload, whole.digest)
    assert await read(repository, whole.digest) == whole.raw


@pytest.mark.parametrize("announced", [5, 7])
async def test_a_body_of_another_length_is_refused_and_its_bytes_stay(
    repository: Repository, announced: int
) -> None:
    """The length that was announced is checked, never trusted."""
    upload = await begin(repository)
    with pytest.raises(SizeInvalid):
        await repository.append_upload(upload, chunked(b"sixsix"), start=0, length=announced)
    assert (await repository.upload_status(upload)).offset == 6
    await complete(repository, upload, Digest.of(b"sixsix"))


# What an upload becomes


async def test_other_bytes_than_promised_stay_an_upload_and_never_show(
    repository: Repository, settings: StorageSettings
) -> None:
    """Nothing unverified gets a name; the upload can still be completed as what it is."""
    upload = await begin(repository)
    wrong = Digest.of(b"something else")
    with pytest.raises(DigestInvalid):
        await complete(repository, upload, wrong, b"content")
    for digest in (wrong, Digest.of(b"content")):
        with pytest.raises(BlobUnknown):
            await repository.find_blob(digest)
    assert blob_files(settings) == []
    assert (await repository.upload_status(upload)).offset == 7

    await complete(repository, upload, Digest.of(b"content more"), b" more")
    assert await read(repository, Digest.of(b"content more")) == b"content more"


@pytest.mark.parametrize("begun_as", ALGORITHMS)
@pytest.mark.parametrize("completed_as", ALGORITHMS)
async def test_an_upload_can_be_completed_under_any_algorithm(
    repository: Repository, begun_as: str, completed_as: str
) -> None:
    """`digest-algorithm` only says what to hash while the bytes come."""
    whole = blob(2 * MIB + 3, "whole", algorithm=completed_as)
    upload = (await repository.begin_upload(algorithm=begun_as)).upload
    await append(repository, upload, whole.raw[: MIB + 1])
    with pytest.raises(DigestInvalid):
        await complete(repository, upload, Digest.of(b"", completed_as))
    await complete(repository, upload, whole.digest, whole.raw[MIB + 1 :])
    assert await read(repository, whole.digest) == whole.raw


async def test_an_algorithm_that_we_cannot_compute_is_refused_before_anything_is_read(
    repository: Repository, settings: StorageSettings
) -> None:
    """When an upload begins and when it is completed."""
    with pytest.raises(DigestInvalid):
        await repository.begin_upload(algorithm="md5")
    assert upload_files(settings) == []
    upload = await begin(repository)
    with pytest.raises(DigestInvalid):
        await repository.complete_upload(
            upload, Digest("md5:d41d8cd98f00b204e9800998ecf8427e"), untouchable(), start=None, length=None
        )
    assert (await repository.upload_status(upload)).offset == 0


async def test_the_empty_blob_is_a_blob(repository: Repository) -> None:
    """No bytes at all, sent or not, have a digest too."""
    empty = Digest.of(b"")
    await complete(repository, await begin(repository), empty)
    await complete(repository, await begin(repository), empty, b"")
    assert await read(repository, empty) == b""


async def test_completing_again_succeeds_without_reading(repository: Repository) -> None:
    """A client whose 201 was lost gets it now; under another digest there is no such upload."""
    upload = await begin(repository)
    location = await complete(repository, upload, Digest.of(b"x"), b"x")

    again = await repository.complete_upload(upload, Digest.of(b"x"), untouchable(), start=None, length=None)
    assert again.location == location
    with pytest.raises(BlobUploadUnknown):
        await complete(repository, upload, Digest.of(b"y"), b"y")


async def test_completing_twice_at_once_succeeds_twice(
    repository: Repository, open_registry: OpenRegistry, settings: StorageSettings
) -> None:
    """In one worker and in two: one of them does it, the other sees that it is done."""
    whole = blob(2 * MIB, "whole")
    upload = await begin(repository)
    await append(repository, upload, whole.raw)
    places = [repository, (await open_registry()).repository(repository.name)]

    locations = await asyncio.gather(
        *(complete(place, upload, whole.digest) for place in places for _ in range(3))
    )

    assert set(locations) == set(blob_files(settings))
    assert len(blob_files(settings)) == 1
    assert await read(repository, whole.digest) == whole.raw


async def test_a_name_in_the_storage_is_never_used_twice(
    registry: Registry, repository: Repository, settings: StorageSettings
) -> None:
    """Each upload's bytes have a name of their own; of two copies the later one is garbage, and goes."""
    whole = blob(1000, "whole")
    first, second = await begin(repository), await begin(repository)
    location = await complete(repository, first, whole.digest, whole.raw)
    assert location.endswith(f"{whole.digest.encoded}.{first}")

    # pushed again: answered with the copy that counts
    assert await complete(repository, second, whole.digest, whole.raw) == location
    assert blob_files(settings) == [location]
    garbage = await registry._database.scan("SELECT location FROM garbage")
    assert [row[0].rpartition(".")[2] for row in garbage] == [second]

    await repository.delete_blob(whole.digest)
    third = await begin(repository)
    assert await complete(repository, third, whole.digest, whole.raw) == location
    await registry.maintain()
    assert await registry._database.scan("SELECT location FROM garbage") == []
    assert blob_files(settings) == [location]
    assert await read(repository, whole.digest) == whole.raw


# Whose an upload is


@pytest.mark.usefixtures("hurried")
async def test_the_newest_request_wins_while_the_holder_waits_for_a_silent_client(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any]
) -> None:
    """The holder gives up with 416 by itself; what it has written stays, and the newer request goes on there."""
    whole = blob(3 * MIB, "whole")
    upload = await begin(repository)
    body = stalling(whole.raw[:MIB])
    holder = asyncio.ensure_future(repository.append_upload(upload, body, start=0, length=3 * MIB))
    await body.stalled.wait()
    other = (await open_registry()).repository(repository.name)
    await complete(other, upload, whole.digest, whole.raw[MIB:])

    with pytest.raises((RangeInvalid, BlobUploadUnknown)):
        await holder
    assert holder.cancelling() == 0
    assert await read(repository, whole.digest) == whole.raw


@pytest.mark.usefixtures("hurried")
async def test_what_a_superseded_request_still_has_in_its_hands_is_dropped(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any]
) -> None:
    """Once a newer request has come, the holder writes nothing more, not even what it has received before."""
    upload = await begin(repository)
    body = stalling(b"old")
    holder = asyncio.ensure_future(repository.append_upload(upload, body, start=0, length=9))
    await body.stalled.wait()
    other = (await open_registry()).repository(repository.name)

    assert await append(other, upload, b"new", start=0) == 3

    with pytest.raises(RangeInvalid, match="newer request"):
        await holder
    assert holder.cancelling() == 0
    await complete(repository, upload, Digest.of(b"new"))


@pytest.mark.usefixtures("hurried")
async def test_a_request_that_does_not_fit_does_not_take_over(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any]
) -> None:
    """Otherwise of two at the same place neither would succeed: this one is 416, the slow one before it goes on."""
    whole = blob(2 * MIB, "whole")
    upload = await begin(repository)
    body = stalling(whole.raw)
    holder = asyncio.ensure_future(repository.append_upload(upload, body, start=0, length=2 * MIB))
    await body.stalled.wait()
    while (await repository.upload_status(upload)).offset < 2 * MIB:
        await anyio.lowlevel.checkpoint()
    other = (await open_registry()).repository(repository.name)

    with pytest.raises(RangeInvalid) as caught:
        await append(other, upload, whole.raw, start=0)

    assert caught.value.size == 2 * MIB
    body.end.set()
    assert (await holder).offset == 2 * MIB
    await complete(repository, upload, whole.digest)


async def test_of_many_requests_at_once_one_wins(repository: Repository, open_registry: OpenRegistry) -> None:
    """Ten whole PATCHes at the same place in two workers: exactly one is taken, the others are 416."""
    places = [repository, (await open_registry()).repository(repository.name)]
    upload = await begin(repository)
    contents = [blob(MIB + number, str(number)).raw for number in range(10)]

    outcomes = await asyncio.gather(
        *(append(places[number % 2], upload, raw, start=0) for number, raw in enumerate(contents)),
        return_exceptions=True,
    )

    [winner] = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
    assert all(isinstance(outcome, RangeInvalid) for outcome in outcomes if not isinstance(outcome, int))
    await complete(repository, upload, Digest.of(contents[winner]))


@pytest.mark.usefixtures("hurried")
async def test_cancelling_an_upload_ends_whoever_writes_it(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any], settings: StorageSettings
) -> None:
    """DELETE from another worker while a client is silent: the writer is told that its upload is unknown."""
    upload = await begin(repository)
    body = stalling(bytes(MIB))
    holder = asyncio.ensure_future(repository.append_upload(upload, body, start=None, length=None))
    await body.stalled.wait()
    await (await open_registry()).repository(repository.name).cancel_upload(upload)

    with pytest.raises(BlobUploadUnknown):
        await holder
    assert holder.cancelling() == 0
    assert upload_files(settings) == []
    with pytest.raises(BlobUploadUnknown):
        await repository.cancel_upload(upload)


@pytest.mark.usefixtures("hurried")
async def test_a_request_that_is_cancelled_while_it_is_superseded_is_cancelled(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any]
) -> None:
    """Giving way to a newer request never swallows somebody else's cancellation."""
    upload = await begin(repository)
    body = stalling(bytes(MIB))
    holder = asyncio.ensure_future(repository.append_upload(upload, body, start=None, length=None))
    await body.stalled.wait()
    other = (await open_registry()).repository(repository.name)
    newer = asyncio.ensure_future(append(other, upload, b"x"))
    # cancel it at the very moment that it cancels itself
    while holder.cancelling() == 0 and not holder.done():
        await anyio.lowlevel.checkpoint()
    holder.cancel()

    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await newer == MIB + 1


async def test_a_deadline_around_a_silent_client_is_a_deadline(
    repository: Repository, stalling: type[Any]
) -> None:
    """An anyio scope and an asyncio timeout both get their cancellation back; what has arrived stays."""
    upload = await begin(repository)
    with anyio.move_on_after(0.05) as scope:
        await repository.append_upload(upload, stalling(b"one"), start=None, length=None)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await repository.append_upload(upload, stalling(b"two"), start=None, length=None)

    assert (await repository.upload_status(upload)).offset == 6
    await complete(repository, upload, Digest.of(b"onetwo"))


async def test_a_finished_body_is_not_given_up_for_a_newer_request(
    repository: Repository, open_registry: OpenRegistry, settings: StorageSettings
) -> None:
    """A client that tries again while its first PUT is being hashed gets that one's blob, however long it takes."""
    whole = blob(40 * MIB, "whole")
    upload = await begin(repository)
    await append(repository, upload, whole.raw)
    places = [(await open_registry()).repository(repository.name) for _ in range(3)]

    locations = await asyncio.gather(*(complete(place, upload, whole.digest) for place in places))

    assert set(locations) == set(blob_files(settings))


@pytest.mark.usefixtures("hurried")
async def test_a_holder_that_does_not_let_go_is_503(
    registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits longer than a request should is told to come again."""
    monkeypatch.setattr("entrepot.storage.uploads._LOCK_SECONDS", 0.05)
    upload = await begin(repository)
    staged = await registry._files.hold(upload, wait_seconds=0)
    try:
        with pytest.raises(Unavailable, match="does not let go"):
            await append(repository, upload, b"x")
    finally:
        staged.close()
    assert await append(repository, upload, b"x") == 1


# Hashing


async def test_hash_states_of_interleaved_workers_are_never_mixed_up(
    repository: Repository, open_registry: OpenRegistry
) -> None:
    """Chunks of one upload through three workers in any order: each worker's state misses what others took."""
    dice = random.Random(7)
    places = [(await open_registry()).repository(repository.name) for _ in range(3)]
    for _ in range(8):
        whole = blob(dice.choice([1000, 200_000, 3 * MIB]), str(dice.random()))
        upload = await begin(repository)
        offset = 0
        while offset < len(whole.raw):
            end = min(len(whole.raw), offset + dice.randrange(1, len(whole.raw)))
            offset = await append(dice.choice(places), upload, whole.raw[offset:end], start=offset)
        await complete(dice.choice(places), upload, whole.digest)
        assert await read(repository, whole.digest) == whole.raw


async def test_an_uploads_state_saves_reading_it_back(
    registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that came through one worker are hashed as they come: completing reads nothing."""
    whole = blob(3 * MIB, "whole")
    upload = await begin(repository)
    for start in range(0, len(whole.raw), MIB // 2):
        await append(repository, upload, whole.raw[start : start + MIB // 2])

    def refuse(*_: object) -> bytes:
        pytest.fail("the upload was read back")

    monkeypatch.setattr("os.pread", refuse)
    await complete(repository, upload, whole.digest)


# Cost


async def test_a_request_leaves_no_descriptor_open(
    repository: Repository, stalling: type[Any], open_registry: OpenRegistry
) -> None:
    """However it ends: well, refused, broken off, cancelled, timed out, superseded, cancelled by DELETE."""
    other = (await open_registry()).repository(repository.name)

    async def use() -> None:
        upload = await begin(repository)
        await append(repository, upload, bytes(10))
        with pytest.raises(RangeInvalid):
            await append(repository, upload, b"x", start=3)
        with pytest.raises(ClientGone):
            await repository.append_upload(upload, broken_off(bytes(2 * MIB)), start=None, length=None)
        with anyio.move_on_after(0.01):
            await repository.append_upload(upload, stalling(bytes(2 * MIB)), start=None, length=None)
        with pytest.raises(DigestInvalid):
            await complete(repository, upload, Digest.of(b"no"))
        await asyncio.gather(append(other, upload, b"y"), append(other, upload, b"z"), return_exceptions=True)
        await repository.cancel_upload(upload)
        with pytest.raises(BlobUploadUnknown):
            await complete(repository, upload, Digest.of(b"unheard of"))
        await complete(repository, await begin(repository), Digest.of(b"q"), b"q")
        await read(repository, Digest.of(b"q"))

    await use()
    before = sorted(Path(f"/proc/self/fd/{entry}").name for entry in _descriptors())
    await use()
    assert sorted(_descriptors()) == before


def _descriptors() -> list[str]:
    # the directory's own descriptor has gone by the time its entries are looked at
    return [path.name for path in Path("/proc/self/fd").iterdir() if path.exists()]


async def test_an_upload_in_a_repository_that_nobody_has_is_unknown(repository: Repository) -> None:
    """Not NAME_UNKNOWN: the request named an upload."""
    for attempt in (
        repository.upload_status(UploadId.random()),
        append(repository, UploadId.random(), b""),
        complete(repository, UploadId.random(), Digest.of(b"")),
    ):
        with pytest.raises(BlobUploadUnknown):
            await attempt
    with pytest.raises(NameUnknown):
        await repository.find_blob(Digest.of(b""))
