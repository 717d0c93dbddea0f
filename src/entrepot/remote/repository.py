"""One repository on a registry, as a store (distribution-spec, "Endpoints")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio

from entrepot.errors import (
    DigestInvalid,
    DigestMismatch,
    InvalidDocument,
    ManifestUnknown,
    NameUnknown,
    ProtocolViolation,
    RegistryError,
    SizeMismatch,
    Unsupported,
    VerificationError,
)
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, Verifier
from entrepot.oci.document import Manifest, parse_manifest
from entrepot.reference import RefName, RepositoryName, Tag
from entrepot.remote.downloads import download
from entrepot.remote.endpoints import Endpoints
from entrepot.remote.listings import tags_of
from entrepot.remote.message import Request
from entrepot.remote.pages import pages
from entrepot.remote.referrers import ReferrersTag, listed_referrers
from entrepot.remote.session import Response
from entrepot.remote.transport import Transport
from entrepot.remote.uploads import BlobUpload, cancel_upload
from entrepot.remote.urls import Hop
from entrepot.store import OpenAt, Origin

__all__ = ["RemoteRepository"]

_SAYS_NOTHING = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


class RemoteRepository:
    """A repository on a registry. Implements `Store`, `MountsBlobs` and `DeletesContent`.

    Nothing is cached: each call asks the registry. Several calls may go on at once.

    Args:
        transport: The conversation with its registry.
        name: The repository's name there.
    """

    seekable = True

    def __init__(self, transport: Transport, name: RepositoryName) -> None:
        self.registry = transport.peer
        self.name = name
        self._transport = transport
        self._endpoints = Endpoints(transport.peer, name)
        self._begun: dict[Digest, Hop] = {}
        self._referrers_lock = anyio.Lock()

    def __repr__(self) -> str:
        return f"<RemoteRepository {self.registry}/{self.name}>"

    # Source

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        """Return what a tag or digest stands for; one HEAD, if the registry answers it in full.

        A registry that does not is asked for the manifest itself, which is then hashed. So is one that
        refuses a HEAD, because only the answer to a GET has words.

        Raises:
            ManifestUnknown: There is no such manifest.
            NameUnknown: There is no such repository.
            DigestMismatch: It has another digest than was asked for.
            TagInvalid: A name that no registry accepts.
        """
        reference = _reference(reference)
        with suppress(RegistryError):
            descriptor = await self.head_manifest(reference)
            if descriptor is not None:
                return descriptor
        return (await self._get_manifest(reference)).descriptor

    async def head_manifest(self, reference: RefName | Digest) -> Descriptor | None:
        """Return what HEAD says about a manifest; None when it does not say type, size and digest.

        Raises:
            RegistryError: There is none, or the registry refuses; a HEAD has no words that say why.
            DigestMismatch: It has another digest than was asked for.
        """
        reference = _reference(reference)
        request = self._endpoints.manifest("HEAD", reference, "what is it?")
        async with self._transport.exchange(request) as response:
            media_type = mediatype.without_parameters(response.headers.get("Content-Type", ""))
            digest = self._said_digest(response, reference)
            size = response.content_length
        if (
            digest is None
            or size is None
            or media_type in _SAYS_NOTHING
            or not mediatype.is_valid(media_type)
        ):
            return None
        return Descriptor(media_type=media_type, digest=digest, size=size)

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest, verified: they have this digest and this size.

        Raises:
            ManifestUnknown: There is no such manifest.
            VerificationError: There is one, and it is not what the descriptor says.
        """
        most = self._transport.options.limits.max_manifest_bytes
        if descriptor.size > most:
            raise SizeMismatch(expected=most, actual=descriptor.size, digest=descriptor.digest)
        accept = (
            f"{descriptor.media_type}, */*"
            if mediatype.is_valid(descriptor.media_type)
            else mediatype.MANIFEST_ACCEPT
        )
        request = self._endpoints.manifest("GET", descriptor.digest, "read it", accept=accept)
        verifier = Verifier(descriptor.digest, descriptor.size)
        content = bytearray()
        async with self._transport.exchange(request) as response:
            async for chunk in response.chunks():
                verifier.update(chunk)
                content += chunk
        verifier.finish()
        return bytes(content)

    def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a blob's bytes from `start` up to, not including, `stop`; not verified, but counted.

        Raises:
            BlobUnknown: There is no such blob; raised on entering.
            SizeMismatch: It has another size than the descriptor says.
        """
        end = descriptor.size if stop is None else min(stop, descriptor.size)
        if start >= end and start:
            return _nothing()
        phase = "read it" if (start, end) == (0, descriptor.size) else f"read bytes {start}-{end - 1}"
        return download(
            self._transport, self._endpoints.blob("GET", descriptor.digest, phase), descriptor, start, end
        )

    async def describe_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of a blob of which only the digest is known; one HEAD.

        Raises:
            BlobUnknown: There is no such blob.
            ProtocolViolation: The registry does not say how big it is.
        """
        async with self._transport.exchange(
            self._endpoints.blob("HEAD", digest, "how big is it?")
        ) as response:
            size = response.content_length
        if size is None:
            raise ProtocolViolation(
                f"{self.registry} does not say how big a blob is: {self._endpoints.subject(digest)}",
                peer=self.registry,
            )
        return Descriptor(media_type="application/octet-stream", digest=digest, size=size)

    async def tags(self) -> AsyncIterator[Tag]:
        """Yield the repository's tags in byte order, each once.

        Raises:
            NameUnknown: There is no such repository.
            ProtocolViolation: The registry's list is none, or has no end.
        """
        found: set[Tag] = set()
        async for _, content in pages(self._transport, self._endpoints.tags()):
            found.update(tags_of(content, peer=self.registry))
        # registries may sort them without regard to case, and over several pages
        for tag in sorted(found):
            yield tag

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        """Yield the manifests whose subject this is, by the referrers API, else by the referrers tag.

        Raises:
            ProtocolViolation: The registry's list is none, or has no end.
        """
        listed = await listed_referrers(self._transport, self._endpoints.referrers(subject, artifact_type))
        if listed is None:
            listed = await self._referrers_tag(subject).read()
        for descriptor in listed:
            if artifact_type is None or descriptor.artifact_type == artifact_type:
                yield descriptor

    # Destination

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there, with this size. A registry that does not say the size has not got it."""
        try:
            async with self._transport.exchange(
                self._endpoints.blob("HEAD", descriptor.digest, "there already?", "pull", "push")
            ) as response:
                return response.content_length == descriptor.size
        except RegistryError as error:
            if error.status in {404, 405}:
                return False
            raise

    async def has_manifest(self, digest: Digest) -> bool:
        """Tell whether the manifest is there."""
        try:
            async with self._transport.exchange(
                self._endpoints.manifest("HEAD", digest, "there already?")
            ) as response:
                self._said_digest(response, digest)
                return True
        except RegistryError as error:
            if error.status in {404, 405}:
                return False
            raise

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        """Push a blob, as `RemoteOptions.upload` says. Idempotent.

        Verified twice: by us before its last bytes leave, by the registry before it is visible. Cancelled or
        failed, the upload is cancelled at the registry, as well as can be.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
        """
        location = self._begun.pop(descriptor.digest, None)
        await BlobUpload(self._transport, self._endpoints, descriptor, location=location).write(open_at)

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        """Push a manifest and make these tags point at it. Idempotent.

        Several tags are one request where the registry can ("pushing of tags specified by addition of `tag`
        query parameters"), else one after the other. With a subject, and a registry that does not say that it
        has noticed it, the referrers tag is kept up as well.

        Raises:
            VerificationError: The bytes are not what the descriptor says.
            ManifestBlobUnknown: Something that it is made of is absent; says what.
            TagInvalid: A name that no registry accepts.
        """
        verifier = Verifier(descriptor.digest, descriptor.size)
        verifier.update(raw)
        verifier.finish()
        tags = sorted({Tag(name) for name in names})
        by_digest = len(tags) != 1 or descriptor.digest.algorithm != "sha256"
        left = set(tags)
        noticed = False
        if by_digest:
            headers = await self._put_manifest(descriptor, raw, descriptor.digest, tags)
            left -= _acknowledged(headers)
            noticed = "OCI-Subject" in headers
        for tag in sorted(left):
            headers = await self._put_manifest(descriptor, raw, tag)
            noticed = noticed or "OCI-Subject" in headers
        manifest = _parsed(raw, descriptor)
        if manifest is not None and manifest.subject is not None and not noticed:
            await self._referrers_tag(manifest.subject.digest).add(manifest.as_referrer())

    # MountsBlobs

    async def mount(self, digest: Digest, origin: Origin) -> bool:
        """Take a blob from another repository of the same registry; False when it has to be written after all.

        A registry that cannot begins an upload instead, which the next `write_blob` of this digest goes on
        with. Whatever it says against the mount is no error: the blob can still be written.
        """
        if origin.registry != self.registry:
            return False
        request = self._endpoints.mount(digest, RepositoryName(origin.repository))
        try:
            async with self._transport.exchange(request) as response:
                if response.status == 201 or "Location" not in response.headers:
                    return response.status == 201
                location = response.follow("Location")
        except RegistryError as error:
            if error.status is not None and error.status < 500:
                return False
            raise
        if digest.algorithm == "sha256":
            self._begun[digest] = location
        else:  # this upload was begun without its digest-algorithm
            await self._cancel(digest, location)
        return False

    # DeletesContent

    async def delete_tag(self, name: RefName) -> None:
        """Take a tag away; the manifest stays.

        Raises:
            ManifestUnknown: There is no such tag.
            Unsupported: This registry deletes by digest only, which would take the manifest's other tags too.
        """
        tag = Tag(name)
        try:
            await self._delete(self._endpoints.delete_manifest(tag, "take the tag away"))
        except RegistryError as error:
            if error.status not in {400, 404, 405, 501}:
                raise
            if error.status == 404 and await self._lacks(tag):
                raise
            raise Unsupported(
                f"this registry cannot take a tag away without its manifest: {self._endpoints.subject(tag)}",
                hint="deleting by digest takes the manifest and all of its tags",
                peer=self.registry,
                status=error.status,
            ) from error

    async def delete_manifest(self, digest: Digest) -> None:
        """Take a manifest away and every tag that points at it; the referrers tag of its subject is kept up.

        Raises:
            ManifestUnknown: There is no such manifest.
            Unsupported: The registry does not delete, or was told not to.
        """
        manifest = None
        # damaged, or of a kind that we do not read, it can be deleted all the same
        with suppress(ProtocolViolation, VerificationError):
            manifest = await self._get_manifest(digest)
        await self._delete(self._endpoints.delete_manifest(digest, "take the manifest away"))
        if manifest is not None and manifest.subject is not None:
            subject = manifest.subject.digest
            if await listed_referrers(self._transport, self._endpoints.referrers(subject, None)) is None:
                await self._referrers_tag(subject).remove(digest)

    async def delete_blob(self, digest: Digest) -> None:
        """Take a blob away.

        Raises:
            BlobUnknown: There is no such blob.
            Unsupported: The registry does not delete blobs, or was told not to.
        """
        await self._delete(self._endpoints.blob("DELETE", digest, "take the blob away", "delete"))

    async def abandon(self) -> None:
        """Cancel uploads that a mount began and nobody went on with."""
        while self._begun:
            await self._cancel(*self._begun.popitem())

    # How it is done

    async def _get_manifest(self, reference: Tag | Digest) -> Manifest:
        """Read a manifest whose size nobody has promised, and hash it."""
        async with self._transport.exchange(
            self._endpoints.manifest("GET", reference, "read it")
        ) as response:
            raw = await response.read(self._transport.options.limits.max_manifest_bytes)
            media_type = response.headers.get("Content-Type")
            promised = self._said_digest(response, reference)
        digest = Digest.of(raw, promised.algorithm if promised is not None else "sha256")
        if promised is not None and digest != promised:
            raise DigestMismatch(expected=promised, actual=digest, peer=self.registry)
        try:
            return parse_manifest(raw, media_type, digest=digest)
        except InvalidDocument as error:
            raise ProtocolViolation(
                f"what {self.registry} gave is no manifest, {error.message}: {self._endpoints.subject(reference)}",
                peer=self.registry,
            ) from error

    async def _put_manifest(
        self, descriptor: Descriptor, raw: bytes, reference: Tag | Digest, tags: Collection[Tag] = ()
    ) -> dict[str, list[str]]:
        """Send a manifest; return the header fields of the answer that say what became of it."""
        request = self._endpoints.put_manifest(descriptor, raw, reference, tags)
        async with self._transport.exchange(request) as response:
            response.require_digest(descriptor.digest)
            return {
                name: response.headers.getall(name)
                for name in ("OCI-Subject", "OCI-Tag")
                if name in response.headers
            }

    async def _delete(self, request: Request) -> None:
        async with self._transport.exchange(request):
            pass

    async def _lacks(self, tag: Tag) -> bool:
        """Tell whether there is no such tag, for a registry that answers 404 to what it does not do."""
        try:
            await self.resolve(tag)
        except (ManifestUnknown, NameUnknown):
            return True
        return False

    async def _cancel(self, digest: Digest, location: Hop) -> None:
        await cancel_upload(self._transport, self._endpoints, digest, location)

    def _said_digest(self, response: Response, reference: RefName | Digest) -> Digest | None:
        """Return the digest of what a response is about: what was asked for, else what it says, if anything."""
        if isinstance(reference, Digest):
            response.require_digest(reference)
            return reference
        text = response.headers.get("Docker-Content-Digest")
        try:
            return Digest(text.strip()) if text is not None else None
        except DigestInvalid:
            raise ProtocolViolation(
                f"{self.registry} sent a Docker-Content-Digest that is none: {text!r}", peer=self.registry
            ) from None

    def _referrers_tag(self, subject: Digest) -> ReferrersTag:
        return ReferrersTag(self, subject, lock=self._referrers_lock)


def _reference(reference: RefName | Digest) -> Tag | Digest:
    return reference if isinstance(reference, Digest) else Tag(reference)


def _parsed(raw: bytes, descriptor: Descriptor) -> Manifest | None:
    """Return the manifest if we can read it; what we cannot read has no subject that we could know of."""
    try:
        return parse_manifest(raw, descriptor.media_type, digest=descriptor.digest)
    except InvalidDocument:
        return None


def _acknowledged(headers: dict[str, list[str]]) -> set[str]:
    """Return the tags that an answer confirms: `OCI-Tag: 1.2, 1`, several fields allowed."""
    return {tag.strip() for value in headers.get("OCI-Tag", ()) for tag in value.split(",")}


@asynccontextmanager
async def _nothing() -> AsyncIterator[AsyncIterator[bytes]]:
    async def none() -> AsyncIterator[bytes]:
        chunks: tuple[bytes, ...] = ()
        for chunk in chunks:
            yield chunk

    yield none()
