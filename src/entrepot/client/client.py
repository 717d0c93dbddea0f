"""The client: places of all kinds behind one door, and the verbs that work on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from entrepot.client.choosing import choose, extent, read, refuse_incomplete, refuse_other_platforms
from entrepot.client.delivery import deliver, save
from entrepot.client.inspection import Inspected, inspect, read_config
from entrepot.client.locations import InImageStore, InLayout, Location, OnRegistry, parse_location
from entrepot.client.places import Place
from entrepot.copying import DEFAULT_JOBS, CopyResult, copy
from entrepot.errors import (
    CopyError,
    InvalidReference,
    ManifestBlobUnknown,
    ManifestUnknown,
    StoreError,
    Unsupported,
)
from entrepot.layout import ImageStore, Layout
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest
from entrepot.oci.index import Index
from entrepot.oci.platform import Platform
from entrepot.reference import Reference, RefName, RepositoryName, Tag
from entrepot.remote import Remote, RemoteOptions
from entrepot.store import DeletesContent, DescribesBlobs, Origin, Source, verified
from entrepot.wire.exchange import Action
from entrepot.wire.record import Recorder

if TYPE_CHECKING:
    from entrepot.images.build import Recipe

__all__ = ["Client", "NamedImage", "Place", "Pulled"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull, push or copy has brought somewhere.

    Attributes:
        name: The image's name there, without a digest.
        result: What was done; `result.descriptor` is the root.
    """

    name: str
    result: CopyResult

    @property
    def digest(self) -> Digest:
        """Return the root's digest."""
        return self.result.descriptor.digest

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of the image store.

    Attributes:
        name: Its full reference.
        descriptor: Of its manifest or index.
        platforms: Those whose images are there.
        size: Bytes of everything that it is made of and that is there, each blob once.
    """

    name: RefName
    descriptor: Descriptor
    platforms: tuple[str, ...]
    size: int


class Client:
    """Works on registries, layouts and the image store. An async context manager; one event loop, many tasks.

    Args:
        image_store: The directory of the image store; made when it is needed.
        remote: How registries are reached.
        recorder: Told about every exchange and every decision.
        jobs: How many transfers at a time, for each call.
        on_warning: Told once about each warning of a registry, with its host.
    """

    def __init__(
        self,
        *,
        image_store: Path | None = None,
        remote: RemoteOptions | None = None,
        recorder: Recorder | None = None,
        jobs: int = DEFAULT_JOBS,
        on_warning: Callable[[str, str], object] | None = None,
    ) -> None:
        self._image_store = image_store
        self._recorder = recorder or Recorder()
        self._remote = Remote(remote, recorder=self._recorder, on_warning=on_warning)
        self._jobs = jobs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remote.close()

    # -- places

    @asynccontextmanager
    async def open_store(self, location: str | Location, *, create: bool = False) -> AsyncIterator[Place]:
        """Open the repository that a location is in.

        While it is open, the image store cannot be pruned.

        Args:
            location: A reference, `oci:DIR[:NAME]`, `local:NAME`.
            create: Make a layout that is not there.

        Raises:
            InvalidReference: The text follows no grammar of ours.
            StoreError: There is no layout, and none was to be made.
        """
        where = parse_location(location) if isinstance(location, str) else location
        if isinstance(where, OnRegistry):
            origin = Origin(where.reference.registry, where.reference.repository)
            yield Place(where, self._remote.repository(where.reference), origin)
        elif isinstance(where, InLayout):
            yield Place(where, await Layout.open(where.path, create=create))
        else:
            images = await self._images()
            async with images.in_use() as layout:
                yield Place(where, layout)

    async def _images(self) -> ImageStore:
        if self._image_store is None:
            raise StoreError("no image store was named", hint="give the client an image_store")
        return await ImageStore.open(self._image_store)

    # -- moving images

    async def pull(
        self,
        reference: str,
        *,
        platforms: Collection[Platform] | None = None,
        all_platforms: bool = False,
        referrers: bool = False,
    ) -> Pulled:
        """Fetch an image into the image store, under its full reference.

        Args:
            reference: The image, on a registry.
            platforms: Which images of an index; this machine's when absent.
            all_platforms: All of them.
            referrers: Also what refers to the image.

        Raises:
            ManifestUnknown: There is no such image, or none for a platform.
            CopyError: See `copy`.
        """
        where = _on_registry(reference)
        wanted = None if all_platforms else (platforms or (Platform.of_this_machine(),))
        here = InImageStore(where.reference)
        async with self.open_store(where) as source, self.open_store(here) as destination:
            if platforms and not all_platforms:
                await refuse_other_platforms(source.store, source.target, platforms)
            result = await copy(
                source.store,
                destination.store,
                source.target,
                names=destination.names,
                platforms=wanted,
                referrers=referrers,
                jobs=self._jobs,
                moved=Action.DOWNLOADED,
                report=self._recorder.decide,
            )
        return Pulled(_without_digest(where.reference), result)

    async def push(
        self,
        reference: str,
        target: str | None = None,
        *,
        platform: Platform | None = None,
        referrers: bool = False,
    ) -> Pulled:
        """Send an image of the image store to a registry.

        Args:
            reference: The image's name in the image store.
            target: What it is to be called there; the same name when absent.
            platform: Send the one image for this platform instead of the index that lists it.
            referrers: Also what refers to the image.

        Raises:
            StoreError: It is an index, and images that it lists are absent; nothing has been sent.
            CopyError: See `copy`.
        """
        there = _on_registry(target or reference)
        local = parse_location(reference)
        here = InImageStore(local.reference) if isinstance(local, OnRegistry) else local
        async with self.open_store(here) as source, self.open_store(there) as destination:
            root: RefName | Digest = source.target
            if platform is not None:
                root = (await choose(source.store, await source.store.resolve(root), platform)).digest
            else:
                await refuse_incomplete(source.store, await source.store.resolve(root), here)
            result = await copy(
                source.store,
                destination.store,
                root,
                names=destination.names,
                referrers=referrers,
                jobs=self._jobs,
                moved=Action.UPLOADED,
                report=self._recorder.decide,
            )
        return Pulled(_without_digest(there.reference), result)

    async def copy(
        self,
        source: str | Location,
        destination: str | Location,
        *,
        platforms: Collection[Platform] | None = None,
        referrers: bool = False,
    ) -> Pulled:
        """Copy an image from any place to any other, byte for byte.

        Raises:
            CopyError: See `copying.copy`.
        """
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(self.open_store(source))
            there = await stack.enter_async_context(self.open_store(destination, create=True))
            if isinstance(there.location.target, Digest):
                _refuse_other_digest(there, await here.store.resolve(here.target))
            try:
                result = await copy(
                    here.store,
                    there.store,
                    here.target,
                    names=there.names,
                    platforms=platforms,
                    referrers=referrers,
                    origin=here.origin,
                    jobs=self._jobs,
                    report=self._recorder.decide,
                )
            except CopyError as error:
                if platforms is not None and isinstance(error.__cause__, ManifestBlobUnknown):
                    error.hint = (
                        "this registry takes no index without all of its images: copy one by its digest"
                    )
                raise
        return Pulled(str(there.location).partition("@")[0], result)

    async def push_blob(self, reference: str, descriptor: Descriptor) -> bool:
        """Send one blob of the image store to the repository of a reference; False when it was there already.

        Raises:
            BlobUnknown: The image store does not have it.
        """
        there = _on_registry(reference)
        async with self.open_store(InImageStore(there.reference)) as source, self.open_store(there) as place:
            absent = not await place.store.has_blob(descriptor)
            if absent:
                await place.store.write_blob(
                    descriptor, lambda offset: source.store.open_blob(descriptor, offset)
                )
            action, reason = (
                (Action.UPLOADED, "was not there") if absent else (Action.EXISTS, "there already")
            )
            self._recorder.decide(descriptor, kind="blob", role="layer", action=action, reason=reason)
            return absent

    async def build(self, name: str, recipes: Sequence[Recipe]) -> tuple[str, Descriptor]:
        """Assemble images in the image store; several become an index. Return its full name and what it is.

        Raises:
            InvalidReference: It is not a name, or one with a digest, which is not known beforehand.
        """
        from entrepot.images.build import build

        where = _on_registry(name)
        if where.reference.digest is not None:
            raise InvalidReference(f"a digest cannot be chosen: {name!r}", text=name, position=name.find("@"))
        async with self.open_store(InImageStore(where.reference)) as place:
            return str(where.reference), await build(
                place.store, recipes, names=place.names, report=self._recorder.decide
            )

    # -- looking

    async def digest(self, reference: str | Location) -> Descriptor:
        """Return what a reference stands for; costs one HEAD on a registry."""
        async with self.open_store(reference) as place:
            return await place.store.resolve(place.target)

    async def inspect(self, reference: str | Location, *, platform: Platform | None = None) -> Inspected:
        """Return what an image is made of, as a tree; with a platform, that image alone."""
        async with self.open_store(reference) as place:
            root = await place.store.resolve(place.target)
            if platform is not None:
                root = await choose(place.store, root, platform)
            return await inspect(place.store, root, jobs=self._jobs)

    async def manifest(self, reference: str | Location, *, platform: Platform | None = None) -> Manifest:
        """Return a manifest or index with its exact bytes; with a platform, that image's manifest."""
        async with self.open_store(reference) as place:
            root = await place.store.resolve(place.target)
            if platform is not None:
                root = await choose(place.store, root, platform)
            return await read(place.store, root)

    async def config(self, reference: str | Location, *, platform: Platform | None = None) -> bytes:
        """Return an image's config, its exact bytes; of an index, that of the platform or of this machine's.

        Raises:
            BlobUnknown: What the reference stands for has no config.
        """
        async with self.open_store(reference) as place:
            root = await place.store.resolve(place.target)
            manifest = await read(place.store, root)
            if platform is None and isinstance(manifest.body, Index):
                platform = Platform.of_this_machine()
            if platform is not None:
                manifest = await read(place.store, await choose(place.store, root, platform))
            _, raw = await read_config(place.store, manifest)
            return raw

    async def save_blob(self, reference: str | Location, path: Path) -> int:
        """Write a blob to a file, which appears or is replaced when all of it is verified; return its size.

        Raises:
            InvalidReference: The reference is not `REPO@DIGEST`.
            BlobUnknown: There is no such blob.
        """
        async with self._opened_blob(reference) as (descriptor, chunks):
            await save(chunks, path)
            return descriptor.size

    async def blob(self, reference: str | Location, write: Callable[[bytes], object]) -> int:
        """Give a blob's bytes to `write`, in pieces, the first when all of it is verified; return its size.

        Raises:
            InvalidReference: The reference is not `REPO@DIGEST`.
            BlobUnknown: There is no such blob.
        """
        async with self._opened_blob(reference) as (descriptor, chunks):
            await deliver(chunks, write)
            return descriptor.size

    @asynccontextmanager
    async def _opened_blob(
        self, reference: str | Location
    ) -> AsyncIterator[tuple[Descriptor, AsyncIterator[bytes]]]:
        async with self.open_store(reference) as place:
            digest = place.location.target
            if not isinstance(digest, Digest):
                text = str(place.location)
                raise InvalidReference(f"a blob has no name: {text!r}", text=text, hint="write REPO@DIGEST")
            if not isinstance(place.store, DescribesBlobs):
                raise Unsupported(f"a blob's size is not known here: {place.location}")
            descriptor = await place.store.describe_blob(digest)
            async with place.store.open_blob(descriptor) as chunks:
                yield descriptor, verified(chunks, descriptor)

    async def tags(self, repository: str | Location) -> AsyncIterator[RefName]:
        """Yield the tags of a repository, or the names in a layout, in byte order."""
        where = parse_location(repository, default_tag=None) if isinstance(repository, str) else repository
        async with self.open_store(where) as place:
            prefix = f"{where.reference.name}:" if isinstance(where, InImageStore) else ""
            async for name in place.store.tags():
                if not prefix:
                    yield name
                elif name.startswith(prefix) and "@" not in name:
                    yield Tag(name.removeprefix(prefix))

    def repositories(self, registry: str) -> AsyncIterator[RepositoryName]:
        """Yield the repositories of a registry (`host[:port]`), in byte order.

        Raises:
            InvalidReference: It is not a registry's name.
            Unsupported: It shows nobody what it has.
        """
        return self._remote.registry(registry).repositories()

    async def images(self) -> list[NamedImage]:
        """Return the images of the image store, in byte order of their names."""
        store = await self._images()
        async with store.in_use() as layout:
            return [
                NamedImage(image.name, image.descriptor, *await extent(layout, image.descriptor))
                for image in await store.images()
            ]

    # -- deleting

    async def names_of(self, reference: str | Location) -> list[RefName]:
        """Return the names that point at the same manifest as the reference: what goes when it is deleted."""
        async with self.open_store(reference) as place:
            digest = (await place.store.resolve(place.target)).digest
            return [name async for name in place.store.tags() if await _points_at(place.store, name, digest)]

    async def delete(self, reference: str | Location) -> None:
        """Delete a tag, and nothing else; or, by digest, a manifest with every name that points at it.

        Raises:
            ManifestUnknown: There is no such tag or manifest.
            Unsupported: The place cannot delete, or not a tag alone.
            InvalidReference: There is neither tag nor digest, or both.
        """
        where = parse_location(reference, default_tag=None) if isinstance(reference, str) else reference
        if isinstance(where, OnRegistry | InImageStore) and where.reference.tag and where.reference.digest:
            text = str(where)
            raise InvalidReference(
                f"both tag and digest: {text!r}",
                text=text,
                hint="write :TAG to delete the tag, @DIGEST for all of it",
            )
        async with self.open_store(where) as place:
            target = place.target
            if not isinstance(place.store, DeletesContent):
                raise Unsupported(f"nothing can be deleted here: {where}")
            if isinstance(target, Digest):
                await place.store.delete_manifest(target)
            else:
                await place.store.delete_tag(target)


def _on_registry(text: str) -> OnRegistry:
    where = parse_location(text)
    if not isinstance(where, OnRegistry):
        raise InvalidReference(
            f"not on a registry: {text!r}",
            text=text,
            position=0,
            hint=f"entrepot copy takes {text.partition(':')[0]}:",
        )
    return where


def _without_digest(reference: Reference) -> str:
    return str(reference.without_digest())


async def _points_at(source: Source, name: RefName, digest: Digest) -> bool:
    try:
        return (await source.resolve(name)).digest == digest
    except ManifestUnknown:
        # deleted since it was listed
        return False


def _refuse_other_digest(there: Place, root: Descriptor) -> None:
    """Refuse a destination that names other bytes than those that are copied."""
    wanted = there.location.target
    if isinstance(wanted, Digest) and wanted != root.digest:
        text = str(there.location)
        raise InvalidReference(
            f"the source is another image, {root.digest}: {text!r}", text=text, hint="leave the digest out"
        )
