"""The catalog's statements: which repository has what, and what points at what.

Functions that take a `Transaction` are made to be awaited inside one. Every rule about leases and closures
lives here, above both databases.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from entrepot.errors import BlobUnknown, BlobUploadUnknown, ManifestUnknown, NameUnknown, Unsupported
from entrepot.graph import Edge, Kind
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest, encode
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import statements as sql
from entrepot.storage.content import StoredBlob, StoredManifest, UploadId
from entrepot.storage.database import Database, Transaction

__all__ = ["Catalog"]

T = TypeVar("T")

_IN_LIST = 500
"""How many digests one statement names."""

_LEASED = {
    Kind.BLOB: (sql.present_blobs, sql.touch_blobs),
    Kind.MANIFEST: (sql.present_manifests, sql.touch_manifests),
}


class Catalog:
    """What the registry knows, on any `Database`.

    Args:
        database: Open, and migrated.
        lease_seconds: How long a promise "it is there" may be relied on.
    """

    def __init__(self, database: Database, *, lease_seconds: int) -> None:
        self.database = database
        self._half_lease_ms = lease_seconds * 1000 // 2

    # Reading

    async def find_manifest(
        self, name: RepositoryName, reference: Tag | Digest, *, renew: bool
    ) -> StoredManifest:
        """Return the manifest that a tag or digest stands for.

        Args:
            name: The repository.
            reference: What to look for.
            renew: Renew its lease if more than half of it is used, durably, before returning.

        Raises:
            NameUnknown: There is no such repository.
            ManifestUnknown: It has no such manifest.
            Unavailable: The lease cannot be renewed.
        """
        statement = sql.MANIFEST_BY_DIGEST if isinstance(reference, Digest) else sql.MANIFEST_BY_TAG
        row = await self.database.point(statement, name, reference)
        if row is None:
            await self._require_repository(name)
            raise _manifest_unknown(name, reference)
        digest, media_type, size, subject, age = row
        if renew and age > self._half_lease_ms and not await self._renew(sql.TOUCH_MANIFEST, name, digest):
            raise _manifest_unknown(name, reference)
        return _stored_manifest(digest, media_type, size, subject)

    async def find_blob(self, name: RepositoryName, digest: Digest, *, renew: bool) -> StoredBlob:
        """Return a blob of the repository; see `find_manifest`.

        Raises:
            NameUnknown: There is no such repository.
            BlobUnknown: It has no such blob.
            Unavailable: The lease cannot be renewed.
        """
        row = await self.database.point(sql.FIND_BLOB, name, digest)
        if row is None:
            await self._require_repository(name)
            raise _blob_unknown(name, digest)
        size, location, age = row
        if renew and age > self._half_lease_ms and not await self._renew(sql.TOUCH_BLOB, name, digest):
            raise _blob_unknown(name, digest)
        return StoredBlob(digest, size, location)

    async def _renew(self, touch: str, name: RepositoryName, digest: str) -> bool:
        """Renew a lease; False when what it is for has been taken away since it was found."""

        async def work(tx: Transaction) -> bool:
            return bool(await tx.fetch(touch, name, digest))

        return await self.database.transaction(work)

    async def content(self, digest: Digest, size: int) -> bytes | None:
        """Return a manifest's bytes."""
        if size <= 65_536:
            row = await self.database.point(sql.MANIFEST_CONTENT, digest)
            return row[0] if row else None
        rows = await self.database.scan(sql.MANIFEST_CONTENT, digest)
        return rows[0][0] if rows else None

    async def tags(self, name: RepositoryName, *, limit: int, last: str) -> list[Tag]:
        """Return at most `limit` tags behind `last`, in byte order.

        Raises:
            NameUnknown: There is no such repository.
        """
        rows = await self.database.scan(sql.LIST_TAGS, name, last, limit)
        if not rows:
            await self._require_repository(name)
        return [Tag(row[0]) for row in rows]

    async def referrers(
        self, name: RepositoryName, subject: Digest, *, artifact_type: str | None, limit: int, last: str
    ) -> list[bytes]:
        """Return at most `limit` encoded descriptors behind `last`, in the order of their digests."""
        if artifact_type is None:
            rows = await self.database.scan(sql.LIST_REFERRERS, name, subject, last, limit)
        else:
            rows = await self.database.scan(
                sql.LIST_REFERRERS_OF_TYPE, name, subject, last, limit, artifact_type
            )
        return [row[0] for row in rows]

    async def repositories(self, *, limit: int, last: str) -> list[RepositoryName]:
        """Return at most `limit` repositories with a manifest, behind `last`, in byte order."""
        rows = await self.database.scan(sql.LIST_REPOSITORIES, last, limit)
        return [RepositoryName(row[0]) for row in rows]

    async def _require_repository(self, name: RepositoryName) -> None:
        if await self.database.point(sql.FIND_REPOSITORY, name) is None:
            raise _name_unknown(name)

    # Manifests

    async def put_manifest(
        self,
        name: RepositoryName,
        manifest: Manifest,
        required: Sequence[Edge],
        references: Sequence[tuple[str, str]],
        tags: Collection[Tag],
    ) -> list[Digest]:
        """Take a manifest and point tags at it, in one transaction, unless something that it needs is missing.

        Args:
            name: The repository; made when it is not there.
            manifest: What to store.
            required: What must be there.
            references: (child, kind) of all that it points at.
            tags: Names to point at it.

        Returns:
            What is missing, in the order of `required`; then nothing was changed.
        """

        async def work(tx: Transaction) -> list[Digest]:
            repository = await _ensure_repository(tx, name)
            missing = await self._missing(tx, repository, required)
            if missing:
                raise _Missing(missing)
            await _insert_manifest(tx, repository, manifest)
            await _insert_references(tx, repository, manifest, references)
            for tag in sorted(tags):
                await _set_tag(tx, repository, tag, manifest.digest)
            return []

        try:
            return await self.database.transaction(work)
        except _Missing as refusal:
            return refusal.digests

    async def _missing(self, tx: Transaction, repository: int, required: Sequence[Edge]) -> list[Digest]:
        """Return what is not there, and renew the leases of what is."""
        blobs = {edge.descriptor.digest for edge in required if edge.kind is not Kind.MANIFEST}
        manifests = {edge.descriptor.digest for edge in required if edge.kind is not Kind.BLOB}
        found_blobs = await self._present(tx, Kind.BLOB, repository, blobs)
        found_manifests = await self._present(tx, Kind.MANIFEST, repository, manifests)
        # a dictionary: a manifest of 4 MiB names tens of thousands, and every writer waits for this one
        missing: dict[Digest, None] = {}
        for edge in required:
            digest = edge.descriptor.digest
            there = (edge.kind is not Kind.MANIFEST and digest in found_blobs) or (
                edge.kind is not Kind.BLOB and digest in found_manifests
            )
            if not there:
                missing[digest] = None
        return list(missing)

    async def _present(
        self, tx: Transaction, kind: Kind, repository: int, digests: Iterable[Digest]
    ) -> set[str]:
        present, touch = _LEASED[kind]
        found: set[str] = set()
        # in digest order, so that two transactions never wait for each other
        for some in _slices(sorted(digests), _IN_LIST):
            rows = await tx.fetch(present(len(some)), repository, *some)
            found.update(row[0] for row in rows)
            old = [row[0] for row in rows if row[1] > self._half_lease_ms]
            if old:
                await tx.execute(touch(len(old)), repository, *old)
        return found

    async def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        """Take a tag away.

        Raises:
            NameUnknown: There is no such repository.
            ManifestUnknown: It has no such tag.
        """

        async def work(tx: Transaction) -> None:
            repository = await _repository(tx, name)
            rows = await tx.fetch(sql.DELETE_TAG, repository, tag)
            if not rows:
                raise ManifestUnknown(
                    f"the repository {name} has no such tag: {tag}", detail={"name": name, "tag": tag}
                )
            await _remember(tx, repository, tag, None)

        await self.database.transaction(work)

    async def delete_manifest(self, name: RepositoryName, digest: Digest) -> None:
        """Take a manifest away, and every tag that points at it; its bytes too, if no other repository has it.

        Raises:
            NameUnknown: There is no such repository.
            ManifestUnknown: It has no such manifest.
        """

        async def work(tx: Transaction) -> None:
            repository = await _repository(tx, name)
            tags = await tx.fetch(sql.DELETE_TAGS_OF, repository, digest)
            for (tag,) in sorted(tags):
                await _remember(tx, repository, tag, None)
            rows = await tx.fetch(sql.DELETE_MANIFEST, repository, digest)
            if not rows:
                raise _manifest_unknown(name, digest)
            await tx.execute(sql.DELETE_CONTENT, digest)

        await self.database.transaction(work)

    # Blobs

    async def delete_blob(self, name: RepositoryName, digest: Digest) -> None:
        """Take the repository's link to a blob away; its bytes are the collector's business.

        Raises:
            NameUnknown: There is no such repository.
            BlobUnknown: It has no such blob.
            Unsupported: A manifest of the repository is made of it.
        """

        async def work(tx: Transaction) -> None:
            repository = await _repository(tx, name)
            rows = await tx.fetch(sql.LOCK_LINK, repository, digest)
            if not rows:
                raise _blob_unknown(name, digest)
            # a statement of its own: one that does both would look at the past of whoever it had to wait for
            used = await tx.fetch(sql.FIND_USER_OF_BLOB, repository, digest)
            if used:
                raise Unsupported(
                    f"the blob is used by a manifest, {used[0][0]}: {digest}",
                    hint="delete the manifest first",
                )
            await tx.execute(sql.DELETE_LINK, repository, digest)

        await self.database.transaction(work)

    async def mount_blob(
        self, name: RepositoryName, digest: Digest, source: RepositoryName | None
    ) -> StoredBlob | None:
        """Link a blob that a neighbour has, and return it; None when there is no such neighbour.

        Args:
            name: The repository that wants it.
            digest: The blob.
            source: The neighbour; None for whichever has it.
        """

        async def work(tx: Transaction) -> StoredBlob | None:
            if source is None:
                rows = await tx.fetch(sql.FIND_BLOB_ANYWHERE, digest)
            else:
                rows = await tx.fetch(sql.FIND_BLOB, source, digest)
            if not rows:
                return None
            await _link_blob(tx, await _ensure_repository(tx, name), digest)
            return StoredBlob(digest, rows[0][0], rows[0][1])

        return await self.database.transaction(work)

    # Uploads

    async def begin_upload(self, name: RepositoryName, upload: UploadId, algorithm: str) -> None:
        """Enter an upload, in its first epoch."""

        async def work(tx: Transaction) -> None:
            repository = await _ensure_repository(tx, name)
            await tx.execute(sql.INSERT_UPLOAD, upload, repository, algorithm)

        await self.database.transaction(work)

    async def find_upload(self, name: RepositoryName, upload: UploadId) -> tuple[int, str]:
        """Return an upload's epoch and digest algorithm.

        Raises:
            BlobUploadUnknown: The repository has no such upload, whoever else may have it.
        """
        row = await self.database.point(sql.FIND_UPLOAD, name, upload)
        if row is None:
            raise _upload_unknown(name, upload)
        return row[0], row[1]

    async def raise_epoch(self, name: RepositoryName, upload: UploadId) -> int:
        """Make the caller's request the newest one of the upload, and return its epoch.

        Raises:
            BlobUploadUnknown: The repository has no such upload.
        """

        async def work(tx: Transaction) -> int:
            rows = await tx.fetch(sql.RAISE_EPOCH, upload, name)
            if not rows:
                raise _upload_unknown(name, upload)
            epoch: int = rows[0][0]
            return epoch

        return await self.database.transaction(work)

    async def touch_upload(self, upload: UploadId) -> None:
        """Remember that an upload is not idle."""

        async def work(tx: Transaction) -> None:
            await tx.execute(sql.TOUCH_UPLOAD, upload)

        await self.database.transaction(work)

    async def finish_upload(self, upload: UploadId, blob: StoredBlob) -> StoredBlob | None:
        """End an upload whose bytes are durable at `blob.location`, and link the blob.

        Called by who holds the bytes: a newer request that waits for them has not written any.

        Returns:
            The blob, at the location that counts: if it was known before, ours becomes garbage. None when
            somebody else has ended the upload.
        """

        async def work(tx: Transaction) -> StoredBlob | None:
            ended = await tx.fetch(sql.FINISH_UPLOAD, upload)
            if not ended:
                return None
            rows = await tx.fetch(sql.UPSERT_BLOB, blob.digest, blob.size, blob.location)
            location: str = rows[0][0]
            await _link_blob(tx, ended[0][0], blob.digest)
            if location != blob.location:
                await tx.execute(sql.INSERT_GARBAGE, blob.location)
            return StoredBlob(blob.digest, blob.size, location)

        return await self.database.transaction(work)

    async def remove_upload(self, name: RepositoryName, upload: UploadId) -> None:
        """Take an upload away.

        Raises:
            BlobUploadUnknown: The repository has no such upload.
        """

        async def work(tx: Transaction) -> None:
            rows = await tx.fetch(sql.DELETE_UPLOAD, upload, name)
            if not rows:
                raise _upload_unknown(name, upload)

        await self.database.transaction(work)

    # Upkeep

    async def idle_uploads(self, *, idle_seconds: int, limit: int) -> list[UploadId]:
        """Return uploads that no request has touched for so long."""
        rows = await self.database.scan(sql.LIST_IDLE_UPLOADS, idle_seconds * 1000, limit)
        return [UploadId(row[0]) for row in rows]

    async def expire_upload(self, upload: UploadId, *, idle_seconds: int) -> bool:
        """Take an upload away if it is idle still."""

        async def work(tx: Transaction) -> bool:
            return bool(await tx.fetch(sql.EXPIRE_UPLOAD, upload, idle_seconds * 1000))

        return await self.database.transaction(work)

    async def known_uploads(self, uploads: Sequence[UploadId]) -> set[str]:
        """Return which of these have a row."""
        known: set[str] = set()
        for some in _slices(uploads, _IN_LIST):
            rows = await self.database.scan(sql.known_uploads(len(some)), *some)
            known.update(row[0] for row in rows)
        return known

    async def garbage(self, *, limit: int) -> list[str]:
        """Return locations that no blob names any more."""
        return [row[0] for row in await self.database.scan(sql.LIST_GARBAGE, limit)]

    async def forget_garbage(self, locations: Sequence[str]) -> None:
        """Strike locations whose bytes are gone off the list."""

        async def work(tx: Transaction) -> None:
            for location in locations:
                await tx.execute(sql.DELETE_GARBAGE, location)

        await self.database.transaction(work)


class _Missing(Exception):  # noqa: N818 - carries a result out of a transaction that must be undone
    def __init__(self, digests: list[Digest]) -> None:
        super().__init__()
        self.digests = digests


@lru_cache(maxsize=4096)
def _stored_manifest(digest: str, media_type: str, size: int, subject: str | None) -> StoredManifest:
    """Return what a row says; the same few manifests are pulled all day."""
    return StoredManifest(Digest(digest), media_type, size, Digest(subject) if subject else None)


async def _repository(tx: Transaction, name: RepositoryName) -> int:
    rows = await tx.fetch(sql.FIND_REPOSITORY, name)
    if not rows:
        raise _name_unknown(name)
    number: int = rows[0][0]
    return number


async def _ensure_repository(tx: Transaction, name: RepositoryName) -> int:
    rows = await tx.fetch(sql.FIND_REPOSITORY, name)
    if not rows:
        rows = await tx.fetch(sql.INSERT_REPOSITORY, name)
    number: int = rows[0][0]
    return number


async def _link_blob(tx: Transaction, repository: int, digest: Digest) -> None:
    await tx.execute(sql.LINK_BLOB, repository, digest)


async def _insert_manifest(tx: Transaction, repository: int, manifest: Manifest) -> None:
    await tx.execute(sql.INSERT_CONTENT, manifest.digest, manifest.raw)
    await tx.execute(
        sql.UPSERT_MANIFEST,
        repository,
        manifest.digest,
        manifest.media_type,
        manifest.artifact_type,
        manifest.subject.digest if manifest.subject else None,
        len(manifest.raw),
    )


async def _insert_references(
    tx: Transaction, repository: int, manifest: Manifest, references: Sequence[tuple[str, str]]
) -> None:
    for child, kind in sorted(set(references)):
        await tx.execute(sql.INSERT_REFERENCE, repository, manifest.digest, child, kind)
    if manifest.subject is not None:
        await tx.execute(
            sql.UPSERT_REFERRER,
            repository,
            manifest.subject.digest,
            manifest.digest,
            manifest.artifact_type,
            encode(manifest.as_referrer()),
        )


async def _set_tag(tx: Transaction, repository: int, tag: Tag, digest: Digest) -> None:
    before = await tx.fetch(sql.FIND_TAG, repository, tag)
    if before and before[0][0] == digest:
        return
    await tx.execute(sql.UPSERT_TAG, repository, tag, digest)
    await _remember(tx, repository, tag, digest)


async def _remember(tx: Transaction, repository: int, tag: str, digest: Digest | None) -> None:
    await tx.execute(sql.REMEMBER_TAG, repository, tag, digest)


def _name_unknown(name: RepositoryName) -> NameUnknown:
    return NameUnknown(f"the registry has no such repository: {name}", detail={"name": name})


def _manifest_unknown(name: RepositoryName, reference: str) -> ManifestUnknown:
    return ManifestUnknown(
        f"the repository {name} has no such manifest: {reference}",
        detail={"name": name, "reference": reference},
    )


def _blob_unknown(name: RepositoryName, digest: Digest) -> BlobUnknown:
    return BlobUnknown(
        f"the repository {name} has no such blob: {digest}", detail={"name": name, "digest": digest}
    )


def _upload_unknown(name: RepositoryName, upload: UploadId) -> BlobUploadUnknown:
    return BlobUploadUnknown(
        f"the repository {name} has no such upload, it may have ended or expired: {upload}",
        detail={"upload": upload},
    )


def _slices(items: Iterable[T], length: int) -> Iterable[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, length)):
        yield some
