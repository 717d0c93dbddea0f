"""The registry's storage as one worker process has it open."""

from __future__ import annotations

import os
import sqlite3

import anyio

from entrepot.errors import StoreError, Unavailable
from entrepot.reference import RepositoryName
from entrepot.storage import layout
from entrepot.storage import statements as sql
from entrepot.storage.catalog import Catalog
from entrepot.storage.collect import Collector
from entrepot.storage.filesystem import FileSystem
from entrepot.storage.repository import ManifestCache, Repository
from entrepot.storage.scratch import Scratch
from entrepot.storage.settings import StorageSettings
from entrepot.storage.sqlite import SQLite
from entrepot.storage.threads import Threads
from entrepot.storage.uploads import Uploads

__all__ = ["Registry"]


class Registry:
    """Catalog, blobs and uploads below one root. Opened after `prepare`, in the process that uses it.

    Args:
        settings: Where and how.

    Attributes:
        settings: As given.
        scratch: The small store that the workers share and may lose.
    """

    def __init__(self, settings: StorageSettings) -> None:
        root = settings.root
        self.settings = settings
        self._database = SQLite(
            root / layout.CATALOG,
            root / layout.CATALOG_LOCK,
            durable=settings.durable,
            clock_offset_ms=settings.clock_offset_ms,
        )
        try:
            self.scratch = Scratch(root / layout.SCRATCH)
        except BaseException:
            self._database.close()
            raise
        self._threads = Threads()
        self._files = FileSystem(root, self._threads, durable=settings.durable)
        self._catalog = Catalog(self._database, lease_seconds=settings.lease_seconds)
        self._uploads = Uploads(
            self._catalog, self._files, self._threads, idle_seconds=settings.upload_idle_seconds
        )
        self._cache = ManifestCache()
        self._collector = Collector(
            self._catalog, self._files, upload_idle_seconds=settings.upload_idle_seconds
        )

    @classmethod
    async def open(cls, settings: StorageSettings) -> Registry:
        """Open a prepared root.

        Raises:
            StoreError: It is not one, or cannot be read.
        """
        catalog = settings.root / layout.CATALOG
        # SQLite would make one
        if not catalog.is_file():
            raise StoreError(f"the root has not been prepared, it has no {layout.CATALOG}: {settings.root}")
        try:
            return cls(settings)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the catalog cannot be used, {error}: {catalog}") from error

    async def close(self) -> None:
        """Commit what is waiting and close everything."""
        await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        self._threads.close()
        self._database.close()
        self.scratch.close()

    def repository(self, name: RepositoryName) -> Repository:
        """Return a repository, which need not exist: the first push makes it."""
        return Repository(
            name, self.settings, self._catalog, self._files, self._uploads, self._cache, self._threads
        )

    async def repositories(self, *, n: int, last: str = "") -> list[RepositoryName]:
        """Return at most `n` repositories that have a manifest, behind `last`, in byte order."""
        return await self._catalog.repositories(limit=n, last=last)

    async def maintain(self) -> None:
        """Do one round of upkeep: expire idle uploads, remove garbage. Any number of processes may do so at once."""
        await self._collector.run()

    async def check(self) -> None:
        """Make sure that the catalog can be read, and that the root can be written and has room.

        Raises:
            Unavailable: It is not so, and may be again.
            StoreError: The catalog is damaged.
        """
        await self._database.point(sql.ANY_REPOSITORY)
        try:
            free = os.statvfs(self.settings.root)
        except OSError as error:
            raise Unavailable(f"the registry's root cannot be used, {error.strerror}") from error
        if free.f_flag & os.ST_RDONLY:
            raise Unavailable("the registry's root cannot be written")
        # some file systems do not count files, and say that there are none and none left
        if free.f_bavail * free.f_frsize < self.settings.max_manifest_bytes or (
            free.f_files and not free.f_favail
        ):
            raise Unavailable("the registry has no room left")
