"""Several workers, real processes, on one root."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from entrepot.errors import BlobUploadUnknown, ManifestUnknown, RangeInvalid
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import Registry, Repository, StorageSettings, UploadId
from entrepot.store import CHUNK_BYTES
from entrepot.testing.images import blob, image

pytestmark = pytest.mark.anyio

Spawn = Callable[[], Awaitable[Any]]
MIB = CHUNK_BYTES


async def test_two_chunks_at_once_in_two_workers_one_wins(spawn: Spawn, repository: Repository) -> None:
    """The same place from both: one is taken whole, the other is 416 and says where the upload stands."""
    workers = [await spawn(), await spawn()]
    for size in (1000, 200_000, 6 * MIB):
        upload = await workers[0].ask("begin")
        asking = [
            await worker.send("append", upload=upload, size=size + number, seed=f"{number}", start=0)
            for number, worker in enumerate(workers)
        ]
        outcomes = await asyncio.gather(
            *(worker.answer(number) for worker, number in zip(workers, asking, strict=True)),
            return_exceptions=True,
        )

        [winner] = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
        assert outcomes[winner] == size + winner
        loser = outcomes[1 - winner]
        assert isinstance(loser, RangeInvalid)
        await workers[1 - winner].ask("complete", upload=upload, size=size + winner, seed=f"{winner}")
        digest = blob(size + winner, f"{winner}").digest
        assert await workers[0].ask("read_blob", digest=digest) == digest


async def test_a_newer_request_in_another_worker_takes_over_from_a_silent_client(spawn: Spawn) -> None:
    """The holder waits for its client and gives up by itself; what it has written stays."""
    one, two = await spawn(), await spawn()
    size = 3 * MIB
    upload = await one.ask("begin")
    stalled = await one.send("append", upload=upload, size=2 * MIB, seed="s", stall=True)
    # the seed makes the same beginning for every size
    assert await one.answer(0) == "stalled"
    while await two.ask("status", upload=upload) < 2 * MIB:
        await anyio.lowlevel.checkpoint()

    await two.ask("append", upload=upload, size=size, seed="s", skip=2 * MIB, start=2 * MIB)

    with pytest.raises(RangeInvalid):
        await one.answer(stalled)
    await one.ask("complete", upload=upload, size=size, seed="s")
    digest = blob(size, "s").digest
    assert await two.ask("read_blob", digest=digest) == digest


async def test_an_upload_wanders_between_workers(spawn: Spawn) -> None:
    """Each chunk in another worker, completed in a third: everybody knows where it stands."""
    workers = [await spawn() for _ in range(3)]
    size, seed = 700_000, "wandering"
    upload = await workers[0].ask("begin")
    for number in range(7):
        offset = await workers[number % 3].ask(
            "append", upload=upload, size=(number + 1) * 100_000, seed=seed, skip=number * 100_000
        )
        assert await workers[(number + 1) % 3].ask("status", upload=upload) == offset
    await workers[2].ask("complete", upload=upload, size=size, seed=seed)
    with pytest.raises(BlobUploadUnknown):
        await workers[0].ask("status", upload=upload)
    digest = blob(size, seed).digest
    assert await workers[1].ask("read_blob", digest=digest) == digest


async def test_what_one_worker_has_answered_every_other_worker_knows(
    spawn: Spawn, repository: Repository
) -> None:
    """A tag that moves, goes and comes back is never stale anywhere, however often it was read before."""
    worker = await spawn()
    trees = [image(seed=str(number)) for number in range(2)]
    for tree in trees:
        await tree.write_to(repository)
    for number in range(40):
        tree = trees[number % 2]
        await worker.ask("put_manifest", raw=tree.raw.decode(), media_type="", tags=["1"])
        assert (await repository.find_manifest(Tag("1"))).digest == tree.digest
        await repository.delete_tag(Tag("1"))
        for _ in range(2):
            with pytest.raises(ManifestUnknown):
                await worker.ask("find_manifest", tag="1")
        await tree.write_to(repository, names=[Tag("1")])
        assert await worker.ask("find_manifest", tag="1") == tree.digest


async def test_what_was_acknowledged_is_there_after_kill_9(spawn: Spawn, repository: Repository) -> None:
    """Blobs, manifests, tags, and the bytes of an upload: a new process finds what the killed one had answered."""
    worker = await spawn()
    tree = image(seed="kept")
    for part in tree.blobs:
        await repository.write_blob(part.descriptor, part.open_at)
    pushed = await worker.ask("push", size=3 * MIB, seed="kept")
    await worker.ask("put_manifest", raw=tree.raw.decode(), media_type="", tags=["1", "2"])
    upload = await worker.ask("begin")
    offset = await worker.ask("append", upload=upload, size=MIB + 7, seed="going on")
    worker.process.kill()
    await worker.ended()

    other = await spawn()
    assert await other.ask("read_blob", digest=pushed) == pushed
    assert await other.ask("find_manifest", tag="2") == tree.digest
    assert await other.ask("status", upload=upload) == offset
    await other.ask("complete", upload=upload, size=2 * MIB, seed="going on", skip=offset)
    assert (await repository.find_blob(blob(2 * MIB, "going on").digest)).size == 2 * MIB


async def test_writers_of_four_processes_all_get_their_turn(
    spawn: Spawn, repository: Repository, registry: Registry
) -> None:
    """While four processes commit as fast as they can, each of them gets on: none is starved by the others."""
    tree = image()
    await tree.write_to(repository)
    workers = [await spawn() for _ in range(4)]
    times = 250
    sent = [
        await worker.send("tag_many", raw=tree.raw.decode(), media_type="", tag=f"w{number}", times=times)
        for number, worker in enumerate(workers)
    ]
    for worker, number in zip(workers, sent, strict=True):
        await worker.answer(number)

    # who comes behind the middle of its own work while others are at the beginning of theirs?
    rows = await registry._database.scan("SELECT name FROM tag_history ORDER BY id")
    order = [row[0].partition("-")[0] for row in rows]
    began = max(order.index(f"w{number}") for number in range(4))
    first_to_end = min(len(order) - 1 - order[::-1].index(f"w{number}") for number in range(4))
    together = order[began:first_to_end]
    for number in range(4):
        assert together.count(f"w{number}") >= len(together) // 40


async def test_workers_push_the_same_image_at_once(
    spawn: Spawn, repository: Repository, settings: StorageSettings
) -> None:
    """The first blob of a new registry from four processes: directories are made once, and one copy counts."""
    workers = [await spawn() for _ in range(4)]
    sent = [await worker.send("push", size=2 * MIB, seed="same") for worker in workers]
    digests = {await worker.answer(number) for worker, number in zip(workers, sent, strict=True)}

    [digest] = digests
    assert {await worker.ask("read_blob", digest=digest) for worker in workers} == digests
    assert len([path for path in (settings.root / "blobs").rglob("*") if path.is_file()]) == 1


async def test_upkeep_in_several_processes_at_once_does_no_harm(
    spawn: Spawn, repository: Repository, registry: Registry
) -> None:
    """While blobs are pushed that are there already, everybody collects: nothing acknowledged is lost."""
    workers = [await spawn() for _ in range(2)]
    pushes = [
        await worker.send("push", size=1000, seed=str(number)) for worker in workers for number in range(20)
    ]
    collecting = [await worker.send("maintain") for worker in workers for _ in range(5)]
    for worker, numbers in zip(workers, (pushes[:20], pushes[20:]), strict=True):
        for number in numbers:
            digest = await worker.answer(number)
            assert await worker.ask("read_blob", digest=digest) == digest
    for index, worker in enumerate(workers):
        for number in collecting[index * 5 : index * 5 + 5]:
            await worker.answer(number)
    await registry.maintain()
    assert await registry._database.scan("SELECT location FROM garbage") == []


async def test_closing_while_requests_wait_ends(spawn: Spawn) -> None:
    """A worker whose standard input ends closes its storage and is gone, whatever is under way."""
    worker = await spawn()
    upload = UploadId(await worker.ask("begin"))
    await worker.send("append", upload=upload, size=MIB, seed="s", stall=True)
    assert await worker.answer(0) == "stalled"
    await worker.process.stdin.aclose()
    with anyio.fail_after(20):
        assert await worker.ended() == 0


async def test_repositories_of_other_workers_are_listed(spawn: Spawn, registry: Registry) -> None:
    """The list is the catalog's, not what this process has seen."""
    worker = await spawn()
    tree = image(seed="listed")
    for part in tree.blobs:
        await registry.repository(RepositoryName("library/app")).write_blob(part.descriptor, part.open_at)
    assert await registry.repositories(n=5) == []
    await worker.ask("put_manifest", raw=tree.raw.decode(), media_type="", tags=["1"])
    assert await registry.repositories(n=5) == ["library/app"]
