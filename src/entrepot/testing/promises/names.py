"""Promises about names, and about taking content away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from entrepot.errors import BlobUnknown, ManifestUnknown, Unsupported, VerificationError
from entrepot.store import DeletesContent, Store
from entrepot.testing.images import Tree
from entrepot.testing.promises.trial import (
    Promise,
    Trial,
    blob_absent,
    blob_present,
    name_absent,
    refused,
    require,
    together,
    tree_present,
)

__all__ = ["PROMISES"]


async def several(trial: Trial) -> None:
    built = trial.image()
    names = [trial.name(label) for label in ("a", "b", "c")]
    async with trial.open_twice() as (store, another):
        await built.write_to(store, names=names)
        await tree_present(another, built, "after writing it with three names", *names)


async def moves(trial: Trial) -> None:
    old, new = trial.image("old"), trial.image("new")
    async with trial.open_twice() as (store, another):
        await old.write_to(store, names=[trial.name(), trial.name("stays")])
        await new.write_to(store, names=[trial.name()])
        await tree_present(another, new, "after its name moved to it", trial.name())
        await tree_present(another, old, "after one of its names moved away", trial.name("stays"))


async def all_or_nothing(trial: Trial) -> None:
    old, new = trial.image("old"), trial.image("new")
    taken, free = trial.name("taken"), trial.name("free")
    async with trial.open_twice() as (store, another):
        await old.write_to(store, names=[taken])
        for part in new.all_blobs():
            await store.write_blob(part.descriptor, part.open_at)
        with refused("a manifest whose bytes are wrong", VerificationError):
            await store.write_manifest(new.descriptor, new.raw[:-1] + b" ", names=[free, taken])
        await name_absent(another, free, "after writing a manifest failed")
        await tree_present(another, old, "after writing another under its name failed", taken)


async def in_order(trial: Trial) -> None:
    names = [trial.name(label) for label in ("b", "a", "B", "_", "a.b", "a-b", "A", "0", "a0")]
    first, second = trial.image("first"), trial.image("second")
    async with trial.open() as store:
        await first.write_to(store, names=names)
        await second.write_to(store, names=names[:3])
        listed = [name async for name in store.tags()]
        require(len(set(listed)) == len(listed), "tags() gives a name twice")
        require(set(names) <= set(listed), f"tags() leaves names out: {sorted(set(names) - set(listed))}")
        require(listed == sorted(listed, key=str.encode), "tags() is not in byte order")


async def given_at_once(trial: Trial) -> None:
    images = [trial.image(f"{number}") for number in range(8)]
    names = [trial.name(f"{number}") for number in range(len(images))]
    async with trial.open_twice() as stores:

        def give(number: int) -> Callable[[], Awaitable[None]]:
            return lambda: images[number].write_to(stores[number % 2], names=[names[number]])

        await together(*(give(number) for number in range(len(images))))
        for built, name in zip(images, names, strict=True):
            await tree_present(stores[0], built, f"after {len(images)} names were given at once", name)


async def moved_while_read(trial: Trial) -> None:
    images = [trial.image("one"), trial.image("other")]
    name = trial.name()
    async with trial.open_twice() as (store, another):
        for built in images:
            await built.write_to(store, names=[name])
        moved = anyio.Event()

        async def move() -> None:
            try:
                for number in range(12):
                    built = images[number % 2]
                    await store.write_manifest(built.descriptor, built.raw, names=[name])
            finally:
                moved.set()

        await together(move, lambda: _read_until(moved, another, name_of=images, trial=trial))


async def delete_name(trial: Trial) -> None:
    built = trial.image()
    async with trial.open_twice() as (store, another):
        if not isinstance(store, DeletesContent):
            return
        await built.write_to(store, names=[trial.name("goes"), trial.name("stays")])
        try:
            await store.delete_tag(trial.name("goes"))
        except Unsupported:
            await tree_present(another, built, "after delete_tag was refused", trial.name("goes"))
            return
        await name_absent(another, trial.name("goes"), "after delete_tag")
        await tree_present(another, built, "after one of its names was deleted", trial.name("stays"))
        await store.delete_tag(trial.name("stays"))
        await tree_present(another, built, "after its last name was deleted")
        with refused("delete_tag of a name that is gone", ManifestUnknown):
            await store.delete_tag(trial.name("goes"))


async def delete_manifest(trial: Trial) -> None:
    built, other = trial.image(), trial.image("other")
    names = [trial.name("a"), trial.name("b")]
    async with trial.open_twice() as (store, another):
        if not isinstance(store, DeletesContent):
            return
        await other.write_to(store, names=[trial.name("other")])
        await built.write_to(store, names=names)
        await store.delete_manifest(built.digest)
        for name in names:
            await name_absent(another, name, "after its manifest was deleted")
        require(not await another.has_manifest(built.digest), "after delete_manifest, has_manifest says True")
        with refused("read_manifest of one that was deleted", ManifestUnknown):
            await another.read_manifest(built.descriptor.plain())
        with refused("delete_manifest of one that is gone", ManifestUnknown):
            await store.delete_manifest(built.digest)
        await tree_present(another, other, "after another was deleted", trial.name("other"))
        await built.write_to(store, names=names)
        await tree_present(another, built, "after it was deleted and written again", *names)


async def delete_blob(trial: Trial) -> None:
    blob = trial.blob(5000)
    async with trial.open_twice() as (store, another):
        if not isinstance(store, DeletesContent):
            return
        await store.write_blob(blob.descriptor, blob.open_at)
        await store.delete_blob(blob.digest)
        await blob_absent(another, blob, "after it was deleted")
        with refused("delete_blob of one that is gone", BlobUnknown):
            await store.delete_blob(blob.digest)
        await store.write_blob(blob.descriptor, blob.open_at)
        await blob_present(another, blob, "after it was deleted and written again")


async def _read_until(done: anyio.Event, store: Store, *, name_of: list[Tree], trial: Trial) -> None:
    """Resolve the name and read what it stands for, over and over."""
    raws = {built.digest: built.raw for built in name_of}
    while not done.is_set():
        await anyio.lowlevel.checkpoint()  # a store that reads from memory never lets the others run
        found = await store.resolve(trial.name())
        require(found.digest in raws, f"a name that moves between two resolves to a third: {found.digest}")
        require(
            await store.read_manifest(found) == raws[found.digest], "a name that moves leads to other bytes"
        )


PROMISES = (
    Promise("names-several", "a manifest can be written with several names", several),
    Promise(
        "name-moves", "a name moves to the manifest that was written with it last; the other stays", moves
    ),
    Promise(
        "names-all-or-nothing",
        "a manifest that is refused gets no name, and the names keep what they had",
        all_or_nothing,
    ),
    Promise("tags-in-order", "tags() gives each name once, in byte order", in_order),
    Promise("names-at-once", "names that are given at once are all given", given_at_once),
    Promise(
        "name-moves-while-read", "a name that moves always stands for the one or the other", moved_while_read
    ),
    Promise("delete-tag", "delete_tag takes the name, and the manifest stays", delete_name),
    Promise("delete-manifest", "delete_manifest takes the manifest with its names", delete_manifest),
    Promise("delete-blob", "delete_blob takes the blob", delete_blob),
)
