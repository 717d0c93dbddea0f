"""The other process of the checks that need one: `python -m entrepot.testing.promises.other JOB`.

It opens the store, says "ready", waits for a line and does its part. What it writes follows from the job, so
that the first process knows what has to be there afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
import msgspec

from entrepot.errors import TagInvalid
from entrepot.reference import RefName, Tag
from entrepot.store import CHUNK_BYTES, Store
from entrepot.testing.images import Content, Tree, blob, image
from entrepot.testing.promises.scripts import Script
from entrepot.testing.promises.trial import tree_present

__all__ = ["Job", "contended_blob", "image_named"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the other process is to do.

    Attributes:
        factory: Where the function is that opens the store; see `Elsewhere`.
        arguments: What to call it with.
        action: `write` images and finish, or `stall` in the middle of a blob until killed.
        seed: Makes the content differ from that of other runs.
        present: The name of an image that is there from the beginning.
        names: Each for an image of its own.
        contended: A name that both processes give away, over and over.
    """

    factory: str
    arguments: tuple[str, ...]
    action: Literal["write", "stall"]
    seed: str
    present: str = ""
    names: tuple[str, ...] = ()
    contended: str = ""


def image_named(name: str) -> Tree:
    """Return the image that belongs to a name."""
    return image(blob(3000, name), seed=name)


def contended_blob(seed: str) -> Content:
    """Return the blob that both processes write."""
    return blob(2 * CHUNK_BYTES + 1, f"{seed} contended")


async def write_part(store: Store, names: list[RefName], contended: RefName, seed: str) -> None:
    """Do what both processes do at once: give names, move one name, write one blob."""
    shared = contended_blob(seed)
    await store.write_blob(shared.descriptor, Script(shared.raw).open_at)
    for name in names:
        await image_named(name).write_to(store, names=[name, contended])


async def main(job: Job) -> None:
    """Do the job."""
    async with _factory(job.factory)(*job.arguments) as store:
        if job.action == "stall":
            await _stall(store, job)
        present = _name(job.present)
        await tree_present(store, image_named(present), "to another process", present)
        _say("ready")
        await anyio.to_thread.run_sync(sys.stdin.readline)
        await write_part(store, [_name(text) for text in job.names], _name(job.contended), job.seed)


async def _stall(store: Store, job: Job) -> None:
    shared = contended_blob(job.seed)
    script = Script(shared.raw, stalls_at=len(shared.raw) - 1)
    async with anyio.create_task_group() as group:
        group.start_soon(store.write_blob, shared.descriptor, script.open_at)
        await script.stalled.wait()
        _say("ready")
        await anyio.sleep_forever()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _name(text: str) -> RefName:
    """Return a tag where it is one: a registry takes nothing else."""
    try:
        return Tag(text)
    except TagInvalid:
        return RefName(text)


def _factory(text: str) -> Callable[..., AbstractAsyncContextManager[Store]]:
    where, _, function = text.rpartition(":")
    found: Any = _module(where)
    for part in function.split("."):
        found = getattr(found, part)
    factory: Callable[..., AbstractAsyncContextManager[Store]] = found
    return factory


def _module(where: str) -> Any:  # noqa: ANN401 - a module
    if not where.endswith(".py"):
        return importlib.import_module(where)
    spec = importlib.util.spec_from_file_location(Path(where).stem, where)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a module: {where}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    anyio.run(main, msgspec.json.decode(sys.argv[1], type=Job))
