"""The local image store: one OCI layout for the images of all registries, each under its full reference.

Any program that reads layouts can read it (`skopeo inspect oci:DIR:docker.io/library/alpine:latest`). Besides
the layout's own files it has `.in-use.lock`: whoever reads or writes images shares it, whoever removes content
has it alone, so that nothing is swept from under a pull that has not written its manifest yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from entrepot.errors import DigestInvalid, ManifestUnknown, StoreError
from entrepot.layout import walk
from entrepot.layout.directory import Directory, Limits
from entrepot.layout.entries import Entries
from entrepot.layout.incoming import remove_stale
from entrepot.layout.layout import Layout
from entrepot.layout.locks import locked
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest
from entrepot.reference import RefName

__all__ = ["Freed", "ImageStore", "NamedImage"]


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image, or an index of images, by one of its names."""

    name: RefName
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Freed:
    """What has been removed: every blob and manifest, and how many bytes they had together."""

    digests: tuple[Digest, ...]
    bytes: int


class ImageStore:
    """The images of this machine.

    Use `open`; the constructor looks at nothing.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self._directory = Directory(path, Limits(), lists_unnamed=False)
        self._layout = Layout(self._directory)

    @classmethod
    async def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the image store. There is nothing to close.

        Raises:
            StoreError: The directory holds something else, or cannot be written.
        """
        store = cls(path)
        await store._layout.check(create=create)
        return store

    @property
    def path(self) -> Path:
        """Return the directory, as an absolute path."""
        return self._directory.path

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[Layout]:
        """Have the images as a `Store`, for the whole of a pull, a push or a copy.

        Any number of tasks and processes may at once; `remove` and `prune` wait for all of them, so neither
        may be called inside.
        """
        async with locked(self._lock, shared=True):
            yield self._layout

    async def images(self) -> list[NamedImage]:
        """Return every name and what it stands for, in byte order of the names."""
        found = [
            NamedImage(name, root.descriptor) for root in await self._layout.roots() for name in root.names
        ]
        return sorted(found, key=lambda image: (image.name, image.descriptor.digest))

    async def remove(self, name: RefName) -> Freed:
        """Take a name away, and what no other image is made of. Waits until nobody uses the store.

        Manifests that refer to the image, such as its signatures, go with the last name that it has.

        Raises:
            ManifestUnknown: There is no such name.
            StoreError: What another image is made of cannot be told, because its manifest is damaged.
        """
        async with locked(self._lock):
            return await self._layout.alone(_remove, self._directory, name)

    async def prune(self) -> Freed:
        """Remove the content that no listed image is made of. Waits until nobody uses the store.

        That is what a name that moved has left behind, what interrupted pulls have, and manifests whose
        subject is gone. Files that are no blobs stay.

        Raises:
            StoreError: What an image is made of cannot be told, because its manifest is damaged.
        """
        async with locked(self._lock):
            return await self._layout.alone(_prune, self._directory)

    @property
    def _lock(self) -> Path:
        return self.path / ".in-use.lock"


def _remove(directory: Directory, name: RefName) -> Freed:
    with directory.edited_entries() as entries:
        listed = [descriptor for descriptor, _ in entries.descriptors()]
        if not entries.take_name(name, keep_displaced=False):
            raise ManifestUnknown(f"there is no such image: {name}")
        kept = _mark(directory, entries)
        gone = [descriptor for descriptor in listed if not entries.lists(descriptor.digest)]
    return _sweep(directory, walk.reached(directory.readable_manifest, gone) - kept)


def _prune(directory: Directory) -> Freed:
    with directory.edited_entries() as entries:
        kept = _mark(directory, entries)
    remove_stale(directory.scratch, older_than_seconds=0)
    return _sweep(directory, set(_stored(directory)) - kept)


def _mark(directory: Directory, entries: Entries) -> set[Digest]:
    """Return what is to be kept, and take away the entries that only refer to what is not.

    A manifest with a subject that has no name of its own is kept for its subject's sake; it may itself be the
    subject of another.
    """
    certain = partial(_certain, directory)
    kept: set[Digest] = set()
    undecided: list[tuple[Descriptor, Digest]] = []
    for descriptor, names in entries.descriptors():
        manifest = None if names else directory.readable_manifest(descriptor.digest, descriptor.media_type)
        if manifest is not None and manifest.subject is not None:
            undecided.append((descriptor, manifest.subject.digest))
        else:
            kept |= walk.reached(certain, [descriptor])
    while wanted := [descriptor for descriptor, subject in undecided if subject in kept]:
        kept |= walk.reached(certain, wanted)
        undecided = [pair for pair in undecided if pair[0] not in wanted]
    for descriptor, _ in undecided:
        if descriptor.digest not in kept:
            entries.take_manifest(descriptor.digest)
    return kept


def _certain(directory: Directory, digest: Digest, media_type: str | None) -> Manifest | None:
    """Return a manifest; None when it is absent or a blob.

    Raises:
        StoreError: It is there, and what it is made of cannot be told.
    """
    manifest = directory.readable_manifest(digest, media_type) or directory.readable_manifest(digest)
    if manifest is None and mediatype.is_manifest(media_type or "") and directory.size_of(digest) is not None:
        hint = "pull the image again, or remove it first"
        raise StoreError(f"nothing was removed, since a manifest is damaged: {digest}", hint=hint)
    return manifest


def _stored(directory: Directory) -> Iterator[Digest]:
    for path in (directory.path / "blobs").glob("*/*"):
        with suppress(DigestInvalid):
            yield Digest(f"{path.parent.name}:{path.name}")


def _sweep(directory: Directory, digests: Iterable[Digest]) -> Freed:
    freed = {digest: size for digest in sorted(digests) if (size := directory.remove(digest)) is not None}
    return Freed(tuple(freed), sum(freed.values()))
