"""A worker: opens a root in a process of its own and does what the lines on its standard input say.

Each line is a JSON object with a `number`, what to `do`, and arguments; it runs as a task of its own, and is
answered with a line that has the same number. Not a test, and not imported by one.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from entrepot.errors import EntrepotError, RegistryError
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import Registry, StorageSettings, UploadId
from entrepot.storage.catalog import Catalog
from entrepot.store import CHUNK_BYTES
from entrepot.testing.images import blob, chunked

_NAME = RepositoryName("library/app")


class Commands:
    """What a worker can be told to do."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._repository = registry.repository(_NAME)
        self._proceed = asyncio.Event()

    async def ready(self) -> None:
        """Answer."""

    async def limit_file_size(self, count: int) -> None:
        """From now on no file of ours can be written beyond its first `count` bytes, as if the disk were full."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))

    async def limit_descriptors(self, spare: int) -> None:
        """From now on no more than `spare` files can be opened."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        # the lowest number that is free is given out next
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, most))

    async def begin(self) -> str:
        return (await self._repository.begin_upload()).upload

    async def status(self, upload: str) -> int:
        return (await self._repository.upload_status(UploadId(upload))).offset

    async def append(
        self,
        upload: str,
        size: int,
        seed: str,
        skip: int = 0,
        stall: bool = False,
        start: int | None = None,
        chunk: int = CHUNK_BYTES,
    ) -> int:
        """Append what comes behind the first `skip` of `size` made-up bytes, then stall until told to `proceed`."""
        body = self._body(blob(size, seed).raw[skip:], stall=stall, chunk=chunk)
        status = await self._repository.append_upload(UploadId(upload), body, start=start, length=None)
        return status.offset

    async def proceed(self) -> None:
        """Let bodies that stall end."""
        self._proceed.set()

    async def complete(
        self, upload: str, size: int, seed: str, skip: int | None = None, stall: bool = False
    ) -> str:
        """Complete with the rest of `size` made-up bytes."""
        whole = blob(size, seed)
        body = None if skip is None else self._body(whole.raw[skip:], stall=stall)
        found = await self._repository.complete_upload(
            UploadId(upload), whole.digest, body, start=None, length=None
        )
        return found.location

    async def complete_as(self, upload: str, digest: str) -> str:
        """Complete with what has been appended."""
        found = await self._repository.complete_upload(
            UploadId(upload), Digest(digest), None, start=None, length=None
        )
        return found.location

    async def complete_and_die(self, upload: str, size: int, seed: str) -> str:
        """Die where bytes have their own name and the catalog does not know it yet."""

        async def die(*_: object) -> None:
            os._exit(9)

        Catalog.finish_upload = die  # type: ignore[method-assign, assignment]
        return await self.complete(upload, size, seed)

    async def cancel(self, upload: str) -> None:
        await self._repository.cancel_upload(UploadId(upload))

    async def push(self, size: int, seed: str) -> str:
        """Write a blob."""
        whole = blob(size, seed)
        await self._repository.write_blob(whole.descriptor, whole.open_at)
        return whole.digest

    async def has_blob(self, digest: str, renew: bool = False) -> int:
        return (await self._repository.find_blob(Digest(digest), renew=renew)).size

    async def read_blob(self, digest: str) -> str:
        """Return the digest of the bytes."""
        found = await self._repository.open_stored_blob(await self._repository.find_blob(Digest(digest)))
        try:
            return Digest.of(await found.read(0, found.size))
        finally:
            found.close()

    async def put_manifest(self, raw: str, media_type: str, tags: list[str]) -> str:
        put = await self._repository.put_manifest(
            raw.encode(), media_type=media_type, digest=None, tags=[Tag(tag) for tag in tags]
        )
        return put.digest

    async def find_manifest(self, tag: str, renew: bool = False) -> str:
        return (await self._repository.find_manifest(Tag(tag), renew=renew)).digest

    async def tag_many(self, raw: str, media_type: str, tag: str, times: int) -> None:
        """Commit `times` transactions, one after the other."""
        for number in range(times):
            await self.put_manifest(raw, media_type, [f"{tag}-{number}"])

    async def check(self) -> None:
        await self._registry.check()

    async def maintain(self) -> None:
        await self._registry.maintain()

    async def _body(self, raw: bytes, *, stall: bool, chunk: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        async for piece in chunked(raw, chunk):
            yield piece
        if stall:
            _write({"number": 0, "result": "stalled"})
            await self._proceed.wait()


def _write(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


async def _run(commands: Commands, line: dict[str, Any]) -> None:
    number, do = line.pop("number"), line.pop("do")
    try:
        result = await getattr(commands, do)(**line)
    except EntrepotError as error:
        code = error.code if isinstance(error, RegistryError) else type(error).__name__
        facts = {"size": error.size} if hasattr(error, "size") else {}
        _write({"number": number, "error": code, "message": error.message, "facts": facts})
    except Exception as error:
        _write({"number": number, "error": type(error).__name__, "message": str(error)})
    else:
        _write({"number": number, "result": result})


async def main(root: Path) -> None:
    """Run until standard input ends."""
    registry = await Registry.open(StorageSettings(root=root))
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    commands = Commands(registry)
    tasks: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        task = asyncio.create_task(_run(commands, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await registry.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
