"""Leases: who renews them, when, and what happens when they cannot be renewed."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from entrepot.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, Unavailable
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import Registry, Repository, StorageSettings, layout
from entrepot.testing.images import blob, image, index

pytestmark = pytest.mark.anyio

NAME = RepositoryName("library/app")
HOUR = 3_600_000
"""Milliseconds; the grace is 24 of them."""

OpenRegistry = Callable[..., Awaitable[Registry]]
TOUCHED_BLOB = "SELECT touched_at FROM repository_blob WHERE digest = $1"
TOUCHED_MANIFEST = "SELECT touched_at FROM manifest WHERE digest = $1"
LAYER = blob(1000, "layer")
IMAGE = image(LAYER)


async def touched(registry: Registry, digest: Digest) -> int:
    statement = TOUCHED_MANIFEST if digest == IMAGE.digest else TOUCHED_BLOB
    row = await registry._database.scan(statement, digest)
    return row[0][0]


@pytest.fixture
async def pushed(registry: Registry) -> Registry:
    """A registry that has the image."""
    await IMAGE.write_to(registry.repository(NAME), names=[Tag("1")])
    return registry


async def look(repository: Repository, digest: Digest, *, renew: bool) -> None:
    if digest == IMAGE.digest:
        await repository.find_manifest(digest, renew=renew)
    else:
        await repository.find_blob(digest, renew=renew)


@pytest.mark.parametrize("digest", [LAYER.digest, IMAGE.digest], ids=["blob", "manifest"])
async def test_a_lease_is_renewed_only_when_more_than_half_of_it_is_used(
    pushed: Registry, open_registry: OpenRegistry, digest: Digest
) -> None:
    """In its first half nothing is written; in its second one it begins anew, for everybody to see."""
    began = await touched(pushed, digest)

    early = await open_registry(clock_offset_ms=11 * HOUR)
    await look(early.repository(NAME), digest, renew=True)
    assert await touched(pushed, digest) == began

    late = await open_registry(clock_offset_ms=13 * HOUR)
    await look(late.repository(NAME), digest, renew=True)
    assert await touched(pushed, digest) >= began + 13 * HOUR


@pytest.mark.parametrize("digest", [LAYER.digest, IMAGE.digest], ids=["blob", "manifest"])
async def test_who_only_pulls_renews_nothing(
    pushed: Registry, open_registry: OpenRegistry, digest: Digest
) -> None:
    """A read without `renew` writes nothing, however old the lease is."""
    began = await touched(pushed, digest)
    late = await open_registry(clock_offset_ms=1000 * HOUR)

    await look(late.repository(NAME), digest, renew=False)
    await late.repository(NAME).find_manifest(Tag("1"))

    assert await touched(pushed, digest) == began


async def test_a_tag_renews_the_lease_of_its_manifest(pushed: Registry, open_registry: OpenRegistry) -> None:
    """HEAD by tag is a promise about the manifest behind it."""
    late = await open_registry(clock_offset_ms=13 * HOUR)

    await late.repository(NAME).find_manifest(Tag("1"), renew=True)

    assert await touched(pushed, IMAGE.digest) > await touched(pushed, LAYER.digest)


async def test_a_renewal_is_committed_before_the_answer(
    pushed: Registry, open_registry: OpenRegistry, settings: StorageSettings
) -> None:
    """While nobody can commit, nobody who may push is told that the blob is there; who only pulls is."""
    late = await open_registry(clock_offset_ms=13 * HOUR)
    with_lock = os.open(settings.root / layout.CATALOG_LOCK, os.O_RDWR)
    fcntl.flock(with_lock, fcntl.LOCK_EX)
    pusher = asyncio.ensure_future(late.repository(NAME).find_blob(LAYER.digest, renew=True))
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
    assert not pusher.done()
    assert (await late.repository(NAME).find_blob(LAYER.digest)).size == 1000
    os.close(with_lock)

    assert (await pusher).size == 1000
    assert await touched(pushed, LAYER.digest) > await touched(pushed, IMAGE.digest)


@pytest.mark.parametrize("what", ["blob", "manifest"])
async def test_what_is_deleted_while_its_lease_is_renewed_is_not_there(
    registry: Registry, open_registry: OpenRegistry, settings: StorageSettings, what: str
) -> None:
    """The row is found, then deleted, then renewed: the answer is that it is not there, not a false promise."""
    repository = registry.repository(NAME)
    if what == "manifest":
        await IMAGE.write_to(repository)
    else:
        await repository.write_blob(LAYER.descriptor, LAYER.open_at)
    late = (await open_registry(clock_offset_ms=13 * HOUR)).repository(NAME)
    lock = os.open(settings.root / layout.CATALOG_LOCK, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if what == "manifest":
        calls: list[Any] = [late.delete_manifest(IMAGE.digest), late.find_manifest(IMAGE.digest, renew=True)]
    else:
        calls = [late.delete_blob(LAYER.digest), late.find_blob(LAYER.digest, renew=True)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
    assert not any(task.done() for task in tasks)
    os.close(lock)

    deleted, found = await asyncio.gather(*tasks, return_exceptions=True)
    assert deleted is None
    assert isinstance(found, BlobUnknown | ManifestUnknown)


async def test_a_manifest_renews_what_it_is_made_of(pushed: Registry, open_registry: OpenRegistry) -> None:
    """PUT renews the old leases of config and layers, and leaves the young ones alone."""
    began = await touched(pushed, LAYER.digest)
    other = image(LAYER, seed="other")
    config = other.blobs[0]

    late = await open_registry(clock_offset_ms=13 * HOUR)
    await late.repository(NAME).write_blob(config.descriptor, config.open_at)
    young = await touched(pushed, config.digest)
    later = await open_registry(clock_offset_ms=14 * HOUR)
    await later.repository(NAME).write_manifest(other.descriptor, other.raw)

    assert await touched(pushed, LAYER.digest) >= began + 14 * HOUR
    assert await touched(pushed, config.digest) == young


async def test_an_index_renews_its_manifests(pushed: Registry, open_registry: OpenRegistry) -> None:
    """PUT of an index renews the leases of the manifests that it lists, and its own begins."""
    began = await touched(pushed, IMAGE.digest)
    both = index(IMAGE)

    late = await open_registry(clock_offset_ms=13 * HOUR)
    await late.repository(NAME).write_manifest(both.descriptor, both.raw)

    assert await touched(pushed, IMAGE.digest) >= began + 13 * HOUR


async def test_a_refused_manifest_renews_nothing(pushed: Registry, open_registry: OpenRegistry) -> None:
    """What a transaction has touched is undone together with its refusal."""
    began = await touched(pushed, LAYER.digest)
    other = image(LAYER, seed="its config is missing")

    late = await open_registry(clock_offset_ms=13 * HOUR)
    with pytest.raises(ManifestBlobUnknown):
        await late.repository(NAME).put_manifest(other.raw, media_type=other.descriptor.media_type)

    assert await touched(pushed, LAYER.digest) == began


async def test_mounting_and_completing_begin_a_lease(pushed: Registry, open_registry: OpenRegistry) -> None:
    """Whoever has just been told 201 can rely on it from then on, also if the repository had the blob before."""
    began = await touched(pushed, LAYER.digest)
    late = await open_registry(clock_offset_ms=5 * HOUR)

    upload = (await late.repository(NAME).begin_upload()).upload
    async with LAYER.open_at(0) as body:
        await late.repository(NAME).complete_upload(upload, LAYER.digest, body, start=None, length=None)
    assert await touched(pushed, LAYER.digest) >= began + 5 * HOUR

    later = await open_registry(clock_offset_ms=6 * HOUR)
    await later.repository(NAME).mount_blob(LAYER.digest, NAME)
    assert await touched(pushed, LAYER.digest) >= began + 6 * HOUR


async def test_on_a_full_disk_who_may_push_is_put_off_and_who_pulls_is_served(
    pushed: Registry, open_registry: OpenRegistry, spawn: Callable[..., Awaitable[Any]]
) -> None:
    """A lease that cannot be renewed is 503; the same lookup without a promise, and the bytes, are there."""
    # to this worker, whose clock is right, the leases are from long ago
    past = await open_registry(clock_offset_ms=-13 * HOUR)
    other = image(seed="old")
    await other.write_to(past.repository(NAME), names=[Tag("old")])
    config = other.blobs[0]
    worker = await spawn()
    await worker.ask("limit_file_size", count=0)

    with pytest.raises(Unavailable):
        await worker.ask("has_blob", digest=config.digest, renew=True)
    with pytest.raises(Unavailable):
        await worker.ask("find_manifest", tag="old", renew=True)
    with pytest.raises(Unavailable):
        await worker.ask("put_manifest", raw=other.raw.decode(), media_type="", tags=["new"])

    assert await worker.ask("has_blob", digest=config.digest) == config.descriptor.size
    assert await worker.ask("read_blob", digest=config.digest) == config.digest
    assert await worker.ask("find_manifest", tag="old") == other.digest
    # the first half of a lease is a promise that holds without a write
    assert await worker.ask("find_manifest", tag="1", renew=True) == IMAGE.digest
    with pytest.raises(ManifestUnknown):
        await pushed.repository(NAME).find_manifest(Tag("new"))
    await worker.ask("limit_file_size", count=1 << 40)
    assert await worker.ask("find_manifest", tag="old", renew=True) == other.digest
