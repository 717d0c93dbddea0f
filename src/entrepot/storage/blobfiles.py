"""Where blobs' bytes are kept, by digest: the protocol that file systems and object stores implement.

A storage name is never used twice: it ends in the id of the upload that brought the bytes. So removing a name late,
twice, or from a process that has lost its lease cannot take away bytes that somebody else has brought since.
"""

from __future__ import annotations

from typing import Final, Protocol

from entrepot.oci.digest import Digest
from entrepot.storage.content import UploadId

__all__ = ["MAX_PIECES", "BlobFiles", "BlobReader", "Staged"]


MAX_PIECES: Final = 1024
"""What one system call takes (`IOV_MAX`)."""


class BlobReader(Protocol):
    """An open blob.

    Attributes:
        size: In bytes.
    """

    size: int

    async def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset`; fewer only where the blob ends."""

    def close(self) -> None:
        """Give back what the blob holds open. May be called twice."""


class Staged(Protocol):
    """The bytes of one upload, held by one request: nobody else writes them until it is closed."""

    @property
    def length(self) -> int:
        """Return how many bytes there are."""

    async def write(self, *pieces: bytes) -> None:
        """Append these, at most `MAX_PIECES`, one after the other; returns once the bytes would survive the process.

        Raises:
            Unavailable: There is no room.
        """

    async def read(self, offset: int, count: int) -> bytes:
        """Return bytes that were written before; fewer only at their end."""

    async def publish(self, digest: Digest) -> str:
        """Make the bytes durable under a name of their own and return it. Nobody knows the name yet.

        They stay the upload's as well until it is discarded, so whoever is stopped before the name is known to
        the catalog can go on, or publish again.

        Raises:
            FileNotFoundError: Somebody has ended the upload.
            Unavailable, StoreError: They may not be durable; then they may be lost.
        """

    def close(self) -> None:
        """Let others have the upload."""


class BlobFiles(Protocol):
    """Bytes by digest."""

    async def create(self, upload: UploadId) -> None:
        """Begin an upload, whose row is in the catalog already."""

    def length(self, upload: UploadId) -> int:
        """Return how many bytes an upload has.

        Raises:
            FileNotFoundError: It has been discarded.
        """

    async def hold(self, upload: UploadId, *, wait_seconds: float) -> Staged:
        """Take hold of an upload, waiting for whoever has it.

        Raises:
            FileNotFoundError: It has been discarded.
            TimeoutError: Somebody else does not let go.
        """

    async def discard(self, upload: UploadId) -> None:
        """Remove the bytes of an upload that has no row any more; nothing happens when they are gone already."""

    def uploads(self) -> list[UploadId]:
        """Return the uploads that have bytes."""

    async def open(self, location: str) -> BlobReader:
        """Open a blob.

        Raises:
            FileNotFoundError: There is nothing at this location.
        """

    async def remove(self, location: str) -> None:
        """Remove a blob's bytes; nothing happens when they are gone already."""
