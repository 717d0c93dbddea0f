"""A repository of the registry's own storage: a `Store`, and what the server needs beyond that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import anyio

from entrepot.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    DigestMismatch,
    InvalidDocument,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    SizeMismatch,
    StoreError,
    Unavailable,
    UnsupportedDocument,
    UnsupportedMediaType,
)
from entrepot.graph import Edge, Kind, edges
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest, decode, parse_manifest
from entrepot.reference import RefName, RepositoryName, Tag
from entrepot.storage.blobfiles import BlobFiles, BlobReader
from entrepot.storage.catalog import Catalog
from entrepot.storage.content import PutManifest, StoredBlob, StoredManifest, UploadId, UploadStatus
from entrepot.storage.settings import AllowMissing, StorageSettings
from entrepot.storage.threads import Threads
from entrepot.storage.uploads import Uploads
from entrepot.store import CHUNK_BYTES, OpenAt, Origin, verified

__all__ = ["ManifestCache", "Repository"]

_PAGE = 1000
_INLINE_BYTES = 64 * 1024
"""Up to here a manifest is parsed and hashed on the loop's thread."""


class ManifestCache:
    """Manifests' bytes by digest, the most recently used ones. They never change, so they are never stale.

    Whether a repository *has* a manifest is not kept: that is asked every time.

    Args:
        max_bytes: How much is kept.
    """

    def __init__(self, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._content: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        """Return the bytes if they are kept."""
        raw = self._content.get(digest)
        if raw is not None:
            self._content.move_to_end(digest)
        return raw

    def put(self, digest: Digest, raw: bytes) -> None:
        """Keep bytes, and let go of those that have not been used for longest."""
        if digest in self._content or len(raw) > self._max_bytes // 4:
            return
        self._content[digest] = raw
        self._bytes += len(raw)
        while self._bytes > self._max_bytes:
            _, dropped = self._content.popitem(last=False)
            self._bytes -= len(dropped)


class Repository:
    """One repository. Making one costs nothing and does not mean that it exists.

    Attributes:
        name: Of the repository.
        seekable: Blobs can be opened anywhere.
    """

    seekable = True

    def __init__(
        self,
        name: RepositoryName,
        settings: StorageSettings,
        catalog: Catalog,
        files: BlobFiles,
        uploads: Uploads,
        cache: ManifestCache,
        threads: Threads,
    ) -> None:
        self.name = name
        self._settings = settings
        self._catalog = catalog
        self._files = files
        self._uploads = uploads
        self._cache = cache
        self._threads = threads

    # What the server asks

    async def find_manifest(self, reference: Tag | Digest, *, renew: bool = False) -> StoredManifest:
        """Return what a tag or digest stands for.

        Args:
            reference: What to look for.
            renew: Renew its lease, because whoever asks may push and rely on the answer.

        Raises:
            NameUnknown: There is no such repository.
            ManifestUnknown: It has no such manifest.
            Unavailable: The lease cannot be renewed.
        """
        return await self._catalog.find_manifest(self.name, reference, renew=renew)

    async def manifest_bytes(self, manifest: StoredManifest) -> bytes:
        """Return a manifest's bytes.

        Raises:
            ManifestUnknown: It was taken away meanwhile.
        """
        raw = self._cache.get(manifest.digest)
        if raw is None:
            raw = await self._catalog.content(manifest.digest, manifest.size)
            if raw is None:
                raise ManifestUnknown(f"the repository {self.name} has no such manifest: {manifest.digest}")
            self._cache.put(manifest.digest, raw)
        return raw

    async def find_blob(self, digest: Digest, *, renew: bool = False) -> StoredBlob:
        """Return a blob; see `find_manifest` about leases.

        Raises:
            NameUnknown: There is no such repository.
            BlobUnknown: It has no such blob.
            Unavailable: The lease cannot be renewed.
        """
        return await self._catalog.find_blob(self.name, digest, renew=renew)

    async def open_stored_blob(self, blob: StoredBlob) -> BlobReader:
        """Open a blob's bytes; the caller closes them.

        Raises:
            BlobUnknown: They are gone.
        """
        try:
            return await self._files.open(blob.location)
        except FileNotFoundError:
            # replaced and collected since we asked: the catalog knows where it is now
            blob = await self._catalog.find_blob(self.name, blob.digest, renew=False)
        try:
            return await self._files.open(blob.location)
        except FileNotFoundError:
            raise BlobUnknown(
                f"the blob's bytes are gone: {blob.digest}", detail={"digest": blob.digest}
            ) from None

    async def begin_upload(self, *, algorithm: str = "sha256") -> UploadStatus:
        """Begin an upload; see `Uploads.begin`."""
        return await self._uploads.begin(self.name, algorithm=algorithm)

    async def upload_status(self, upload: UploadId) -> UploadStatus:
        """Return where an upload stands; see `Uploads.status`."""
        return await self._uploads.status(self.name, upload)

    async def append_upload(
        self, upload: UploadId, body: AsyncIterator[bytes], *, start: int | None, length: int | None
    ) -> UploadStatus:
        """Append to an upload; see `Uploads.append`."""
        return await self._uploads.append(self.name, upload, body, start=start, length=length)

    async def complete_upload(
        self,
        upload: UploadId,
        digest: Digest,
        body: AsyncIterator[bytes] | None,
        *,
        start: int | None,
        length: int | None,
    ) -> StoredBlob:
        """Make an upload a blob; see `Uploads.complete`."""
        return await self._uploads.complete(self.name, upload, digest, body, start=start, length=length)

    async def cancel_upload(self, upload: UploadId) -> None:
        """End an upload without a blob; see `Uploads.cancel`."""
        await self._uploads.cancel(self.name, upload)

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> StoredBlob | None:
        """Take a blob from a neighbour, or from whichever has it; None when that is not possible."""
        return await self._catalog.mount_blob(self.name, digest, source)

    async def put_manifest(
        self, raw: bytes, *, media_type: str | None, digest: Digest | None = None, tags: Collection[Tag] = ()
    ) -> PutManifest:
        """Take a manifest and point tags at it: all of that or nothing, durable when this returns.

        Args:
            raw: Its bytes, kept exactly.
            media_type: The Content-Type it came with.
            digest: What it must hash to; its algorithm is the one it is stored under.
            tags: Names for it.

        Raises:
            ManifestTooLarge: It has more bytes than are taken.
            DigestInvalid: It does not hash to `digest`.
            UnsupportedMediaType: We do not know this kind of manifest.
            ManifestInvalid: It is not what its media type says.
            ManifestBlobUnknown: Some of what it needs is missing; names all of it.
        """
        limit = self._settings.max_manifest_bytes
        if len(raw) > limit:
            raise ManifestTooLarge(f"a manifest has at most {limit} bytes, this has {len(raw)}")
        if len(raw) <= _INLINE_BYTES:
            manifest = _parse(raw, media_type, digest)
        else:
            manifest = await self._threads.run(_parse, raw, media_type, digest)
        required, references = _closure(manifest, self._settings.allow_missing)
        missing = await self._catalog.put_manifest(self.name, manifest, required, references, tags)
        if missing:
            named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise ManifestBlobUnknown(
                f"the repository {self.name} does not have what the manifest is made of: {named}",
                missing=missing,
            )
        self._cache.put(manifest.digest, raw)
        subject = manifest.subject.digest if manifest.subject else None
        return PutManifest(manifest.digest, manifest.media_type, subject, tuple(tags))

    async def list_tags(self, *, n: int | None = None, last: str = "") -> list[Tag]:
        """Return at most `n` tags behind `last`, or all of them, in byte order.

        Raises:
            NameUnknown: There is no such repository.
        """
        if n is not None:
            return await self._catalog.tags(self.name, limit=n, last=last)
        page = await self._catalog.tags(self.name, limit=_PAGE, last=last)
        found = list(page)
        while len(page) == _PAGE:
            page = await self._catalog.tags(self.name, limit=_PAGE, last=page[-1])
            found += page
        return found

    async def list_referrers(
        self, subject: Digest, *, artifact_type: str | None, n: int, last: str = ""
    ) -> list[Descriptor]:
        """Return at most `n` referrers behind the digest `last`, in the order of their digests.

        A manifest is listed from the moment it is pushed, whether its client knows the referrers API or
        maintains the fallback tag: what such a tag lists in this repository is in here for that reason.
        """
        rows = await self._catalog.referrers(
            self.name, subject, artifact_type=artifact_type, limit=n, last=last
        )
        return [decode(row, Descriptor) for row in rows]

    # Source

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        """See `Source.resolve`."""
        wanted = reference if isinstance(reference, Digest) else Tag(reference)
        found = await self.find_manifest(wanted)
        return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size)

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        """See `Source.read_manifest`."""
        found = await self.find_manifest(descriptor.digest)
        if found.size != descriptor.size:
            raise SizeMismatch(expected=descriptor.size, actual=found.size, digest=descriptor.digest)
        raw = await self.manifest_bytes(found)
        actual = Digest.of(raw, descriptor.digest.algorithm)
        if actual != descriptor.digest:
            raise DigestMismatch(expected=descriptor.digest, actual=actual)
        return raw

    @asynccontextmanager
    async def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Source.open_blob`."""
        try:
            reader = await self.open_stored_blob(await self.find_blob(descriptor.digest))
        except NameUnknown as error:
            raise BlobUnknown(error.message) from error
        try:
            end = (
                min(descriptor.size, reader.size) if stop is None else min(stop, descriptor.size, reader.size)
            )
            yield _chunks(reader, start, end)
        finally:
            reader.close()

    async def tags(self) -> AsyncIterator[RefName]:
        """See `Source.tags`."""
        try:
            found = await self.list_tags()
        except NameUnknown:
            return
        for tag in found:
            yield tag

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        """See `Source.referrers`."""
        last = ""
        while page := await self.list_referrers(subject, artifact_type=artifact_type, n=100, last=last):
            for descriptor in page:
                yield descriptor
            last = page[-1].digest

    # Destination

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """See `Destination.has_blob`."""
        try:
            found = await self.find_blob(descriptor.digest, renew=True)
        except (BlobUnknown, NameUnknown):
            return False
        return found.size == descriptor.size

    async def has_manifest(self, digest: Digest) -> bool:
        """See `Destination.has_manifest`."""
        try:
            await self.find_manifest(digest, renew=True)
        except (ManifestUnknown, NameUnknown):
            return False
        return True

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        """See `Destination.write_blob`."""
        if await self.has_blob(descriptor):
            return
        upload = (await self.begin_upload(algorithm=descriptor.digest.algorithm)).upload
        try:
            async with open_at(0) as chunks:
                await self.complete_upload(
                    upload, descriptor.digest, verified(chunks, descriptor), start=0, length=None
                )
        except BaseException:
            # where it cannot be ended now, it ends by being idle; what has gone wrong is the other error
            with anyio.CancelScope(shield=True), suppress(BlobUploadUnknown, Unavailable, StoreError):
                await self.cancel_upload(upload)
            raise

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        """See `Destination.write_manifest`."""
        if len(raw) != descriptor.size:
            raise SizeMismatch(expected=descriptor.size, actual=len(raw), digest=descriptor.digest)
        tags = [Tag(name) for name in names]
        try:
            await self.put_manifest(
                raw, media_type=descriptor.media_type, digest=descriptor.digest, tags=tags
            )
        except DigestInvalid as error:
            raise DigestMismatch(
                expected=descriptor.digest, actual=Digest.of(raw, descriptor.digest.algorithm)
            ) from error

    # Optional powers

    async def mount(self, digest: Digest, origin: Origin) -> bool:
        """See `MountsBlobs.mount`; the origin's registry has to be this one, which the caller knows."""
        return await self.mount_blob(digest, RepositoryName(origin.repository)) is not None

    async def delete_tag(self, name: RefName) -> None:
        """See `DeletesContent.delete_tag`."""
        await self._catalog.delete_tag(self.name, Tag(name))

    async def delete_manifest(self, digest: Digest) -> None:
        """See `DeletesContent.delete_manifest`."""
        await self._catalog.delete_manifest(self.name, digest)

    async def delete_blob(self, digest: Digest) -> None:
        """See `DeletesContent.delete_blob`.

        Raises:
            Unsupported: A manifest of the repository is made of it.
        """
        await self._catalog.delete_blob(self.name, digest)


async def _chunks(reader: BlobReader, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        chunk = await reader.read(start, min(CHUNK_BYTES, end - start))
        if not chunk:
            return
        yield chunk
        start += len(chunk)


def _parse(raw: bytes, media_type: str | None, digest: Digest | None) -> Manifest:
    """Read a manifest that a client has sent, in the specification's errors."""
    actual = Digest.of(raw, digest.algorithm if digest else "sha256")
    if digest is not None and actual != digest:
        raise DigestInvalid(
            f"the manifest has another digest, {actual}: {digest}",
            detail={"expected": digest, "actual": actual},
        )
    try:
        return parse_manifest(raw, media_type, digest=actual)
    except UnsupportedDocument as error:
        raise UnsupportedMediaType(error.message) from error
    except InvalidDocument as error:
        raise ManifestInvalid(error.message, detail={"path": error.path} if error.path else None) from error


def _closure(manifest: Manifest, allow: AllowMissing) -> tuple[list[Edge], list[tuple[str, str]]]:
    """Return what must be in the repository, and (child, kind) of all that the manifest points at."""
    required: list[Edge] = []
    references: list[tuple[str, str]] = []
    for edge in edges(manifest):
        references.append((edge.descriptor.digest, edge.kind.value))
        lenient = allow is AllowMissing.ALL or (
            allow is AllowMissing.MANIFESTS and edge.kind is not Kind.BLOB
        )
        if not edge.optional and not lenient:
            required.append(edge)
    if manifest.subject is not None:
        references.append((manifest.subject.digest, "subject"))
    return required, references
