"""The registry's storage as one worker process has it open."""

from __future__ import annotations

import os

import anyio

from entrepot.errors import Unavailable
from entrepot.reference import RepositoryName
from entrepot.storage import layout
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
        self.scratch = Scratch(root / layout.SCRATCH)
        self._threads = Threads()
        self._database = SQLite(
            root / layout.CATALOG,
            root / layout.CATALOG_LOCK,
            durable=settings.durable,
            clock_offset_ms=settings.clock_offset_ms,
        )
        self._files = FileSystem(root, self._threads, durable=settings.durable)
        self._catalog = Catalog(self._database, lease_seconds=settings.lease_seconds)
        self._uploads = Uploads(self._catalog, self._files, self._threads)
        self._cache = ManifestCache()
        self._collector = Collector(
            self._catalog, self._files, upload_idle_seconds=settings.upload_idle_seconds
        )

    @classmethod
    async def open(cls, settings: StorageSettings) -> Registry:
        """Open a prepared root.

        Raises:
            StoreError: It is not one.
        """
        return cls(settings)

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
        """Make sure that the catalog answers and that there is room to write.

        Raises:
            Unavailable: It does not, or there is not.
        """
        await self._database.point("SELECT 1")
        free = os.statvfs(self.settings.root)
        if free.f_bavail * free.f_frsize < self.settings.max_manifest_bytes or free.f_favail == 0:
            raise Unavailable(f"the registry has no room left: {self.settings.root}")
