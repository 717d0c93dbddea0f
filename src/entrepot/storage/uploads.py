"""Blob uploads: who may write, where they stand, and how they end.

The length of an upload's file is its offset. A request that brings data waits for the file's lock, raises the
upload's epoch, and only then compares where it wants to write with where the file ends. If it does not get the
lock soon, it raises the epoch first and waits on: whoever holds the lock looks at the epoch before each write and
once a second, and gives up when it is not theirs, so the newest request wins against one whose client is gone.
It is patient at first, and never takes over where its bytes do not belong, because otherwise of two requests at
once neither would succeed: the one had to give up, and the other one does not fit any more.

Once all of a last request's bytes are there it waits for nobody and does not give up: if every retry of a client
made the request before it start hashing again, a large blob would never be finished.
Bytes of a request that breaks off stay and count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from entrepot.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    EntrepotError,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
    StoreError,
    Unavailable,
)
from entrepot.oci.digest import Digest, new_hasher
from entrepot.reference import RepositoryName
from entrepot.storage.blobfiles import MAX_PIECES, BlobFiles, Staged
from entrepot.storage.catalog import Catalog
from entrepot.storage.content import StoredBlob, UploadId, UploadStatus
from entrepot.storage.hashes import HashState, HashStates
from entrepot.storage.threads import Threads, settled
from entrepot.store import CHUNK_BYTES

__all__ = ["Uploads"]

_PATIENCE_SECONDS = 1.0
"""How long a request waits before it takes over from the one before it."""

_LOCK_SECONDS = 10.0
"""How long it waits for that one to let go."""

_LOOK_SECONDS = 1.0
"""How often a request that waits for its client looks whether it has been superseded."""

_INLINE_BYTES = 64 * 1024


class Uploads:
    """All uploads of a registry, as one worker sees them.

    Args:
        catalog: Knows which uploads there are.
        files: Has their bytes.
        threads: Where bytes are hashed.
        idle_seconds: After how long without a request an upload is given up.
    """

    def __init__(self, catalog: Catalog, files: BlobFiles, threads: Threads, *, idle_seconds: int) -> None:
        self._catalog = catalog
        self._files = files
        self._threads = threads
        self._idle_seconds = idle_seconds
        self._states = HashStates()

    async def begin(self, name: RepositoryName, *, algorithm: str) -> UploadStatus:
        """Begin an upload. The row is durable before the file is made: a file without a row is garbage.

        Raises:
            DigestInvalid: We cannot compute this algorithm.
            Unavailable: There is no room.
        """
        new_hasher(algorithm)
        upload = UploadId.random()
        await self._catalog.begin_upload(name, upload, algorithm)
        await self._files.create(upload)
        return UploadStatus(upload, 0)

    async def status(self, name: RepositoryName, upload: UploadId) -> UploadStatus:
        """Return how many bytes there are.

        Raises:
            BlobUploadUnknown: The repository has no such upload.
        """
        await self._catalog.find_upload(name, upload)
        try:
            return UploadStatus(upload, self._files.length(upload))
        except FileNotFoundError:
            raise _ended(upload) from None

    async def append(
        self,
        name: RepositoryName,
        upload: UploadId,
        body: AsyncIterator[bytes],
        *,
        start: int | None,
        length: int | None,
    ) -> UploadStatus:
        """Append a body. What has arrived stays, even if the body breaks off or the caller is cancelled.

        Args:
            name: The repository.
            upload: Which upload.
            body: What to append; its exceptions are passed on.
            start: Where the body belongs; None for wherever the upload stands.
            length: How many bytes were announced, if that was said.

        Raises:
            BlobUploadUnknown: The repository has no such upload.
            RangeInvalid: The upload does not stand at `start`, or a newer request has taken over; `size` says
                where it stands.
            SizeInvalid: There were more or fewer bytes than announced; they stay.
            Unavailable: There is no room, or somebody else does not let go of the upload.
        """
        async with self._hold(name, upload, start) as session:
            await session.receive(body, start=start, length=length)
            return UploadStatus(upload, session.staged.length)

    async def complete(
        self,
        name: RepositoryName,
        upload: UploadId,
        digest: Digest,
        body: AsyncIterator[bytes] | None,
        *,
        start: int | None,
        length: int | None,
    ) -> StoredBlob:
        """Append a last body, verify all bytes, and make them a blob of the repository, durably.

        Sent again after it had succeeded, it succeeds again, without looking at the body.

        Raises:
            DigestInvalid: The bytes have another digest, or the algorithm is unknown. The upload stays.
            BlobUploadUnknown, RangeInvalid, SizeInvalid, Unavailable: See `append`.
        """
        new_hasher(digest.algorithm)
        try:
            async with self._hold(name, upload, start) as session:
                if body is not None:
                    await session.receive(body, start=start, length=length)
                await session.verify(digest)
                # to its end, even when cancelled: a commit must not outlive the lock
                return await settled(asyncio.ensure_future(self._finish(session, digest)))
        except BlobUploadUnknown as ended:
            try:
                return await self._catalog.find_blob(name, digest, renew=True)
            except (BlobUnknown, NameUnknown):
                raise ended from None

    async def cancel(self, name: RepositoryName, upload: UploadId) -> None:
        """End an upload and drop its bytes; whoever is writing gives up.

        Raises:
            BlobUploadUnknown: The repository has no such upload.
        """
        await self._catalog.remove_upload(name, upload)
        self._states.drop(upload)
        await self._files.discard(upload)

    @asynccontextmanager
    async def _hold(
        self, name: RepositoryName, upload: UploadId, start: int | None
    ) -> AsyncIterator[_Session]:
        try:
            staged, epoch = await self._take(name, upload, start)
        except FileNotFoundError:
            raise _ended(upload) from None
        except TimeoutError:
            raise Unavailable(f"another request does not let go of the upload: {upload}") from None
        session = _Session(
            self._catalog, self._states, self._threads, self._idle_seconds, name, upload, epoch, staged
        )
        try:
            await session.require_newest()
            yield session
        finally:
            staged.close()

    async def _take(self, name: RepositoryName, upload: UploadId, start: int | None) -> tuple[Staged, int]:
        """Return the upload's bytes, locked, and the epoch that makes the caller's request the newest."""
        await self._catalog.find_upload(name, upload)
        try:
            staged = await self._files.hold(upload, wait_seconds=_PATIENCE_SECONDS)
        except TimeoutError:
            _require_order(upload, start, self._files.length(upload))
            epoch = await self._catalog.raise_epoch(name, upload)
            return await self._files.hold(upload, wait_seconds=_LOCK_SECONDS), epoch
        try:
            # to its end, even when cancelled: committed later, it would supersede somebody else
            return staged, await settled(asyncio.ensure_future(self._catalog.raise_epoch(name, upload)))
        except BaseException:
            staged.close()
            raise

    async def _finish(self, session: _Session, digest: Digest) -> StoredBlob:
        """Make verified bytes a blob: durable under their own name, then known, then no upload's any more."""
        upload, staged = session.upload, session.staged
        try:
            location = await staged.publish(digest)
        except FileNotFoundError:
            raise _ended(upload) from None
        blob = await self._catalog.finish_upload(upload, StoredBlob(digest, staged.length, location))
        if blob is None:
            await self._files.remove(location)
            raise _ended(upload)
        self._states.drop(upload)
        # it is committed: what cannot be removed now is upkeep's business
        with suppress(OSError):
            await self._files.discard(upload)
            if blob.location != location:
                # known before: the catalog lists our copy as garbage already
                await self._files.remove(location)
        return blob


class _Session:
    """One request that has hold of one upload."""

    def __init__(
        self,
        catalog: Catalog,
        states: HashStates,
        threads: Threads,
        idle_seconds: int,
        name: RepositoryName,
        upload: UploadId,
        epoch: int,
        staged: Staged,
    ) -> None:
        self._catalog = catalog
        self._states = states
        self._threads = threads
        self._idle_seconds = idle_seconds
        self.name = name
        self.upload = upload
        self.epoch = epoch
        self.staged = staged

    async def require_newest(self) -> None:
        """Go on only if no newer request has come.

        Raises:
            RangeInvalid: One has.
            BlobUploadUnknown: The upload was ended.
        """
        epoch, _ = await self._catalog.find_upload(self.name, self.upload)
        if epoch != self.epoch:
            raise _out_of_order("a newer request has taken over the upload", self.upload, self.staged.length)

    async def receive(self, body: AsyncIterator[bytes], *, start: int | None, length: int | None) -> None:
        """Append a body; see `Uploads.append`."""
        before = self.staged.length
        _require_order(self.upload, start, before)
        _, algorithm = await self._catalog.find_upload(self.name, self.upload)
        state = self._states.take(self.upload, algorithm)
        pump = _Pump(self, state if state.offset == before else None, self._threads)
        try:
            async with self._giving_way():
                await pump.run(body)
        finally:
            if pump.in_step:
                self._states.give_back(self.upload, state)
        received = self.staged.length - before
        if length is not None and received != length:
            raise SizeInvalid(f"{length} bytes were announced, {received} came")

    async def verify(self, digest: Digest) -> None:
        """Hash what has not been hashed while it came, and compare.

        Raises:
            DigestInvalid: It has another digest.
        """
        state = self._states.take(self.upload, digest.algorithm)
        try:
            while state.offset < self.staged.length:
                data = await self.staged.read(state.offset, CHUNK_BYTES)
                if not data:
                    raise StoreError(f"the upload's bytes end at {state.offset}: {self.upload}")
                await self._threads.run(state.update, data)
        finally:
            # whoever tries again goes on from here
            self._states.give_back(self.upload, state)
        _require_digest(state, digest)

    @asynccontextmanager
    async def _giving_way(self) -> AsyncIterator[None]:
        """Break off when a newer request comes, even while ours brings nothing.

        Raises:
            RangeInvalid, BlobUploadUnknown: See `require_newest`; in place of the cancellation that we caused,
                unless somebody else wants to cancel us as well.
        """
        request = asyncio.current_task()
        assert request is not None
        cancelled_before = request.cancelling()
        superseded = False

        async def look() -> None:
            nonlocal superseded
            try:
                await self._look_until_superseded()
            except (RangeInvalid, BlobUploadUnknown):
                superseded = True
                request.cancel()

        watcher = asyncio.create_task(look())
        try:
            yield
        finally:
            watcher.cancel()
            if superseded and request.uncancel() <= cancelled_before:
                await self.require_newest()

    async def _look_until_superseded(self) -> NoReturn:
        """Look at the epoch once a second, and keep a long request's upload from seeming idle."""
        clock = asyncio.get_running_loop().time
        touched = clock()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            # what the catalog cannot tell now it will tell at the next look, or before the next write
            with suppress(Unavailable, StoreError):
                await self.require_newest()
                if clock() - touched > self._idle_seconds / 2:
                    await self._catalog.touch_upload(self.upload)
                    touched = clock()


class _Pump:
    """Moves a body into an upload: while one piece is written and hashed in threads, the next one is received.

    Attributes:
        in_step: Whether the hash state has seen exactly what is in the file, so that it may be kept.
    """

    def __init__(self, session: _Session, state: HashState | None, threads: Threads) -> None:
        self._session = session
        self._state = state
        self._threads = threads
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._under_way: asyncio.Task[None] | None = None
        self.in_step = True

    async def run(self, body: AsyncIterator[bytes]) -> None:
        """Move all of it. However the body ends, what has arrived is written before this returns."""
        try:
            async for chunk in body:
                if not chunk:
                    # not a piece: that many of them with no byte to write would never be flushed
                    continue
                # kept apart: joining them would copy every byte once more
                self._pieces.append(chunk)
                self._bytes += len(chunk)
                if self._bytes >= CHUNK_BYTES or len(self._pieces) == MAX_PIECES:
                    await self._flush()
        except BaseException:
            # why it broke off matters more than why the rest of it cannot be kept
            with suppress(EntrepotError):
                await self._flush()
                await self._settle()
            raise
        await self._flush()
        await self._settle()

    async def _flush(self) -> None:
        await self._settle()
        if not self._bytes:
            return
        pieces, size = self._pieces, self._bytes
        self._pieces, self._bytes = [], 0
        await self._session.require_newest()
        if size <= _INLINE_BYTES:
            await self._store(pieces, inline=True)
        else:
            self._under_way = asyncio.create_task(self._store(pieces, inline=False))

    async def _settle(self) -> None:
        if self._under_way is not None:
            task, self._under_way = self._under_way, None
            await settled(task)

    async def _store(self, pieces: list[bytes], *, inline: bool) -> None:
        if self._state is None:
            await self._session.staged.write(*pieces)
            return
        # out of step until both are done: if the disk is full, the hash has seen what the file has not
        self.in_step = False
        if inline:
            await self._session.staged.write(*pieces)
            self._state.update(*pieces)
        else:
            hashing = self._threads.start(self._state.update, *pieces)
            try:
                await self._session.staged.write(*pieces)
            finally:
                await settled(hashing)
        self.in_step = True


def _require_digest(state: HashState, digest: Digest) -> None:
    actual = f"{state.algorithm}:{state.hasher.hexdigest()}"
    if actual != digest:
        raise DigestInvalid(
            f"the uploaded bytes have another digest, {actual}: {digest}",
            detail={"expected": digest, "actual": actual, "size": state.offset},
        )


def _require_order(upload: UploadId, start: int | None, length: int) -> None:
    if start is not None and start != length:
        why = f"the chunk begins at byte {start}, the upload stands at {length}"
        raise _out_of_order(why, upload, length)


def _out_of_order(why: str, upload: UploadId, length: int) -> RangeInvalid:
    return RangeInvalid(f"{why}: {upload}", detail={"offset": length}, size=length)


def _ended(upload: UploadId) -> BlobUploadUnknown:
    return BlobUploadUnknown(f"the upload has ended: {upload}", detail={"upload": upload})
