"""An OCI image layout as a store.

Any number of processes may read and write one layout at once. Readers take no lock.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

import anyio

from entrepot.errors import BlobUnknown, ManifestUnknown
from entrepot.layout.directory import Directory, Limits
from entrepot.layout.files import BlobFile, in_thread
from entrepot.layout.incoming import Incoming
from entrepot.layout.locks import locked
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, Verifier
from entrepot.reference import RefName
from entrepot.store import CHUNK_BYTES, OpenAt

__all__ = ["Layout", "Root"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Root:
    """A manifest that the layout lists, with the names that the entry gives it; there may be none."""

    descriptor: Descriptor
    names: tuple[RefName, ...]


class Layout:
    """An OCI image layout: a `Store` that `DeletesContent`. `open` makes one.

    Names are whatever `org.opencontainers.image.ref.name` may hold. A manifest that is written without a name
    is listed without one, until an index that contains it is written; a manifest whose last name moves away
    stays listed. What a manifest is made of may be absent ("The blobs directory MAY be missing referenced
    blobs"), so `write_manifest` insists on nothing.

    Args:
        directory: Where it is.
    """

    seekable = True

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._turn = anyio.Lock()

    @classmethod
    async def open(cls, path: Path, *, create: bool = False, limits: Limits | None = None) -> Self:
        """Open a layout. There is nothing to close.

        Args:
            path: The directory.
            create: Make the directory a layout if it is absent or empty, and complete one whose making was
                interrupted.
            limits: What to put up with.

        Raises:
            StoreError: It is no layout, or one of a version that we do not know, or cannot be made one.
        """
        layout = cls(Directory(path, limits or Limits()))
        await layout.check(create=create)
        return layout

    @property
    def path(self) -> Path:
        """Return the directory, as an absolute path."""
        return self._directory.path

    async def check(self, *, create: bool = False) -> None:
        """See to it that this is a layout; see `open`.

        Raises:
            StoreError: It is none.
        """
        if create and not await in_thread(self._directory.is_complete):
            await in_thread(self._directory.make_room)
            await self.alone(self._directory.make)
        await in_thread(self._directory.check)

    async def alone(self, edit: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run an edit of index.json in a worker thread while no other runs, here or in another process."""
        async with self._turn, locked(self._directory.index_lock):
            return await in_thread(edit, *args, **kwargs)

    # Reading

    async def roots(self) -> list[Root]:
        """Return what the layout lists, in the order of index.json: where every walk through it begins."""
        entries = await in_thread(self._directory.entries)
        return [Root(descriptor, names) for descriptor, names in entries.descriptors()]

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        """Return what a name or digest stands for.

        Raises:
            ManifestUnknown: There is no such name, or its manifest is not in this layout.
            StoreError: Several entries have this name and mean different manifests.
        """
        found = await in_thread(self._directory.resolve, reference)
        if found is None:
            raise ManifestUnknown(f"the layout has no such manifest: {reference}")
        return found.plain()

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest, verified.

        Raises:
            ManifestUnknown: There is no such manifest.
            ManifestTooLarge: It has more than `max_manifest_bytes`.
            VerificationError: It is not what the descriptor says.
        """
        raw = await in_thread(self._directory.read_manifest, descriptor.digest, descriptor.size)
        if raw is None:
            raise ManifestUnknown(f"the layout has no such manifest: {descriptor.digest}")
        return raw

    @asynccontextmanager
    async def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a blob's bytes from `start` up to, not including, `stop`; see `Source.open_blob`."""
        stop = descriptor.size if stop is None else min(stop, descriptor.size)
        if start < 0 or stop < 0:
            raise ValueError(f"a blob has no bytes before its first: {min(start, stop)}")
        file = BlobFile(self._directory.path_of(descriptor.digest), self._directory.root)
        try:
            if not await in_thread(file.open, start):
                raise BlobUnknown(f"the layout has no such blob: {descriptor.digest}")
            async with aclosing(_chunks(file, stop - start)) as chunks:
                yield chunks
        finally:
            file.close()

    async def describe_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of a blob of which only the digest is known.

        Raises:
            BlobUnknown: There is no such blob.
        """
        size = await in_thread(self._directory.size_of, digest)
        if size is None:
            raise BlobUnknown(f"the layout has no such blob: {digest}")
        return Descriptor(media_type="application/octet-stream", digest=digest, size=size)

    async def tags(self) -> AsyncIterator[RefName]:
        """Yield the names in the layout, each once, in byte order."""
        for name in (await in_thread(self._directory.entries)).names():
            yield name

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        """Yield the manifests whose subject this is, in the order in which a walk from index.json meets them.

        Reads every manifest that is listed, or contained in an index that is. The content of the fallback tag
        counts too, where it names manifests that are not in this layout (distribution-spec, "Referrers Tag
        Schema").
        """
        for found in await in_thread(self._directory.referrers, subject):
            if artifact_type is None or found.artifact_type == artifact_type:
                yield found

    # Writing

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there, with this size."""
        return await in_thread(self._directory.size_of, descriptor.digest) == descriptor.size

    async def has_manifest(self, digest: Digest) -> bool:
        """Tell whether the manifest is there."""
        return await in_thread(self._directory.size_of, digest) is not None

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        """Write a blob: to a temporary file, verified, made durable, then renamed.

        A blob that is there with the right size is not read again; one with a wrong size is replaced.
        Cancelled, it waits for the write that is under way and removes the temporary file.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
            DigestInvalid: The digest is of an algorithm that we cannot compute.
            StoreError: The disk is full, or the directory cannot be written.
        """
        incoming = Incoming(descriptor, self._directory.scratch)
        if await in_thread(self._directory.has, descriptor):
            return
        try:
            await in_thread(self._directory.tidy)
            await in_thread(incoming.open)
            async with open_at(0) as chunks:
                await incoming.receive(chunks)
            await in_thread(incoming.publish, self._directory.path_of(descriptor.digest))
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(incoming.discard)

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        """Write a manifest and make these names point at it; index.json is replaced once, with all of them.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
            ManifestTooLarge: It has more than `max_manifest_bytes`.
            StoreError: The disk is full, or the directory cannot be written.
        """
        verifier = Verifier(descriptor.digest, descriptor.size)
        verifier.update(raw)
        verifier.finish()
        self._directory.refuse_too_large(descriptor.digest, len(raw))
        await self.alone(self._directory.put_manifest, descriptor, raw, names)

    # DeletesContent

    async def delete_tag(self, name: RefName) -> None:
        """Take the name away; the manifest stays.

        Raises:
            ManifestUnknown: There is no such name.
        """
        if not await self.alone(self._directory.take_name, name):
            raise ManifestUnknown(f"the layout has no such name: {name}")

    async def delete_manifest(self, digest: Digest) -> None:
        """Take the manifest away and every name that points at it.

        Raises:
            ManifestUnknown: There is no such manifest.
        """
        if not await self.alone(self._directory.take_manifest, digest):
            raise ManifestUnknown(f"the layout has no such manifest: {digest}")

    async def delete_blob(self, digest: Digest) -> None:
        """Take the blob away, whether or not a manifest contains it.

        Raises:
            BlobUnknown: There is no such blob; a manifest that the layout lists is none.
        """
        if not await self.alone(self._directory.take_blob, digest):
            raise BlobUnknown(f"the layout has no such blob: {digest}")


async def _chunks(file: BlobFile, count: int) -> AsyncGenerator[bytes, None]:
    """Yield at most so many bytes, in the order of the file."""
    while count > 0:
        chunk = await in_thread(file.read, min(count, CHUNK_BYTES))
        if not chunk:
            return
        count -= len(chunk)
        yield chunk
