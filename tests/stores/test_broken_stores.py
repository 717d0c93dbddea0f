"""`check_store` finds what is wrong with a store that breaks one promise, and says which one it is.

Each store here is a layout with one defect of the kind that real registries and clients have had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from entrepot.errors import ManifestUnknown, StoreError
from entrepot.layout import Layout
from entrepot.oci import Descriptor, Digest, Verifier
from entrepot.reference import RefName
from entrepot.store import OpenAt, Store
from entrepot.testing import StoreCheckFailed, check_store


class VisibleBeforeVerified(Layout):
    """Writes a blob under its own name, and takes it away again if it was wrong."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        if await self.has_blob(descriptor):
            return
        verifier = Verifier(descriptor.digest, descriptor.size)
        target = blob_path(self, descriptor.digest)
        # room is made at once, as by a download that is preallocated
        target.write_bytes(bytes(descriptor.size))
        try:
            with target.open("r+b") as file:
                async with open_at(0) as chunks:
                    async for chunk in chunks:
                        verifier.update(chunk)
                        file.write(chunk)
            verifier.finish()
        except BaseException:
            target.unlink(missing_ok=True)
            raise


class WrongSizeAccepted(Layout):
    """Believes the digest and does not look at the size."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        parts = []
        size = 0
        async with open_at(0) as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > descriptor.size + (32 << 20):
                    break
        raw = b"".join(parts)
        verifier = Verifier(descriptor.digest, None)
        verifier.update(raw)
        verifier.finish()
        true = Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=len(raw))
        await super().write_blob(true, of_bytes(raw))


class LostOnReopen(Layout):
    """Keeps names in memory, shared by those who have it open, until the last of them closes it."""

    memory: ClassVar[dict[RefName, Descriptor]] = {}
    users = 0

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        await super().write_manifest(descriptor, raw)
        self.memory.update(dict.fromkeys(names, descriptor.plain()))

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        if isinstance(reference, Digest):
            return await super().resolve(reference)
        if reference not in self.memory:
            raise ManifestUnknown(f"no such name: {reference}")
        return self.memory[reference]

    async def tags(self) -> AsyncIterator[RefName]:
        for name in sorted(self.memory):
            yield name

    async def delete_tag(self, name: RefName) -> None:
        if self.memory.pop(name, None) is None:
            raise ManifestUnknown(f"no such name: {name}")

    async def delete_manifest(self, digest: Digest) -> None:
        await super().delete_manifest(digest)
        for name in [name for name, descriptor in self.memory.items() if descriptor.digest == digest]:
            del self.memory[name]

    async def __aenter__(self) -> LostOnReopen:
        type(self).users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        type(self).users -= 1
        if not self.users:
            self.memory.clear()


class NotIdempotent(Layout):
    """Refuses a blob that it has."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        if await self.has_blob(descriptor):
            raise StoreError(f"there already: {descriptor.digest}")
        await super().write_blob(descriptor, open_at)


class CancelledWriteVisible(Layout):
    """Cleans up after errors, but not when it is cancelled."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        parts: list[bytes] = []

        async def noted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for chunk in chunks:
                parts.append(chunk)
                yield chunk

        @asynccontextmanager
        async def open_noted(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
            async with open_at(offset) as chunks:
                yield noted(chunks)

        try:
            await super().write_blob(descriptor, open_noted)
        except anyio.get_cancelled_exc_class():
            blob_path(self, descriptor.digest).write_bytes(b"".join(parts).ljust(descriptor.size, b"\0"))
            raise


class OffsetIgnored(Layout):
    """Gives the right number of bytes, from the beginning."""

    @asynccontextmanager
    async def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        stop = descriptor.size if stop is None else min(stop, descriptor.size)
        async with super().open_blob(descriptor, 0, max(0, stop - start)) as chunks:
            yield chunks


class TagWithoutManifest(Layout):
    """Names the manifest first and looks at its bytes afterwards."""

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        def name_it() -> None:
            with self._directory.edited_entries() as entries:
                entries.put(descriptor, names, keep_displaced=True)

        if names:
            await self.alone(name_it)
        await super().write_manifest(descriptor, raw, names=names)


class ConcurrentWritersMixed(Layout):
    """Has one temporary file, as whoever derives its name from the process does."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        if await self.has_blob(descriptor):
            return
        verifier = Verifier(descriptor.digest, descriptor.size)
        temporary = self.path / "ingest" / "upload"
        temporary.write_bytes(b"")
        try:
            async with open_at(0) as chunks:
                async for chunk in chunks:
                    verifier.update(chunk)
                    with temporary.open("ab") as file:
                        file.write(chunk)
            verifier.finish()
            temporary.rename(blob_path(self, descriptor.digest))
        finally:
            temporary.unlink(missing_ok=True)


def blob_path(layout: Layout, digest: Digest) -> Path:
    path = layout.path / "blobs" / digest.algorithm / digest.encoded
    path.parent.mkdir(exist_ok=True)
    return path


def of_bytes(raw: bytes) -> OpenAt:
    async def stream(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        yield stream(offset)

    return open_at


def opener(kind: type[Layout], path: Path) -> Callable[[], object]:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        layout = await kind.open(path, create=True)
        if isinstance(layout, LostOnReopen):
            async with layout:
                yield layout
        else:
            yield layout

    return open_store


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (VisibleBeforeVerified, {"blob-hidden-until-verified"}),
        (WrongSizeAccepted, {"blob-too-short", "blob-too-long"}),
        (LostOnReopen, {"reopen"}),
        (NotIdempotent, {"blob-idempotent"}),
        (CancelledWriteVisible, {"blob-cancelled"}),
        (OffsetIgnored, {"blob-ranges"}),
        (TagWithoutManifest, {"names-all-or-nothing"}),
        (ConcurrentWritersMixed, {"blob-different-at-once", "blob-same-at-once"}),
    ],
)
async def test_a_broken_store_fails_at_the_promise_that_it_breaks(
    tmp_path: Path, kind: type[Layout], broken: set[str]
) -> None:
    """A store with one defect is caught, and the report names the promise that it breaks and no other."""
    with pytest.raises(StoreCheckFailed) as caught:
        await check_store(opener(kind, tmp_path / "layout"))

    assert set(caught.value.report.broken) == broken
