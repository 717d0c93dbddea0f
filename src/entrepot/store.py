"""The protocols of every place that holds images: a registry, a layout, an archive, our own storage.

Each is scoped to one repository. Together with `entrepot.copying.copy` they are all there is to pull, push,
copy and sync. `entrepot.testing.check_store` is the suite that an implementation has to pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from entrepot.errors import SizeMismatch
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, Verifier
from entrepot.reference import RefName

__all__ = [
    "CHUNK_BYTES",
    "DeletesContent",
    "DescribesBlobs",
    "Destination",
    "MountsBlobs",
    "OpenAt",
    "Origin",
    "Source",
    "Store",
    "read_blob",
    "verified",
]

CHUNK_BYTES = 1 << 20
"""How much of a blob is in the hand at a time."""

OpenAt: TypeAlias = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens a blob at an offset in bytes, as often as need be: whoever writes may have to start again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a blob is known to be: `registry` is `host[:port]`, `repository` a name there."""

    registry: str
    repository: str


@runtime_checkable
class Source(Protocol):
    """A repository that can be read.

    Attributes:
        seekable: Whether `open_blob` can start anywhere without reading what is before.
    """

    seekable: bool

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        """Return what a name or digest stands for, as a plain descriptor.

        Raises:
            ManifestUnknown: There is no such manifest.
            NameUnknown: There is no such repository.
        """

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest, verified: they have this digest and this size.

        Raises:
            ManifestUnknown: There is no such manifest.
            VerificationError: There is one, and it is not what the descriptor says.
        """

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a blob's bytes from `start` up to, not including, `stop`.

        The bytes are **not** verified: a part of a blob cannot be, so whoever reads it all does (`verified`).
        Never gives more than the descriptor's size. Leaving the context early abandons the rest.

        Raises:
            BlobUnknown: There is no such blob; raised on entering.
        """

    def tags(self) -> AsyncIterator[RefName]:
        """Yield the names in the repository, each once, in byte order."""

    def referrers(self, subject: Digest, *, artifact_type: str | None = None) -> AsyncIterator[Descriptor]:
        """Yield the manifests whose subject this is; none when the subject is unknown."""


@runtime_checkable
class Destination(Protocol):
    """A repository that can be written. What a method has returned from is durable and stays."""

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there, with this size; then it need not be written."""

    async def has_manifest(self, digest: Digest) -> bool:
        """Tell whether the manifest is there."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        """Write a blob, verified against its descriptor before anybody can see it.

        Idempotent. Cancelled or failed, it leaves nothing visible. Two at once for one digest both succeed.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
        """

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        """Write a manifest and make these names point at it, all or nothing. Idempotent.

        Everything that the manifest is made of has been written before.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
            ManifestBlobUnknown: Something that it is made of is absent, and the store insists on it.
        """


@runtime_checkable
class Store(Source, Destination, Protocol):
    """A repository that can be read and written."""


@runtime_checkable
class MountsBlobs(Protocol):
    """A destination that can take a blob from a neighbour without its bytes being moved."""

    async def mount(self, digest: Digest, origin: Origin) -> bool:
        """Take the blob from there if that is possible; False when it has to be written after all."""


@runtime_checkable
class DeletesContent(Protocol):
    """A repository whose content can be taken away."""

    async def delete_tag(self, name: RefName) -> None:
        """Take the name away; the manifest stays.

        Raises:
            ManifestUnknown: There is no such name.
            Unsupported: This store cannot take a name away without its manifest.
        """

    async def delete_manifest(self, digest: Digest) -> None:
        """Take the manifest away and every name that points at it.

        Raises:
            ManifestUnknown: There is no such manifest.
        """

    async def delete_blob(self, digest: Digest) -> None:
        """Take the blob away.

        Raises:
            BlobUnknown: There is no such blob.
        """


@runtime_checkable
class DescribesBlobs(Protocol):
    """A repository that knows how big a blob is of which only the digest is known."""

    async def describe_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of the blob, of media type `application/octet-stream`.

        Raises:
            BlobUnknown: There is no such blob.
        """


async def verified(chunks: AsyncIterator[bytes], descriptor: Descriptor) -> AsyncIterator[bytes]:
    """Pass a whole blob through, checking it. The last chunk has been passed on before the check can fail.

    Raises:
        VerificationError: The bytes are not what the descriptor says.
    """
    verifier = Verifier(descriptor.digest, descriptor.size)
    async for chunk in chunks:
        verifier.update(chunk)
        yield chunk
    verifier.finish()


async def read_blob(source: Source, descriptor: Descriptor, *, max_bytes: int) -> bytes:
    """Read a small blob, such as a config, into memory, verified.

    Raises:
        BlobUnknown: There is no such blob.
        SizeMismatch: It has more than `max_bytes`, or not the size that the descriptor says.
        DigestMismatch: It has another digest.
    """
    if descriptor.size > max_bytes:
        raise SizeMismatch(expected=max_bytes, actual=descriptor.size, digest=descriptor.digest)
    content = bytearray()
    async with source.open_blob(descriptor) as chunks:
        async for chunk in verified(chunks, descriptor):
            content += chunk
    return bytes(content)
