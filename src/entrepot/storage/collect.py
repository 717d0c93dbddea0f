"""Upkeep: gives up idle uploads and removes bytes that nothing names any more."""

from __future__ import annotations

from entrepot.storage.blobfiles import BlobFiles
from entrepot.storage.catalog import Catalog
from entrepot.storage.content import UploadId

__all__ = ["Collector"]

_BATCH = 500


class Collector:
    """Removes what is garbage by the catalog's word, never by a file's age. Any number may run at once.

    Args:
        catalog: Says what is garbage.
        files: Has the bytes.
        upload_idle_seconds: After how long without a request an upload is given up.
    """

    def __init__(self, catalog: Catalog, files: BlobFiles, *, upload_idle_seconds: int) -> None:
        self._catalog = catalog
        self._files = files
        self._upload_idle_seconds = upload_idle_seconds

    async def run(self) -> None:
        """Do one round: first what makes room without needing any, since the disk may be full."""
        await self.remove_orphans()
        await self.remove_garbage()
        await self.expire_uploads()

    async def expire_uploads(self) -> int:
        """Give up uploads that are idle and that nobody is writing, and return how many."""
        expired = 0
        for upload in await self._catalog.idle_uploads(idle_seconds=self._upload_idle_seconds, limit=_BATCH):
            expired += await self._expire(upload)
        return expired

    async def remove_garbage(self) -> int:
        """Remove the bytes at locations that no blob names, then strike these off the list; return how many."""
        removed = 0
        # to the end: every push of a blob that was there already leaves one
        while locations := await self._catalog.garbage(limit=_BATCH):
            for location in locations:
                await self._files.remove(location)
            await self._catalog.forget_garbage(locations)
            removed += len(locations)
        return removed

    async def remove_orphans(self) -> int:
        """Remove upload files without a row, which a crash has left; return how many.

        The rows are asked for *after* the files were listed, and a row always precedes its file: so a file that
        has none now will never have one.
        """
        uploads = self._files.uploads()
        known = await self._catalog.known_uploads(uploads)
        orphans = [upload for upload in uploads if upload not in known]
        for upload in orphans:
            await self._files.discard(upload)
        return len(orphans)

    async def _expire(self, upload: UploadId) -> bool:
        try:
            staged = await self._files.hold(upload, wait_seconds=0)
        except TimeoutError:
            return False
        except FileNotFoundError:
            return await self._catalog.expire_upload(upload, idle_seconds=self._upload_idle_seconds)
        try:
            if not await self._catalog.expire_upload(upload, idle_seconds=self._upload_idle_seconds):
                return False
            await self._files.discard(upload)
            return True
        finally:
            staged.close()
