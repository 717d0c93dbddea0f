"""Upkeep: idle uploads, garbage, orphans; and what must not be touched."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from entrepot.errors import BlobUploadUnknown, Unavailable
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, UploadId, layout
from entrepot.storage.database import Transaction
from entrepot.testing.images import blob, chunked

pytestmark = pytest.mark.anyio

OpenRegistry = Callable[..., Awaitable[Registry]]
DAY = 86_400_000


async def begin(repository: Repository, raw: bytes = b"") -> UploadId:
    upload = (await repository.begin_upload()).upload
    await repository.append_upload(upload, chunked(raw), start=None, length=None)
    return upload


def upload_files(settings: StorageSettings) -> set[str]:
    return {path.name for path in (settings.root / layout.UPLOADS).iterdir()}


async def change(registry: Registry, sql: str, *values: object) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute(sql, *values)

    await registry._database.transaction(work)


async def test_idle_uploads_end_and_others_do_not(
    repository: Repository, open_registry: OpenRegistry, settings: StorageSettings
) -> None:
    """A day after its last request an upload goes, with its bytes; a second before that it does not."""
    upload = await begin(repository, b"bytes")
    await (await open_registry(clock_offset_ms=DAY - 60_000)).maintain()
    assert (await repository.upload_status(upload)).offset == 5

    await (await open_registry(clock_offset_ms=DAY + 1)).maintain()
    with pytest.raises(BlobUploadUnknown):
        await repository.upload_status(upload)
    assert upload_files(settings) == set()


async def test_a_request_makes_an_upload_busy_again(
    repository: Repository, open_registry: OpenRegistry
) -> None:
    """What counts is the last request, not the beginning."""
    upload = await begin(repository)
    later = await open_registry(clock_offset_ms=DAY - 60_000)
    await later.repository(repository.name).append_upload(upload, chunked(b"x"), start=None, length=None)

    await (await open_registry(clock_offset_ms=DAY + 60_000)).maintain()

    assert (await repository.upload_status(upload)).offset == 1


async def test_an_upload_that_is_used_again_while_it_expires_stays(
    registry: Registry, repository: Repository, open_registry: OpenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was idle when the list was made; whether it still is decides the transaction that ends it."""
    upload = await begin(repository, b"bytes")

    async def idle_uploads(**_: int) -> list[UploadId]:
        return [upload]

    monkeypatch.setattr(registry._catalog, "idle_uploads", idle_uploads)
    await registry.maintain()

    assert (await repository.upload_status(upload)).offset == 5


async def test_an_upload_that_somebody_writes_is_not_idle(
    repository: Repository, open_registry: OpenRegistry, stalling: type[Any]
) -> None:
    """However long its request has lasted already; once that has gone, it is."""
    upload = await begin(repository)
    body = stalling(b"slow")
    writing = asyncio.ensure_future(repository.append_upload(upload, body, start=None, length=None))
    await body.stalled.wait()
    later = await open_registry(clock_offset_ms=2 * DAY)
    await later.maintain()
    body.end.set()
    assert (await writing).offset == 4

    await later.maintain()
    with pytest.raises(BlobUploadUnknown):
        await repository.upload_status(upload)


async def test_a_request_that_lasted_long_leaves_its_upload_busy(
    open_registry: OpenRegistry, registry: Registry, stalling: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The idle time begins when a request ends: its client has the whole of half of it for the next one."""
    monkeypatch.setattr("entrepot.storage.uploads._LOOK_SECONDS", 0.02)
    repository = (await open_registry(upload_idle_seconds=1)).repository(RepositoryName("library/app"))
    upload = await begin(repository)
    body = stalling(b"slow")
    writing = asyncio.ensure_future(repository.append_upload(upload, body, start=None, length=None))
    await body.stalled.wait()
    # as if the request had begun long ago
    await change(registry, "UPDATE upload SET active_at = 0")
    while await registry._database.scan("SELECT id FROM upload WHERE active_at = 0"):
        await asyncio.sleep(0.02)
    body.end.set()
    await writing
    assert len(await registry._database.scan("SELECT id FROM upload WHERE active_at > {now} - 500")) == 1


async def test_an_upload_without_a_file_ends_too(
    registry: Registry, repository: Repository, open_registry: OpenRegistry, settings: StorageSettings
) -> None:
    """A crash between its row and its file leaves a row that nobody can use."""
    upload = await begin(repository)
    (settings.root / layout.UPLOADS / upload).unlink()

    await (await open_registry(clock_offset_ms=2 * DAY)).maintain()

    assert await registry._database.scan("SELECT id FROM upload") == []


async def test_files_of_no_upload_are_removed_and_nothing_else_is(
    registry: Registry, repository: Repository, settings: StorageSettings
) -> None:
    """What has no row is an orphan; what is not named like an upload is not ours."""
    upload = await begin(repository, b"kept")
    directory = settings.root / layout.UPLOADS
    orphans = [UploadId.random() for _ in range(1100)]
    for orphan in orphans:
        (directory / orphan).touch()
    foreign = {"README", "x" * 32, "lost+found"}
    for name in foreign:
        (directory / name).touch()

    await registry.maintain()

    assert upload_files(settings) == {upload, *foreign}


async def test_an_upload_that_begins_while_orphans_are_looked_for_is_none(
    registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are asked for after the files were listed: whoever asks first takes this upload for an orphan."""
    listing = registry._files.uploads
    script = """
import asyncio, sys
from pathlib import Path
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, StorageSettings

async def begin():
    registry = await Registry.open(StorageSettings(root=Path(sys.argv[1])))
    print((await registry.repository(RepositoryName("library/app")).begin_upload()).upload)
    await registry.close()

asyncio.run(begin())
"""
    begun: list[UploadId] = []

    def list_late() -> list[UploadId]:
        command = [sys.executable, "-c", script, str(registry.settings.root)]
        begun.append(UploadId(subprocess.check_output(command, text=True).strip()))
        return listing()

    monkeypatch.setattr(registry._files, "uploads", list_late)
    await registry.maintain()

    [upload] = begun
    assert (await repository.upload_status(upload)).offset == 0


async def test_garbage_is_removed_to_the_end_and_once_is_enough(
    registry: Registry, repository: Repository, settings: StorageSettings
) -> None:
    """More of it than one statement names; files that are gone already are no trouble."""

    async def work(tx: Transaction) -> None:
        for number in range(1200):
            await tx.execute("INSERT INTO garbage (location) VALUES ($1)", f"sha256/00/{number:05}")

    await registry._database.transaction(work)
    directory = settings.root / layout.BLOBS / "sha256" / "00"
    directory.mkdir(parents=True)
    for number in range(0, 1200, 100):
        (directory / f"{number:05}").touch()

    await registry.maintain()

    assert await registry._database.scan("SELECT location FROM garbage") == []
    assert list(directory.iterdir()) == []


async def test_the_garbage_of_a_crash_is_removed_later(
    registry: Registry, repository: Repository, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second copy is listed in the transaction that finds it is one: whoever dies then leaves no file behind."""
    content = blob(1000, "content")
    await repository.write_blob(content.descriptor, content.open_at)
    [kept] = _blobs(settings)
    upload = await begin(repository, content.raw)

    async def die(_location: str) -> None:
        raise OSError("died")

    with monkeypatch.context() as dying:
        dying.setattr(registry._files, "remove", die)
        await repository.complete_upload(upload, content.digest, None, start=None, length=None)
    assert len(_blobs(settings)) == 2

    await registry.maintain()
    assert _blobs(settings) == [kept]


def _blobs(settings: StorageSettings) -> list[str]:
    root = settings.root / layout.BLOBS
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_upkeep_on_a_full_disk_makes_room_first(
    registry: Registry, spawn: Callable[[], Awaitable[Any]], settings: StorageSettings
) -> None:
    """Orphans and garbage files go although nothing can be committed; the rest says so and waits."""
    worker = await spawn()
    orphan = settings.root / layout.UPLOADS / UploadId.random()
    orphan.touch()
    await change(registry, "INSERT INTO garbage (location) VALUES ($1)", "garbage")
    (settings.root / layout.BLOBS / "garbage").touch()
    await worker.ask("limit_file_size", count=0)

    with pytest.raises(Unavailable):
        await worker.ask("maintain")
    assert not orphan.exists()
    assert not (settings.root / layout.BLOBS / "garbage").exists()

    await worker.ask("limit_file_size", count=1 << 40)
    await worker.ask("maintain")
    assert await registry._database.scan("SELECT location FROM garbage") == []


async def test_upkeep_takes_nothing_that_is_in_use(
    registry: Registry, repository: Repository, settings: StorageSettings, open_registry: OpenRegistry
) -> None:
    """Blobs, manifests and busy uploads survive any number of rounds in any number of workers."""
    content = blob(1000, "content")
    await repository.write_blob(content.descriptor, content.open_at)
    upload = await begin(repository, b"busy")
    other = await open_registry()

    await asyncio.gather(*(one.maintain() for one in (registry, other) for _ in range(3)))

    reader = await repository.open_stored_blob(await repository.find_blob(content.digest))
    assert Digest.of(await reader.read(0, 1000)) == content.digest
    reader.close()
    assert (await repository.upload_status(upload)).offset == 4
