"""What every check works with: the store under trial, content that nobody else has, and words for a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from entrepot.errors import BlobUnknown, EntrepotError, ManifestUnknown, NameUnknown
from entrepot.oci import Descriptor, Digest
from entrepot.reference import RefName
from entrepot.store import Source, Store
from entrepot.testing.images import Content, Tree, blob, image

__all__ = [
    "Broken",
    "Elsewhere",
    "MakeStore",
    "Promise",
    "Trial",
    "blob_absent",
    "blob_present",
    "name_absent",
    "read",
    "refused",
    "require",
    "together",
    "tree_present",
]

MakeStore: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the store under trial: the same one each time, as often as it is asked, also while it is open."""


class Broken(AssertionError):  # noqa: N818 - like the errors of `entrepot.errors`
    """A promise was not kept; the message says how."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How another process opens the same store.

    Attributes:
        factory: `package.module:function`, or `path/to/file.py:function`.
        arguments: What the function is called with; it returns what `MakeStore` does.
    """

    factory: str
    arguments: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One store under one check.

    Attributes:
        open: Opens the store.
        seed: Makes this check's content and names differ from those of other checks and other runs.
        make_name: Turns letters, digits and dashes into a name that the store takes.
        elsewhere: How another process opens it, if it can.
    """

    open: MakeStore
    seed: str
    make_name: Callable[[str], RefName]
    elsewhere: Elsewhere | None = None

    @asynccontextmanager
    async def open_twice(self) -> AsyncIterator[tuple[Store, Store]]:
        """Open the store twice at once: two instances that share nothing but where they keep things."""
        async with self.open() as one, self.open() as another:
            yield one, another

    def blob(self, size: int, label: str = "", *, algorithm: str = "sha256") -> Content:
        """Make up a blob that is nowhere else."""
        return blob(size, f"{self.seed} {label}", algorithm=algorithm)

    def image(self, label: str = "", *, algorithm: str = "sha256") -> Tree:
        """Make up an image that is nowhere else."""
        part = blob(1000, f"{self.seed} {label} layer", media_type="application/vnd.oci.image.layer.v1.tar")
        return image(part, seed=f"{self.seed} {label}", algorithm=algorithm)

    def name(self, label: str = "name") -> RefName:
        """Make up a name that nobody else uses."""
        return self.make_name(f"{label}-{self.seed}")


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise of the store protocols, and how it is checked.

    Attributes:
        name: What the report calls it.
        text: What is promised, as a sentence.
        check: Returns if the store keeps it, raises `Broken` (or what the store raised) if not.
    """

    name: str
    text: str
    check: Callable[[Trial], Awaitable[None]]


def require(condition: object, complaint: str) -> None:
    """Complain unless the condition holds."""
    if not condition:
        raise Broken(complaint)


@contextmanager
def refused(doing: str, *kinds: type[Exception]) -> Iterator[None]:
    """Complain unless the block raises one of these."""
    wanted = " or ".join(kind.__name__ for kind in kinds)
    try:
        yield
    except kinds:
        return
    except EntrepotError as error:
        raise Broken(f"{doing} raised {type(error).__name__}, not {wanted}: {error}") from error
    raise Broken(f"{doing} was accepted; it should raise {wanted}")


async def read(source: Source, descriptor: Descriptor, start: int = 0, stop: int | None = None) -> bytes:
    """Return a part of a blob, read to its end."""
    parts: list[bytes] = []
    async with source.open_blob(descriptor, start, stop) as chunks:
        async for chunk in chunks:
            require(len(chunk) <= 64 << 20, f"open_blob gave {len(chunk)} bytes at once")
            parts.append(chunk)
    return b"".join(parts)


async def blob_present(store: Store, wanted: Content, when: str) -> None:
    """Complain unless the blob is there, whole and right."""
    require(await store.has_blob(wanted.descriptor), f"{when}, has_blob says False")
    _same(await read(store, wanted.descriptor), wanted.raw, when)


async def blob_absent(store: Store, unwanted: Content, when: str) -> None:
    """Complain if anything of the blob can be seen."""
    require(not await store.has_blob(unwanted.descriptor), f"{when}, has_blob says True")
    with refused(f"{when}, open_blob", BlobUnknown):
        await read(store, unwanted.descriptor)


async def tree_present(store: Store, wanted: Tree, when: str, *names: RefName) -> None:
    """Complain unless the manifest, all that it is made of, and its names are there."""
    for part in wanted.all_blobs():
        await blob_present(store, part, when)
    for manifest in wanted.all_manifests():
        plain = manifest.descriptor.plain()
        require(await store.has_manifest(manifest.digest), f"{when}, has_manifest says False")
        _same(await store.read_manifest(plain), manifest.raw, f"{when}, the manifest's bytes")
        await _resolves(store, manifest.digest, plain, when)
    for name in names:
        await _resolves(store, name, wanted.descriptor.plain(), when)


async def name_absent(store: Store, name: RefName, when: str) -> None:
    """Complain if the name stands for anything."""
    with refused(f"{when}, resolve", ManifestUnknown, NameUnknown):
        await store.resolve(name)
    try:
        listed = [found async for found in store.tags()]
    except NameUnknown:
        return
    require(name not in listed, f"{when}, tags() lists the name")


async def together(*calls: Callable[[], Awaitable[object]]) -> None:
    """Run the calls at once, all to their end, and raise the first exception among them as it is."""
    failures: list[Exception] = []

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except Exception as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(one, call)
    if failures:
        raise failures[0]


async def _resolves(store: Store, reference: RefName | Digest, wanted: Descriptor, when: str) -> None:
    found = await store.resolve(reference)
    require(found == wanted, f"{when}, {reference} resolves to {found}, not to {wanted}")


def _same(found: bytes, wanted: bytes, when: str) -> None:
    if len(found) != len(wanted):
        raise Broken(f"{when}, {len(found)} bytes were read, not {len(wanted)}")
    if found != wanted:
        first = next(position for position, byte in enumerate(found) if byte != wanted[position])
        raise Broken(f"{when}, other bytes were read, from byte {first} on")
